"""The named presets: how much work a job does. Everything they don't name keeps the default of `Settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from .errors import InvalidInput
from .messages import ImageSettings, Settings

Kind = TypeVar("Kind", ImageSettings, Settings)

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"steps": 120, "views": 6, "samples": 1, "held_out_views": 32},
    "standard": {},
    "thorough": {"steps": 1500, "views": 12},
}

#: So many steps go from the middle of an L∞ ball to its border, at least, if nobody says how large they are.
STEPS_IN_BALL = 4


def settings(target: str, preset: str = "standard", **overrides: Any) -> Settings:
    """Settings of a preset; `overrides` that are None leave the preset's value, but a step size that is not given is
    small beside an L∞ ball that is.

    Raises :class:`InvalidInput` that names the presets, or the setting whose value is out of bounds.
    """
    if preset not in PRESETS:
        raise InvalidInput(f"No preset is called {preset!r}.", hint=f"There are {', '.join(PRESETS)}.")
    made = _checked(Settings, {"target": target, **PRESETS[preset]}, overrides)
    if made.epsilon is None or made.norm != "linf" or overrides.get("alpha") is not None:
        return made
    return msgspec.structs.replace(made, alpha=min(made.alpha, made.epsilon / STEPS_IN_BALL))


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with some of them changed. Raises :class:`InvalidInput` as :func:`settings` does."""
    return _checked(Settings, msgspec.to_builtins(settings), changes)


def image_settings(target: str = "", **overrides: Any) -> ImageSettings:
    """Settings for a picture; `overrides` that are None leave the default. Raises as :func:`settings` does."""
    return _checked(ImageSettings, {"target": target}, overrides)


def cautions(settings: Settings | ImageSettings) -> tuple[str, ...]:
    """What is allowed but rarely meant, as sentences."""
    if settings.epsilon is not None and settings.norm == "linf" and settings.alpha > settings.epsilon:
        return (
            f"A step of {settings.alpha:g} is larger than ε, {settings.epsilon:g}: every step ends on the border of "
            "what is allowed. Smaller steps find better places inside.",
        )
    return ()


def _checked(kind: type[Kind], base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Kind:
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return msgspec.convert({**base, **given}, kind)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`").partition("[")[0]
        said = f" (it is {given[name]!r})" if name in given else ""
        raise InvalidInput(f"A setting is out of bounds: {error}{said}.") from error
