"""Worlds as panoramas: what lies where, whatever nodes make them, and nothing of it stays in the file."""

from __future__ import annotations

import math
from typing import Any

import bpy
import numpy as np
import pytest
import torch

from blender_addon.collect import rigs
from blender_addon.collect.lights import read_scene_lights
from blender_addon.collect.panorama import HEIGHT, Panoramas, render_panorama
from compute_server.render.panorama import look_up, turned
from shared.scene import LightState

DIRECTIONS = np.array(
    [(1, 0, 0), (-0.7, 0.7, 0), (0, -1, 0.2), (0.3, 0.6, -0.6), (0, 0.1, 0.99), (0.5, -0.5, 0.7)], np.float32
)
DIRECTIONS /= np.linalg.norm(DIRECTIONS, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file."""


def _world() -> tuple[Any, Any]:
    made = bpy.context.scene.world = bpy.data.worlds.new("World")
    if bpy.app.version < (5, 0):
        made.use_nodes = True
    return made, next(node for node in made.node_tree.nodes if node.type == "BACKGROUND")


def _by_direction() -> Any:
    """A world whose colour in direction d is (d + 1) / 2: every place says where it is."""
    made, background = _world()
    tree = made.node_tree
    place, add = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeVectorMath")
    add.operation, add.inputs[1].default_value, add.inputs[2].default_value = "MULTIPLY_ADD", (0.5,) * 3, (0.5,) * 3
    tree.links.new(place.outputs["Generated"], add.inputs[0])
    tree.links.new(add.outputs[0], background.inputs["Color"])
    return made


def _at(picture: np.ndarray, directions: np.ndarray = DIRECTIONS) -> np.ndarray:
    return look_up(torch.from_numpy(picture), torch.from_numpy(directions)).numpy()


def test_each_direction_is_where_the_server_looks_for_it() -> None:
    picture = render_panorama(bpy.context, _by_direction())
    assert picture.shape == (HEIGHT, 2 * HEIGHT, 3)
    # A pixel is 0.7° wide; samples are spread over it, the mean is its middle's.
    np.testing.assert_allclose(_at(picture), (DIRECTIONS + 1) / 2, atol=2e-3)


def test_an_environment_image_keeps_its_place_and_its_radiance() -> None:
    made, background = _world()
    image = bpy.data.images.new("sky", 64, 32, float_buffer=True)
    pixels = np.zeros((32, 64, 4), np.float32)
    pixels[20, 48] = (50.0, 20.0, 5.0, 1.0)
    image.pixels.foreach_set(pixels.ravel())
    node = made.node_tree.nodes.new("ShaderNodeTexEnvironment")
    node.image, node.interpolation = image, "Closest"
    made.node_tree.links.new(node.outputs["Color"], background.inputs["Color"])
    picture = render_panorama(bpy.context, made)
    row, column = np.unravel_index(picture[..., 0].argmax(), picture.shape[:2])
    assert (row * 32 // HEIGHT, column * 64 // (2 * HEIGHT)) == (20, 48)
    np.testing.assert_allclose(picture[row, column], (50, 20, 5), rtol=1e-3)


def test_what_only_the_camera_sees_is_no_light() -> None:
    made, background = _world()
    tree = made.node_tree
    path, seen, mix = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("LightPath", "Background", "MixShader"))
    seen.inputs["Color"].default_value, background.inputs["Color"].default_value = (0, 1, 0, 1), (0.25, 0.25, 0.25, 1)
    tree.links.new(path.outputs["Is Camera Ray"], mix.inputs[0])
    tree.links.new(background.outputs[0], mix.inputs[1])
    tree.links.new(seen.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], tree.get_output_node("CYCLES").inputs["Surface"])
    (state,) = read_scene_lights(bpy.context, panoramas := Panoramas(bpy.context))
    assert state.panorama == 0
    found = panoramas.all()
    assert found is not None
    np.testing.assert_allclose(found[0, HEIGHT // 2, 0], (0.25, 0.25, 0.25), atol=1e-3)
    assert path.outputs["Is Camera Ray"].is_linked  # the artist's own world is as it was


def test_one_world_is_one_panorama() -> None:
    panoramas = Panoramas(bpy.context)
    made = _by_direction()
    assert [panoramas.number(made), panoramas.number(made)] == [0, 0]
    assert len(panoramas.all()) == 1  # type: ignore[arg-type]


def test_reading_a_world_leaves_nothing_in_the_file() -> None:
    made = _by_direction()
    kinds = ("scenes", "images", "objects", "cameras", "worlds")
    before = {kind: list(getattr(bpy.data, kind)) for kind in kinds}
    render_panorama(bpy.context, made)
    assert before == {kind: list(getattr(bpy.data, kind)) for kind in kinds}


@pytest.mark.parametrize("turn", [0.0, 0.7, -2.5])
def test_a_world_made_from_a_panorama_shows_it_again_turned_and_tinted(turn: float) -> None:
    picture = render_panorama(bpy.context, _by_direction())
    state = LightState(name="around", world=(2.0, 1.0, 0.5), panorama=0, turn=turn)
    rigs.make_lights(bpy.context, state, bpy.context.scene.collection, picture[None])
    again = render_panorama(bpy.context, bpy.context.scene.world)
    expected = look_up(torch.from_numpy(picture), turned(torch.from_numpy(DIRECTIONS), turn)).numpy() * (2, 1, 0.5)
    np.testing.assert_allclose(_at(again), expected, atol=8e-3)


def test_a_turn_is_counter_clockwise_as_seen_from_above() -> None:
    picture = np.zeros((HEIGHT, 2 * HEIGHT, 3), np.float32)
    picture[HEIGHT // 2 - 8 : HEIGHT // 2 + 8, HEIGHT - 8 : HEIGHT + 8] = 1.0  # +X
    state = LightState(name="around", world=(1.0, 1.0, 1.0), panorama=0, turn=math.pi / 2)
    rigs.make_lights(bpy.context, state, bpy.context.scene.collection, picture[None])
    again = render_panorama(bpy.context, bpy.context.scene.world)
    to_y, to_x = _at(again, np.array([(0, 1, 0), (1, 0, 0)], np.float32))[:, 0]
    assert to_y == pytest.approx(1.0, abs=0.01)
    assert to_x == pytest.approx(0.0, abs=0.01)
