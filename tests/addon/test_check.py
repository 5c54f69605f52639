"""Cycles sees what the view says, and the artist's file is as before afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import check
from blender_addon._shared import scene
from blender_addon.collect import color, rigs, view_transform

SIZE = 32
GREY = np.full((2, 2, 3), 128, dtype=np.uint8)
SUN = scene.LightState(name="sun", lights=(scene.SunLight(power=(2.0, 2.0, 2.0), direction=(0.0, 0.0, -1.0)),))
OVERCAST = scene.LightState(name="overcast", world=(0.5, 0.5, 0.5))


@pytest.fixture(autouse=True)
def _empty_scene(context: Any) -> None:
    """Every test starts from an empty file, whose colours are shown as they are."""
    context.scene.view_settings.view_transform = "Standard"


def plane(*, size: float = 2.0) -> Any:
    bpy.ops.mesh.primitive_plane_add(size=size)
    material = bpy.data.materials.new("Matte")
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Base Color"].default_value = (0.5, 0.5, 0.5, 1.0)
    shader.inputs["Specular IOR Level"].default_value = 0.0
    shader.inputs["Roughness"].default_value = 1.0
    bpy.context.object.data.materials.append(material)
    return bpy.context.object


def from_above(lights: scene.LightState = SUN, background: np.ndarray = GREY) -> scene.View:
    """The plane fills the middle half of the frame."""
    camera = scene.Camera(
        name="above",
        view=rigs.look_at(np.array((0.0, 0.0, 10.0)), (0.0, 0.0, 0.0)),
        projection=np.array([[5, 0, 0, 0], [0, 5, 0, 0], [0, 0, -1.02, -0.2], [0, 0, -1, 0]], dtype=np.float64),
    )
    return scene.View(camera=camera, lights=lights, background=background)


def render(obj: Any, *views: scene.View, **options: Any) -> np.ndarray:
    return check.render_views(bpy.context, obj, views, size=SIZE, samples=4, **options)


def encoded(linear: float) -> int:
    return int(color.to_bytes(color.encode(np.array(linear, np.float32))))


def datablocks() -> dict[str, set[str]]:
    kinds = ("scenes", "objects", "meshes", "cameras", "lights", "worlds", "images", "materials", "collections")
    return {kind: {item.name for item in getattr(bpy.data, kind)} for kind in kinds}


def test_a_lit_plane_has_the_radiance_of_lambert() -> None:
    picture = render(plane(), from_above())[0]
    middle = picture[SIZE // 2 - 4 : SIZE // 2 + 4, SIZE // 2 - 4 : SIZE // 2 + 4]
    assert np.abs(middle.astype(int) - encoded(0.5 * 2.0 / np.pi)).max() <= 1


def test_the_world_lights_evenly_and_is_not_seen() -> None:
    picture = render(plane(), from_above(OVERCAST))[0]
    assert abs(int(picture[SIZE // 2, SIZE // 2, 0]) - encoded(0.25)) <= 2
    assert (picture[0] == 128).all()


def test_the_background_is_stretched_with_its_top_row_at_the_top() -> None:
    background = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    background[0, :, 0] = 250
    background[:, -1, 2] = 240
    picture = render(plane(), from_above(background=background))[0]
    assert (picture[0, :-1] == (250, 0, 0)).all()
    assert (picture[1:, -1] == (0, 0, 240)).all()


def test_the_top_of_the_picture_is_the_top_of_the_camera() -> None:
    obj = plane()
    obj.location = (0.0, 1.5, 0.0)
    picture = render(obj, from_above())[0]
    assert (picture[-4:] == 128).all()
    assert (picture[4, SIZE // 2] != 128).any()


def test_an_edge_is_mixed_in_linear_light() -> None:
    rgba = np.zeros((1, 1, 4), dtype=np.float32)
    rgba[0, 0] = (0.5, 0.5, 0.5, 0.5)
    black = np.zeros((1, 1, 3), dtype=np.uint8)
    assert color.to_bytes(color.encode(check.over_background(rgba, black)))[0, 0].tolist() == [188, 188, 188]


@pytest.mark.parametrize("source", [8, 64])
def test_backgrounds_are_stretched_as_the_server_does_it(source: int) -> None:
    torch = pytest.importorskip("torch")
    picture = np.random.default_rng(0).random((source, source + 3, 3), dtype=np.float32)
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None]
    wanted = torch.nn.functional.interpolate(planes, (SIZE, SIZE), mode="bilinear", antialias=True)[0].permute(1, 2, 0)
    assert np.allclose(check._stretched(picture, SIZE, SIZE), wanted.numpy(), atol=1e-5)


def test_the_same_views_give_the_same_pictures() -> None:
    obj = plane()
    assert np.array_equal(render(obj, from_above(OVERCAST)), render(obj, from_above(OVERCAST)))


def test_every_view_is_in_its_own_light_and_reported() -> None:
    done: list[int] = []
    pictures = render(plane(), from_above(SUN), from_above(OVERCAST), on_view=done.append)
    assert done == [1, 2]
    assert pictures.shape == (2, SIZE, SIZE, 3)
    assert (pictures[0] != pictures[1]).any()


def test_no_views_give_no_pictures() -> None:
    assert render(plane()).shape == (0, SIZE, SIZE, 3)


def test_an_object_hidden_in_renders_is_seen_and_stays_hidden() -> None:
    obj = plane()
    obj.hide_render = True
    assert (render(obj, from_above())[0, SIZE // 2, SIZE // 2] != 128).all()
    assert obj.hide_render


def test_other_objects_of_the_file_are_not_seen() -> None:
    obj = plane()
    bpy.ops.mesh.primitive_cube_add(location=(0.0, 0.0, 3.0))
    with_cube = render(obj, from_above())
    bpy.data.objects.remove(bpy.context.object)
    assert np.array_equal(with_cube, render(obj, from_above()))


def test_the_file_is_as_before() -> None:
    obj = plane()
    before, current = datablocks(), bpy.context.scene
    render(obj, from_above(), from_above(OVERCAST))
    assert datablocks() == before
    assert bpy.context.scene == current
    assert bpy.context.scene.world is None
    assert list(obj.users_scene) == [current]


def test_the_file_is_as_before_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    obj = plane()
    before = datablocks()
    monkeypatch.setattr(rigs, "make_lights", _half_done(rigs.make_lights))
    with pytest.raises(RuntimeError, match="half-way"):
        render(obj, from_above())
    assert datablocks() == before


def _half_done(make: Callable[..., Any]) -> Callable[..., Any]:
    def failing(*arguments: Any) -> Any:
        make(*arguments)
        raise RuntimeError("half-way")

    return failing


# --- as the artist's scene shows it -----------------------------------------------------------------------------------


def test_the_scenes_own_view_is_applied_to_object_and_background_alike() -> None:
    obj, bright = plane(), np.full((2, 2, 3), 240, np.uint8)
    standard = render(obj, from_above(background=bright))[0]
    bpy.context.scene.view_settings.view_transform = "AgX"
    agx = render(obj, from_above(background=bright))[0]
    linear = np.stack([color.decode(standard[SIZE // 2, SIZE // 2] / 255), color.decode(bright[0, 0] / 255)])
    with view_transform.developing(bpy.context.scene) as develop:
        wanted = color.to_bytes(develop(linear.astype(np.float32)))
    # The standard picture is rounded to 8 bits before it is made linear again.
    np.testing.assert_allclose(agx[SIZE // 2, SIZE // 2], wanted[0], atol=1)
    np.testing.assert_allclose(agx[0, 0], wanted[1], atol=1)
    assert agx[0, 0, 0] < 220


def test_a_panorama_is_the_world_of_its_views() -> None:
    panorama = np.full((1, 8, 16, 3), 0.5, np.float32)
    state = scene.LightState(name="around", world=(1.0, 1.0, 1.0), panorama=0)
    picture = check.render_views(bpy.context, plane(), [from_above(state)], size=SIZE, samples=64, panoramas=panorama)
    middle = picture[0, SIZE // 2 - 4 : SIZE // 2 + 4, SIZE // 2 - 4 : SIZE // 2 + 4]
    assert middle.mean() == pytest.approx(encoded(0.25), abs=1)


def test_neighbours_shade_the_object_and_are_not_seen() -> None:
    obj = plane()
    bpy.ops.mesh.primitive_plane_add(size=1.0, location=(0, 0, 2))
    roof = bpy.context.object
    before = datablocks()
    alone, among = (render(obj, from_above(), neighbours=which)[0] for which in ("none", "unseen"))
    assert datablocks() == before
    assert roof.visible_camera
    middle, beside = (SIZE // 2, SIZE // 2), (SIZE // 2, SIZE // 2 + 6)
    assert alone[middle][0] == pytest.approx(encoded(1 / np.pi), abs=1)
    assert among[middle][0] < 10
    np.testing.assert_allclose(among[beside], alone[beside], atol=6)  # a little less of the sky's bounce


def test_pictures_need_not_be_square() -> None:
    camera = scene.Camera(
        name="wide",
        view=rigs.look_at(np.array((0.0, 0.0, 10.0)), (0.0, 0.0, 0.0)),
        projection=np.array([[2.5, 0, 0, 0], [0, 5, 0, 0], [0, 0, -1.02, -0.2], [0, 0, -1, 0]], dtype=np.float64),
        aspect=2.0,
    )
    view = scene.View(camera=camera, lights=SUN, background=GREY)
    picture = check.render_views(bpy.context, plane(), [view], size=(16, 32), samples=4)[0]
    lit = picture[..., 0] != 128
    assert picture.shape == (16, 32, 3)
    assert (lit.any(axis=0).sum(), lit.any(axis=1).sum()) == (8, 8)  # a square plane stays square


def test_eevee_shows_the_same_where_there_is_a_display_or_a_driver_without_one(tmp_path: Path) -> None:
    """In a process of its own: where there is neither, Blender may end in the attempt."""
    code = f"""
import bpy, numpy as np, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
bpy.context.scene.view_settings.view_transform = "Standard"
import test_check as t
obj = t.plane()
pictures = [t.render(obj, t.from_above(), engine=engine) for engine in ("cycles", "eevee")]
np.save({str(tmp_path / "both.npy")!r}, np.stack(pictures))
"""
    try:
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        pytest.skip("EEVEE's shaders take more than four minutes to compile here")
    if not (tmp_path / "both.npy").is_file():
        pytest.skip(f"EEVEE does not run here: {done.stderr.strip().splitlines()[-1:]}")
    cycles, eevee = np.load(tmp_path / "both.npy")[:, 0].astype(int)
    middle = slice(SIZE // 2 - 4, SIZE // 2 + 4)
    assert np.abs(cycles - eevee)[middle, middle].mean() < 3
    assert np.abs(cycles - eevee)[:4].max() <= 1, "the background"
