"""The conformance suite that every rasterizer passes: the same scenes, against a ray caster of another kind.

Where the edge of a triangle (or a near plane, or two surfaces' intersection) passes within `Tolerance.edge` of a
sample's centre, either side of it is right; nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers import raycast
from helpers.scenes import camera, cylinder, merged, mesh, orthographic, overhead, perspective, plane, sphere

from compute_server.render import raster_numba
from compute_server.render.geometry import clip_from_world, from_mesh
from compute_server.render.rasterizer import Rasterizer, Visibility, choose, nvdiffrast_installed, pack
from shared.errors import InvalidInput
from shared.scene import Camera, Mesh

#: Not square, so that rows and columns cannot be confused.
HEIGHT, WIDTH = 36, 52


@dataclass(frozen=True)
class Tolerance:
    """What the arithmetic of an implementation allows: `edge` in samples, `weight` of barycentrics (absolute). One that
    moves ``corners`` sees samples outside of their triangle, at its nearest point."""

    edge: float
    weight: float
    corners: bool = False


#: float64 throughout; barycentrics are rounded to float32 (6e-8) at the end.
DOUBLE = Tolerance(edge=1e-6, weight=1e-5)
#: In float32 clip coordinates of 1e3 against details of 1 leave 1e3 · 6e-8 of a weight.
SINGLE = Tolerance(edge=0.125, weight=1e-4)
#: nvdiffrast snaps corners to 1/16 of a sample, and shades in float32.
SNAP = 1 / 16
SNAPPED = Tolerance(edge=0.125, weight=1e-4, corners=True)


@dataclass(frozen=True)
class Candidate:
    """A rasterizer under test."""

    rasterizer: Rasterizer
    device: torch.device
    tolerance: Tolerance

    def draw(self, body: Mesh, cameras: tuple[Camera, ...], height: int = HEIGHT, width: int = WIDTH) -> Visibility:
        """What it sees, on the CPU."""
        geometry = from_mesh(body, self.device)
        seen = self.rasterizer.rasterize(geometry, clip_from_world(cameras), height, width)
        return Visibility(
            seen.triangle.cpu(), seen.barycentric.cpu(), seen.sample.cpu(), seen.view_start, seen.height, seen.width
        )


@pytest.fixture(params=["numpy", "numba", "warp", "warp on cuda", "nvdiffrast"], scope="module")
def candidate(request: pytest.FixtureRequest) -> Candidate:
    """Every rasterizer that this machine can run."""
    if request.param.startswith("warp"):
        pytest.importorskip("warp", reason="the warp-lang package is not installed")
        if request.param == "warp on cuda" and not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
        device = torch.device("cuda" if request.param == "warp on cuda" else "cpu")
        return Candidate(choose("warp", device), device, SINGLE)
    if request.param != "nvdiffrast":
        device = torch.device("cpu")
        return Candidate(choose(request.param, device), device, DOUBLE)
    missing = [
        what
        for what, there in (
            ("a CUDA device", torch.cuda.is_available()),
            ("the nvdiffrast package", nvdiffrast_installed()),
        )
        if not there
    ]
    if missing:
        pytest.skip(f"nvdiffrast needs {' and '.join(missing)}")
    device = torch.device("cuda")
    return Candidate(choose("nvdiffrast", device), device, SNAPPED)


def _triangle() -> tuple[Mesh, tuple[Camera, ...]]:
    return mesh([(-1, -0.4, 0), (1.1, 0.2, 0.5), (0.1, 0.3, 1.2)], [(0, 1, 2)]), (camera((1.5, -4, 2)),)


def _clockwise_triangle() -> tuple[Mesh, tuple[Camera, ...]]:
    return mesh([(-1, -0.4, 0), (1.1, 0.2, 0.5), (0.1, 0.3, 1.2)], [(0, 2, 1)]), (camera((1.5, -4, 2)),)


def _interpenetrating() -> tuple[Mesh, tuple[Camera, ...]]:
    points = [(-1, -1, -0.6), (1, -1, 0.7), (0, 1.2, 0.1), (-1, 1, 0.5), (1, 1, -0.6), (0.1, -1.2, 0.0)]
    return mesh(points, [(0, 1, 2), (3, 4, 5)]), (camera((0.5, -1, 4)), camera((-3, 1, 2)))


def _ground() -> tuple[Mesh, tuple[Camera, ...]]:
    """The camera stands on a plain whose corners are behind it, so its triangles cross near and camera planes."""
    return plane(2000.0), (camera((0.3, -0.2, 1.6), (30, 4, 1.2)), camera((0.3, -0.2, 1.6), (0.4, 5, -9)))


def _near_wall() -> tuple[Mesh, tuple[Camera, ...]]:
    """Cut by the near plane, in front of the camera: the farther part must remain."""
    wall = mesh([(0.4, -0.5, -1), (0.4, 6, -1), (0.4, 6, 1.5), (0.4, -0.5, 1)], [(0, 1, 2), (0, 2, 3)])
    return wall, (camera((0, 0, 0), (0.2, 5, 0), projection=perspective(60, near=1.5)),)


def _far_wall() -> tuple[Mesh, tuple[Camera, ...]]:
    wall = mesh([(-3, 2, -1), (3, 12, -1), (3, 12, 1), (-3, 2, 1)], [(0, 1, 2), (0, 2, 3)])
    return wall, (camera((0, 0, 0), (0, 5, 0), projection=perspective(60, far=7.0)),)


def _orthographic() -> tuple[Mesh, tuple[Camera, ...]]:
    flat = orthographic(3.1, near=0.5, far=5.3)  # the far plane cuts through the sphere
    return sphere(), (camera((2, -4, 2), projection=flat), camera((0, 0.1, 5), projection=flat))


def _shifted() -> tuple[Mesh, tuple[Camera, ...]]:
    lenses = (perspective(30, shift=(0.3, -0.2)), orthographic(3.0, shift=(-0.35, 0.15)))
    return sphere(), tuple(camera((2, -4, 2), projection=lens) for lens in lenses)


def _several() -> tuple[Mesh, tuple[Camera, ...]]:
    away = camera((3, -4, 2), (30, -40, 20))
    return cylinder(20), (camera((9, -2, 3)), away, camera((2, 0, 1.2)), away, camera((0, -30, 0)))


def _degenerate() -> tuple[Mesh, tuple[Camera, ...]]:
    broken = mesh([(0, 0, 0), (1, 1, 1), (2, 2, 2), (0.5, 0, 0)], [(0, 1, 2), (0, 0, 3), (1, 1, 1), (3, 0, 3)])
    return merged(broken, _triangle()[0]), (camera((1.5, -4, 2)),)


def _edge_on() -> tuple[Mesh, tuple[Camera, ...]]:
    return merged(plane(), sphere(12, 6, 0.4)), (camera((0, -5, 0)),)


def _bowl() -> tuple[Mesh, tuple[Camera, ...]]:
    """A sphere without its top, with one inside: what faces away is seen through the opening, and hidden elsewhere."""
    body = sphere()
    low = body.positions[body.triangles][:, :, 2].mean(axis=1) < 0.5
    cut = mesh(body.positions, body.triangles[low])
    return merged(cut, sphere(12, 6, 0.3)), (camera((0.4, -2, 2.5)), camera((0.1, 0.2, 4)))


def _screen() -> tuple[Mesh, tuple[Camera, ...]]:
    """Shingles that face away from the camera, before and behind a plane that faces it."""
    shingles = [(x, y, z) for z in (0.4, -0.4) for x, y in ((-0.4, -0.3), (0.3, -0.3), (0.1, 0.4))]
    return merged(plane(), mesh(shingles, [(0, 2, 1), (3, 5, 4)])), (camera((0.6, -0.8, 4)),)


SCENES: dict[str, Callable[[], tuple[Mesh, tuple[Camera, ...]]]] = {
    "triangle": _triangle,
    "clockwise triangle": _clockwise_triangle,
    "quad": lambda: (plane(), (camera((2, -3, 2)), overhead(1.9))),
    "sphere": lambda: (sphere(), (camera((2, -3, 2)), camera((0, -2.2, 0)))),
    "inside a sphere": lambda: (sphere(), (camera((0, 0, 0), (1, 1, 0.3), projection=perspective(70, near=0.01)),)),
    "interpenetrating triangles": _interpenetrating,
    "ground under the camera": _ground,
    "wall across the near plane": _near_wall,
    "wall across the far plane": _far_wall,
    "orthographic": _orthographic,
    "shifted lens": _shifted,
    "several views": _several,
    "degenerate triangles": _degenerate,
    "plane seen edge on": _edge_on,
    "bowl": _bowl,
    "screen seen from behind": _screen,
}

NOTHING = {
    "behind the camera": lambda: (_triangle()[0], (camera((0, -4, 0.5), (0, -8, 0.5)),)),
    "beyond the far plane": lambda: (sphere(), (camera((0, -9, 0), projection=perspective(far=7.9)),)),
    "nearer than the near plane": lambda: (sphere(), (camera((0, -3, 0), projection=perspective(near=4.1)),)),
    "beside the frame": lambda: (sphere(), (camera((0, -9, 0), (9, -9, 0)),)),
    "only degenerate triangles": lambda: (
        mesh([(0, 0, 0), (1, 1, 1)], [(0, 1, 0), (1, 1, 1)]),
        (camera((2, -3, 2)),),
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_each_sample_sees_what_a_ray_through_it_meets(candidate: Candidate, name: str) -> None:
    body, cameras = SCENES[name]()
    ids = _dense(candidate.draw(body, cameras))
    assert (ids >= 0).any(), "the scene shows nothing, and tests nothing"
    for matrix, found in zip(clip_from_world(cameras), ids, strict=True):
        expected = raycast.nearest(body, matrix, _centres(), HEIGHT, WIDTH).reshape(HEIGHT, WIDTH)
        for row, column in np.argwhere(found != expected):
            around = _neighbourhood(column + 0.5, row + 0.5, candidate.tolerance.edge)
            allowed = raycast.nearest(body, matrix, around, HEIGHT, WIDTH)
            if candidate.tolerance.corners:
                allowed = np.append(allowed, _meeting(body, matrix, allowed, (column + 0.5, row + 0.5)))
            assert found[row, column] in allowed, f"row {row}, column {column}: expected one of {set(allowed)}"


def _meeting(body: Mesh, matrix: np.ndarray, allowed: np.ndarray, at: tuple[float, float]) -> np.ndarray:
    """The triangles that meet any of those that may be seen in a corner or an edge which passes the sample `at` no
    farther away than corners are moved: at a silhouette it may be a hidden one that is moved onto the sample."""
    clip = np.pad(body.positions.astype(np.float64), ((0, 0), (0, 1)), constant_values=1) @ matrix.T
    screen = (clip[:, :2] / clip[:, 3:] * (1, -1) + 1) / 2 * (WIDTH, HEIGHT)
    near = [
        triangle
        for triangle, corners in enumerate(body.triangles)
        for seen in np.unique(allowed[allowed >= 0])
        if len(shared := np.intersect1d(corners, body.triangles[seen]))
        and _distance(np.array(at), screen[shared[0]], screen[shared[-1]]) <= SNAP
    ]
    return np.array(near, np.int64)


def _distance(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Of a point from a segment."""
    along = end - start
    share = np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1)
    return float(np.linalg.norm(start + share * along - point))


