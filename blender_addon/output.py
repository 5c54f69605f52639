# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job leaves in its folder: the report, the pictures, the Blender file. Everything or nothing is written."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import msgspec
import numpy as np

from . import apply, check, png
from ._shared import errors, messages, presets, scene, version, wire

SCHEMA = 1
#: Read once, so that a report can be made on any thread.
BLENDER = bpy.app.version_string
PARTIAL = ".partial-"
#: More bytes than the block that ends a .blend has, and fewer than the one before it.
LAST_BLOCK = 40

Content = bytes | Callable[[Path], None]
"""A file's bytes, or what writes it to a path."""


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
    engine: check.Engine = "cycles"


# --- report -----------------------------------------------------------------------------------------------------------


def report(
    result: messages.Result,
    settings: messages.Settings,
    *,
    object_name: str,
    check: Check | None,
    collect_s: float,
    own_rig: bool,
    left_out: Sequence[str] = (),
) -> dict[str, Any]:
    """All there is to know of a job, as plain data for `report.json`."""
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
        "versions": {"addon": version.VERSION, "blender": BLENDER, **result.versions},
        "texture": _texture(result.texture),
        "models": {name: _model(figures, checked["models"].get(name)) for name, figures in result.models.items()},
        "mask": {"coverage": result.mask_coverage, "max_change_outside": result.max_change_outside},
        "patch": _patch(result),
        "cautions": list(presets.cautions(settings)),
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


def _texture(texture: scene.Texture) -> dict[str, Any]:
    if isinstance(texture, scene.UvTexture):
        height, width, _ = texture.image.shape
        return {"kind": "uv", "file": "texture.png", "size": [width, height]}
    note = f"The colours are the attribute {apply.ATTRIBUTE} of the object in result.blend."
    return {"kind": "vertex", "file": None, "vertices": len(texture.colors), "note": note}


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
        "held_out": {**msgspec.to_builtins(figures.held_out), "views": figures.held_out_views},
        "each_before": msgspec.to_builtins(figures.each_before),
        "each_after": msgspec.to_builtins(figures.each_after),
        "left_out": msgspec.to_builtins(figures.left_out),
        "blender": blender,
    }


