# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders what colour an object has onto its surface, with Cycles, where reading its materials is not enough.

All of it happens on copies in a scene of their own: nothing in the file is changed, and nothing stays behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import bpy
import numpy as np

from .._shared import errors
from . import color
from .mesh import evaluated, values
from .texture import GREY, START, color_socket, link_into, original_material
from .versions import node_tree

NAME = "Assistive bake"
MARGIN = 64
"""Colours go on beyond the borders of islands for this part of the edge (8 texels at 512)."""
UNTOUCHED = -1.0
"""What no face covers; no colour is below 0."""
SEE_THROUGH = ("ShaderNodeBsdfTransparent", "ShaderNodeHoldout")


def bake_image(context: Any, obj: Any, uv_map: str, size: int) -> np.ndarray:
    """The colours of `obj` as an image on its UV map `uv_map`: [size, size, 3] uint8, display-encoded, row 0 at v = 0.

    Beyond the margin around islands it is filled with the mean colour. Raises :class:`InvalidInput` when Cycles cannot.
    """
    with temporary() as made, _stand_in(context, obj, made) as studio:
        image = bpy.data.images.new(NAME, size, size, float_buffer=True)
        made.append(image)
        image.pixels.foreach_set(np.full(size * size * 4, UNTOUCHED, np.float32))
        (stand_in,) = studio.objects
        for material in stand_in.data.materials:
            _aim(material, image)
        bake_onto(context, studio, stand_in, target="IMAGE_TEXTURES", uv_layer=uv_map, margin=size // MARGIN)
        rgba = np.empty(size * size * 4, np.float32)
        image.pixels.foreach_get(rgba)
    linear = rgba.reshape(size, size, 4)[..., :3]
    covered = linear[..., 0] != UNTOUCHED
    if covered.any():
        linear[~covered] = linear[covered].mean(axis=0)
    return color.to_bytes(color.encode(linear))


def bake_corners(context: Any, obj: Any) -> np.ndarray:
    """The colours of `obj` at the face corners of its evaluated mesh, [L, 3] float32, linear."""
    with temporary() as made, _stand_in(context, obj, made) as studio:
        (stand_in,) = studio.objects
        attributes = stand_in.data.color_attributes
        attributes.active_color = attributes.new(NAME, "FLOAT_COLOR", "CORNER")
        name = attributes.active_color.name
        bake_onto(context, studio, stand_in, target="VERTEX_COLORS")
        baked = stand_in.data.color_attributes[name]
        return values(baked.data, "color", (len(baked.data), 4))[:, :3]


# --- the stage --------------------------------------------------------------------------------------------------------


@contextmanager
def temporary() -> Iterator[list[Any]]:
    """A list for what is made inside the block; all of it is removed afterwards."""
    made: list[Any] = []
    try:
        yield made
    finally:
        bpy.data.batch_remove(made)  # scenes.remove crashes in Blender 4.3 under --command


@contextmanager
def _stand_in(context: Any, obj: Any, made: list[Any]) -> Iterator[Any]:
    """A scene for Cycles with nothing in it but a copy of the evaluated `obj` that glows in the colours of `obj`."""
    studio = bpy.data.scenes.new(NAME)
    made.append(studio)
    studio.frame_current = context.scene.frame_current
    studio.render.engine = "CYCLES"
    studio.cycles.device = "CPU"
    studio.cycles.samples = 1  # it falls on the middle of the texel
    studio.cycles.use_adaptive_sampling = studio.cycles.use_denoising = False
    with evaluated(context, obj) as (result, _):
        mesh = bpy.data.meshes.new_from_object(
            result, preserve_all_data_layers=True, depsgraph=context.evaluated_depsgraph_get()
        )
        made.append(mesh)
        _dress(mesh, [original_material(slot) for slot in result.material_slots] or [None], made)
        copy = bpy.data.objects.new(NAME, mesh)
        made.append(copy)
        copy.matrix_world, copy.color, copy.pass_index = result.matrix_world, obj.color, obj.pass_index
    mesh.use_auto_texspace = False
    mesh.texspace_location, mesh.texspace_size = obj.data.texspace_location, obj.data.texspace_size
    studio.collection.objects.link(copy)
    yield studio


def _dress(mesh: Any, materials: list[Any | None], made: list[Any]) -> None:
    """Put a glowing copy of each of `materials` on `mesh`, slot by slot."""
    last = len(materials) - 1
    indices = values(mesh.polygons, "material_index", (len(mesh.polygons),), "int32")
    mesh.materials.clear()  # forgets which face has which
    for material in materials:
        mesh.materials.append(_glowing(material, made))
    mesh.polygons.foreach_set("material_index", indices.clip(0, last))


def bake_onto(
    context: Any,
    studio: Any,
    stand_in: Any,
    *,
    kind: str = "EMIT",
    use_clear: bool = False,
    **options: Any,
) -> None:
    """Blender's bake operator on `stand_in` in the scene `studio`, whatever is selected or seen elsewhere.

    Raises :class:`InvalidInput` when it cannot.
    """
    try:
        # Without an area: operators ask a viewport in local view what is visible.
        with context.temp_override(
            scene=studio,
            view_layer=studio.view_layers[0],
            area=None,
            region=None,
            active_object=stand_in,
            object=stand_in,
            selected_objects=[stand_in],
            selected_editable_objects=[stand_in],
        ):
            bpy.ops.object.bake(
                type=kind,
                margin_type="EXTEND",
                use_clear=use_clear,
                use_selected_to_active=False,
                save_mode="INTERNAL",
                **options,
            )
    except RuntimeError as error:  # what Blender's operators raise
        raise errors.InvalidInput(f"The object cannot be baked: {str(error).strip()}", hint=START) from error


# --- materials that glow ----------------------------------------------------------------------------------------------


def _glowing(material: Any | None, made: list[Any]) -> Any:
    """A copy of `material` whose shaders give off their colour, whatever light falls on them."""
    tree = None if material is None else node_tree(material)
    if material is None or tree is None:
        return _glowing_flat((GREY, GREY, GREY) if material is None else material.diffuse_color[:3], made)
    copy = material.copy()
    made.append(copy)
    output = copy.node_tree.get_output_node("CYCLES")
    for name in ("Volume", "Displacement"):
        for link in list(output.inputs[name].links) if output is not None else ():
            copy.node_tree.links.remove(link)
    _make_shaders_glow(copy.node_tree, made)
    return copy


def _glowing_flat(linear: Any, made: list[Any]) -> Any:
    material = bpy.data.materials.new(NAME)
    made.append(material)
    if node_tree(material) is None:
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    emission, output = tree.nodes.new("ShaderNodeEmission"), tree.nodes.new("ShaderNodeOutputMaterial")
    emission.inputs["Color"].default_value = (*linear, 1.0)
    tree.links.new(emission.outputs["Emission"], output.inputs["Surface"])
    return material


def _make_shaders_glow(tree: Any, made: list[Any]) -> None:
    """Replace the shaders of a copied `tree` with emissions of their colour: mixed, they give the mixed colour."""
    for node in list(tree.nodes):
        if node.bl_idname == "ShaderNodeGroup" and node.node_tree is not None:
            node.node_tree = node.node_tree.copy()
            made.append(node.node_tree)
            _make_shaders_glow(node.node_tree, made)
        elif node.bl_idname == "ShaderNodeMixShader":
            _ignore_transparency(tree, node)
    for node in list(tree.nodes):
        socket = color_socket(node)
        if socket is not None and node.bl_idname not in SEE_THROUGH:
            _replace_with_emission(tree, node, socket)


def _ignore_transparency(tree: Any, mix: Any) -> None:
    """Show all of the other shader where `mix` lets one shine through: a cut-out has the colour of what is cut out."""
    factor = mix.inputs[0]
    for this, only_other in ((mix.inputs[1], 1.0), (mix.inputs[2], 0.0)):
        link = link_into(this)
        if link is not None and link.from_node.bl_idname in SEE_THROUGH:
            for given in factor.links:
                tree.links.remove(given)
            factor.default_value = only_other


def _replace_with_emission(tree: Any, shader: Any, socket: Any) -> None:
    emission = tree.nodes.new("ShaderNodeEmission")
    link = link_into(socket)
    if link is not None:
        tree.links.new(link.from_socket, emission.inputs["Color"])
    else:
        emission.inputs["Color"].default_value = socket.default_value
    for output in (output for output in shader.outputs if output.type == "SHADER"):
        for target in [link.to_socket for link in output.links]:
            tree.links.new(emission.outputs["Emission"], target)


def _aim(material: Any, image: Any) -> None:
    """Make `image` what `material` is baked to."""
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    material.node_tree.nodes.active = node
