"""What a job is shown in straight-through mode is what Blender renders, and nothing of the file changes by it."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import collect, straight_through
from blender_addon._shared import messages, scene
from blender_addon.collect import rigs

SIZE = 32
RED, BLUE = (220, 20, 20), (20, 20, 220)
DAYLIGHT = scene.LightState(name="day", world=(1.0, 1.0, 1.0))


@pytest.fixture
def obj(context: Any) -> Any:
    context.scene.view_settings.view_transform = "Standard"
    bpy.ops.mesh.primitive_cube_add()
    context.object.data.materials.append(bpy.data.materials.new("Paint"))
    return context.object


def draw(context: Any, obj: Any, texture: scene.Texture, **options: Any) -> np.ndarray:
    eye = np.array((0.0, -8.0, 0.0))
    camera = scene.Camera(
        name="front",
        view=rigs.look_at(eye, (0.0, 0.0, 0.0)),
        projection=np.array([[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, -1.02, -0.2], [0, 0, -1, 0]], dtype=np.float64),
    )
    view = scene.View(camera=camera, lights=DAYLIGHT, background=np.full((2, 2, 3), 128, np.uint8))
    asked = messages.Draw(job_id="a", step=3, views=(view,), texture=texture, size=SIZE)
    uv_map = obj.data.uv_layers.active.name
    options = {"uv_map": uv_map, "samples": 8, "panoramas": None, **options}
    return straight_through.draw(context, obj, asked, **options)[0]


def texture(color: tuple[int, int, int]) -> scene.UvTexture:
    return scene.UvTexture(np.broadcast_to(np.array(color, np.uint8), (8, 8, 3)).copy())


def test_the_texture_that_is_asked_for_is_on_the_object_in_the_picture_only(context: Any, obj: Any) -> None:
    materials, images = list(obj.data.materials), set(bpy.data.images)
    for color, strongest in ((RED, 0), (BLUE, 2)):
        middle = draw(context, obj, texture(color))[SIZE // 2, SIZE // 2]
        assert middle.argmax() == strongest
    assert list(obj.data.materials) == materials
    assert set(bpy.data.images) == images
    assert obj.material_slots[0].link == "DATA"


def test_what_stands_before_the_object_hides_it(context: Any, obj: Any) -> None:
    bpy.ops.mesh.primitive_plane_add(size=1.0, location=(0, -3, 0), rotation=(np.pi / 2, 0, 0))
    picture = draw(context, obj, texture(RED))
    middle, beside = picture[SIZE // 2, SIZE // 2].astype(int), picture[SIZE // 2, SIZE // 2 - 9].astype(int)
    assert middle.max() - middle.min() < 40, "the grey plane"
    assert beside[0] > beside[1] + 100, "the red box"


def test_the_file_is_as_before_when_a_render_is_given_up(context: Any, obj: Any) -> None:
    class Enough(Exception):
        pass

    def stop(_count: int) -> None:
        raise Enough

    materials, images = set(bpy.data.materials), set(bpy.data.images)
    with pytest.raises(Enough):
        draw(context, obj, texture(RED), on_view=stop)
    assert (set(bpy.data.materials), set(bpy.data.images)) == (materials, images)
    assert collect.find_object(context, obj.name).material_slots[0].material.name == "Paint"
