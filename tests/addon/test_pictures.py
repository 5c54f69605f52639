"""What the panel shows of a running job says what the job said."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon import pictures
from blender_addon._shared import messages, scene
from blender_addon.pictures import EDGE, curve_picture, panel_picture, prepare


def preview(texture: scene.Texture) -> messages.Preview:
    return messages.Preview(job_id="a", step=1, texture=texture, worst_view=np.zeros((4, 4, 3), np.uint8))


def test_every_colour_survives_its_packing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    texels = prepare(preview(scene.UvTexture(image)), None).texels
    assert texels is not None
    assert texels.dtype == np.float32
    packed = texels.astype(np.int64)
    assert np.array_equal(np.stack([packed & 255, packed >> 8 & 255, packed >> 16], axis=-1), image)


def test_a_texture_that_is_too_large_to_show_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LARGEST", 64)
    image = np.zeros((160, 65, 3), np.uint8)
    image[3, 6] = (1, 2, 3)
    texels = prepare(preview(scene.UvTexture(image)), None).texels
    assert texels is not None
    assert texels.shape == (54, 22)
    assert texels[1, 2] == 1 + 2 * 256 + 3 * 65536


def test_vertex_colours_are_shares() -> None:
    colors = np.array([[0, 128, 255]], np.uint8)
    shown = prepare(preview(scene.VertexTexture(colors)), np.array([[0, 0, 0]]))
    assert shown.texels is None
    assert shown.colors is not None
    assert np.allclose(shown.colors, [[[0, 128 / 255, 1]] * 3])


def test_a_panel_picture_stands_upright() -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[0, :10] = (255, 0, 0)  # the left of its top row
    shown = panel_picture(picture)
    assert shown.shape == (EDGE, EDGE, 4)
    assert tuple(shown[-1, 0]) == (1, 0, 0, 1)
    assert tuple(shown[-1, -1]) == (0, 0, 0, 1)
    assert tuple(shown[0, 0]) == (0, 0, 0, 1)


def rows_of(picture: np.ndarray, column: int, color: tuple[float, float, float]) -> np.ndarray:
    return np.flatnonzero((np.abs(picture[:, column, :3] - color) < 1e-6).all(axis=1))


def test_the_curve_rises_where_confidence_does() -> None:
    picture = curve_picture([0, 100], [0.0, 1.0], [0.0, 0.0], last=100)
    heights = [rows_of(picture, column, pictures.MEAN).mean() for column in (10, 128, 245)]
    assert heights == pytest.approx([10, 128, 245], abs=2)


def test_the_curve_ends_where_the_job_is() -> None:
    picture = curve_picture([1, 50], [0.5, 0.5], [0.2, 0.2], last=100)
    assert rows_of(picture, 100, pictures.MEAN).size
    assert not rows_of(picture, 200, pictures.MEAN).size


def test_a_dip_between_two_columns_is_seen() -> None:
    steps = list(range(2000))
    mean = [0.9] * 2000
    mean[1000:1008] = [0.1] * 8
    picture = curve_picture(steps, mean, mean, last=2000)
    lowest = min(rows_of(picture, column, pictures.MEAN).min() for column in range(120, 136))
    assert lowest < 0.2 * EDGE


def test_without_a_point_there_is_only_the_grid() -> None:
    picture = curve_picture([], [], [], last=0)
    assert not rows_of(picture, 5, pictures.MEAN).size
    assert picture[0, 5, 3] > 0