def _judged(
    figures: messages.ModelFigures, verdicts: tuple[Sequence[messages.Verdict], Sequence[messages.Verdict]]
) -> dict[str, Any]:
    before, after = verdicts
    gaps = [abs(server - blender.confidence) for server, blender in zip(figures.check_confidence, after, strict=True)]
    return {
        "before": msgspec.to_builtins(stats(before)),
        "after": msgspec.to_builtins(stats(after)),
        "views": len(after),
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
    confidence = [verdict.confidence for verdict in verdicts]
    return messages.Stats(
        mean=sum(confidence) / len(confidence),
        top1=sum(verdict.right for verdict in verdicts) / len(verdicts),
        min=min(confidence),
        p5=float(np.quantile(confidence, 0.05)),
    )


# --- summary ----------------------------------------------------------------------------------------------------------

ENDS = {"finished": "", "early": " (ended early: good enough)", "cancelled": " (cancelled: the best so far)"}


def summary(report: Mapping[str, Any], out: Path) -> str:
    """`report` in words, for the terminal."""
    timing = report["timing"]
    lines = [
        f"{report['object']}, to be seen as {report['target']['name']!r}: {report['steps']} steps on "
        f"{report['device']} in {timing['optimise_s']:.0f} s{ENDS[report['outcome']]}.",
        "",
        f"{'Mean confidence in the target, share of views recognised':<58}{'before':>14}{'after':>17}",
    ]
    engine = ENGINES[report["check"]["engine"]] if report["check"] is not None else ""
    for name, figures in report["models"].items():
        lines.append(name if figures["trained"] else f"{name} (not trained on)")
        lines += _rows(figures, engine)
    mask, settings = report["mask"], report["settings"]
    lines += ["", *remarks(report)]
    limit = "no ε" if settings["epsilon"] is None else f"ε {settings['epsilon']:g} ({settings['norm']})"
    lines.append(f"Step size α {settings['alpha']:g}, {limit}, {report['steps']} steps of {settings['views']} views.")
    lines += [
        f"Free to change was {mask['coverage']:.0%} of the used texture; {_outside(mask['max_change_outside'])}.",
        f"Written to {out}:",
        *(f"  {name:<17}{what}" for name, what in _written(report)),
    ]
    return "\n".join(lines)


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


def _outside(change: int) -> str:
    return f"the rest changed by up to {change} of 255" if change else "the rest is bit-identical"


def _rows(figures: Mapping[str, Any], engine: str) -> list[str]:
    rows = [("views like those trained on", figures["train"])] if figures["trained"] else []
    rows.append((f"{figures['held_out']['views']} views never trained on", figures["held_out"]))
    left_out = figures.get("left_out")
    if left_out is not None:
        rows.append(("the same, trained without this classifier", {**figures["held_out"], "after": left_out}))
    if figures["blender"] is not None:
        rows.append((f"{figures['blender']['views']} of those, rendered in {engine}", figures["blender"]))
    lines = [f"  {what:<52}{_cell(row['before']):>18}{_cell(row['after']):>17}" for what, row in rows]
    after = figures["held_out"]["after"]
    least = f"    of these the worst {after['min']:.3f}, one in twenty below {after['p5']:.3f}"
    return [lines[0], least, *lines[1:]] if not figures["trained"] else [*lines[:2], least, *lines[2:]]


def _cell(figures: Mapping[str, float]) -> str:
    return f"{figures['mean']:.3f}  {figures['top1']:>4.0%}"


def _written(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    pictures = "as Blender renders them" if report["timing"]["check_s"] is not None else "as the server renders them"
    files = [
        ("result.blend", "the scene with the new material; the input file is as it was"),
        ("views.png", "before and after, with what the classifier says"),
        *([("check.png", "the server's pictures beside Blender's")] if report["check"] is not None else []),
        ("before/, after/", f"the views, {pictures}"),
        ("report.json", "all figures and settings"),
    ]
    if (report["patch"] or {}).get("file"):
        files.insert(0, ("patch.png", "the part that was free to change, to be pasted or printed"))
    return [("texture.png", "the texture"), *files] if report["texture"]["kind"] == "uv" else files


# --- files ------------------------------------------------------------------------------------------------------------


def contents(
    result: messages.Result,
    report: Mapping[str, Any],
    check: Check | None,
    sheet: bytes | None,
    comparison: bytes | None = None,
) -> dict[str, Content]:
    """The files of a job by their names in its folder."""
    files: dict[str, Content] = {}
    if result.texture_png is not None:
        files["texture.png"] = result.texture_png.tobytes()
    if result.patch is not None:
        files["patch.png"] = result.patch.png.tobytes()
    before, after = (check.before, check.after) if check else (result.pictures_before, result.pictures_after)
    for folder, pictures in (("before", before), ("after", after)):
        files |= {f"{folder}/{number:02}.png": png.encode(picture) for number, picture in enumerate(pictures)}
    if sheet is not None:
        files["views.png"] = sheet
    if comparison is not None:
        files["check.png"] = comparison
    files["result.blend"] = save_blend
    files["report.json"] = (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode()
    return files


def save_blend(path: Path) -> None:
    """Save a copy of the open file with its images inside; the open file keeps its own path."""
    for image in bpy.data.images:
        _pack(image)
    save_copy(path)


def save_copy(path: Path) -> None:
    """Save a copy of the open file as it is; the open file keeps its own path. Raises :class:`OSError`."""
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False, compress=False)
    except RuntimeError as error:
        raise OSError(f"Blender cannot save a file ({_reason(error)})") from error
    if not _is_whole(path):
        raise OSError("Blender cannot save a whole file; is the disk full?")


def _reason(error: RuntimeError) -> str:
    return str(error).strip().removeprefix("Error: ").rstrip(".")


def _is_whole(path: Path) -> bool:
    """Whether a .blend has its end. Blender 5.0 reports success for what a full disk has cut off."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LAST_BLOCK))
        return b"ENDB" in file.read()


def _pack(image: bpy.types.Image) -> None:
    on_disk = image.source in {"FILE", "TILED"} and image.packed_file is None and image.library is None
    if on_disk and Path(bpy.path.abspath(image.filepath)).is_file():
        image.pack()


def save_job(job: messages.Job, path: Path) -> None:
    """Keep `job` in a file for ``assistive-server run``, whole or not at all. Raises :class:`OutputFailed`."""
    partial = _partial(path)
    try:
        wire.save_message(messages.Submit(job), partial)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _failed(path, error) from error


def check_destination(out: Path) -> None:
    """Raise :class:`OutputFailed` when nothing could be written to `out`. Leaves no trace."""
    existing = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise errors.OutputFailed(f"{existing} is a file, not a folder.", hint="Give --out another folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise _failed(out, error) from error


def write(out: Path, files: Mapping[str, Content]) -> None:
    """Write `files` into folder `out`: all under temporary names first, then each moved into its place.

    They are written where they will be (not in another folder), as a .blend refers to its libraries by relative paths,
    and as `out` may be a file system of its own. What an earlier run left and this one has not is removed.
    Raises :class:`OutputFailed`, and then leaves no file behind.
    """
    made: list[Path] = []
    partial = {_partial(out / name): out / name for name in files}
    try:
        for folder in sorted({path.parent for path in partial}):
            made += _make_folder(folder)
        for path, content in zip(partial, files.values(), strict=True):
            _write_one(path, content)
        for path, final in partial.items():
            path.replace(final)
        _remove_stale(out, set(files))
    except OSError as error:
        raise _failed(out, error) from error
    finally:
        _clean_up(partial, made)


def _partial(path: Path) -> Path:
    return path.with_name(PARTIAL + path.name)


def _make_folder(folder: Path) -> list[Path]:
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _write_one(path: Path, content: Content) -> None:
    if callable(content):
        content(path)
        return
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # some file systems tell only now that the disk is full


def _clean_up(partial: Mapping[Path, Path], made: Sequence[Path]) -> None:
    """Remove what is still under a temporary name, and folders made for nothing."""
    for path in partial:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    for folder in reversed(made):
        with contextlib.suppress(OSError):  # it is not empty
            folder.rmdir()


def _remove_stale(out: Path, names: set[str]) -> None:
    """Remove results of an earlier run that this one has no counterpart of."""
    candidates = [
        out / "texture.png",
        out / "patch.png",
        out / "views.png",
        *out.glob("before/[0-9]*.png"),
        *out.glob("after/[0-9]*.png"),
    ]
    for path in candidates:
        if path.relative_to(out).as_posix() not in names:
            path.unlink(missing_ok=True)


def _failed(out: Path, error: OSError) -> errors.OutputFailed:
    reason = error.strerror or str(error)
    return errors.OutputFailed(f"Nothing can be written to {out}: {reason}.", hint="Check its disk and permissions.")
