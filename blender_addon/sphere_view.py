# SPDX-License-Identifier: GPL-3.0-or-later
"""The confidence sphere of the chosen result, drawn over the viewport. Nothing of it is in the file.

What is shown of it (before or after, which classifier, which light) is kept here and not in the scene, so that looking
is no undo step. Its numbers are `sphere`'s work.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import blf
import bpy
import gpu
import numpy as np
from bpy.app.handlers import persistent
from mathutils import Matrix, Vector

from . import editor, results, runtime, sphere
from .live_preview import buffer, is_shown

NEAR, FAR, MARKED = 0.55, 0.10, 0.95
"""How opaque cells are that face the viewer, those that face away, and the one under the mouse."""
KEPT = 16
"""So many views of surveys are kept ready on the GPU."""
TEXT_SIZE, MARGIN, LINE = 13, 24, 1.5
LEGEND = "green: recognised, the darker the surer; red: not, the darker the less sure"

VERTEX = """
void main()
{
  shade = corner;
  gl_Position = transform * vec4(position, 1.0);
}
"""
FRAGMENT = "void main() { color = vec4(shade, alpha); }"

Key = tuple[str, sphere.Shown, int | None]


@dataclass
class View:
    """What is shown, by names: those that a result lacks stand for its first. ``marked`` is the cell under the mouse,
    ``picking`` whether clicks choose cells."""

    after: bool = True
    model: str = ""
    light: str = ""
    marked: int | None = None
    picking: bool = False
    batches: OrderedDict[Key, gpu.types.GPUBatch] = field(default_factory=OrderedDict)
    handlers: list[Any] = field(default_factory=list)
    surveys: dict[str, sphere.Around | None] = field(default_factory=dict)
    shader: Any = None


view = View()


# --- what is looked at ------------------------------------------------------------------------------------------------


def around_of(item: Any) -> sphere.Around | None:
    """The survey of a list's `item`, read once; None without a result or a survey."""
    if item is None:
        return None
    if item.name not in view.surveys:
        view.surveys[item.name] = sphere.read(results.report_of(item))
    return view.surveys[item.name]


def shown_of(around: sphere.Around) -> sphere.Shown:
    """What of `around` is looked at."""
    return sphere.Shown(
        texture=len(around.textures) - 1 if view.after else 0,
        model=around.models.index(view.model) if view.model in around.models else 0,
        light=around.lights.index(view.light) if view.light in around.lights else 0,
    )


def moved(around: sphere.Around, obj: Any) -> Matrix:
    """What has happened to `obj` since its job began, as a matrix of the world."""
    return obj.matrix_world @ Matrix(around.placement.matrix).inverted_safe()


def description(around: sphere.Around, shown: sphere.Shown, target: str) -> str:
    """What is shown, in a line."""
    mean, right = sphere.means(around, shown)
    what = (target, around.models[shown.model], around.lights[shown.light], around.textures[shown.texture])
    return f"{' · '.join(what)}: mean confidence {mean:.2f}, {right:.0%} recognised"


def cell_description(around: sphere.Around, shown: sphere.Shown, cell: int, labels: Sequence[str]) -> str:
    """What there is to say of a cell, in a line; its top-1 by name where the `labels` are known."""
    azimuth, elevation = around.angles(cell)
    seen = int(around.top1[shown].flat[cell])
    name = labels[seen] if seen < len(labels) else f"class {seen}"
    confidence = float(around.confidence[shown].flat[cell])
    return f"azimuth {azimuth:.0f}°, elevation {elevation:.0f}°: {confidence:.2f}, seen as {name}"


# --- on and off -------------------------------------------------------------------------------------------------------


def is_on() -> bool:
    """Whether spheres are drawn."""
    return bool(view.handlers)


def show() -> None:
    """Draw the sphere of the chosen result from the next redraw on."""
    if not view.handlers:
        add = bpy.types.SpaceView3D.draw_handler_add
        view.handlers += [add(draw_cells, (), "WINDOW", "POST_VIEW"), add(draw_text, (), "WINDOW", "POST_PIXEL")]
    editor.redraw("WINDOW")


def hide() -> None:
    """Draw nothing any more, and let go of what was read."""
    while view.handlers:
        bpy.types.SpaceView3D.draw_handler_remove(view.handlers.pop(), "WINDOW")
    view.batches.clear()
    view.surveys.clear()
    view.marked, view.picking = None, False
    editor.redraw("WINDOW")


# --- drawing ----------------------------------------------------------------------------------------------------------


def _chosen(context: Any) -> tuple[Any, sphere.Around, Any] | None:
    """The result whose sphere this viewport shows, its survey and its object; None when there is none to show."""
    settings = context.scene.assistive
    if not 0 <= settings.result_index < len(settings.results):
        return None
    item = settings.results[settings.result_index]
    around = around_of(item)
    if around is None or item.object is None or not is_shown(context, item.object):
        return None
    return item, around, item.object


