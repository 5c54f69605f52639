# SPDX-License-Identifier: GPL-3.0-or-later
"""How the textures that jobs have made are kept in the .blend: packed images and a list of them in the scene.

Putting one on an object is `apply`'s work; the buttons of the list are in `operators.results`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import bpy
import msgspec
import numpy as np

from . import editor, output, png, sphere
from ._shared import errors, messages, reporting, scene
from .images import packed_image

#: The custom property of an image of vertex colours that says how many of its pixels are vertices.
VERTICES = "assistive_vertices"
#: The custom property of `scene.assistive` with the ids of results that the artist has deleted. It is in the scene and
#: not in a variable, so that undoing a deletion takes the id out again.
DELETED = "deleted_results"
PREVIEW_SIZE, ICON_SIZE = 128, 32


@dataclass(frozen=True)
class Kept:
    """A job's texture and all there is to know of it, as :func:`add` puts it into the file.

    `png` is what gets packed: the texture as a PNG file, or the colours of so many `vertices` as the pixels of one (see
    :func:`texture_of`).
    `created` is ISO 8601 with its offset from UTC, `report` that of `reporting.report` with ``job`` and ``created``,
    `thumbnail` [H, W, 3] uint8 (display-encoded, row 0 at the top), `sheet` a contact sheet as a PNG file,
    `check` that of the check in Blender with the picture that stands for it, `plots` SVG files by name, `importance`
    which parts of the texture matter, as a PNG file in its layout.
    """

    job_id: str
    target: str
    created: str
    object_name: str
    kind: Literal["UV", "VERTEX"]
    vertices: int
    png: bytes
    uv_map: str
    report: Mapping[str, Any]
    thumbnail: np.ndarray | None
    sheet: bytes | None
    check: tuple[bytes, np.ndarray] | None = None
    plots: Mapping[str, str] = field(default_factory=dict)
    importance: bytes | None = None


ADDED: dict[int, dict[str, tuple[Kept, int]]] = {}
"""What :func:`add` has put into the open file, by the scene's `session_uid` and the job's id; with the `session_uid` of
the object (0 for none), as objects may be renamed.

