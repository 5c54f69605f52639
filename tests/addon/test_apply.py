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


def put(
    obj: Any,
    texture: scene.Texture | None = None,
    data: bytes | None = None,
    name: str = "sports car",
    result_id: str = "",
) -> Any:
    texture = texture or random_texture()
    return apply.apply_texture(bpy.context, obj, texture=texture, png=data, uv_map=UV, name=name, result_id=result_id)


def group_before(socket: Any) -> Any:
    """The node of the node group that stands before a base colour."""
    return socket.links[0].from_node


def inside(material: Any, kind: str) -> Any:
    """The node of a kind inside the group of a new material."""
    groups = [node for node in material.node_tree.nodes if node.type == "GROUP"]
    return next(node for node in groups[0].node_tree.nodes if node.type == kind)


def image_of(material: Any) -> Any:
    return inside(material, "TEX_IMAGE").image


def showing(name: str, picture: Any) -> Any:
    """A material with `picture` as its base colour."""
    material = shiny(name)
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = picture
    material.node_tree.links.new(node.outputs["Color"], principled(material).inputs["Base Color"])
    return material


def picture_of(texture: scene.UvTexture) -> Any:
    """A Blender image of `texture`."""
    height, width, _ = texture.image.shape
    image = bpy.data.images.new("Picture", width, height)
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = texture.image / np.float32(255)
    image.pixels.foreach_set(rgba.ravel())
    image.update()
    return image