def draw_cells() -> None:
    """All cells, those that face away from the viewer first."""
    context = bpy.context
    chosen = _chosen(context)
    if chosen is None:
        return
    item, around, obj = chosen
    placed = moved(around, obj)
    shader = _shader()
    shader.bind()
    shader.uniform_float("transform", context.region_data.perspective_matrix @ placed)
    depth_test, depth_mask, blend = gpu.state.depth_test_get(), gpu.state.depth_mask_get(), gpu.state.blend_get()
    gpu.state.depth_test_set("LESS_EQUAL")
    gpu.state.depth_mask_set(False)
    gpu.state.blend_set("ALPHA")
    sides = ("FRONT", "BACK") if placed.is_negative else ("BACK", "FRONT")
    batch = _batch(item, around, None)
    for culled, alpha in zip(reversed(sides), (FAR, NEAR), strict=True):
        gpu.state.face_culling_set(culled)
        shader.uniform_float("alpha", alpha)
        batch.draw(shader)
    gpu.state.face_culling_set("NONE")
    if view.marked is not None and view.marked < around.confidence[0, 0, 0].size:
        shader.uniform_float("alpha", MARKED)
        _batch(item, around, view.marked).draw(shader)
    gpu.state.depth_test_set(depth_test)
    gpu.state.depth_mask_set(depth_mask)
    gpu.state.blend_set(blend)


def _batch(item: Any, around: sphere.Around, cell: int | None) -> gpu.types.GPUBatch:
    """All cells of what is shown, or one; made once for each thing that is shown."""
    shown = shown_of(around)
    key = (item.name, shown, cell)
    if key not in view.batches:
        triangles, colors = sphere.surface(around), sphere.colors(around, shown)
        corners = np.repeat(_linear(colors), 3 * sphere.PIECES, axis=0).reshape(triangles.shape)
        part = slice(None) if cell is None else slice(cell * sphere.PIECES, (cell + 1) * sphere.PIECES)
        batch = gpu.types.GPUBatch(type="TRIS", buf=buffer(position=triangles[part]))
        batch.vertbuf_add(buffer(corner=corners[part]))
        view.batches[key] = batch
        while len(view.batches) > KEPT:
            view.batches.popitem(last=False)
    view.batches.move_to_end(key)
    return view.batches[key]


def _linear(colors: np.ndarray) -> np.ndarray:
    """Display-encoded colours as the viewport's overlays are drawn in."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _shader() -> gpu.types.GPUShader:
    """Draws corners with a position and a colour, as opaque as it is told."""
    if view.shader is None:
        info = gpu.types.GPUShaderCreateInfo()
        info.push_constant("MAT4", "transform")
        info.push_constant("FLOAT", "alpha")
        info.vertex_in(0, "VEC3", "position")
        info.vertex_in(1, "VEC3", "corner")
        between = gpu.types.GPUStageInterfaceInfo("assistive_sphere")
        between.smooth("VEC3", "shade")
        info.vertex_out(between)
        info.fragment_out(0, "VEC4", "color")
        info.vertex_source(VERTEX)
        info.fragment_source(FRAGMENT)
        view.shader = gpu.shader.create_from_info(info)
    return view.shader


def draw_text() -> None:
    """What is shown, and what is under the mouse, at the lower edge."""
    context = bpy.context
    chosen = _chosen(context)
    if chosen is None:
        return
    item, around, _ = chosen
    shown = shown_of(around)
    lines = [LEGEND, description(around, shown, item.target)]
    if view.marked is not None:
        lines.append(cell_description(around, shown, view.marked, runtime.state().server.labels))
    scale = context.preferences.system.ui_scale
    left, right = _free_width(context)
    blf.size(0, TEXT_SIZE * scale)
    widest = max(blf.dimensions(0, line)[0] for line in lines)
    blf.size(0, TEXT_SIZE * scale * min(1.0, (right - left) / widest))  # a quad view has half the width
    blf.enable(0, blf.SHADOW)
    blf.shadow(0, 5, 0.0, 0.0, 0.0, 0.9)
    blf.color(0, 1.0, 1.0, 1.0, 1.0)
    for number, line in enumerate(lines):
        width = blf.dimensions(0, line)[0]
        blf.position(0, max(left, (left + right - width) / 2), scale * (MARGIN + number * LINE * TEXT_SIZE), 0)
        blf.draw(0, line)
    blf.disable(0, blf.SHADOW)


def _free_width(context: Any) -> tuple[float, float]:
    """From where to where nothing lies over the viewport that is being drawn, in its pixels."""
    here, left, right = context.region, 0, context.region.width
    for other in context.area.regions:
        if other.type == "TOOLS" and other.x < here.x + here.width // 2:
            left = max(left, other.x + other.width - here.x)
        if other.type == "UI" and other.width > 1:
            right = min(right, other.x - here.x)
    return left, right


# --- looking ----------------------------------------------------------------------------------------------------------


def ray_in(around: sphere.Around, obj: Any, origin: Vector, direction: Vector) -> tuple[Vector, Vector]:
    """A ray of the world, as it was when the job of `around` began."""
    back = moved(around, obj).inverted_safe()
    return back @ origin, back.to_3x3() @ direction


def look_from(region_3d: Any, around: sphere.Around, obj: Any, cell: int) -> None:
    """Turn a viewport to look at the centre of the sphere from where `cell` is."""
    placed = moved(around, obj)
    toward = placed.to_3x3() @ Vector(sphere.directions(*map(np.array, around.angles(cell))).tolist())
    region_3d.view_location = placed @ Vector(around.placement.center)
    region_3d.view_rotation = toward.to_track_quat("Z", "Y")
    if region_3d.view_perspective == "CAMERA":
        region_3d.view_perspective = "PERSP"


@persistent  # type: ignore[untyped-decorator]
def _on_load(*_: Any) -> None:
    hide()


def _listeners() -> editor.Listeners:
    return ((bpy.app.handlers.load_pre, _on_load),)


def register() -> None:
    """Listens to Blender; draws nothing yet."""
    editor.listen(_listeners())


def unregister() -> None:
    """Takes the sphere away."""
    editor.stop_listening(_listeners())
    hide()
    view.shader = None