@pytest.mark.parametrize("name", SCENES)
def test_barycentrics_are_where_the_ray_meets_the_triangle(candidate: Candidate, name: str) -> None:
    body, cameras = SCENES[name]()
    seen = candidate.draw(body, cameras)
    for view, matrix in enumerate(clip_from_world(cameras)):
        part = slice(int(seen.view_start[view]), int(seen.view_start[view + 1]))
        sample = seen.sample[part].numpy() - view * HEIGHT * WIDTH
        origin, step = raycast.rays(matrix, _centres()[sample], HEIGHT, WIDTH)
        weights, _ = raycast.meet(body, origin, step)
        expected = weights[np.arange(len(sample)), seen.triangle[part].numpy()]
        shown = np.isfinite(expected).all(axis=1)  # all but a plane that is seen exactly edge on
        if candidate.tolerance.corners:
            expected = expected[:, :2].clip(0, 1)
            expected /= expected.sum(axis=1, keepdims=True).clip(1)
        np.testing.assert_allclose(
            seen.barycentric[part].numpy()[shown], expected[shown, :2], rtol=0, atol=candidate.tolerance.weight
        )


@pytest.mark.parametrize("name", NOTHING)
def test_what_no_ray_meets_is_not_drawn(candidate: Candidate, name: str) -> None:
    seen = candidate.draw(*NOTHING[name]())
    assert len(seen.triangle) == len(seen.barycentric) == len(seen.sample) == 0
    assert seen.view_start.tolist() == [0, 0]


