"""The confidence sphere's numbers: cells are where the survey's cameras were, and a ray meets the cell that is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blender_addon import sphere

CENTER = (2.0, -1.0, 0.5)
IDENTITY = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
ALL = sphere.Shown(1, 0, 0)


def report(confidence: Any = None, top1: Any = None, **changes: Any) -> dict[str, Any]:
    """A survey of 4 azimuths and 3 elevations: confidence rises with the cell, and the first half is wrong."""
    cells = np.arange(12) / 12 if confidence is None else np.asarray(confidence, float)
    seen = np.where(np.arange(12) < 6, 3, 7) if top1 is None else np.asarray(top1)
    survey = {
        "textures": ["before", "after"],
        "models": ["lite0"],
        "lights": ["day"],
        "azimuths": [0.0, 90.0, 180.0, 270.0],
        "elevations": [-10.0, 20.0, 50.0],
        "confidence": np.stack([0 * cells, cells]).reshape(2, 1, 1, 3, 4).tolist(),
        "top1": np.stack([seen, seen]).reshape(2, 1, 1, 3, 4).tolist(),
        "placement": {"center": CENTER, "radius": 2.0, "matrix": IDENTITY},
    }
    return {"target": {"name": "bus", "indices": [7, 8]}, "survey": {**survey, **changes}}


def around(confidence: Any = None, top1: Any = None, **changes: Any) -> sphere.Around:
    found = sphere.read(report(confidence, top1, **changes))
    assert found is not None
    return found


def middle_of(cell: int) -> np.ndarray:
    """The middle of a cell of the sphere, in the world."""
    found = around()
    return np.asarray(CENTER + found.radius * sphere.directions(*map(np.array, found.angles(cell))))


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_cell_is_right_where_top1_is_any_class_of_the_target() -> None:
    found = around(top1=[7, 8, 9, *[0] * 9])
    assert found.right[1, 0, 0].ravel().tolist() == [True, True, *[False] * 10]


@pytest.mark.parametrize("missing", ["placement", "confidence", "azimuths"])
def test_a_report_of_another_version_has_no_sphere(missing: str) -> None:
    whole = report()
    del whole["survey"][missing]
    assert sphere.read(whole) is None


@pytest.mark.parametrize("broken", [{}, {"survey": None}, report(placement=None), report(elevations=[1.0])])
def test_what_is_no_survey_is_none(broken: dict[str, Any]) -> None:
    assert sphere.read(broken) is None


# --- cells ------------------------------------------------------------------------------------------------------------


def test_cells_surround_the_object_at_the_spheres_radius() -> None:
    found = around()
    assert found.radius > 2.0
    assert np.allclose(np.linalg.norm(sphere.surface(found) - CENTER, axis=-1), found.radius)


def test_each_cell_lies_around_the_direction_of_its_camera() -> None:
    triangles = sphere.surface(around()).reshape(12, sphere.PIECES, 3, 3)
    for cell, corners in enumerate(triangles):
        middle = corners.mean(axis=(0, 1)) - CENTER
        toward = middle_of(cell) - CENTER
        assert np.dot(middle, toward) / np.linalg.norm(middle) / np.linalg.norm(toward) > 0.99


def test_an_azimuth_of_90_degrees_is_plus_y_and_an_elevation_of_90_is_above() -> None:
    assert np.allclose(sphere.directions(np.array(90.0), np.array(0.0)), (0, 1, 0))
    assert np.allclose(sphere.directions(np.array(0.0), np.array(90.0)), (0, 0, 1))


def test_all_triangles_face_outwards() -> None:
    first, second, third = np.moveaxis(sphere.surface(around()), 1, 0)
    normals = np.cross(second - first, third - first)
    assert (np.einsum("tc,tc->t", normals, first - CENTER) > 0).all()


def test_neighbouring_cells_leave_a_gap() -> None:
    triangles = sphere.surface(around()).reshape(12, -1, 3) - CENTER
    azimuths = np.degrees(np.arctan2(triangles[5, :, 1], triangles[5, :, 0]))
    assert 45.0 < azimuths.min() < 55.0
    assert 125.0 < azimuths.max() < 135.0


def test_a_row_never_reaches_over_the_pole() -> None:
    _, rows = sphere.borders(around(elevations=[0.0, 40.0, 80.0]))
    assert rows.tolist() == [-20.0, 20.0, 60.0, 90.0]


def test_green_is_right_the_darker_the_surer_and_red_is_wrong_the_darker_the_less_sure() -> None:
    colors = sphere.colors(around(), ALL)
    wrong, right = colors[:6], colors[6:]
    assert (wrong[:, 0] > wrong[:, 1]).all()
    assert (right[:, 1] > right[:, 0]).all()
    assert (np.diff(wrong.sum(axis=1)) > 0).all()
    assert (np.diff(right.sum(axis=1)) < 0).all()


def test_the_colours_are_those_of_the_servers_figures() -> None:
    plots = pytest.importorskip("compute_server.plots")
    for ours, theirs in ((sphere.RIGHT, plots.RIGHT), (sphere.WRONG, plots.WRONG)):
        assert np.allclose(ours, [theirs(0.0)[:3], theirs(1.0)[:3]], atol=0.003)


def test_before_and_after_are_told_apart() -> None:
    assert sphere.means(around(), sphere.Shown(0, 0, 0))[0] == 0.0
    assert sphere.means(around(), ALL) == (pytest.approx(5.5 / 12), 0.5)


# --- picking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", range(12))
def test_a_ray_towards_the_centre_meets_the_cell_it_comes_through(cell: int) -> None:
    outside = CENTER + 3 * (middle_of(cell) - CENTER)
    assert sphere.pick(around(), outside, np.array(CENTER) - outside) == cell


def test_the_nearer_of_two_cells_is_met() -> None:
    outside = middle_of(4) + np.array((50.0, 0.0, 0.0))
    assert sphere.pick(around(), outside, (-1.0, 0.0, 0.0)) == 4


def test_through_the_open_top_the_inside_of_a_cell_is_met() -> None:
    inside = middle_of(6)
    above = np.array(CENTER) + np.array((0.0, 0.0, 9.0))
    assert sphere.pick(around(), above, inside - above) == 6


@pytest.mark.parametrize(
    ("origin", "ahead"), [((2, -1, 99), (0, 0, 1)), ((2, -1, 99), (0, 0, -1)), ((9, 9, 9), (0, 1, 0))]
)
def test_beside_all_cells_nothing_is_met(origin: tuple[int, ...], ahead: tuple[int, ...]) -> None:
    assert sphere.pick(around(), origin, ahead) is None


def test_columns_meet_behind_the_first_azimuth() -> None:
    outside = np.array(CENTER) + 9 * sphere.directions(np.array(314.0), np.array(20.0))
    assert sphere.pick(around(), outside, np.array(CENTER) - outside) == 7
    outside = np.array(CENTER) + 9 * sphere.directions(np.array(316.0), np.array(20.0))
    assert sphere.pick(around(), outside, np.array(CENTER) - outside) == 4


# --- weak views -------------------------------------------------------------------------------------------------------


def test_what_is_wrong_is_weaker_than_what_is_right_however_sure() -> None:
    found = around(confidence=[0.9] * 6 + [0.1] * 6)
    assert sphere.weakest(found, ALL, 1)[0] < 6


def test_the_weakest_cells_come_first_and_their_neighbours_last() -> None:
    confidence = [0.1, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.9]
    found = around(confidence=confidence, top1=[7] * 12)
    assert sphere.weakest(found, ALL, 2) == [0, 10]
    assert sorted(sphere.weakest(found, ALL, 12)) == list(range(12))


def test_no_more_cells_are_weak_than_there_are() -> None:
    assert len(sphere.weakest(around(), ALL, 99)) == 12
