"""The named presets: how much work a job does. Everything they don't name keeps the default of `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .errors import InvalidInput
from .messages import Settings

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"steps": 120, "views": 6, "samples": 1, "held_out_views": 32},
    "standard": {},
    "thorough": {"steps": 1500, "views": 12},
}


def settings(target: str, preset: str = "standard", **overrides: Any) -> Settings:
    """Settings of a preset; `overrides` that are None leave the preset's value.

    Raises :class:`InvalidInput` that names the presets, or the setting whose value is out of bounds.
    """
    if preset not in PRESETS:
        raise InvalidInput(f"No preset is called {preset!r}.", hint=f"There are {', '.join(PRESETS)}.")
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return msgspec.convert({"target": target, **PRESETS[preset], **given}, Settings)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"A setting is out of bounds: {error}.") from error