Jobs end between the artist's undo steps, so an undo or redo may lead to a state of the file that has never known their
results; :func:`restore_all` puts them back from here.
"""


# --- before Blender: may be called on any thread ----------------------------------------------------------------------


def kept_of(
    result: messages.Result,
    settings: messages.Settings,
    *,
    job_id: str,
    object_name: str,
    uv_map: str,
    collect_s: float,
    own_rig: bool,
    left_out: tuple[str, ...] = (),
    command: str | None = None,
    placement: sphere.Placement | None = None,
    sheet: bytes | None,
) -> Kept:
    """What is kept of a job that ended with a `result`."""
    report = reporting.report(
        result,
        settings,
        object_name=object_name,
        collect_s=collect_s,
        own_rig=own_rig,
        left_out=left_out,
        command=command,
        made_with=output.MADE_WITH,
    )
    return _kept(
        result.texture,
        _placed(report, placement),
        png_file=None if result.texture_png is None else result.texture_png.tobytes(),
        job_id=job_id,
        uv_map=uv_map,
        thumbnail=_best_picture(result),
        sheet=sheet,
        plots=result.plots,
        importance=None if result.importance_png is None else result.importance_png.tobytes(),
    )


def _placed(report: dict[str, Any], placement: sphere.Placement | None) -> dict[str, Any]:
    """`report` that also says where the object was when it was surveyed."""
    if report["survey"] is None:
        return report
    return {**report, "survey": {**report["survey"], "placement": msgspec.to_builtins(placement)}}


def interrupted(
    preview: messages.Preview, settings: messages.Settings, *, target: str, object_name: str, uv_map: str
) -> Kept:
    """What is kept of a job that failed midway: its last live preview, and no figures. Takes a second for 2048²."""
    report = {
        "schema": reporting.SCHEMA,
        "object": object_name,
        "target": {"name": target},
        "outcome": "interrupted",
        "steps": preview.step,
        "settings": msgspec.to_builtins(settings),
        "seed": settings.seed,
        "versions": dict(output.MADE_WITH),
        "models": {},
    }
    return _kept(
        preview.texture,
        report,
        png_file=None,
        job_id=preview.job_id,
        uv_map=uv_map,
        thumbnail=preview.worst_view,
        sheet=None,
        plots={},
    )


def _kept(
    texture: scene.Texture,
    report: Mapping[str, Any],
    *,
    png_file: bytes | None,
    job_id: str,
    uv_map: str,
    thumbnail: np.ndarray | None,
    sheet: bytes | None,
    plots: Mapping[str, str],
    importance: bytes | None = None,
) -> Kept:
    created = datetime.now().astimezone().isoformat(timespec="seconds")
    return Kept(
        job_id=job_id,
        target=report["target"]["name"],
        created=created,
        object_name=report["object"],
        kind="UV" if isinstance(texture, scene.UvTexture) else "VERTEX",
        vertices=len(texture.colors) if isinstance(texture, scene.VertexTexture) else 0,
        png=_encoded(texture) if png_file is None else png_file,
        uv_map=uv_map,
        report={**report, "job": job_id, "created": created},
        thumbnail=thumbnail,
        sheet=sheet,
        plots=plots,
        importance=importance,
    )


def _encoded(texture: scene.Texture) -> bytes:
    picture = texture.image if isinstance(texture, scene.UvTexture) else _grid(texture.colors)
    return png.encode(picture[::-1])


def _grid(colors: np.ndarray) -> np.ndarray:
    """Vertex colours [V, 3] as a picture [S, S, 3]: pixel i, counted from the bottom left, is vertex i; then black."""
    side = math.isqrt(max(len(colors), 1) - 1) + 1
    picture = np.zeros((side * side, 3), dtype=np.uint8)
    picture[: len(colors)] = colors
    return picture.reshape(side, side, 3)


def _best_picture(result: messages.Result) -> np.ndarray | None:
    """The check view that the first trained classifier recognises best with the new texture."""
    confidence = next((figures.check_confidence for figures in result.models.values() if figures.trained), ())
    if not confidence or not len(result.pictures_after):
        return None
    return np.asarray(result.pictures_after[int(np.argmax(confidence))])


# --- into the file ----------------------------------------------------------------------------------------------------


def add(owner: bpy.types.Scene, kept: Kept, obj: bpy.types.Object | None) -> Any:
    """Puts `kept`, the texture of `obj`, at the end of the list of scene `owner`, chooses it, and gives its item.

    Decodes no texture, so that it can be called while the artist works: some milliseconds.
    """
    item = owner.assistive.results.add()
    item.name, item.target, item.created = kept.job_id, kept.target, kept.created
    item.object, item.object_name = obj, kept.object_name
    item.kind, item.uv_map = kept.kind, kept.uv_map
    item.image = packed_image(f"Assistive {kept.target}", kept.png)
    if kept.vertices:
        item.image[VERTICES] = kept.vertices
    if kept.thumbnail is not None:
        _set_preview(item.image, kept.thumbnail)
    if kept.sheet is not None:
        item.sheet = packed_image(f"Assistive {kept.target} Sheet", kept.sheet)
    if kept.importance is not None:
        item.importance = packed_image(f"Assistive {kept.target} What Matters", kept.importance)
    if kept.check is not None:
        _set_check(item, *kept.check)
    item.report = json.dumps(kept.report, ensure_ascii=False)
    item.plots = json.dumps(dict(kept.plots))
    owner.assistive.result_index = len(owner.assistive.results) - 1
    ADDED.setdefault(owner.session_uid, {})[kept.job_id] = (kept, obj.session_uid if obj is not None else 0)
    return item


def attach_sheet(job_id: str, sheet: bytes) -> None:
    """Puts a contact sheet (a PNG file) to the result of a job, wherever in the file it is listed."""
    for owner in bpy.data.scenes:
        for item in owner.assistive.results:
            if item.name == job_id and item.sheet is None:
                item.sheet = packed_image(f"Assistive {item.target} Sheet", sheet)
        kept = ADDED.get(owner.session_uid, {})
        if job_id in kept:
            kept[job_id] = (replace(kept[job_id][0], sheet=sheet), kept[job_id][1])


def attach_check(job_id: str, found: Mapping[str, Any], sheet: bytes, worst: np.ndarray) -> None:
    """Puts what the check in Blender has found to the result of a job, wherever in the file it is listed.

    `found` has ``check`` and ``models`` as in `reporting.check_report`; `sheet` is a PNG file, `worst`
    ([H, W, 3] uint8, row 0 at the top) what the panel shows of it.
    """
    for owner in bpy.data.scenes:
        for item in owner.assistive.results:
            if item.name == job_id:
                item.report = json.dumps(_checked(report_of(item), found), ensure_ascii=False)
                _set_check(item, sheet, worst)
        kept = ADDED.get(owner.session_uid, {})
        if job_id in kept:
            checked = replace(kept[job_id][0], report=_checked(kept[job_id][0].report, found), check=(sheet, worst))
            kept[job_id] = (checked, kept[job_id][1])


def _checked(report: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """`report` with what the check has found in it."""
    models = {
        name: {**model, "blender": found["models"].get(name)}
        for name, model in dict(report.get("models") or {}).items()
    }
    return {**report, "check": found["check"], "models": models}


def _set_check(item: Any, sheet: bytes, worst: np.ndarray) -> None:
    if item.check is None:
        item.check = packed_image(f"Assistive {item.target} Check", sheet)
        _set_preview(item.check, worst)


def deleted(owner: bpy.types.Scene) -> set[str]:
    """The jobs whose results the artist has deleted from scene `owner`."""
    return set(str(owner.assistive.get(DELETED, "")).split("\n")) - {""}


def _set_preview(image: bpy.types.Image, picture: np.ndarray) -> None:
    """What lists show of `image` instead of itself: `picture` ([H, W, 3] uint8, row 0 at the top)."""
    preview = image.preview_ensure()
    for pixels, size in (("image", PREVIEW_SIZE), ("icon", ICON_SIZE)):
        small = _shrunk(picture, size)
        rgba = np.ones((*small.shape[:2], 4), dtype=np.float32)
        rgba[..., :3] = small[::-1] / 255
        setattr(preview, f"{pixels}_size", (small.shape[1], small.shape[0]))
        getattr(preview, f"{pixels}_pixels_float").foreach_set(rgba.ravel())


def _shrunk(picture: np.ndarray, size: int) -> np.ndarray:
    """`picture` by the largest whole factor that leaves it at least `size` pixels wide and high, as float."""
    factor = max(1, min(picture.shape[:2]) // size)
    height, width = (length // factor for length in picture.shape[:2])
    blocks = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def restore_all() -> None:
    """After an undo or redo: puts back the results of every scene that came in since. For Blender's handlers."""
    for owner in bpy.data.scenes:
        restore_missing(owner, ADDED.get(owner.session_uid, {}))


