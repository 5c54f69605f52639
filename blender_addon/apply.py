# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back into Blender: a texture becomes new materials on an object, and can be taken off again.

The originals (materials, images, UV maps) are never changed; each new material remembers what it stands in for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import png as png_files
from ._shared import errors, scene

#: The custom property of a new material that says which slot and material it stands in for.
MEMORY = "assistive"
ATTRIBUTE = "AssistiveColor"


@dataclass(frozen=True)
class _Paint:
    """Where the new base colour comes from: an image through a UV map, or a colour attribute."""

    name: str
    uv_map: str = ""
    image: bpy.types.Image | None = None
    attribute: str = ""


def apply_texture(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    *,
    texture: scene.Texture,
    png: bytes | None,
    uv_map: str,
    name: str,
) -> list[bpy.types.Material]:
    """Give `obj` the `texture`: one new material for each slot that its faces use, in slot order.

    Each is a copy of the slot's original with nothing changed but the base colour. `png` is `texture` as a file, if
    there is one. A texture that was applied before is taken off first, so that originals stay what they were.
    """
    _check_paintable(obj, texture)
    restore_original(obj)
    paint = _make_paint(obj, texture, png, uv_map, name)
    return [_replace_material(obj, index, paint) for index in _used_slots(context, obj)]


def restore_original(obj: bpy.types.Object, *, discard: bool = False) -> bool:
    """Put back the materials that were there before :func:`apply_texture`; False when there is nothing to put back.

    With `discard`, the new materials and their images are deleted too.
    """
    painted = [slot.material for slot in obj.material_slots if slot.material and MEMORY in slot.material]
    memories = [_restore_slot(slot) for slot in obj.material_slots if slot.material in painted]
    for attribute in {memory["attribute"] for memory in memories}:
        if attribute in obj.data.color_attributes:
            obj.data.color_attributes.remove(obj.data.color_attributes[attribute])
    if any(memory["added"] for memory in memories):
        _remove_added_slot(obj)
    if discard:
        _discard(painted)
    return bool(memories)


# --- the new base colour ----------------------------------------------------------------------------------------------


def _check_paintable(obj: bpy.types.Object, texture: scene.Texture) -> None:
    if obj.type != "MESH":
        raise errors.InvalidInput(f"Object {obj.name!r} is not a mesh.", hint="Choose a mesh object.")
    if obj.mode == "EDIT":
        raise errors.InvalidInput(f"Object {obj.name!r} is in Edit Mode.", hint="Leave Edit Mode first.")
    if isinstance(texture, scene.VertexTexture) and len(texture.colors) != len(obj.data.vertices):
        raise errors.InvalidInput(
            f"{len(texture.colors)} vertex colours do not fit the {len(obj.data.vertices)} vertices of {obj.name!r}.",
            hint="Apply the modifiers that change its vertices, or use a UV texture.",
        )


def _make_paint(obj: bpy.types.Object, texture: scene.Texture, png: bytes | None, uv_map: str, name: str) -> _Paint:
    if isinstance(texture, scene.VertexTexture):
        return _Paint(name=name, attribute=_new_attribute(obj.data, texture.colors))
    return _Paint(name=name, uv_map=uv_map, image=_new_image(texture.image, png, name))


def _new_image(pixels: np.ndarray, png: bytes | None, name: str) -> bpy.types.Image:
    """A packed sRGB image of `pixels` ([H, W, 3] uint8, row 0 at the bottom)."""
    height, width, _ = pixels.shape
    image = bpy.data.images.new(name, width=width, height=height, alpha=False)
    image.colorspace_settings.name = "sRGB"
    # An image packed before its pixels were ever set comes back from undo without its packed file.
    rgba = np.ones((height, width, 4), dtype=np.float32)
    rgba[..., :3] = pixels / np.float32(255)
    image.pixels.foreach_set(rgba.ravel())
    data = png if png is not None else png_files.encode(pixels[::-1])
    image.pack(data=data, data_len=len(data))
    image.source = "FILE"
    return image


def _new_attribute(mesh: bpy.types.Mesh, colors: np.ndarray) -> str:
    """The name of a new colour attribute of `mesh` with `colors` ([V, 3] uint8, display-encoded)."""
    attribute = mesh.color_attributes.new(ATTRIBUTE, "BYTE_COLOR", "POINT")
    rgba = np.ones((len(colors), 4), dtype=np.float32)
    rgba[:, :3] = colors / np.float32(255)
    attribute.data.foreach_set("color_srgb", rgba.ravel())
    mesh.update()
    return str(attribute.name)


# --- slots ------------------------------------------------------------------------------------------------------------


def _used_slots(context: bpy.types.Context, obj: bpy.types.Object) -> list[int]:
    """The slots that faces use, also faces that modifiers make. An object without slots gets its first, empty."""
    count = len(obj.material_slots)
    if count == 0:
        return [0]
    evaluated = obj.evaluated_get(context.evaluated_depsgraph_get())
    indices = np.concatenate([_material_indices(obj.data), _material_indices(evaluated.data)])
    return [int(index) for index in np.unique(indices.clip(0, count - 1))]


