"""How materials reflect, as it is read; and what is said of all that is not modelled."""

from __future__ import annotations

from typing import Any

import bpy
import pytest

from blender_addon import collect
from blender_addon.collect.surface import read_surface, reflectance
from shared.scene import Surface


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def material(kind: str = "BsdfPrincipled", name: str = "Material", **inputs: Any) -> Any:
    made = bpy.data.materials.new(name)
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    tree = made.node_tree
    tree.nodes.clear()
    shader, output = tree.nodes.new(f"ShaderNode{kind}"), tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    for socket, value in inputs.items():
        shader.inputs[socket.replace("_", " ")].default_value = value
    return made


def shader_of(made: Any) -> Any:
    return next(node for node in made.node_tree.nodes if node.outputs and node.outputs[0].type == "SHADER")


def cube(*materials: Any) -> Any:
    bpy.ops.mesh.primitive_cube_add()
    for made in materials:
        bpy.context.object.data.materials.append(made)
    return bpy.context.object


def left_out(*materials: Any) -> tuple[str, ...]:
    return collect.collect(bpy.context, cube(*materials), mask=None).left_out


def test_a_principled_surface_is_read_as_it_is_set() -> None:
    found = read_surface(material(Roughness=0.25, Metallic=0.5, Specular_Tint=(1.0, 0.5, 0.25, 1.0)))
    assert found.roughness == pytest.approx(0.25)
    assert found.metallic == pytest.approx(0.5)
    assert found.specular == pytest.approx(0.04)
    assert found.specular_tint == pytest.approx((1.0, 0.5, 0.25))


@pytest.mark.parametrize(
    ("ior", "level", "expected"), [(1.5, 0.5, 0.04), (1.5, 1.0, 0.08), (1.33, 0.5, 0.02006), (1.5, 0, 0)]
)
def test_reflectance_follows_from_index_and_level(ior: float, level: float, expected: float) -> None:
    assert reflectance(ior, level) == pytest.approx(expected, abs=1e-5)


def test_diffuse_shaders_and_no_material_are_matte() -> None:
    assert read_surface(None) == Surface()
    assert read_surface(material("BsdfDiffuse")) == Surface()


def test_a_glossy_shader_is_metal() -> None:
    found = read_surface(material("BsdfGlossy", Roughness=0.5))
    assert (found.metallic, found.roughness) == (1.0, pytest.approx(0.5))


def test_a_linked_image_counts_with_its_mean() -> None:
    made = material()
    node = made.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = bpy.data.images.new("rough", 4, 4, float_buffer=True)
    node.image.pixels.foreach_set([0.25, 0.25, 0.25, 1.0] * 8 + [0.75, 0.75, 0.75, 1.0] * 8)
    made.node_tree.links.new(node.outputs["Color"], shader_of(made).inputs["Roughness"])
    assert read_surface(made).roughness == pytest.approx(0.5)
    assert left_out(made) == ("Material 'Material' varies in roughness: its mean or set value is used.",)


def test_each_triangle_has_the_surface_of_its_slot() -> None:
    obj = cube(material(Roughness=0.1), material(Roughness=0.9))
    for number, polygon in enumerate(obj.data.polygons):
        polygon.material_index = number % 2
    mesh = collect.collect(bpy.context, obj, mask=None).scene.mesh
    assert mesh.surface is not None
    assert [mesh.surfaces[index].roughness for index in mesh.surface] == pytest.approx([0.1, 0.1, 0.9, 0.9] * 3)


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({"Transmission_Weight": 1.0}, "lets light through"),
        ({"Subsurface_Weight": 0.5}, "scatters light below its surface"),
        ({"Coat_Weight": 0.5}, "has a coat"),
        ({"Sheen_Weight": 0.5}, "has a sheen"),
        ({"Emission_Color": (1, 1, 1, 1), "Emission_Strength": 2.0}, "gives off light"),
        ({"Alpha": 0.5}, "is see-through"),
    ],
)
def test_what_is_not_modelled_is_named(inputs: dict[str, Any], what: str) -> None:
    assert left_out(material(name="Odd", **inputs)) == (f"Material 'Odd' {what}.",)


def test_displacement_and_volume_are_named() -> None:
    made = material(name="Odd")
    tree = made.node_tree
    output = tree.get_output_node("CYCLES")
    for kind, socket in (("Displacement", "Displacement"), ("VolumeScatter", "Volume")):
        tree.links.new(tree.nodes.new(f"ShaderNode{kind}").outputs[0], output.inputs[socket])
    assert left_out(made) == ("Material 'Odd' is displaced.", "Material 'Odd' has a volume.")


def test_a_plain_material_leaves_nothing_out() -> None:
    assert left_out(material(Roughness=0.3)) == ()


def test_a_material_that_no_face_has_is_not_spoken_of() -> None:
    assert left_out(material(), material(name="Unused", Transmission_Weight=1.0)) == ()


def test_odd_lights_are_named_when_they_are_used() -> None:
    obj = cube()
    data = bpy.data.lights.new("Lamp", "POINT")
    data.energy, data.use_shadow = 100.0, False
    lamp = bpy.data.objects.new("Lamp", data)
    lamp.location, lamp.scale = (0, -3, 3), (1, 2, 1)
    bpy.context.scene.collection.objects.link(lamp)
    own = collect.collect(bpy.context, obj, mask=None).left_out
    assert own == ("Light 'Lamp' is scaled unevenly.", "Light 'Lamp' casts no shadow in Blender.")
    around = collect.RigChoice(lights="around")
    assert collect.collect(bpy.context, obj, mask=None, rig=around).left_out == ()