def restore_missing(owner: bpy.types.Scene, kept: Mapping[str, tuple[Kept, int]]) -> None:
    """Adds those of `kept` (as in :data:`ADDED`) that scene `owner` lacks and the artist has not deleted."""
    chosen = owner.assistive.result_index
    there = {item.name for item in owner.assistive.results} | deleted(owner)
    for job_id in [job_id for job_id in kept if job_id not in there]:
        missing, uid = kept[job_id]
        add(owner, missing, editor.object_by_uid(uid))
    owner.assistive.result_index = chosen


def forget() -> None:
    """Lets go of what was added to a file that is no longer open, and of its memory."""
    ADDED.clear()


def remove(owner: bpy.types.Scene, index: int) -> None:
    """Takes result `index` off the list of scene `owner`, and its images out of the file unless something uses them.

    An object that it was applied to keeps it: `apply` gives materials images of their own.
    """
    settings = owner.assistive
    item = settings.results[index]
    images = [image for image in (item.image, item.sheet, item.check, item.importance) if image is not None]
    settings[DELETED] = "\n".join(sorted(deleted(owner) | {item.name}))
    settings.results.remove(index)
    for image in images:
        if image.users == 0:
            bpy.data.images.remove(image)
    settings.result_index = max(0, min(settings.result_index, len(settings.results) - 1))


