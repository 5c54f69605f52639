"""A texture becomes a material, nothing else changes, and all of it can be taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import apply, png
from blender_addon._shared import errors, scene

UV = "UVMap"


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def cube(name: str = "Cube", *materials: Any) -> Any:
    bpy.ops.mesh.primitive_cube_add()
    obj = bpy.context.object
    obj.name = name
    for material in materials:
        obj.data.materials.append(material)
    return obj


def shiny(name: str, color: tuple[float, float, float] = (0.1, 0.2, 0.3)) -> Any:
    material = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    shader = principled(material)
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    shader.inputs["Roughness"].default_value = 0.25
    shader.inputs["Metallic"].default_value = 0.5
    return material


def principled(material: Any) -> Any:
    return next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")


def plain(socket: Any) -> Any:
    value = getattr(socket, "default_value", None)
    return tuple(value) if hasattr(value, "__len__") else value


def random_texture(height: int = 32, width: int = 48) -> scene.UvTexture:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return scene.UvTexture(image=image)


def put(obj: Any, texture: scene.Texture | None = None, data: bytes | None = None, name: str = "sports car") -> Any:
    texture = texture or random_texture()
    return apply.apply_texture(bpy.context, obj, texture=texture, png=data, uv_map=UV, name=name)


def image_of(material: Any) -> Any:
    return next(node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE")


def texels(image: Any) -> np.ndarray:
    values = np.empty(image.size[0] * image.size[1] * 4, dtype=np.float32)
    image.pixels.foreach_get(values)
    return np.rint(values.reshape(image.size[1], image.size[0], 4)[..., :3] * 255).astype(np.uint8)


def save_and_reload(folder: Path) -> None:
    path = str(folder / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)


def test_the_image_holds_the_texture_bit_for_bit_and_the_png_as_it_came() -> None:
    texture = random_texture()
    data = png.encode(texture.image[::-1])
    image = image_of(put(cube(), texture, data)[0])
    assert np.array_equal(texels(image), texture.image)
    assert bytes(image.packed_file.data) == data
    assert image.colorspace_settings.name == "sRGB"
    assert image.name == "sports car"


def test_image_and_material_survive_saving_and_reloading(tmp_path: Path) -> None:
    texture = random_texture()
    data = png.encode(texture.image[::-1])
    put(cube("Box", shiny("Paint")), texture, data)
    save_and_reload(tmp_path)
    material = bpy.data.objects["Box"].material_slots[0].material
    assert bytes(image_of(material).packed_file.data) == data
    assert np.array_equal(texels(image_of(material)), texture.image)


def test_only_the_base_colour_differs_from_the_original() -> None:
    original = shiny("Paint")
    material = put(cube("Box", original))[0]
    assert material is not original
    theirs, ours = principled(original), principled(material)
    for was, now in zip(theirs.inputs, ours.inputs, strict=True):
        assert not was.links
        assert bool(now.links) == (was.name == "Base Color")
        assert plain(now) == plain(was)


def test_the_base_colour_comes_from_the_named_uv_map() -> None:
    material = put(cube("Box", shiny("Paint")))[0]
    texture = principled(material).inputs["Base Color"].links[0].from_node
    assert (texture.interpolation, texture.extension) == ("Linear", "REPEAT")
    assert texture.inputs["Vector"].links[0].from_node.uv_map == UV


def test_an_object_without_material_gets_a_matte_one() -> None:
    obj = cube()
    shader = principled(put(obj)[0])
    assert shader.inputs["Roughness"].default_value == 1.0
    assert shader.inputs["Specular IOR Level"].default_value == 0.0
    assert apply.restore_original(obj)
    assert len(obj.material_slots) == 0


def test_a_material_without_base_colour_gives_way_to_a_matte_one() -> None:
    glow = shiny("Glow")
    glow.node_tree.nodes.clear()
    obj = cube("Box", glow)
    assert principled(put(obj)[0]).inputs["Base Color"].links
    apply.restore_original(obj)
    assert obj.material_slots[0].material == glow


def test_a_diffuse_shader_keeps_its_place() -> None:
    original = shiny("Plain")
    tree = original.node_tree
    diffuse = tree.nodes.new("ShaderNodeBsdfDiffuse")
    tree.links.new(diffuse.outputs[0], tree.get_output_node("ALL").inputs["Surface"])
    material = put(cube("Box", original))[0]
    painted = next(node for node in material.node_tree.nodes if node.type == "BSDF_DIFFUSE")
    assert painted.inputs["Color"].links
    assert not principled(material).inputs["Base Color"].links


def test_each_slot_that_faces_use_gets_its_own_copy_and_the_others_stay() -> None:
    originals = [shiny(name) for name in ("A", "Unused", "C")]
    obj = cube("Box", *originals)
    for polygon in obj.data.polygons:
        polygon.material_index = 0 if polygon.index < 3 else 2
    made = put(obj)
    now = [slot.material for slot in obj.material_slots]
    assert now == [made[0], originals[1], made[1]]
    assert image_of(made[0]) == image_of(made[1])
    assert made[0] != made[1]


def test_restoring_puts_each_original_back_after_a_reload_and_a_renaming(tmp_path: Path) -> None:
    obj = cube("Box", shiny("A"), shiny("B"))
    obj.data.polygons[0].material_index = 1
    put(obj)
    bpy.data.materials["B"].name = "Renamed"
    save_and_reload(tmp_path)
    obj = bpy.data.objects["Box"]
    assert apply.restore_original(obj)
    assert [slot.material.name for slot in obj.material_slots] == ["A", "Renamed"]
    assert not any(slot.material.use_fake_user for slot in obj.material_slots)
    assert not apply.restore_original(obj)


def test_the_original_is_kept_in_the_file_even_without_the_new_material(tmp_path: Path) -> None:
    obj = cube("Box", shiny("Paint"))
    made = put(obj)[0]
    bpy.data.materials.remove(made)
    save_and_reload(tmp_path)
    assert "Paint" in bpy.data.materials


def test_an_object_that_shares_its_mesh_changes_alone() -> None:
    original = shiny("Paint")
    obj = cube("Box", original)
    twin = bpy.data.objects.new("Twin", obj.data)
    bpy.context.scene.collection.objects.link(twin)
    made = put(obj)[0]
    assert obj.material_slots[0].material == made
    assert twin.material_slots[0].material == original
    apply.restore_original(obj)
    assert (obj.material_slots[0].link, obj.material_slots[0].material) == ("DATA", original)


def test_a_slot_linked_to_the_object_stays_so() -> None:
    on_mesh, on_object = shiny("Mesh"), shiny("Object")
    obj = cube("Box", on_mesh)
    obj.material_slots[0].link = "OBJECT"
    obj.material_slots[0].material = on_object
    put(obj)
    assert obj.material_slots[0].link == "OBJECT"
    assert obj.data.materials[0] == on_mesh
    apply.restore_original(obj)
    assert obj.material_slots[0].material == on_object


def test_a_second_texture_still_remembers_the_first_original() -> None:
    original = shiny("Paint")
    obj = cube("Box", original)
    put(obj, name="first")
    second = put(obj, name="second")[0]
    assert image_of(second).name == "second"
    assert [node.type for node in second.node_tree.nodes].count("TEX_IMAGE") == 1
    apply.restore_original(obj)
    assert obj.material_slots[0].material == original


def test_discarding_deletes_what_was_made() -> None:
    obj = cube("Box", shiny("Paint"))
    put(obj)
    apply.restore_original(obj, discard=True)
    assert [material.name for material in bpy.data.materials] == ["Paint"]
    assert "sports car" not in bpy.data.images


def test_uv_maps_and_original_images_are_untouched() -> None:
    obj = cube()
    before = np.empty(len(obj.data.loops) * 2, dtype=np.float32)
    obj.data.uv_layers[UV].uv.foreach_get("vector", before)
    put(obj)
    after = np.empty_like(before)
    obj.data.uv_layers[UV].uv.foreach_get("vector", after)
    assert [layer.name for layer in obj.data.uv_layers] == [UV]
    assert np.array_equal(before, after)


def test_vertex_colours_arrive_bit_for_bit_and_feed_the_base_colour() -> None:
    obj = cube("Box", shiny("Paint"))
    colors = np.random.default_rng(2).integers(0, 256, (8, 3), dtype=np.uint8)
    material = put(obj, scene.VertexTexture(colors=colors))[0]
    attribute = obj.data.color_attributes[apply.ATTRIBUTE]
    values = np.empty(8 * 4, dtype=np.float32)
    attribute.data.foreach_get("color_srgb", values)
    assert (attribute.domain, attribute.data_type) == ("POINT", "BYTE_COLOR")
    assert np.array_equal(np.rint(values.reshape(8, 4)[:, :3] * 255).astype(np.uint8), colors)
    assert principled(material).inputs["Base Color"].links[0].from_node.layer_name == attribute.name
    apply.restore_original(obj)
    assert len(obj.data.color_attributes) == 0


def test_vertex_colours_of_another_vertex_count_are_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="9 vertex colours do not fit the 8 vertices of 'Box'"):
        put(cube("Box"), scene.VertexTexture(colors=np.zeros((9, 3), dtype=np.uint8)))


def test_what_is_not_a_mesh_is_refused() -> None:
    lamp = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    with pytest.raises(errors.InvalidInput, match="'Lamp' is not a mesh"):
        put(lamp)
