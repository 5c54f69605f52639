"""The surface as tensors, and the points that cameras look from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.scenes import camera, cylinder, orthographic, perspective

from compute_server.render.geometry import clip_from_world, eye_points, from_mesh

PLACES = [((3.0, -4.0, 2.0), (0.0, 0.0, 0.0)), ((0.1, 0.0, 9.0), (0.0, 0.0, 0.0)), ((-200.0, 30.0, -5.0), (1.0, 2, 3))]


@pytest.mark.parametrize(("eye", "target"), PLACES)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3)])
def test_a_perspective_camera_looks_from_where_it_stands(eye: tuple, target: tuple, shift: tuple) -> None:
    found = eye_points([camera(eye, target, projection=perspective(shift=shift))])[0]
    np.testing.assert_allclose(found, (*eye, 1.0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("eye", "target"), PLACES)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, -0.3)])
def test_an_orthographic_camera_looks_from_a_direction(eye: tuple, target: tuple, shift: tuple) -> None:
    found = eye_points([camera(eye, target, projection=orthographic(5.0, shift=shift))])[0]
    assert found[3] == pytest.approx(0.0, abs=1e-12)
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    np.testing.assert_allclose(found[:3] / np.linalg.norm(found[:3]), back, atol=1e-9)


def test_eyes_of_mixed_cameras_stay_in_order() -> None:
    cameras = [camera((1, 2, 3)), camera((1, 2, 3), projection=orthographic(2.0)), camera((-4, 5, 6))]
    eyes = eye_points(cameras)
    assert eyes.shape == (3, 4)
    np.testing.assert_allclose(eyes[[0, 2]], [(1, 2, 3, 1), (-4, 5, 6, 1)], atol=1e-9)
    assert eyes[1, 3] == pytest.approx(0.0, abs=1e-12)


def test_all_vertices_come_to_clip_space_as_their_cameras_say() -> None:
    body, cameras = cylinder(8), [camera((1, 2, 3)), camera((-4, 5, 6), projection=orthographic(2.0))]
    matrices = clip_from_world(cameras)
    found = from_mesh(body).clip(matrices)
    assert found.shape == (2, len(body.positions), 4)
    for view, vertex in ((0, 0), (1, 5)):
        np.testing.assert_allclose(found[view, vertex], matrices[view] @ [*body.positions[vertex], 1.0], rtol=1e-5)


def test_clip_space_is_opengls() -> None:
    """Near is z = −1, far is z = +1; up is +y and right is +x."""
    matrix = clip_from_world([camera((0, -4, 0), projection=perspective(90, near=1.0, far=9.0))])[0]

    def ndc(point: tuple[float, float, float]) -> np.ndarray:
        clip = matrix @ (*point, 1.0)
        return clip[:3] / clip[3]

    np.testing.assert_allclose(ndc((0, -3, 0)), (0, 0, -1), atol=1e-12)
    np.testing.assert_allclose(ndc((0, 5, 0)), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(ndc((4, 0, -2))[:2], (1, -0.5), atol=1e-12)


def test_a_mesh_becomes_tensors_of_the_promised_types() -> None:
    body = cylinder(8)
    geometry = from_mesh(body)
    assert geometry.triangles.dtype == torch.int64
    assert {t.dtype for t in (geometry.positions, geometry.normals, geometry.uv)} == {torch.float32}
    for name in ("positions", "triangles", "normals", "uv"):
        np.testing.assert_array_equal(getattr(geometry, name).numpy(), getattr(body, name))


def test_tensors_of_a_received_mesh_can_be_written_without_touching_the_message() -> None:
    body = cylinder(8)
    body.positions.setflags(write=False)
    geometry = from_mesh(body)
    geometry.positions.add_(1)
    assert not np.shares_memory(geometry.positions.numpy(), body.positions)
