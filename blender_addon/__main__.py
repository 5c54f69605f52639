# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m blender_addon SCENE optimize …`: the command without a Blender binary, on the bpy module."""

import sys

from .commands import main_with_scene

if __name__ == "__main__":
    sys.exit(main_with_scene(sys.argv[1:]))