@pytest.mark.parametrize("slope", [1.0, -1.0, 0.5, 3.0, 1 / 3, 0.0])
@pytest.mark.parametrize("lens", ["orthographic", "perspective"])
def test_no_sample_falls_between_triangles_that_share_an_edge(candidate: Candidate, slope: float, lens: str) -> None:
    # The edge runs through the centres of samples and both triangles reach far beyond the frame; their other corners
    # differ, so that nothing but the edge itself can make their arithmetic agree.
    holes = []
    for size in range(8, 40):
        along, across = np.array([1, slope]) * 40, np.array([-slope, 1])
        one, other = across * (110.0 + size), across * (-170.0 - 3.7 * size)
        corners = [(*-along, 0), (*along, 0), (*one, 0), (*other, 0)]
        projection = orthographic(1 + size / 7) if lens == "orthographic" else perspective(20 + size)
        seen = candidate.draw(
            mesh(corners, [(0, 1, 2), (1, 0, 3)]),
            (camera((0, 0, 5), up=(0, 1, 0), projection=projection),),
            size,
            size,
        )
        holes.append(size * size - len(seen.sample))
    assert holes == [0] * len(holes)


@pytest.mark.parametrize("name", ["several views", "sphere"])
def test_samples_are_in_order_and_none_comes_twice(candidate: Candidate, name: str) -> None:
    seen = candidate.draw(*SCENES[name]())
    assert (torch.diff(seen.sample.long()) > 0).all()


