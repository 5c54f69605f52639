"""What there is to know of a job, as plain data: the add-on's ``report.json``, and the server's ``result.json``.

Both sides make it of a result, and read it again; how it is shown is in `report_page` and `compare_page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from . import intervals, messages, presets, scene

SCHEMA = 1

ENGINES = {"cycles": "Cycles", "eevee": "EEVEE"}
MAX_GAP = 0.10
"""The mean difference between a classifier's confidence in the server's pictures and in Blender's that goes unsaid."""


@dataclass(frozen=True)
class Check:
    """The check, rendered by `engine`: pictures [K, H, W, 3] uint8 before and after, and what each classifier says.

    A mean gap above ``max_gap`` is worth a warning.
    """

    before: np.ndarray
    after: np.ndarray
    verdicts: Mapping[str, tuple[Sequence[messages.Verdict], Sequence[messages.Verdict]]]
    seconds: float
    max_gap: float = MAX_GAP
    engine: Literal["cycles", "eevee"] = "cycles"


# --- report -----------------------------------------------------------------------------------------------------------


def report(
    result: messages.Result,
    settings: messages.Settings,
    *,
    object_name: str,
    check: Check | None = None,
    collect_s: float | None = None,
    own_rig: bool | None = None,
    left_out: Sequence[str] = (),
    command: str | None = None,
    made_with: Mapping[str, str] = MappingProxyType({}),
    vertex_note: str = "",
) -> dict[str, Any]:
    """All there is to know of a job, as plain data.

    `command` repeats it, `made_with` are versions of what has asked for it, `vertex_note` says where vertex
    colours are.
    """
    timing = msgspec.to_builtins(result.timing)
    checked = check_report(result, check) if check is not None else {"check": None, "models": {}}
    return {
        "schema": SCHEMA,
        "object": object_name,
        "target": msgspec.to_builtins(result.target),
        "outcome": result.outcome,
        "steps": result.steps,
        "settings": msgspec.to_builtins(settings),
        "seed": settings.seed,
        "own_rig": own_rig,
        "device": result.device,
        "scene_hash": result.scene_hash,
        "command": command,
        "versions": {**made_with, **result.versions},
        "texture": _texture(result.texture, vertex_note),
        "models": {name: _model(figures, checked["models"].get(name)) for name, figures in result.models.items()},
        "mask": {"coverage": result.mask_coverage, "max_change_outside": result.max_change_outside},
        "patch": _patch(result),
        "cautions": [*presets.cautions(settings), *result.notes],
        "check": checked["check"],
        "straight_through": _straight_through(result, settings),
        "curves": msgspec.to_builtins(result.curves),
        "survey": _survey(result.survey),
        "left_out": list(left_out),
        "timing": {"collect_s": collect_s, **timing, "check_s": check.seconds if check else None},
    }


def check_report(result: messages.Result, check: Check) -> dict[str, Any]:
    """What the check has found: ``check`` as in the report, ``models`` each classifier's figures of Blender's views."""
    models = {name: _judged(figures, check.verdicts[name]) for name, figures in result.models.items()}
    return {"check": _comparison(result, check), "models": models}


def _texture(texture: scene.Texture, vertex_note: str) -> dict[str, Any]:
    if isinstance(texture, scene.UvTexture):
        height, width, _ = texture.image.shape
        return {"kind": "uv", "file": "texture.png", "size": [width, height]}
    return {"kind": "vertex", "file": None, "vertices": len(texture.colors), "note": vertex_note}


def _survey(found: messages.Survey | None) -> dict[str, Any] | None:
    """How the object is recognised from all around, as lists of lists."""
    if found is None:
        return None
    plain = {name: getattr(found, name) for name in found.__struct_fields__}
    return {**plain, "confidence": found.confidence.round(4).tolist(), "top1": found.top1.tolist()}


def _patch(result: messages.Result) -> dict[str, Any] | None:
    """What was cut out, where it lies, and the sites that a search has ranked; None without a patch."""
    if result.patch is None and not result.sites:
        return None
    cut = {} if result.patch is None else {"file": "patch.png", **msgspec.to_builtins(_without_png(result.patch))}
    return {**cut, "sites": msgspec.to_builtins(result.sites)}


def _without_png(patch: messages.Patch) -> dict[str, Any]:
    return {name: getattr(patch, name) for name in patch.__struct_fields__ if name != "png"}


