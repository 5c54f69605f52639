# SPDX-License-Identifier: GPL-3.0-or-later
"""What a job leaves in its folder: the report, the pictures, the Blender file. Everything or nothing is written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bpy

from . import apply, png
from ._shared import errors, messages, report_files, reporting, version, wire

#: Read once, so that a report can be made on any thread.
MADE_WITH = {"addon": version.VERSION, "blender": bpy.app.version_string}
VERTEX_NOTE = f"The colours are the attribute {apply.ATTRIBUTE} of the object in result.blend."
PARTIAL = ".partial-"
#: More bytes than the block that ends a .blend has, and fewer than the one before it.
LAST_BLOCK = 40

Content = bytes | Callable[[Path], None]
"""A file's bytes, or what writes it to a path."""


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
    engine = reporting.ENGINES[report["check"]["engine"]] if report["check"] is not None else ""
    for name, figures in report["models"].items():
        lines.append(name if figures["trained"] else f"{name} (not trained on)")
        lines += _rows(figures, engine)
    mask, settings = report["mask"], report["settings"]
    lines += ["", *reporting.remarks(report)]
    limit = "no ε" if settings["epsilon"] is None else f"ε {settings['epsilon']:g} ({settings['norm']})"
    lines.append(f"Step size α {settings['alpha']:g}, {limit}, {report['steps']} steps of {settings['views']} views.")
    lines += [
        f"Free to change was {mask['coverage']:.0%} of the used texture; {_outside(mask['max_change_outside'])}.",
        f"Written to {out}:",
        *(f"  {name:<17}{what}" for name, what in _written(report)),
    ]
    return "\n".join(lines)


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
        ("report.html", "a page with all of it, for any browser"),
        ("report.json", "all figures and settings"),
    ]
    if (report["patch"] or {}).get("file"):
        files.insert(0, ("patch.png", "the part that was free to change, to be pasted or printed"))
    return [("texture.png", "the texture"), *files] if report["texture"]["kind"] == "uv" else files


# --- files ------------------------------------------------------------------------------------------------------------


def contents(
    result: messages.Result,
    report: Mapping[str, Any],
    check: reporting.Check | None,
    sheet: bytes | None,
    comparison: bytes | None = None,
) -> dict[str, Content]:
    """The files of a job by their names in its folder."""
    files: dict[str, bytes] = {}
    if result.texture_png is not None:
        files["texture.png"] = result.texture_png.tobytes()
    if result.patch is not None:
        files["patch.png"] = result.patch.png.tobytes()
    if result.importance_png is not None:
        files["importance.png"] = result.importance_png.tobytes()
    before, after = (check.before, check.after) if check else (result.pictures_before, result.pictures_after)
    for folder, pictures in (("before", before), ("after", after)):
        files |= {f"{folder}/{number:02}.png": png.encode(picture) for number, picture in enumerate(pictures)}
    if sheet is not None:
        files["views.png"] = sheet
    if comparison is not None:
        files["check.png"] = comparison
    files |= report_files.of_report(report, result.plots, files)
    return {**files, "result.blend": save_blend}


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
        out / "importance.png",
        out / "views.png",
        *out.glob("before/[0-9]*.png"),
        *out.glob("after/[0-9]*.png"),
        *out.glob("plots/*.svg"),
    ]
    for path in candidates:
        if path.relative_to(out).as_posix() not in names:
            path.unlink(missing_ok=True)


def _failed(out: Path, error: OSError) -> errors.OutputFailed:
    reason = error.strerror or str(error)
    return errors.OutputFailed(f"Nothing can be written to {out}: {reason}.", hint="Check its disk and permissions.")