def rendered(folder: Path) -> np.ndarray:
    """The scene as Cycles renders it from a corner under a sun: [32, 32, 4] float32, linear."""
    context, path = bpy.context, folder / "render.exr"
    if context.scene.camera is None:
        bpy.ops.object.camera_add(location=(4, -5, 3), rotation=(1.12, 0, 0.67))
        context.scene.camera = context.object
        bpy.ops.object.light_add(type="SUN", rotation=(0.6, 0.3, 0.2))
    render = context.scene.render
    render.engine, render.resolution_x, render.resolution_y = "CYCLES", 32, 32
    render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
    render.filepath = str(path)
    context.scene.cycles.device, context.scene.cycles.samples = "CPU", 8
    context.scene.cycles.use_denoising = False
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    pixels = np.empty(32 * 32 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(32, 32, 4)


def materials_of(mesh: Any) -> list[Any]:
    return list(mesh.materials)


def names_in_file() -> set[str]:
    return {repr(block) for block in bpy.data.user_map()}


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


def wiring(material: Any) -> list[tuple[str, ...]]:
    """Every link of a material but those of the base colour and of what stands before it."""
    return sorted(
        (link.from_node.name, link.from_socket.name, link.to_node.name, link.to_socket.name)
        for link in material.node_tree.links
        if link.to_socket.name != "Base Color" and link.to_node.type != "GROUP"
    )


def test_what_the_server_does_not_model_is_kept_in_the_material() -> None:
    original = shiny("Lantern")
    nodes, links = original.node_tree.nodes, original.node_tree.links
    shader, out = principled(original), next(node for node in nodes if node.type == "OUTPUT_MATERIAL")
    for name, value in (("Emission Strength", 3.0), ("Transmission Weight", 0.4), ("Coat Weight", 0.7), ("IOR", 1.7)):
        shader.inputs[name].default_value = value
    noise, bump, normal = (nodes.new(f"ShaderNode{kind}") for kind in ("TexNoise", "Bump", "NormalMap"))
    displacement, volume = nodes.new("ShaderNodeDisplacement"), nodes.new("ShaderNodeVolumeScatter")
    links.new(noise.outputs[0], shader.inputs["Roughness"])
    links.new(normal.outputs["Normal"], bump.inputs["Normal"])
    links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    links.new(noise.outputs["Color"], shader.inputs["Emission Color"])
    links.new(noise.outputs[0], displacement.inputs["Height"])
    links.new(displacement.outputs[0], out.inputs["Displacement"])
    links.new(volume.outputs[0], out.inputs["Volume"])
    material = put(cube("Box", original))[0]
    assert wiring(material) == wiring(original)
    for was, now in zip(shader.inputs, principled(material).inputs, strict=True):
        assert plain(now) == plain(was)


def test_the_base_colour_comes_from_the_named_uv_map() -> None:
    material = put(cube("Box", shiny("Paint")))[0]
    group = group_before(principled(material).inputs["Base Color"]).node_tree
    texture = next(node for node in group.nodes if node.type == "TEX_IMAGE")
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
    assert [(slot.link, slot.material.name) for slot in obj.material_slots] == [("DATA", "A"), ("DATA", "Renamed")]
    assert not any(slot.material.use_fake_user for slot in obj.material_slots)
    assert not apply.restore_original(obj)


def test_an_original_that_only_the_new_material_knows_is_kept_in_the_file(tmp_path: Path) -> None:
    obj = cube("Box", None)
    obj.material_slots[0].link = "OBJECT"
    obj.material_slots[0].material = original = shiny("Paint")
    put(obj)
    assert (original.users, original.use_fake_user) == (1, False)
    save_and_reload(tmp_path)
    bpy.ops.outliner.orphans_purge(do_recursive=True)
    obj = bpy.data.objects["Box"]
    apply.restore_original(obj)
    assert obj.material_slots[0].material == bpy.data.materials["Paint"]


def test_the_meshs_own_materials_stay() -> None:
    originals = [shiny("A"), shiny("B")]
    obj = cube("Box", *originals)
    obj.data.polygons[0].material_index = 1
    put(obj)
    assert materials_of(obj.data) == originals
    assert [slot.link for slot in obj.material_slots] == ["OBJECT", "OBJECT"]


def test_an_object_that_shares_its_mesh_changes_alone() -> None:
    original = shiny("Paint")
    obj = cube("Box", original)
    twin = bpy.data.objects.new("Twin", obj.data)
    bpy.context.scene.collection.objects.link(twin)
    made = put(obj)[0]
    assert obj.material_slots[0].material == made
    assert twin.material_slots[0].material == original
    assert (materials_of(obj.data), twin.material_slots[0].link) == ([original], "DATA")
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
    assert [node.type for node in second.node_tree.nodes].count("GROUP") == 1
    apply.restore_original(obj)
    assert obj.material_slots[0].material == original


def test_discarding_deletes_what_was_made() -> None:
    obj = cube("Box", shiny("Paint"))
    put(obj)
    apply.restore_original(obj, discard=True)
    assert [material.name for material in bpy.data.materials] == ["Paint"]
    assert "sports car" not in bpy.data.images
    assert not bpy.data.node_groups


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
    assert inside(material, "VERTEX_COLOR").layer_name == attribute.name
    apply.restore_original(obj)
    assert len(obj.data.color_attributes) == 0


def test_vertex_colours_of_another_vertex_count_are_refused() -> None:
    with pytest.raises(errors.InvalidInput, match="9 vertex colours do not fit the 8 vertices of 'Box'"):
        put(cube("Box"), scene.VertexTexture(colors=np.zeros((9, 3), dtype=np.uint8)))


def test_what_is_not_a_mesh_is_refused() -> None:
    lamp = bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT"))
    with pytest.raises(errors.InvalidInput, match="'Lamp' is not a mesh"):
        put(lamp)


# --- the slider -------------------------------------------------------------------------------------------------------


def test_one_slider_is_shared_by_all_materials_and_starts_at_the_texture() -> None:
    obj = cube("Box", shiny("A"), shiny("B"))
    obj.data.polygons[0].material_index = 1
    assert apply.mix_socket(obj) is None
    made = put(obj)
    groups = {group_before(principled(material).inputs["Base Color"]).node_tree for material in made}
    assert [group.name for group in groups] == ["Assistive sports car"]
    socket = apply.mix_socket(obj)
    assert socket is not None
    assert socket.default_value == 1.0
    assert (socket.id_data, socket.node.type) == (groups.pop(), "MIX")
    apply.restore_original(obj)
    assert apply.mix_socket(obj) is None


def test_at_one_the_picture_is_that_of_the_bare_texture(tmp_path: Path) -> None:
    texture = random_texture()
    obj = cube("Box", showing("Bare", picture_of(texture)))
    bare = rendered(tmp_path)
    obj.data.materials[0] = shiny("Paint")
    original = rendered(tmp_path)
    put(obj, texture)
    assert not np.array_equal(original, bare)
    assert np.array_equal(rendered(tmp_path), bare)


@pytest.mark.parametrize("look", ["plain", "pictured"])
def test_at_zero_the_picture_is_that_of_the_original(tmp_path: Path, look: str) -> None:
    cube("Box", shiny("Paint") if look == "plain" else showing("Label", picture_of(random_texture())))
    original = rendered(tmp_path)
    obj = bpy.data.objects["Box"]
    put(obj, scene.UvTexture(image=np.zeros((4, 4, 3), np.uint8)))
    assert not np.allclose(rendered(tmp_path), original, atol=1e-3)
    socket = apply.mix_socket(obj)
    assert socket is not None
    socket.default_value = 0.0
    assert np.array_equal(rendered(tmp_path), original)


def test_between_original_and_texture_colours_are_mixed(tmp_path: Path) -> None:
    obj = cube("Box", shiny("Paint", (0.0, 0.0, 0.0)))
    put(obj, scene.UvTexture(image=np.full((4, 4, 3), 255, np.uint8)))
    pictures = []
    for share in (0.0, 0.5, 1.0):
        socket = apply.mix_socket(obj)
        assert socket is not None
        socket.default_value = share
        pictures.append(rendered(tmp_path)[..., :3].mean())
    assert pictures[0] < pictures[1] < pictures[2]


def test_the_slider_of_vertex_colours_is_there_too() -> None:
    obj = cube("Box", shiny("Paint"))
    put(obj, scene.VertexTexture(colors=np.zeros((8, 3), dtype=np.uint8)))
    socket = apply.mix_socket(obj)
    assert socket is not None
    assert socket.default_value == 1.0


def test_slider_and_result_survive_saving_and_reloading(tmp_path: Path) -> None:
    obj = cube("Box", shiny("Paint"))
    assert apply.applied_result(obj) is None
    put(obj, result_id="job 7")
    socket = apply.mix_socket(obj)
    assert socket is not None
    socket.default_value = 0.25
    save_and_reload(tmp_path)
    obj = bpy.data.objects["Box"]
    socket = apply.mix_socket(obj)
    assert socket is not None
    assert socket.default_value == 0.25
    assert apply.applied_result(obj) == "job 7"
    apply.restore_original(obj)
    assert apply.applied_result(obj) is None


# --- other files, other objects ---------------------------------------------------------------------------------------


def linked(folder: Path, *materials: str, override: bool = True) -> Any:
    """A cube of another file, with new materials there, linked into an empty file; overridden or not."""
    cube("Box", *(shiny(name) for name in materials))
    path = str(folder / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    with bpy.data.libraries.load(path, link=True) as (_, wanted):
        wanted.objects = ["Box"]
    obj = wanted.objects[0]
    bpy.context.scene.collection.objects.link(obj)
    if override:
        obj = obj.override_create(remap_local_usages=True)
    bpy.context.view_layer.update()
    return obj


def test_a_linked_object_is_refused_until_it_is_overridden(tmp_path: Path) -> None:
    obj = linked(tmp_path, "Paint", override=False)
    before = names_in_file()
    with pytest.raises(errors.InvalidInput, match=r"'Box' is linked from .*library.blend.*library override or local"):
        put(obj)
    assert names_in_file() == before


def test_an_overridden_object_keeps_its_texture_and_its_original_over_a_reload(tmp_path: Path) -> None:
    obj = linked(tmp_path, "Paint")
    mesh = obj.data
    texture = random_texture()
    made = put(obj, texture, result_id="job 7")[0].name
    assert mesh.library is not None
    save_and_reload(tmp_path)
    obj = next(obj for obj in bpy.data.objects if obj.library is None)
    assert (obj.override_library is not None, obj.material_slots[0].material.name) == (True, made)
    assert np.array_equal(texels(image_of(obj.material_slots[0].material)), texture.image)
    assert [material.name for material in obj.data.materials] == ["Paint"]
    apply.restore_original(obj, discard=True)
    save_and_reload(tmp_path)
    obj = next(obj for obj in bpy.data.objects if obj.library is None)
    assert (obj.material_slots[0].link, obj.material_slots[0].material.name) == ("DATA", "Paint")


@pytest.mark.parametrize(
    ("materials", "texture", "missing"),
    [
        (["Paint"], scene.VertexTexture(colors=np.zeros((8, 3), np.uint8)), "a colour attribute"),
        ([], random_texture(), "a material slot"),
    ],
)
def test_nothing_is_added_to_a_linked_mesh(
    tmp_path: Path, materials: list[str], texture: scene.Texture, missing: str
) -> None:
    obj = linked(tmp_path, *materials)
    before = names_in_file()
    with pytest.raises(errors.InvalidInput, match=f"'Box' needs {missing}.*linked.*Make the mesh local"):
        put(obj, texture)
    assert names_in_file() == before
    assert (len(obj.data.color_attributes), len(obj.material_slots)) == (0, len(materials))


def test_an_object_in_edit_mode_is_refused() -> None:
    obj = cube("Box", shiny("Paint"))
    bpy.ops.object.mode_set(mode="EDIT")
    with pytest.raises(errors.InvalidInput, match="'Box' is in Edit Mode"):
        put(obj)
    bpy.ops.object.mode_set(mode="OBJECT")


def test_a_duplicate_that_shares_the_mesh_keeps_its_vertex_colours() -> None:
    obj = cube("Box", shiny("Paint"))
    put(obj, scene.VertexTexture(colors=np.zeros((8, 3), dtype=np.uint8)))
    twin = obj.copy()
    bpy.context.scene.collection.objects.link(twin)
    apply.restore_original(obj, discard=True)
    assert [attribute.name for attribute in obj.data.color_attributes] == [apply.ATTRIBUTE]
    assert apply.mix_socket(twin) is not None
    apply.restore_original(twin, discard=True)
    assert (len(obj.data.color_attributes), len(bpy.data.node_groups)) == (0, 0)


def test_the_active_colour_attribute_stays_the_artists() -> None:
    obj = cube("Box", shiny("Paint"))
    obj.data.color_attributes.new("Mine", "BYTE_COLOR", "CORNER")
    put(obj, scene.VertexTexture(colors=np.zeros((8, 3), dtype=np.uint8)))
    attributes = obj.data.color_attributes
    assert attributes.active_color.name == "Mine"
    assert attributes[attributes.render_color_index].name == "Mine"