def _material_indices(mesh: bpy.types.Mesh) -> np.ndarray:
    indices = np.zeros(len(mesh.polygons), dtype=np.int32)
    mesh.polygons.foreach_get("material_index", indices)
    return indices


def _replace_material(obj: bpy.types.Object, index: int, paint: _Paint) -> bpy.types.Material:
    """Put a painted copy into slot `index`, and remember in it all that :func:`restore_original` needs."""
    memory: dict[str, Any] = {"added": not obj.material_slots, "attribute": paint.attribute}
    if memory["added"]:
        obj.data.materials.append(None)
    slot = obj.material_slots[index]
    original = slot.material
    memory |= {"link": slot.link, "original": original, "fake_user": bool(original and original.use_fake_user)}
    if slot.link == "DATA" and obj.data.users > 1:  # only this object is to change, not those that share its mesh
        slot.link = "OBJECT"
        memory["hidden"] = slot.material
    material = _painted_copy(original, paint, fallback_name=obj.name)
    # A custom property can't hold None; what is missing reads as None.
    material[MEMORY] = {key: value for key, value in memory.items() if value is not None}
    slot.material = material
    if original is not None:
        original.use_fake_user = True
    return material


def _restore_slot(slot: bpy.types.MaterialSlot) -> dict[str, Any]:
    """Put back what was in `slot`; gives what its material remembered."""
    memory = slot.material[MEMORY].to_dict()
    original = memory.get("original")
    if memory["link"] == slot.link:
        slot.material = original
    else:  # the mesh kept its own material all along
        slot.material = memory.get("hidden")
        slot.link = memory["link"]
    if original is not None:
        original.use_fake_user = bool(memory["fake_user"])
    return dict(memory)


def _remove_added_slot(obj: bpy.types.Object) -> None:
    """Remove the only slot of the mesh, unless somebody has put a material into it since."""
    sharing = [other for other in bpy.data.objects if other.data == obj.data]
    if all(len(other.material_slots) == 1 and other.material_slots[0].material is None for other in sharing):
        obj.data.materials.clear()  # pop() would leave the objects' slots behind


def _discard(materials: Iterable[bpy.types.Material]) -> None:
    unused = [material for material in dict.fromkeys(materials) if material.users == 0]
    images = {node.image for material in unused for node in material.node_tree.nodes if node.name == MEMORY}
    for material in unused:
        bpy.data.materials.remove(material)
    for image in images - {None}:
        if image.users == 0:
            bpy.data.images.remove(image)


# --- materials --------------------------------------------------------------------------------------------------------


def _painted_copy(original: bpy.types.Material | None, paint: _Paint, *, fallback_name: str) -> bpy.types.Material:
    name = f"{original.name if original else fallback_name} {paint.name}"
    if original is not None and _uses_nodes(original) and list(_color_inputs(original)):
        material = original.copy()
        material.name = name
    else:  # nothing there that has a base colour
        material = _matte_material(name)
    output = _paint_node(material.node_tree, paint)
    for color in list(_color_inputs(material)):
        material.node_tree.links.new(output, color)
    return material


def _uses_nodes(material: bpy.types.Material) -> bool:
    return bpy.app.version >= (5, 0, 0) or bool(material.use_nodes)  # always, from 5.0 on, where asking is deprecated


def _matte_material(name: str) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    if not _uses_nodes(material):
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 1.0
    shader.inputs["Specular IOR Level"].default_value = 0.0
    return material


def _color_inputs(material: bpy.types.Material) -> Iterator[bpy.types.NodeSocket]:
    """The base colour sockets of the shaders that make up the surface."""
    for node in _surface_nodes(material.node_tree):
        if node.type == "BSDF_PRINCIPLED":
            yield node.inputs["Base Color"]
        elif node.type == "BSDF_DIFFUSE":
            yield node.inputs["Color"]


def _surface_nodes(tree: bpy.types.NodeTree) -> list[bpy.types.Node]:
    """All nodes that feed the surface of the active output."""
    output = tree.get_output_node("ALL") or tree.get_output_node("CYCLES")
    found: list[bpy.types.Node] = []
    waiting = [link.from_node for link in output.inputs["Surface"].links] if output else []
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.append(node)
            waiting += [link.from_node for socket in node.inputs for link in socket.links]
    return found


def _paint_node(tree: bpy.types.NodeTree, paint: _Paint) -> bpy.types.NodeSocket:
    """The colour output of new nodes for `paint`, left of all others."""
    left = min((node.location.x for node in tree.nodes), default=0.0)
    if paint.image is None:
        colors = tree.nodes.new("ShaderNodeVertexColor")
        colors.layer_name = paint.attribute
        colors.location = (left - 200, 0)
        return colors.outputs["Color"]
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.name = MEMORY
    texture.image = paint.image
    texture.interpolation = "Linear"
    texture.extension = "REPEAT"
    texture.location = (left - 300, 0)
    uv_map = tree.nodes.new("ShaderNodeUVMap")
    uv_map.uv_map = paint.uv_map
    uv_map.location = (left - 500, 0)
    tree.links.new(uv_map.outputs["UV"], texture.inputs["Vector"])
    return texture.outputs["Color"]
