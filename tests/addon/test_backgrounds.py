"""Folders of pictures and panoramas arrive as what they show, upright, and leave no trace in the Blender file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from blender_addon import backgrounds  # noqa: E402
from blender_addon._shared import errors  # noqa: E402
from blender_addon.backgrounds import read_panoramas, read_pictures  # noqa: E402
from blender_addon.collect import color  # noqa: E402

pytestmark = pytest.mark.usefixtures("context")

FORMATS = {".png": "PNG", ".exr": "OPEN_EXR", ".hdr": "HDR"}
MID_GREY = 118  # 0.18 on the sRGB curve, as a byte


def write(path: Path, pixels: np.ndarray) -> None:
    """Save pixels [H, W, 3], row 0 at the top: display-encoded for .png, linear for .exr and .hdr."""
    height, width = pixels.shape[:2]
    image = bpy.data.images.new("Written", width, height, float_buffer=path.suffix != ".png")
    image.colorspace_settings.is_data = True  # Blender would save floats encoded
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = pixels[::-1]
    image.pixels.foreach_set(rgba.reshape(-1))
    image.filepath_raw, image.file_format = str(path), FORMATS[path.suffix]
    image.save()
    bpy.data.images.remove(image)


def flat(value: float, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.float32)


def write_levels(folder: Path, count: int) -> None:
    """Grey pictures; that with number n has all bytes n."""
    for number in range(count):
        write(folder / f"{number:03d}.png", flat(number / 255))


def directions(height: int) -> np.ndarray:
    """The unit vectors [H, 2 H, 3] that Blender shows an equirectangular image in, row 0 at the top."""
    elevation = math.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    azimuth = 2 * math.pi * ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5)[None]  # to the right
    level = np.cos(elevation)
    x, y, z = level * np.cos(azimuth), -level * np.sin(azimuth), np.sin(elevation) * np.ones_like(azimuth)
    return np.stack([x, y, z], axis=-1).astype(np.float32)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_arrives_byte_for_byte_with_row_0_at_the_top(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    write(tmp_path / "a.png", pixels / 255)
    read = read_pictures(str(tmp_path), size=16)
    assert read.dtype == np.uint8
    assert np.array_equal(read, pixels[None])


@pytest.mark.parametrize("wide", [True, False])
def test_the_middle_of_a_picture_is_taken_in_proportion(tmp_path: Path, wide: bool) -> None:
    pixels = flat(0.0, 40, 80)
    pixels[10:30, 30:50] = 1.0
    pixels[:, :16] = pixels[:, -16:] = 0.5
    write(tmp_path / "a.png", pixels if wide else pixels.transpose(1, 0, 2))
    (read,) = read_pictures(str(tmp_path), size=20)
    wanted = np.zeros((20, 20, 3))
    wanted[5:15, 5:15] = 255
    assert np.allclose(read, wanted, atol=1)


def test_pictures_come_by_name_whatever_their_size(tmp_path: Path) -> None:
    for name, value, size in (("b.png", 0.4, 7), ("a.png", 0.2, 300), ("c.PNG", 0.6, 128)):
        write(tmp_path / name.lower(), flat(value, size, 2 * size + 1))
        (tmp_path / name.lower()).rename(tmp_path / name)
    read = read_pictures(str(tmp_path))
    assert read.shape == (3, 128, 128, 3)
    assert read[:, 64, 64, 0].tolist() == [51, 102, 153]


def test_of_too_many_pictures_an_even_choice_is_taken(tmp_path: Path) -> None:
    write_levels(tmp_path, 9)
    assert read_pictures(str(tmp_path), size=4, limit=5)[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8]
    assert read_pictures(str(tmp_path), size=4, limit=9)[:, 0, 0, 0].tolist() == list(range(9))


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_a_float_picture_is_exposed_to_mid_grey_and_clipped(tmp_path: Path, suffix: str) -> None:
    pixels = flat(25.0, 9, 9)
    pixels[:2], pixels[-2:] = 0.0, 5000.0
    write(tmp_path / f"a{suffix}", pixels)
    (read,) = read_pictures(str(tmp_path), size=9)
    assert read[:, 4, 1].tolist() == pytest.approx([0, 0, *[MID_GREY] * 5, 255, 255], abs=1)


@pytest.mark.filterwarnings("error")  # bytes of NaN are what the machine makes of it
def test_a_black_float_picture_stays_black_and_nan_counts_as_black(tmp_path: Path) -> None:
    write(tmp_path / "a.exr", flat(0.0))
    write(tmp_path / "b.exr", np.where(np.arange(8)[None, :, None] < 2, np.nan, flat(1.0)))
    black, partly = read_pictures(str(tmp_path), size=8)
    assert not black.any()
    assert partly[0, :, 0].tolist() == pytest.approx([0, 0, *[MID_GREY] * 6], abs=1)


# --- panoramas --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".exr"])
def test_views_show_each_direction_where_a_level_camera_does(tmp_path: Path, suffix: str) -> None:
    """Colours are directions: every pixel of a view says where it looks."""
    shown = directions(256) * 0.5 + 0.5
    write(tmp_path / f"sky{suffix}", shown if suffix == ".png" else color.decode(shown))
    views = read_panoramas(str(tmp_path), size=33)
    assert views.shape == (backgrounds.AZIMUTHS, 33, 33, 3)
    places = ((np.arange(33) + 0.5) / 33 * 2 - 1) * math.tan(math.radians(30))
    right, up = np.meshgrid(places, -places)
    for turn, view in zip(np.radians([0, 60, 120, 180, 240, 300]), views, strict=True):
        ahead, aside = (math.cos(turn), -math.sin(turn)), (-math.sin(turn), -math.cos(turn))
        wanted = np.stack([ahead[0] + right * aside[0], ahead[1] + right * aside[1], up], axis=-1)
        wanted /= np.linalg.norm(wanted, axis=-1, keepdims=True)
        seen = view / 255 if suffix == ".png" else unexposed(view, shown)
        assert np.abs(seen * 2 - 1 - wanted).max() < 0.04


def unexposed(view: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Bytes of a view into the linear image of `shown` as they were before its median became mid grey."""
    median = np.median(color.decode(shown) @ np.array((0.2126, 0.7152, 0.0722)))
    return color.encode(color.decode(view / 255) * median / 0.18)


