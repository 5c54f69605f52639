"""The surface at each visible sample, against geometry and against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.scenes import camera, cylinder, mesh, orthographic, overhead, perspective, plane, sphere

from compute_server.render import gbuffer, kernels
from compute_server.render.gbuffer import GBuffer
from compute_server.render.geometry import clip_from_world, eye_points, from_mesh
from compute_server.render.raster_numba import NumbaRasterizer
from shared.scene import Camera, Mesh

SIZE = 48
EPS = float(np.finfo(np.float32).eps)

SCENES: dict[str, tuple[Mesh, tuple[Camera, ...]]] = {
    "sphere": (sphere(), (camera((2, -3, 2)), camera((0, 0, -2.5), up=(0, 1, 0)))),
    "orthographic": (cylinder(20), (camera((2, -3, 2), projection=orthographic(3.0)), camera((0, -4, 1)))),
    "inside a sphere": (sphere(), (camera((0, 0, 0), (1, 1, 0.3), projection=perspective(70, near=0.01)),)),
    "ground under the camera": (plane(200.0), (camera((0.3, -0.2, 1.6), (30, 4, 1.2)),)),
    "one view empty": (sphere(), (camera((2, -3, 2), (9, -9, 9)), camera((2, -3, 2)))),
}


def _surface(body: Mesh, cameras: tuple[Camera, ...], size: int = SIZE) -> GBuffer:
    geometry, matrices = from_mesh(body), clip_from_world(cameras)
    seen = NumbaRasterizer().rasterize(geometry, matrices, size, size)
    return gbuffer.build(geometry, seen, matrices, eye_points(cameras))


def _view_of(surface: GBuffer) -> np.ndarray:
    return (surface.visibility.sample.long() // (surface.visibility.height * surface.visibility.width)).numpy()


@pytest.mark.parametrize("name", SCENES)
def test_the_compiled_kernel_equals_its_definition(name: str) -> None:
    body, cameras = SCENES[name]
    geometry, matrices, eyes = from_mesh(body), clip_from_world(cameras), eye_points(cameras)
    seen = NumbaRasterizer().rasterize(geometry, matrices, SIZE, SIZE)
    compiled = kernels.interpolate(geometry, seen, matrices, eyes)
    defined = gbuffer.interpolate_reference(geometry, seen, matrices, eyes)
    assert len(compiled[0]) > 100
    scale = float(np.abs(body.positions).max())
    # Three products and two sums in float32.
    torch.testing.assert_close(compiled[0], defined[0], rtol=0, atol=4 * EPS * scale)
    torch.testing.assert_close(compiled[1], defined[1], rtol=0, atol=8 * EPS)
    torch.testing.assert_close(compiled[2], defined[2], rtol=0, atol=4 * EPS)
    relative = ((compiled[3] - defined[3]).abs() / compiled[3]).numpy()
    assert (relative <= _footprint_rounding(body, matrices, _surface(body, cameras))).all()


def _footprint_rounding(body: Mesh, matrices: np.ndarray, surface: GBuffer) -> np.ndarray:
    """How far float32 may carry the definition's footprint, relative, [P]: a determinant, a UV area and w³ lose what
    cancels in them, that is (sum of absolute products) / |result| roundings."""
    triangle = surface.visibility.triangle.numpy()
    corners = np.pad(body.positions[body.triangles[triangle]].astype(np.float64), ((0, 0), (0, 0), (0, 1)))
    corners[:, :, 3] = 1
    matrix = matrices[_view_of(surface)][:, [0, 1, 3]]
    xyw, terms = np.einsum("pij,pcj->pci", matrix, corners), np.einsum("pij,pcj->pci", abs(matrix), abs(corners))
    of_det = np.prod(np.linalg.norm(terms, axis=2), axis=1) / abs(np.linalg.det(xyw))
    uv = body.uv[triangle].astype(np.float64)
    one, two = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    of_area = abs(uv).max(axis=(1, 2)) * (abs(one).sum(axis=1) + abs(two).sum(axis=1)) / area
    first = surface.visibility.barycentric.numpy().astype(np.float64)
    weights = np.concatenate([first, 1 - first.sum(axis=1, keepdims=True)], axis=1)
    of_w = (terms[:, :, 2]).max(axis=1) / abs((weights * xyw[:, :, 2]).sum(axis=1))
    return EPS * (8 * of_det + 4 * of_area + 12 * of_w)


@pytest.mark.parametrize("name", SCENES)
def test_normals_are_unit_and_face_the_camera(name: str) -> None:
    body, cameras = SCENES[name]
    surface = _surface(body, cameras)
    eyes = torch.tensor(eye_points(cameras)[_view_of(surface)], dtype=torch.float32)
    toward = eyes[:, :3] - eyes[:, 3:] * surface.position
    assert ((surface.normal * toward).sum(dim=1) >= 0).all()
    torch.testing.assert_close(surface.normal.norm(dim=1), torch.ones(len(eyes)), rtol=0, atol=4 * EPS)


def test_a_face_has_two_sides() -> None:
    """Seen from below, the normal that is stored upwards points down."""
    above, below = (_surface(plane(), (camera((1, -1, z)),)) for z in (3, -3))
    assert torch.equal(above.normal, torch.tensor([[0.0, 0.0, 1.0]]).expand_as(above.normal))
    assert torch.equal(below.normal, torch.tensor([[0.0, 0.0, -1.0]]).expand_as(below.normal))


def test_normals_are_interpolated_between_corners() -> None:
    surface = _surface(sphere(64, 32), (camera((2, -3, 2)),))
    radial = torch.nn.functional.normalize(surface.position, dim=1)
    # Linear interpolation over an angle a is off by less than a³ / 15 (its greatest value is at the third points).
    assert (surface.normal - radial).norm(dim=1).max() < (2 * math.pi / 64) ** 2 / 8


@pytest.mark.parametrize("name", SCENES)
def test_positions_project_back_to_their_samples(name: str) -> None:
    body, cameras = SCENES[name]
    surface = _surface(body, cameras)
    points = np.pad(surface.position.numpy().astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    clip = np.einsum("pij,pj->pi", clip_from_world(cameras)[_view_of(surface)], points)
    x = (clip[:, 0] / clip[:, 3] + 1) * SIZE / 2
    y = (1 - clip[:, 1] / clip[:, 3]) * SIZE / 2
    sample = surface.visibility.sample.numpy() % (SIZE * SIZE)
    assert np.abs(x - (sample % SIZE + 0.5)).max() < 0.01
    assert np.abs(y - (sample // SIZE + 0.5)).max() < 0.01


def test_a_plane_seen_straight_on_shares_its_uv_area_evenly() -> None:
    surface = _surface(plane(2.0), (overhead(2.0),))
    assert len(surface.uv) == SIZE * SIZE
    torch.testing.assert_close(surface.footprint, torch.full((SIZE * SIZE,), 1 / SIZE**2), rtol=1e-5, atol=0)


def test_uv_runs_to_the_right_and_upwards_on_a_plane_seen_from_above() -> None:
    uv = _surface(plane(2.0), (overhead(2.0),)).uv.reshape(SIZE, SIZE, 2)
    centres = (torch.arange(SIZE) + 0.5) / SIZE
    torch.testing.assert_close(uv[..., 0], centres[None, :].expand(SIZE, SIZE), rtol=0, atol=1e-6)
    torch.testing.assert_close(uv[..., 1], centres.flip(0)[:, None].expand(SIZE, SIZE), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "projection", [perspective(40), perspective(70, shift=(0.2, -0.1)), orthographic(2.0)], ids=["40°", "70°", "ortho"]
)
def test_the_footprint_is_the_uv_area_between_neighbouring_samples(projection: np.ndarray) -> None:
    size = 64
    tilted = camera((1.2, -2.2, 1.3), (0.1, 0, 0), projection=projection)
    # One triangle, so that no neighbour lies on another.
    uv = np.array([[(0, 0), (3, 0.5), (-0.5, 2)]])
    body = mesh([(-9, -9, 0), (18, -8, 0), (-8, 18, 0)], [(0, 1, 2)], uv=uv)
    surface = _surface(body, (tilted,), size)
    sample = surface.visibility.sample.long()
    uv_at = torch.full((size * size, 2), float("nan"), dtype=torch.float64)
    uv_at[sample] = surface.uv.double()
    grid = uv_at.reshape(size, size, 2)
    across = (grid[1:-1, 2:] - grid[1:-1, :-2]) / 2
    down = (grid[2:, 1:-1] - grid[:-2, 1:-1]) / 2
    area = (across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]).abs()
    footprint = torch.full((size * size,), float("nan"), dtype=torch.float64)
    footprint[sample] = surface.footprint.double()
    inner = footprint.reshape(size, size)[1:-1, 1:-1]
    known = area.isfinite() & inner.isfinite()
    assert known.sum() > 1000
    # A central difference of a projective map errs by the factor 1 / (1 − g²) along each axis, g being the relative
    # change of depth from sample to sample; and float32 UVs (up to 2, ± 2 eps) by 4 eps / step on either axis.
    depth = _depth(surface, tilted, size)
    g = max(float(np.nanmax(np.abs(np.diff(depth, axis=axis)) / np.nanmin(depth))) for axis in (0, 1))
    step = float(torch.minimum(across.norm(dim=2), down.norm(dim=2))[known].min())
    np.testing.assert_allclose(inner[known], area[known], rtol=3 * g * g + 16 * EPS / step)


def _depth(surface: GBuffer, cam: Camera, size: int) -> np.ndarray:
    """Clip w at each sample, NaN where nothing is seen, [H, W]."""
    points = np.pad(surface.position.numpy().astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    depth = np.full(size * size, np.nan)
    depth[surface.visibility.sample.numpy()] = (points @ clip_from_world([cam])[0].T)[:, 3]
    return depth.reshape(size, size)
