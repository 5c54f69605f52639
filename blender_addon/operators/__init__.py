# SPDX-License-Identifier: GPL-3.0-or-later
"""What the buttons of the panel do, by subject. Draws nothing, and imports nothing of itself."""