def test_view_start_says_where_the_samples_of_each_view_are(candidate: Candidate) -> None:
    body, cameras = _several()
    seen = candidate.draw(body, cameras)
    counts = [len(candidate.draw(body, (one,)).sample) for one in cameras]
    assert counts[1] == counts[3] == 0
    assert torch.diff(seen.view_start).tolist() == counts
    views = torch.div(seen.sample, HEIGHT * WIDTH, rounding_mode="floor")
    assert views.tolist() == np.repeat(np.arange(len(cameras)), counts).tolist()


def test_row_0_is_at_the_top_and_column_0_at_the_left(candidate: Candidate) -> None:
    # Seen from above, the triangle fills the corner towards −x and +y: left and top.
    body = mesh([(-1, 1, 0), (-1, 0.2, 0), (-0.2, 1, 0)], [(0, 1, 2)])
    ids = _dense(candidate.draw(body, (overhead(2.0),)))[0]
    rows, columns = np.nonzero(ids >= 0)
    assert rows.min() == columns.min() == 0
    assert rows.max() < HEIGHT / 2
    assert columns.max() < WIDTH / 2


def test_results_have_the_types_that_the_protocol_promises(candidate: Candidate) -> None:
    seen = candidate.draw(*_triangle())
    assert (seen.triangle.dtype, seen.barycentric.dtype) == (torch.int32, torch.float32)
    assert (seen.sample.dtype, seen.view_start.dtype) == (torch.int32, torch.int64)
    assert seen.barycentric.shape == (len(seen.triangle), 2)
    assert (seen.height, seen.width) == (HEIGHT, WIDTH)


