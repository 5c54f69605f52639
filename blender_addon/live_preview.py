# SPDX-License-Identifier: GPL-3.0-or-later
"""The running job's texture on its object, drawn over the viewport. Nothing of it is in the file.

So undo, saving, rendering and cancelling have nothing to take back. Drawn as the display-encoded texture under a light
at the viewer's head; how the result looks in the scene's light shows when it is applied.
"""

from __future__ import annotations

from typing import Any

import bpy
import gpu
import numpy as np
from mathutils import Matrix

from . import editor
from ._shared import scene

BIAS = 2e-4
"""How far the overlay lies before the surface it covers, of the clip space depth."""

VERTEX = """
void main()
{
  value = corner;
  facing = dot(normalize(normal), toward);
  gl_Position = transform * vec4(position, 1.0);
  gl_Position.z -= bias * gl_Position.w;
}
"""
SHADE = """
vec3 linear(vec3 c) { return mix(pow((c + 0.055) / 1.055, vec3(2.4)), c / 12.92, lessThanEqual(c, vec3(0.04045))); }
vec4 shaded(vec3 c) { return vec4(linear(c * (0.45 + 0.55 * abs(facing))), 1.0); }
"""
IMAGE_FRAGMENT = (
    SHADE
    + """
vec3 texel(ivec2 at, ivec2 size)
{
  at = ivec2(mod(vec2(at), vec2(size)));
  float packed_rgb = texelFetch(texels, at, 0).r;
  float blue = floor(packed_rgb / 65536.0);
  float green = floor((packed_rgb - blue * 65536.0) / 256.0);
  return vec3(packed_rgb - blue * 65536.0 - green * 256.0, green, blue) / 255.0;
}
void main()
{
  ivec2 size = textureSize(texels, 0);
  vec2 place = value.xy * vec2(size) - 0.5;
  ivec2 low = ivec2(floor(place));
  vec2 share = fract(place);
  vec3 bottom = mix(texel(low, size), texel(low + ivec2(1, 0), size), share.x);
  vec3 top = mix(texel(low + ivec2(0, 1), size), texel(low + ivec2(1, 1), size), share.x);
  color = shaded(mix(bottom, top, share.y));
}
"""
)
COLOR_FRAGMENT = SHADE + "void main() { color = shaded(value); }"


def _shader(*, image: bool) -> gpu.types.GPUShader:
    """Draws corners with a position, a normal and a value: texture coordinates, or a colour."""
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("MAT4", "transform")
    info.push_constant("VEC3", "toward")
    info.push_constant("FLOAT", "bias")
    if image:
        info.sampler(0, "FLOAT_2D", "texels")
    for number, name in enumerate(("position", "normal", "corner")):
        info.vertex_in(number, "VEC3", name)
    between = gpu.types.GPUStageInterfaceInfo("assistive_between")
    between.smooth("VEC3", "value")
    between.smooth("FLOAT", "facing")
    info.vertex_out(between)
    info.fragment_out(0, "VEC4", "color")
    info.vertex_source(VERTEX)
    info.fragment_source(IMAGE_FRAGMENT if image else COLOR_FRAGMENT)
    return gpu.shader.create_from_info(info)


class Overlay:
    """The overlay of one job on `obj`: `mesh` as it has just been collected, and where the object is now.

    What is large goes to the GPU here, under the progress cursor of the start; a preview then only brings its texture.
    """

    def __init__(self, obj: Any, mesh: scene.Mesh, *, image: bool) -> None:
        self._name = obj.name
        self._uid = obj.session_uid
        self._collected = obj.matrix_world.inverted_safe()
        self._surface = buffer(position=mesh.positions[mesh.triangles], normal=mesh.normals)
        self._shader = _shader(image=image)
        uv = np.concatenate([mesh.uv, np.zeros_like(mesh.uv[..., :1])], axis=2) if image else None
        self._batch = self._make_batch(uv) if uv is not None else None
        self._texels: gpu.types.GPUTexture | None = None
        self._handler: Any = None

    def show(self, *, texels: np.ndarray | None = None, colors: np.ndarray | None = None) -> None:
        """Show a texture, as in :class:`~.pictures.Preview`, from the next redraw on."""
        if texels is not None:
            height, width = texels.shape
            data = gpu.types.Buffer("FLOAT", height * width, texels)
            self._texels = gpu.types.GPUTexture((width, height), format="R32F", data=data)
        if colors is not None:
            self._batch = self._make_batch(colors)
        if self._handler is None:
            self._handler = bpy.types.SpaceView3D.draw_handler_add(self._draw, (), "WINDOW", "POST_VIEW")

    def hide(self) -> None:
        """Show nothing any more."""
        if self._handler is not None:
            bpy.types.SpaceView3D.draw_handler_remove(self._handler, "WINDOW")
            self._handler = None

    def object(self) -> Any | None:
        """The job's object, whatever it is called by now; None when it is gone."""
        named = bpy.data.objects.get(self._name)
        if named is not None and named.session_uid == self._uid:
            return named
        found = editor.object_by_uid(self._uid)
        self._name = found.name if found is not None else self._name
        return found

    def _make_batch(self, values: np.ndarray) -> gpu.types.GPUBatch:
        """The surface with `values` [T, 3, 3] at its corners: texture coordinates, or colours."""
        batch = gpu.types.GPUBatch(type="TRIS", buf=self._surface)
        batch.vertbuf_add(buffer(corner=values))
        return batch

    def _draw(self) -> None:
        context = bpy.context
        obj, region = self.object(), context.region_data
        if obj is None or self._batch is None or not is_shown(context, obj):
            return
        moved = obj.matrix_world @ self._collected
        toward = (moved.to_3x3().inverted_safe() @ region.view_rotation.to_matrix().col[2]).normalized()
        self._shader.bind()
        self._shader.uniform_float("transform", region.perspective_matrix @ Matrix(moved))
        self._shader.uniform_float("toward", toward)
        self._shader.uniform_float("bias", BIAS)
        if self._texels is not None:
            self._shader.uniform_sampler("texels", self._texels)
        depth_test, depth_mask = gpu.state.depth_test_get(), gpu.state.depth_mask_get()
        gpu.state.depth_test_set("LESS_EQUAL")
        gpu.state.depth_mask_set(True)
        self._batch.draw(self._shader)
        gpu.state.depth_test_set(depth_test)
        gpu.state.depth_mask_set(depth_mask)


def buffer(**attributes: np.ndarray) -> gpu.types.GPUVertBuf:
    """Corner `attributes` [T, 3, 3] as a vertex buffer."""
    form = gpu.types.GPUVertFormat()
    for name in attributes:
        form.attr_add(id=name, comp_type="F32", len=3, fetch_mode="FLOAT")
    buffer = gpu.types.GPUVertBuf(form, 3 * len(next(iter(attributes.values()))))
    for name, values in attributes.items():
        buffer.attr_fill(name, np.ascontiguousarray(values, np.float32).reshape(-1, 3))
    return buffer


def is_shown(context: Any, obj: Any) -> bool:
    """Whether the viewport that is being drawn has `obj` in its scene and shows it, outside Edit Mode."""
    layer = context.view_layer
    there = layer.objects.get(obj.name) == obj and obj.visible_get(view_layer=layer)
    return bool(there and obj.mode != "EDIT" and obj.visible_in_viewport_get(context.space_data))
