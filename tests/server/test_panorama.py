"""Surroundings as pictures: what they bring to a surface, how they turn, and where things are in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from compute_server.render import panorama

NORMALS = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)


def _bright(direction: tuple[float, float, float], rows: int = 64) -> torch.Tensor:
    """A black panorama with one bright pixel in `direction`, which brings 1 W/m² to a surface that faces it."""
    toward, solid = panorama.directions(rows, torch.device("cpu"))
    pixel = int((toward @ torch.tensor(direction)).argmax())
    picture = torch.zeros(2 * rows * rows, 3)
    picture[pixel] = 1 / solid[pixel]
    return picture.reshape(rows, 2 * rows, 3)


def test_pixels_cover_the_whole_sphere() -> None:
    toward, solid = panorama.directions(32, torch.device("cpu"))
    assert float(solid.sum()) == pytest.approx(4 * math.pi, rel=1e-5)
    torch.testing.assert_close((toward * solid[:, None]).sum(dim=0), torch.zeros(3), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("direction", "u", "v"),
    [((1, 0, 0), 0.5, 0.5), ((0, -1, 0), 0.75, 0.5), ((0, 1, 0), 0.25, 0.5), ((0, 0, 0.999999), None, 1.0)],
)
def test_directions_lie_where_the_shared_scene_says(direction: tuple[float, ...], u: float | None, v: float) -> None:
    picture = torch.zeros(64, 128, 3)
    rows, columns = (torch.arange(64) + 0.5) / 64, (torch.arange(128) + 0.5) / 128
    picture[..., 0], picture[..., 1] = columns, rows[:, None]
    found = panorama.look_up(
        picture, torch.nn.functional.normalize(torch.tensor([direction], dtype=torch.float32), dim=1)
    )[0]
    assert float(found[1]) == pytest.approx(v, abs=0.01)
    if u is not None:
        assert float(found[0]) == pytest.approx(u, abs=0.01)


def test_a_uniform_surrounding_brings_pi_times_its_radiance_to_every_surface() -> None:
    tables = panorama.prepare(torch.full((128, 256, 3), 0.5))
    found = panorama.look_up(tables.irradiance, NORMALS)
    torch.testing.assert_close(found, torch.full_like(found, math.pi * 0.5), rtol=2e-3, atol=0)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.6, -0.3, 0.4), (-0.5, 0.8, 0.1)])
def test_a_small_bright_spot_shines_like_a_sun(direction: tuple[float, float, float]) -> None:
    toward = torch.nn.functional.normalize(torch.tensor(direction), dim=0)
    tables = panorama.prepare(_bright(tuple(toward.tolist())))
    found = panorama.look_up(tables.irradiance, NORMALS)[:, 0]
    # Its place is that of a pixel of 2.8°, and the table's cells are 5.6°: where it sets, their mean is not its edge.
    torch.testing.assert_close(found, (NORMALS @ toward).clamp_min(0), rtol=0, atol=0.05)


def test_turning_a_panorama_moves_what_it_shows_counter_clockwise() -> None:
    tables = panorama.prepare(_bright((1.0, 0.0, 0.0)))
    toward = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    to_y, to_x = panorama.look_up(tables.irradiance, toward, math.pi / 2)[:, 0].tolist()
    assert to_y == pytest.approx(1.0, abs=0.05)
    assert to_x == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("turn", [0.0, 0.3, -2.0])
def test_compiled_looks_equal_the_definition(turn: float) -> None:
    directions = torch.randn(5000, 3, generator=torch.Generator().manual_seed(1))
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    toward = torch.nn.functional.normalize(torch.cat([axes, directions]), dim=1)
    picture = torch.rand(32, 64, 3, generator=torch.Generator().manual_seed(2))
    found = panorama.look_up(picture, toward, turn)
    defined = panorama.look_up_reference(picture.double(), toward.double(), turn)
    # At a pole every azimuth is right: only there is it that of a zero.
    torch.testing.assert_close(found[6:].double(), defined[6:], rtol=0, atol=2e-4)
    assert ((found >= 0) & (found <= 1)).all()


def test_a_panorama_of_one_row_is_the_same_at_every_height() -> None:
    found = panorama.look_up(torch.full((1, 2, 3), 0.5), NORMALS)
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_direction_that_is_no_number_reads_nothing_outside_the_table(wrong: float) -> None:
    directions = torch.nn.functional.normalize(torch.randn(1000, 3), dim=1)
    directions[::7] = wrong
    directions[::5, 1] = wrong
    found = panorama.look_up(torch.rand(32, 64, 3), directions, 0.3)
    right = directions.isfinite().all(dim=1)
    assert ((found[right] >= 0) & (found[right] <= 1)).all()


def test_harmonics_are_orthonormal() -> None:
    toward, solid = panorama.directions(64, torch.device("cpu"))
    values = panorama.harmonics(toward)
    product = (values * solid[:, None]).T @ values
    torch.testing.assert_close(product, torch.eye(16), rtol=0, atol=2e-3)


@pytest.mark.parametrize("turn", [0.3, -2.0])
def test_coefficients_turn_as_the_picture_does(turn: float) -> None:
    toward, solid = panorama.directions(64, torch.device("cpu"))
    smooth = torch.exp(toward @ torch.tensor([0.8, -0.5, 0.4]))[:, None].expand(-1, 3)
    shown = torch.exp(panorama.turned(toward, turn) @ torch.tensor([0.8, -0.5, 0.4]))[:, None].expand(-1, 3)
    project = (panorama.harmonics(toward) * solid[:, None]).T
    torch.testing.assert_close(panorama.turned_harmonics(project @ smooth, turn), project @ shown, rtol=0, atol=5e-3)


def test_a_rough_mirror_blurs_and_keeps_the_mean() -> None:
    picture = _bright((1.0, 0.0, 0.0)) + 0.1
    sharp, rough = (panorama.reflected(picture, roughness) for roughness in (0.3, 0.9))
    assert float(sharp.max()) > 3 * float(rough.max())
    uniform = panorama.reflected(torch.full((64, 128, 3), 0.7), 0.5)
    torch.testing.assert_close(uniform, torch.full_like(uniform, 0.7), rtol=1e-4, atol=0)


def test_a_very_smooth_mirror_shows_the_picture_itself() -> None:
    picture = torch.rand(16, 32, 3)
    assert panorama.reflected(picture, 0.05) is picture


def test_the_seam_behind_is_no_seam() -> None:
    picture = torch.rand(32, 64, 3)
    angles = torch.tensor([math.pi - 1e-3, -math.pi + 1e-3])
    near = torch.stack([torch.cos(angles), torch.sin(angles), torch.zeros(2)], dim=1)
    left, right = panorama.look_up(picture, near)
    np.testing.assert_allclose(left, right, atol=0.02)