def test_drawing_twice_gives_the_same_bits(candidate: Candidate) -> None:
    first, second = (candidate.draw(*_several()) for _ in range(2))
    assert torch.equal(first.triangle, second.triangle)
    assert torch.equal(first.barycentric, second.barycentric)
    assert torch.equal(first.sample, second.sample)


def test_numba_and_numpy_choose_the_same_triangles_everywhere() -> None:
    cpu = torch.device("cpu")
    for make in SCENES.values():
        body, cameras = make()
        ours = [Candidate(choose(name, cpu), cpu, DOUBLE).draw(body, cameras) for name in ("numba", "numpy")]
        disagreeing = (_dense(ours[0]) != _dense(ours[1])).sum()
        assert disagreeing == 0


@pytest.mark.parametrize("threads", [2, 3, 64], ids=lambda count: f"{count} threads")
@pytest.mark.parametrize("count", [1, 2, 5], ids=lambda count: f"{count} views")
def test_bands_of_views_are_the_same_as_whole_views(monkeypatch: pytest.MonkeyPatch, count: int, threads: int) -> None:
    """With more threads than views, and with more than rows."""
    wall, cut = _near_wall()
    body = merged(wall, sphere())
    cameras = (*cut, *(camera((3 * np.cos(turn), 3 * np.sin(turn), 1.5)) for turn in range(4)))[:count]
    geometry, matrices = from_mesh(body), clip_from_world(cameras)
    seen = []
    for each in (1, threads):
        monkeypatch.setattr(raster_numba.nb, "get_num_threads", lambda each=each: each)
        seen.append(raster_numba.NumbaRasterizer().rasterize(geometry, matrices, HEIGHT, WIDTH))
    whole, bands = seen
    assert len(whole.triangle) > 100
    for name in ("triangle", "barycentric", "sample", "view_start"):
        assert torch.equal(getattr(bands, name), getattr(whole, name)), name


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("views", [0, 1, 2, 8, 15, 33])
def test_no_thread_looks_at_the_geometry_more_often_than_with_whole_views(views: int, threads: int) -> None:
    bands, order = raster_numba._bands(views, HEIGHT, threads)
    assert len(bands) <= -(-views // threads) * threads
    rows = [(view, row) for view, first, end in bands[order].tolist() for row in range(first, end)]
    assert rows == [(view, row) for view in range(views) for row in range(HEIGHT)]


def test_packing_keeps_covered_samples_in_order() -> None:
    triangle = torch.tensor([[[-1, 4], [2, -1]], [[-1, -1], [-1, -1]], [[0, -1], [-1, 7]]])
    barycentric = torch.arange(24, dtype=torch.float64).reshape(3, 2, 2, 2)
    seen = pack(triangle, barycentric)
    assert seen.triangle.tolist() == [4, 2, 0, 7]
    assert seen.sample.tolist() == [1, 2, 8, 11]
    assert seen.view_start.tolist() == [0, 2, 2, 4]
    assert seen.barycentric.tolist() == [[2, 3], [4, 5], [16, 17], [22, 23]]


def test_auto_takes_the_compiled_rasterizer_on_a_cpu() -> None:
    assert choose("auto", torch.device("cpu")).name == "numba"


def test_an_unknown_rasterizer_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'opengl'"):
        choose("opengl", torch.device("cpu"))


def test_nvdiffrast_is_refused_without_cuda() -> None:
    with pytest.raises(InvalidInput, match="CUDA"):
        choose("nvdiffrast", torch.device("cpu"))


def _centres() -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)


def _neighbourhood(x: float, y: float, radius: float) -> np.ndarray:
    """The point and points on two circles around it, [Q, 2]."""
    angles = np.arange(32) * (2 * np.pi / 32)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.array([x, y]) + np.concatenate([[(0.0, 0.0)], circle * radius, circle * radius / 3])


def _dense(seen: Visibility) -> np.ndarray:
    """Triangle by view, row and column, −1 where there is none."""
    ids = np.full((len(seen.view_start) - 1) * seen.height * seen.width, -1)
    ids[seen.sample.numpy()] = seen.triangle.numpy()
    return ids.reshape(-1, seen.height, seen.width)
