# SPDX-License-Identifier: GPL-3.0-or-later
"""The one door to `shared`: inside the add-on when packed as an extension, beside it in a checkout.

Every other module of the add-on imports `shared` from here, so that none of them knows where it lies.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING or importlib.util.find_spec(f"{__package__}.shared") is None:
    from shared import (
        arrays,
        client,
        compare_page,
        errors,
        keys,
        messages,
        presets,
        report_files,
        report_page,
        reporting,
        scene,
        targets,
        version,
        wire,
    )
else:
    from .shared import (
        arrays,
        client,
        compare_page,
        errors,
        keys,
        messages,
        presets,
        report_files,
        report_page,
        reporting,
        scene,
        targets,
        version,
        wire,
    )

__all__ = [
    "arrays",
    "client",
    "compare_page",
    "errors",
    "keys",
    "messages",
    "presets",
    "report_files",
    "report_page",
    "reporting",
    "scene",
    "targets",
    "version",
    "wire",
]