def _straight_through(result: messages.Result, settings: messages.Settings) -> dict[str, Any] | None:
    """The steps taken on Blender's pictures, and what they brought: the first third of them beside the last."""
    if not settings.blender_every:
        return None
    exchanges = result.exchanges
    third = max(1, len(exchanges) // 3)
    return {
        "asked": -(-result.steps // settings.blender_every),
        "answered": len(exchanges),
        "first": _mean_exchange(exchanges[:third]),
        "last": _mean_exchange(exchanges[-third:]),
        "exchanges": msgspec.to_builtins(exchanges),
    }


def _mean_exchange(exchanges: Sequence[messages.Exchange]) -> dict[str, float] | None:
    if not exchanges:
        return None
    names = ("server", "blender", "mean_error", "cosine")
    return {name: sum(getattr(each, name) for each in exchanges) / len(exchanges) for name in names}


def _model(figures: messages.ModelFigures, blender: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "trained": figures.trained,
        "train": msgspec.to_builtins(figures.train),
        "held_out": {
            "before": {**msgspec.to_builtins(figures.held_out.before), **_intervals(figures.each_before)},
            "after": {**msgspec.to_builtins(figures.held_out.after), **_intervals(figures.each_after)},
            "change_95": _change(figures.each_before, figures.each_after),
            "views": figures.held_out_views,
        },
        "controls": {name: _control(each) for name, each in figures.controls.items()},
        "said": _said(figures.said_before, figures.said_after),
        "each_before": msgspec.to_builtins(figures.each_before),
        "each_after": msgspec.to_builtins(figures.each_after),
        "left_out": msgspec.to_builtins(figures.left_out),
        "blender": blender,
    }


def _intervals(each: messages.EachView) -> dict[str, Any]:
    """The 95 % intervals of mean and top-1 over the views, where they are known one by one."""
    if not each.confidence:
        return {}
    return {"mean_95": intervals.of_mean(each.confidence), "top1_95": intervals.of_share(each.right)}


def _change(before: messages.EachView, after: messages.EachView) -> intervals.Interval | None:
    """The 95 % interval of the change of mean confidence, over the same views."""
    return intervals.of_change(before.confidence, after.confidence) if before.confidence else None


def _control(each: messages.EachView) -> dict[str, Any]:
    """The figures of what was put in the place of a patch."""
    found = _stats(each.confidence, each.right)
    return {**msgspec.to_builtins(found), **_intervals(each)}


def _said(before: Sequence[messages.Verdict], after: Sequence[messages.Verdict]) -> list[dict[str, Any]]:
    """What a classifier says of each picture before and after, with the top classes."""
    pairs = zip(before, after, strict=True)
    return [{"before": msgspec.to_builtins(old), "after": msgspec.to_builtins(new)} for old, new in pairs]


def _judged(
    figures: messages.ModelFigures, verdicts: tuple[Sequence[messages.Verdict], Sequence[messages.Verdict]]
) -> dict[str, Any]:
    before, after = verdicts
    gaps = [abs(server - blender.confidence) for server, blender in zip(figures.check_confidence, after, strict=True)]
    return {
        "before": {**msgspec.to_builtins(stats(before)), **_intervals(_each(before))},
        "after": {**msgspec.to_builtins(stats(after)), **_intervals(_each(after))},
        "views": len(after),
        "said": _said(before, after),
        "mean_gap": sum(gaps) / len(gaps),
    }


def _comparison(result: messages.Result, check: Check) -> dict[str, Any]:
    """The server's pictures beside Blender's, view by view, by the first trained classifier."""
    name = next(name for name, figures in result.models.items() if figures.trained)
    figures, (before, after) = result.models[name], check.verdicts[name]
    errors_after = np.abs(result.pictures_after.astype(np.float32) - check.after).mean(axis=(1, 2, 3)) / 255
    views: list[dict[str, Any]] = [
        {
            "camera": view.camera.name,
            "light": view.lights.name,
            "before": {"server": figures.check_before[number], "blender": before[number].confidence},
            "after": {"server": figures.check_confidence[number], "blender": after[number].confidence},
            "gap": abs(figures.check_confidence[number] - after[number].confidence),
            "mean_error": float(errors_after[number]),
        }
        for number, view in enumerate(result.check_views)
    ]
    worst = max(views, key=lambda view: view["gap"])
    mean_gap = sum(view["gap"] for view in views) / len(views)
    return {
        "model": name,
        "engine": check.engine,
        "mean_gap": mean_gap,
        "max_gap": check.max_gap,
        "mean_error": float(errors_after.mean()),
        "worst": views.index(worst),
        "seconds": check.seconds,
        "warning": _warning(mean_gap, worst, name) if mean_gap > check.max_gap else None,
        "views": views,
    }


def _warning(mean_gap: float, worst: Mapping[str, Any], model: str) -> str:
    server, blender = worst["after"]["server"], worst["after"]["blender"]
    return (
        f"Blender's pictures and the server's differ by {mean_gap:.2f} in the confidence of {model}, most from "
        f"{worst['camera']!r} in the light {worst['light']!r}: {server:.2f} by the server, {blender:.2f} by Blender."
    )


def stats(verdicts: Sequence[messages.Verdict]) -> messages.Stats:
    """Mean confidence, share of right top-1 and least confidence of at least one verdict."""
    each = _each(verdicts)
    return _stats(each.confidence, each.right)


def _each(verdicts: Sequence[messages.Verdict]) -> messages.EachView:
    confidence = tuple(verdict.confidence for verdict in verdicts)
    return messages.EachView(confidence, tuple(verdict.right for verdict in verdicts))


def _stats(confidence: Sequence[float], right: Sequence[bool]) -> messages.Stats:
    return messages.Stats(
        mean=sum(confidence) / len(confidence),
        top1=sum(right) / len(right),
        min=min(confidence),
        p5=float(np.quantile(confidence, 0.05)),
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def remarks(report: Mapping[str, Any]) -> list[str]:
    """How far the server's pictures can be trusted, and what they leave out; also of reports of older versions."""
    check, found = report.get("check"), []
    if check is not None:
        pixel, gap = check["mean_error"], check["mean_gap"]
        engine = ENGINES[check.get("engine", "cycles")]
        found.append(f"Against {engine}: mean difference of a pixel {pixel:.3f}, of confidence {gap:.3f}.")
        if check["warning"] is not None:
            found.append(f"Warning: {check['warning']}")
    found += [f"Warning: {each}" for each in report.get("cautions", ())]
    if (report.get("patch") or {}).get("file"):
        found.append(_cut_out(report["patch"]))
    if report.get("straight_through") is not None:
        found.append(_helped(report["straight_through"]))
    if report.get("left_out"):
        found.append("The server does not model: " + " ".join(report["left_out"]))
    return found


def _cut_out(patch: Mapping[str, Any]) -> str:
    """Where and how large the patch is."""
    left, bottom, width, height = patch["box"]
    size = f"{patch['width_mm']:.0f} × {patch['height_mm']:.0f} mm, {patch['area_mm2'] / 100:.0f} cm²"
    where = f"{width} × {height} texels from ({left}, {bottom})"
    sites = patch["sites"]
    tried = bool(sites) and sites[0].get("trial") is not None
    searched = f"; {'the best' if tried else 'one'} of {len(sites)} places" if sites else ""
    what = "The patch" if sites else "What could change"
    return f"{what} is {size} on the surface, {where} of the texture{searched}."


def _helped(found: Mapping[str, Any]) -> str:
    """What the steps on Blender's pictures were good for."""
    if not found["answered"]:
        return f"Straight-through: none of {found['asked']} steps got Blender's pictures."
    first, last = found["first"], found["last"]
    return (
        f"Straight-through: {found['answered']} of {found['asked']} steps on Blender's pictures. Confidence in them "
        f"went from {first['blender']:.3f} to {last['blender']:.3f} (in the server's of the same views from "
        f"{first['server']:.3f} to {last['server']:.3f}); they turned the gradient to a cosine of {last['cosine']:.2f}."
    )


def local_time(created: str) -> str:
    """An ISO 8601 time as date and time of this machine's time zone; what is none, as it stands."""
    try:
        return f"{datetime.fromisoformat(created).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return created


# --- read again -------------------------------------------------------------------------------------------------------


class Figures(NamedTuple):
    """What one classifier says of held-out views: mean confidence, and share of views whose top-1 is right."""

    model: str
    trained: bool
    before_mean: float
    after_mean: float
    before_top1: float
    after_top1: float


def figures_of(report: Mapping[str, Any]) -> list[Figures]:
    """The held-out figures in a `report` of this or another version; classifiers without are left out."""
    models = report.get("models")
    rows = [_row(str(name), model) for name, model in models.items()] if isinstance(models, dict) else []
    return [row for row in rows if row is not None]


def _row(name: str, model: Any) -> Figures | None:
    try:
        before, after = (model["held_out"][when] for when in ("before", "after"))
        means = float(before["mean"]), float(after["mean"])
        return Figures(name, bool(model["trained"]), *means, float(before["top1"]), float(after["top1"]))
    except (KeyError, TypeError, ValueError):
        return None
