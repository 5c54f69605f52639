# SPDX-License-Identifier: GPL-3.0-or-later
"""The way back into Blender: a texture becomes new materials on an object, and can be taken off again.

Nothing of the artist's is changed: not the materials, not the mesh's list of them, not images and UV maps. The new
materials lie in slots of the object's own, and each remembers what it stands in for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from . import png as png_files
from ._shared import errors, scene
from .collect.find import check_can_show, check_editable
from .images import packed_image

#: The custom property of a new material that says which slot and material it stands in for. What it points to is in
#: use, so Blender keeps the original in the file.
MEMORY = "assistive"
ATTRIBUTE = "AssistiveColor"
MIX = "Assistive Mix"


def apply_texture(
    context: bpy.types.Context,
    obj: bpy.types.Object,
    *,
    texture: scene.Texture,
    png: bytes | None,
    uv_map: str,
    name: str,
    result_id: str = "",
) -> list[bpy.types.Material]:
    """Give `obj` the `texture`: one new material for each slot that its faces use, in slot order.

    Each is a copy of the slot's original with nothing changed but a node group before the base colour, which all of
    them share: it mixes what was there with the texture (:func:`mix_socket`). `png` is `texture` as a file, if there is
    one; `result_id` is what :func:`applied_result` will say. A texture that was applied before is taken off first.

    Raises :class:`InvalidInput`, before anything is changed, for an object that cannot take it.
    """
    _check_paintable(obj, texture)
    restore_original(obj)
    attribute = _new_attribute(obj.data, texture.colors) if isinstance(texture, scene.VertexTexture) else ""
    paint = _Paint(name, _new_group(name, texture, png, uv_map, attribute), attribute, result_id)
    return [_replace_material(obj, index, paint) for index in _used_slots(context, obj)]


def restore_original(obj: bpy.types.Object, *, discard: bool = False) -> bool:
    """Put back the materials that were there before :func:`apply_texture`; False when there is nothing to put back.

    With `discard`, the new materials and their images are deleted too.
    """
    painted = _painted(obj)
    if painted:
        check_editable(obj)
    memories = [_restore_slot(slot) for slot in obj.material_slots if slot.material in painted]
    for attribute in {material[MEMORY]["attribute"] for material in painted if not _is_shown(obj.data, material)}:
        if attribute in obj.data.color_attributes:
            obj.data.color_attributes.remove(obj.data.color_attributes[attribute])
    if any(memory["added"] for memory in memories):
        _remove_added_slot(obj)
    if discard:
        _discard(painted)
    return bool(memories)


def mix_socket(obj: bpy.types.Object) -> bpy.types.NodeSocket | None:
    """The socket whose `default_value` says how much of the texture is on `obj`: 0 the original, 1 all of the texture.

    None when nothing is applied.
    """
    groups = [node.node_tree for material in _painted(obj) for node in _group_nodes(material)]
    return _mix_input(groups[0].nodes[MIX], "Factor_Float") if groups else None


def applied_result(obj: bpy.types.Object) -> str | None:
    """The `result_id` of the texture that is on `obj`; None when there is none."""
    painted = _painted(obj)
    return str(painted[0][MEMORY]["result"]) if painted else None


def _painted(obj: bpy.types.Object) -> list[bpy.types.Material]:
    """The materials on `obj` that :func:`apply_texture` has made."""
    return [slot.material for slot in obj.material_slots if slot.material and MEMORY in slot.material]


# --- the new base colour ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paint:
    """What the new materials of an object share: the node group with the new base colour, and what to remember."""

    name: str
    group: bpy.types.NodeTree
    attribute: str
    result_id: str


def _check_paintable(obj: bpy.types.Object, texture: scene.Texture) -> None:
    if obj.type != "MESH":
        raise errors.InvalidInput(f"Object {obj.name!r} is not a mesh.", hint="Choose a mesh object.")
    check_editable(obj)
    if obj.mode == "EDIT":
        raise errors.InvalidInput(f"Object {obj.name!r} is in Edit Mode.", hint="Leave Edit Mode first.")
    check_can_show(obj, vertex_colors=isinstance(texture, scene.VertexTexture))
    if isinstance(texture, scene.VertexTexture) and len(texture.colors) != len(obj.data.vertices):
        raise errors.InvalidInput(
            f"{len(texture.colors)} vertex colours do not fit the {len(obj.data.vertices)} vertices of {obj.name!r}.",
            hint="Apply the modifiers that change its vertices, or use a UV texture.",
        )


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
    memory: dict[str, Any] = {"added": not obj.material_slots, "attribute": paint.attribute, "result": paint.result_id}
    if memory["added"]:
        obj.data.materials.append(None)
    slot = obj.material_slots[index]
    memory |= {"link": slot.link, "original": slot.material}
    if slot.link == "DATA":  # the mesh keeps its material, for itself and for other objects that share it
        slot.link = "OBJECT"
        memory["hidden"] = slot.material
    material = _painted_copy(memory["original"], paint, fallback_name=obj.name)
    # A custom property can't hold None; what is missing reads as None.
    material[MEMORY] = {key: value for key, value in memory.items() if value is not None}
    slot.material = material
    return material


def _restore_slot(slot: bpy.types.MaterialSlot) -> dict[str, Any]:
    """Put back what was in `slot`; gives what its material remembered."""
    memory = slot.material[MEMORY].to_dict()
    if memory["link"] == slot.link:
        slot.material = memory.get("original")
    else:
        slot.material = memory.get("hidden")
        slot.link = memory["link"]
    return dict(memory)


def _is_shown(mesh: bpy.types.Mesh, material: bpy.types.Material) -> bool:
    """Whether an object with `mesh` has `material`, as a duplicate of a painted object does."""
    sharing = [obj for obj in bpy.data.objects if obj.data == mesh]
    return any(slot.material == material for obj in sharing for slot in obj.material_slots)


def _remove_added_slot(obj: bpy.types.Object) -> None:
    """Remove the only slot of the mesh, unless somebody has put a material into it since."""
    sharing = [other for other in bpy.data.objects if other.data == obj.data]
    if all(len(other.material_slots) == 1 and other.material_slots[0].material is None for other in sharing):
        obj.data.materials.clear()  # pop() would leave the objects' slots behind


def _discard(materials: Iterable[bpy.types.Material]) -> None:
    unused = [material for material in dict.fromkeys(materials) if material.users == 0]
    groups = {node.node_tree for material in unused for node in _group_nodes(material)}
    bpy.data.batch_remove(unused)
    groups = {group for group in groups if group.users == 0}
    images = {node.image for group in groups for node in group.nodes if node.type == "TEX_IMAGE"}
    bpy.data.batch_remove(groups)
    bpy.data.batch_remove({image for image in images if image is not None and image.users == 0})


# --- materials --------------------------------------------------------------------------------------------------------


def _painted_copy(original: bpy.types.Material | None, paint: _Paint, *, fallback_name: str) -> bpy.types.Material:
    name = f"{original.name if original else fallback_name} {paint.name}"
    if original is not None and _uses_nodes(original) and list(_color_inputs(original)):
        material = original.copy()
        material.name = name
    else:  # nothing there that has a base colour
        material = _matte_material(name)
    for color in list(_color_inputs(material)):
        _insert_group(material.node_tree, color, paint.group)
    return material


def _insert_group(tree: bpy.types.NodeTree, color: bpy.types.NodeSocket, group: bpy.types.NodeTree) -> None:
    """Put a node of `group` before the socket `color`; what was there goes into the group."""
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    node.name = node.label = group.name
    node.location = (color.node.location.x - 200, color.node.location.y)
    node.inputs["Original"].default_value = color.default_value
    for link in [link for link in color.links if not link.is_muted]:
        tree.links.new(link.from_socket, node.inputs["Original"])
    tree.links.new(node.outputs["Color"], color)


def _group_nodes(material: bpy.types.Material) -> list[bpy.types.Node]:
    """The nodes that :func:`_insert_group` has put into `material`."""
    groups = [node for node in material.node_tree.nodes if node.bl_idname == "ShaderNodeGroup" and node.node_tree]
    return [node for node in groups if MIX in node.node_tree.nodes]


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


# --- the node group ---------------------------------------------------------------------------------------------------


def _new_group(name: str, texture: scene.Texture, png: bytes | None, uv_map: str, attribute: str) -> bpy.types.NodeTree:
    """A node group that mixes its input "Original" with `texture` (on a UV map, or in a colour attribute)."""
    group = bpy.data.node_groups.new(f"Assistive {name}", "ShaderNodeTree")
    group.interface.new_socket("Original", in_out="INPUT", socket_type="NodeSocketColor")
    group.interface.new_socket("Color", in_out="OUTPUT", socket_type="NodeSocketColor")
    original = _new_node(group, "NodeGroupInput", (-200, 200)).outputs["Original"]
    mix = _new_node(group, "ShaderNodeMix", (0, 0))
    mix.name, mix.label, mix.data_type = MIX, "Mix", "RGBA"
    _mix_input(mix, "Factor_Float").default_value = 1.0
    if isinstance(texture, scene.UvTexture):
        file = png if png is not None else png_files.encode(texture.image[::-1])
        color = _image_color(group, packed_image(name, file), uv_map)
    else:
        colors = _new_node(group, "ShaderNodeVertexColor", (-200, 0))
        colors.layer_name = attribute
        color = colors.outputs["Color"]
    group.links.new(original, _mix_input(mix, "A_Color"))
    group.links.new(color, _mix_input(mix, "B_Color"))
    mixed = next(socket for socket in mix.outputs if socket.identifier == "Result_Color")
    group.links.new(mixed, _new_node(group, "NodeGroupOutput", (200, 0)).inputs["Color"])
    return group


def _mix_input(mix: bpy.types.Node, identifier: str) -> bpy.types.NodeSocket:
    """An input of a mix node; it has several of each name."""
    return next(socket for socket in mix.inputs if socket.identifier == identifier)


def _image_color(group: bpy.types.NodeTree, image: bpy.types.Image, uv_map: str) -> bpy.types.NodeSocket:
    texture = _new_node(group, "ShaderNodeTexImage", (-300, 0))
    texture.image = image
    texture.interpolation = "Linear"
    texture.extension = "REPEAT"
    place = _new_node(group, "ShaderNodeUVMap", (-500, 0))
    place.uv_map = uv_map
    group.links.new(place.outputs["UV"], texture.inputs["Vector"])
    return texture.outputs["Color"]


def _new_node(tree: bpy.types.NodeTree, kind: str, location: tuple[float, float]) -> bpy.types.Node:
    node = tree.nodes.new(kind)
    node.location = location
    return node