def test_the_first_view_sees_what_cycles_sees_along_x(context: Any, tmp_path: Path) -> None:
    """A red patch up right of the middle, a green one down left."""
    pixels = flat(0.2, 64, 128)
    pixels[22:28, 68:74], pixels[36:42, 54:60] = (1, 0, 0), (0, 1, 0)
    write(tmp_path / "sky.png", pixels)
    (view, *_) = read_panoramas(str(tmp_path), size=32)
    cycles = render_along_x(context, tmp_path / "sky.png", tmp_path / "render.png")
    for channel in (0, 1):
        ours, theirs = (np.argwhere(seen[..., channel] > seen[..., 1 - channel] + 60.0) for seen in (view, cycles))
        assert len(ours) == pytest.approx(len(theirs), rel=0.25)
        assert np.allclose(ours.mean(axis=0), theirs.mean(axis=0), atol=0.5)


def render_along_x(context: Any, sky: Path, target: Path) -> np.ndarray:
    """What a level camera of 60° that looks along +X sees of the image around the world, [32, 32, 3], row 0 on top."""
    scene = context.scene
    scene.world = bpy.data.worlds.new("Sky")
    if bpy.app.version < (5, 0):
        scene.world.use_nodes = True
    nodes = scene.world.node_tree.nodes
    image = nodes.new("ShaderNodeTexEnvironment")
    image.image = bpy.data.images.load(str(sky), check_existing=False)
    background = next(node for node in nodes if node.type == "BACKGROUND")
    scene.world.node_tree.links.new(image.outputs["Color"], background.inputs["Color"])
    data = bpy.data.cameras.new("Level")
    data.angle = math.radians(60)
    scene.camera = bpy.data.objects.new("Level", data)
    scene.camera.rotation_euler = (math.pi / 2, 0, -math.pi / 2)
    scene.collection.objects.link(scene.camera)
    scene.render.engine, scene.cycles.samples = "CYCLES", 16
    scene.render.resolution_x = scene.render.resolution_y = 32
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath = str(target)
    bpy.ops.render.render(write_still=True)
    (read,) = read_pictures(str(only(target)), size=32)
    return read


def only(path: Path) -> Path:
    """A new folder with nothing but the file."""
    folder = path.parent / "only"
    folder.mkdir()
    path.rename(folder / path.name)
    return folder


def test_of_too_many_panoramas_few_are_looked_into_all_around(tmp_path: Path) -> None:
    for number, level in enumerate((0.2, 0.4, 0.6)):
        write(tmp_path / f"{number}.png", flat(level))
    views = read_panoramas(str(tmp_path), size=8, limit=12)
    assert views[:, 4, 4, 0].tolist() == [51] * 6 + [153] * 6
    assert len(read_panoramas(str(tmp_path), size=8)) == 18


def test_the_same_folder_gives_the_same_views(tmp_path: Path) -> None:
    write(tmp_path / "a.exr", directions(64) + 1)
    assert np.array_equal(read_panoramas(str(tmp_path)), read_panoramas(str(tmp_path)))


# --- what is left out, and what is refused ----------------------------------------------------------------------------


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "b.png", flat(1.0))
    (tmp_path / "a.png").write_bytes(b"no picture")
    (tmp_path / "c.jpg").touch()
    (tmp_path / "d.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    (tmp_path / "._b.png").write_bytes((tmp_path / "b.png").read_bytes())
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    assert read_pictures(str(tmp_path), size=4).shape == (1, 4, 4, 3)
    assert read_panoramas(str(tmp_path), size=4).shape == (6, 4, 4, 3)


@pytest.mark.parametrize("read", [read_pictures, read_panoramas])
def test_a_folder_without_a_readable_image_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(errors.InvalidInput, match=f"{tmp_path.name}.*has no image that Blender can read"):
        read(str(tmp_path))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(errors.InvalidInput, match=f"{tmp_path.name}.*has no image that Blender can read"):
        read(str(tmp_path))
    with pytest.raises(errors.InvalidInput, match=r"'.*/gone' does not exist"):
        read(str(tmp_path / "gone"))
    with pytest.raises(errors.InvalidInput, match="No folder of backgrounds is chosen"):
        read("")


def test_a_folder_may_be_given_relative_to_the_blend_file(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    write(tmp_path / "pictures" / "a.png", flat(1.0))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    assert read_pictures("//pictures", size=4).all()


def test_images_of_the_file_stay_and_no_others_are_left(tmp_path: Path) -> None:
    for name in ("a.png", "b.exr"):
        write(tmp_path / name, flat(0.5))
    (tmp_path / "c.png").write_bytes(b"no picture")
    own = bpy.data.images.load(str(tmp_path / "a.png"))
    read_pictures(str(tmp_path), size=4)
    read_panoramas(str(tmp_path), size=4)
    assert list(bpy.data.images) == [own]
    assert (own.name, tuple(own.size)) == ("a.png", (8, 8))