# --- out of the file --------------------------------------------------------------------------------------------------


def texture_of(item: Any) -> tuple[scene.Texture, bytes | None]:
    """The texture of a list's `item`, and its PNG file if it is an image that nobody has painted on since.

    Raises :class:`InvalidInput` when its image has been deleted or can't be read.
    """
    image = item.image
    if image is None or not len(image.pixels):
        raise errors.InvalidInput(f"The image of the result {item.target!r} is gone.", hint="Run the job again.")
    texels = _texels(image)
    if item.kind == "VERTEX":
        return scene.VertexTexture(colors=texels.reshape(-1, 3)[: vertex_count(item)]), None
    return scene.UvTexture(image=np.ascontiguousarray(texels)), packed_file(image)


def _texels(image: bpy.types.Image) -> np.ndarray:
    """The pixels of an image [H, W, 3] uint8, row 0 at the bottom."""
    pixels = np.empty(len(image.pixels), dtype=np.float32)
    image.pixels.foreach_get(pixels)
    pixels *= 255
    pixels += 0.5
    return np.asarray(pixels.astype(np.uint8).reshape(image.size[1], image.size[0], -1)[..., :3])


def png_of(item: Any) -> bytes:
    """The texture of a list's `item` as a PNG file; of vertex colours, their grid. Raises as :func:`texture_of`."""
    data = packed_file(item.image)
    return _encoded(texture_of(item)[0]) if data is None else data


def importance_of(item: Any) -> np.ndarray:
    """Which parts of the texture of a list's `item` matter: a picture [H, W, 3] uint8, row 0 at the bottom, white for
    what matters most. Raises :class:`InvalidInput` when it has none, or its image has been deleted."""
    if item.importance is None or not len(item.importance.pixels):
        raise errors.InvalidInput(f"Of the result {item.target!r} it is not known what matters.")
    return _texels(item.importance)


def importance_png_of(item: Any) -> bytes:
    """The picture of :func:`importance_of` as a PNG file. Raises as that."""
    data = packed_file(item.importance)
    return png.encode(importance_of(item)[::-1]) if data is None else data


def packed_file(image: bpy.types.Image | None) -> bytes | None:
    """The file inside `image`, if there is one and nobody has painted on the image since."""
    if image is None or image.packed_file is None or image.is_dirty:
        return None
    return bytes(image.packed_file.data)


def vertex_count(item: Any) -> int:
    """How many vertices the colours of a list's `item` are for; 0 for an image texture."""
    return int(item.image.get(VERTICES, 0)) if item.image is not None else 0


def icon(item: Any) -> int:
    """The icon of a list's `item`: its object with the texture on, seen from where it is recognised best. Or 0."""
    preview = item.image.preview if item.image is not None else None
    return int(preview.icon_id) if preview is not None else 0


def check_icon(item: Any) -> int:
    """The icon of the check of a list's `item`: its widest view by the server, by Blender, and the difference. Or 0."""
    preview = item.check.preview if item.check is not None else None
    return int(preview.icon_id) if preview is not None else 0


def plots_of(item: Any) -> dict[str, str]:
    """The plots of a list's `item`, SVG files by name; none where an older version has made it."""
    try:
        plots = json.loads(item.plots)
    except ValueError:
        return {}
    return plots if isinstance(plots, dict) else {}


def report_of(item: Any) -> dict[str, Any]:
    """The report of a list's `item`; empty where it can't be read."""
    try:
        report = json.loads(item.report)
    except ValueError:
        return {}
    return report if isinstance(report, dict) else {}


def figures(item: Any) -> list[reporting.Figures]:
    """The held-out figures of a list's `item`, a row for each classifier; none for an interrupted job."""
    return reporting.figures_of(report_of(item))
