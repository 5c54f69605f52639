"""Whole pictures: closed forms, linearity, gradients, orientation, and Blender's own projection."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers.scenes import (
    DARK,
    camera,
    cylinder,
    flat_picture,
    furnace,
    mesh,
    orthographic,
    overhead,
    plane,
    shot,
    sphere,
    sun,
)
from torch import Tensor

from compute_server.render import kernels
from compute_server.render.color import srgb_decode, srgb_encode
from compute_server.render.geometry import clip_from_world, from_mesh
from compute_server.render.lighting import Lighting
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.rasterizer import choose, nvdiffrast_installed
from compute_server.render.renderer import Renderer, backdrop_reference, pixels_reference
from compute_server.render.sampling import accumulate, build_pool
from compute_server.render.taps import Merged, MipLayout, Transport
from shared.scene import Camera, LightState, Mesh, PointLight, View

EPS = float(np.finfo(np.float32).eps)


def _renderer(body: Mesh, layout: MipLayout | None) -> Renderer:
    geometry = from_mesh(body)
    return Renderer(geometry, NumbaRasterizer(), layout, Lighting(geometry))


def _linear(body: Mesh, views: list[View], texture: Tensor | float, size: int = 32, samples: int = 4) -> Tensor:
    """Linear pictures [N, H, W, 3] of a linear texture [rows, columns, 3], or of an albedo."""
    image = texture if isinstance(texture, Tensor) else torch.full((4, 4, 3), texture)
    layout = MipLayout.of(image.shape[0], image.shape[1])
    return accumulate(build_pool(image, layout), _renderer(body, layout).prepare(views, size, samples))


def _coverage(body: Mesh, views: list[View], size: int = 32, samples: int = 4) -> Tensor:
    """The covered share of each pixel, [N, H, W]: a white object in a white furnace before black."""
    bright = [View(camera=view.camera, lights=furnace(), background=flat_picture(0)) for view in views]
    return _linear(body, bright, 1.0, size, samples)[..., 0]


# --- light on surfaces ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle_deg", [0, 30, 75])
def test_a_plane_under_a_sun_has_the_lambertian_radiance(angle_deg: float) -> None:
    """L = ρ / π · E · cosθ."""
    angle = math.radians(angle_deg)
    light = sun((math.sin(angle), 0.0, -math.cos(angle)), 3.0)
    picture = _linear(plane(), [shot(overhead(2.0), light)], 0.8)
    expected = 0.8 / math.pi * 3.0 * math.cos(angle)
    torch.testing.assert_close(picture, torch.full_like(picture, expected), rtol=16 * EPS, atol=0)


def test_1000_w_at_5_m_on_grey_have_a_radiance_of_0_811() -> None:
    lamp = LightState(name="lamp", lights=(PointLight(power=(1000.0,) * 3, position=(0.0, 0.0, 5.0)),))
    picture = _linear(plane(), [shot(overhead(0.02), lamp)], 0.8)
    torch.testing.assert_close(picture, torch.full_like(picture, 0.811), rtol=0, atol=5e-4)


def test_a_sphere_is_shaded_by_the_cosine_to_the_light() -> None:
    size, direction = 64, np.array([0.5, 0.7, -0.6]) / np.linalg.norm([0.5, 0.7, -0.6])
    # Straight from −y: picture right is +x, picture up is +z.
    cam = camera((0, -5, 0), projection=orthographic(2.4))
    picture = _linear(sphere(128, 64), [shot(cam, sun(tuple(direction), math.pi))], 1.0, size, 1)[0]
    compared = 0
    for row in range(0, size, 5):
        for column in range(0, size, 5):
            x, z = ((column + 0.5) / size - 0.5) * 2.4, (0.5 - (row + 0.5) / size) * 2.4
            if x * x + z * z > 0.75:  # up to 60° from the line of sight
                continue
            normal = np.array([x, -math.sqrt(1 - x * x - z * z), z])
            # Facets lie up to (π / 64)² / 8 below the sphere, which moves what is seen by tan 60° as much.
            assert float(picture[row, column, 0]) == pytest.approx(max(0.0, -normal @ direction), abs=6e-4)
            compared += 1
    assert compared > 50


@pytest.mark.parametrize("samples", [1, 4, 9])
def test_a_white_object_in_a_white_furnace_is_white_wherever_it_covers(samples: int) -> None:
    views = [shot(camera((2, -3, 2)), furnace()), shot(camera((0, -3, -1), projection=orthographic(2.5)), furnace())]
    coverage = _coverage(sphere(), views, samples=samples)
    # Eight weights, their sum, the light, and the sum of samples are rounded.
    covered = (coverage > 1 - 0.5 / samples) | (coverage == 0)
    whole = coverage[coverage > 1 - 0.5 / samples]
    assert len(whole) > 200
    torch.testing.assert_close(whole, torch.ones_like(whole), rtol=0, atol=(16 + samples) * EPS)
    assert covered.all() if samples == 1 else not covered.all()


def test_a_white_furnace_before_white_shows_no_object_at_all() -> None:
    picture = _linear(sphere(), [shot(camera((2, -3, 2)), furnace(), 255)], 1.0)
    torch.testing.assert_close(picture, torch.ones_like(picture), rtol=0, atol=32 * EPS)


# --- background -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 10, 128, 255])
def test_the_background_shows_where_nothing_covers(level: int) -> None:
    away = camera((0, -5, 0), (0, -9, 0))
    layout = MipLayout.of(4, 4)
    renderer = _renderer(sphere(), layout)
    transport = renderer.prepare([shot(away, sun(), level)], 16)
    picture = renderer.draw(torch.rand(layout.starts[-1], 3), transport)
    torch.testing.assert_close(picture, torch.full_like(picture, level / 255), rtol=0, atol=4e-7)


def test_silhouettes_blend_by_coverage_in_linear_light() -> None:
    # 8 pixels over 2 m; the plane reaches 1 of 4 sample columns into the outermost pixels.
    view = shot(overhead(2.0), furnace(), 128)
    picture = _linear(plane(1.625), [view], 1.0, size=8, samples=16)[0, :, :, 0]
    ground = float(srgb_decode(torch.tensor(128 / 255)))
    along = torch.tensor([0.25, *[1.0] * 6, 0.25])
    coverage = along[:, None] * along[None, :]
    torch.testing.assert_close(picture, coverage + (1 - coverage) * ground, rtol=0, atol=32 * EPS)


def test_a_background_keeps_its_orientation_when_stretched() -> None:
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    away = View(camera=camera((0, -5, 0), (0, -9, 0)), lights=DARK, background=corners)
    picture = _linear(sphere(), [away], 1.0, size=16)[0]
    for row, column, expected in ((0, 0, corners[0, 0]), (0, 15, corners[0, 1]), (15, 0, corners[1, 0])):
        assert picture[row, column].tolist() == pytest.approx((expected / 255).tolist(), abs=1e-6)


def test_a_background_of_one_colour_stays_that_colour_at_any_size() -> None:
    away = camera((0, -5, 0), (0, -9, 0))
    for size in (1, 3, 16, 50):
        view = View(camera=away, lights=DARK, background=flat_picture(77, size))
        picture = srgb_encode(_linear(sphere(), [view], 1.0, size=16))
        torch.testing.assert_close(picture, torch.full_like(picture, 77 / 255), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 3), (20, 30)])
@pytest.mark.parametrize("samples", [1, 4, 9])
def test_the_compiled_backdrop_and_pixels_equal_their_definitions(shape: tuple[int, int], samples: int) -> None:
    rng = np.random.default_rng(3)
    pictures = torch.from_numpy(rng.random((3, *shape, 3), np.float32)) + 0.1
    height, width, side = 20, 30, math.isqrt(samples)
    covered = torch.from_numpy(np.sort(rng.permutation(3 * height * width * samples)[:1500])).to(torch.int32)
    pixel = kernels.pixels(covered, width, side)
    assert torch.equal(pixel, pixels_reference(covered, width, side))
    start = torch.searchsorted(covered, torch.arange(4, dtype=torch.int32) * height * width * samples)
    compiled = kernels.backdrop(pictures, height, width, pixel, start, samples)
    defined = backdrop_reference(pictures, height, width, pixel, samples)
    assert len(torch.unique(torch.bincount(pixel, minlength=3 * height * width))) > min(samples, 4)
    # Places among the pictures are float32 there, of up to 30.
    torch.testing.assert_close(compiled, defined, rtol=0, atol=32 * EPS)


# --- batches and samples --------------------------------------------------------------------------------------------


def test_views_of_a_batch_do_not_mix() -> None:
    views = [
        shot(camera((2, -3, 2)), sun((0, 1, -1), 3.0), 200),
        shot(camera((0, -5, 0), (0, -9, 0)), furnace(0.5), 90),
        View(camera=camera((-3, 0, 1)), lights=furnace(0.2), background=flat_picture(20, 8)),
        shot(camera((2, -3, 2)), LightState(name="red", world=(1.0, 0.0, 0.0)), 0),
    ]
    texture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(4))
    together = _linear(sphere(), views, texture)
    for view, picture in zip(views, together, strict=True):
        assert torch.equal(_linear(sphere(), [view], texture)[0], picture)
    assert together[3, :, :, 1:].max() == 0


def test_more_samples_come_nearer_to_the_picture() -> None:
    texture = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(4))
    view = shot(camera((1.7, -3.1, 1.9)), sun((0.2, 1, -1), 3.0), 128)
    finest = _linear(sphere(), [view], texture, samples=400)
    errors = [float((_linear(sphere(), [view], texture, samples=n) - finest).abs().mean()) for n in (1, 4, 16, 64)]
    # Regular grids on silhouettes: the error goes at least with the square root of the number of samples.
    assert all(after < 0.75 * before for before, after in itertools.pairwise(errors)), errors


def test_pictures_are_channels_last_and_contiguous() -> None:
    picture = _linear(sphere(), [shot(camera((2, -3, 2)), furnace())] * 3, 0.5, size=20)
    assert picture.shape == (3, 20, 20, 3)
    assert picture.dtype == torch.float32
    assert picture.is_contiguous()


# --- linearity ------------------------------------------------------------------------------------------------------


def test_pictures_are_linear_in_the_linear_texture() -> None:
    """R(a Θ₁ + b Θ₂) = a R(Θ₁) + b R(Θ₂), before black."""
    layout = MipLayout.of(32, 32)
    views = [shot(camera((2, -3, 2)), sun((0, 1, -1), 3.0)), shot(camera((-6, 0, 1)), furnace(0.4))]
    transport = _renderer(sphere(), layout).prepare(views, 24)
    one, two = (torch.rand(32, 32, 3, dtype=torch.float64) for _ in range(2))

    def picture(texture: Tensor) -> Tensor:
        return accumulate(build_pool(texture, layout), transport)

    mixed = 0.3 * picture(one) + 1.7 * picture(two)
    torch.testing.assert_close(picture(0.3 * one + 1.7 * two), mixed, rtol=1e-12, atol=1e-14)


def test_pictures_are_linear_in_light() -> None:
    texture = torch.rand(16, 16, 3)
    cam, lamp = camera((2, -3, 2)), sun((0, 1, -1), 3.0)
    both = LightState(name="both", lights=(*lamp.lights, *sun((1, 0, -1), 2.0).lights), world=(0.2, 0.2, 0.2))
    apart = [_linear(sphere(), [shot(cam, state)], texture) for state in (lamp, sun((1, 0, -1), 2.0), furnace(0.2))]
    # Three sums of up to 32 positive terms.
    torch.testing.assert_close(_linear(sphere(), [shot(cam, both)], texture), sum(apart), rtol=64 * EPS, atol=1e-7)


# --- views that are kept --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [MipLayout.of(32, 64), None], ids=["texture", "vertex colours"])
@pytest.mark.parametrize("samples", [1, 4, 9])
def test_views_that_are_kept_look_the_same_as_others(layout: MipLayout | None, samples: int) -> None:
    renderer = _renderer(sphere(), layout)
    pool = torch.rand(layout.starts[-1] if layout else renderer.geometry.positions.shape[0], 3)
    prepared = renderer.prepare(_gradient_views(), 24, samples)
    kept = renderer.prepare_kept(_gradient_views(), 24, samples)
    assert isinstance(kept, Merged) == (samples > 1)
    # The sum of up to eight texels of each sample, in another order.
    seen = pool if kept.excerpt is None else kept.excerpt.of_pool(pool)
    torch.testing.assert_close(accumulate(seen, kept), accumulate(pool, prepared), rtol=8 * samples * EPS, atol=0)


# --- gradients ------------------------------------------------------------------------------------------------------


def _gradient_views() -> list[View]:
    """Never so bright that the view transform clips: there a finite difference knows nothing."""
    return [shot(camera((1.3, -2.4, 1.6)), sun((0.2, 1, -1), 2.0), 60), shot(camera((-5, -2, 1)), furnace(0.6), 60)]


def _uses_coarse_levels(transport: Transport, layout: MipLayout) -> bool:
    taps = transport.taps.listed()
    return bool((taps.weight[taps.index >= layout.starts[1]] > 0.1).any())


@pytest.mark.parametrize("mips", [True, False], ids=["with mips", "without mips"])
def test_texture_gradients_are_those_of_finite_differences(mips: bool) -> None:
    layout = MipLayout.of(32, 32, mips=mips)
    transport = _renderer(sphere(12, 6), layout).prepare(_gradient_views(), 12)
    assert _uses_coarse_levels(transport, layout) == mips
    theta = _texture(32, 32)
    _check_gradient(lambda t: srgb_encode(accumulate(build_pool(srgb_decode(t), layout), transport)), theta)


def test_vertex_colour_gradients_are_those_of_finite_differences() -> None:
    body = sphere(12, 6)
    transport = _renderer(body, None).prepare(_gradient_views(), 12)
    _check_gradient(lambda t: srgb_encode(accumulate(srgb_decode(t), transport)), _texture(len(body.positions)))


@pytest.mark.parametrize("mips", [True, False], ids=["with mips", "without mips"])
def test_the_compiled_gradient_equals_the_one_in_float64(mips: bool) -> None:
    layout = MipLayout.of(32, 32, mips=mips)
    transport = _renderer(sphere(12, 6), layout).prepare(_gradient_views(), 12)
    weight = torch.randn(transport.base.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    grads = []
    for dtype in (torch.float32, torch.float64):
        theta = _texture(32, 32).to(dtype).requires_grad_()
        (srgb_encode(accumulate(build_pool(srgb_decode(theta), layout), transport)) * weight.to(dtype)).sum().backward()
        assert theta.grad is not None
        grads.append(theta.grad.double())
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=256 * EPS * float(grads[1].abs().max()))


def test_a_black_texture_still_has_a_gradient() -> None:
    layout = MipLayout.of(8, 8)
    transport = _renderer(plane(), layout).prepare([shot(overhead(1.8), sun(strength=2.0))], 16)
    theta = torch.zeros(8, 8, 3, requires_grad=True)
    srgb_encode(accumulate(build_pool(srgb_decode(theta), layout), transport)).sum().backward()
    assert theta.grad is not None
    assert (theta.grad > 0).all()


def _texture(*shape: int) -> Tensor:
    """Display-encoded values well inside [0, 1], in float64."""
    return torch.rand(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)) * 0.6 + 0.2


def _check_gradient(picture: Callable[[Tensor], Tensor], theta: Tensor) -> None:
    """Directional derivatives in random directions, to what central differences in float64 can tell."""
    generator = torch.Generator().manual_seed(9)
    theta = theta.clone().requires_grad_()
    shown = picture(theta)
    assert shown.dtype == torch.float64
    assert ((shown > 0) & (shown < 1)).all()
    weight = torch.randn(shown.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((shown * weight).sum(), theta)
    for _ in range(4):
        direction = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
        step = 1e-5  # error of the step squared, and of rounding over the step, are both about 1e-10
        with torch.no_grad():
            ahead, behind = (float((picture(theta + s * direction) * weight).sum()) for s in (step, -step))
        assert (ahead - behind) / (2 * step) == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("rasterizer", ["numba", "nvdiffrast", "warp"])
def test_cuda_draws_what_the_cpu_draws_with_the_same_gradient(rasterizer: str) -> None:
    if rasterizer == "nvdiffrast" and not nvdiffrast_installed():
        pytest.skip("the nvdiffrast package is not installed")
    if rasterizer == "warp":
        pytest.importorskip("warp", reason="the warp-lang package is not installed")
    layout, drawn = MipLayout.of(32, 32), []
    for name, device in (("numba", torch.device("cpu")), (rasterizer, torch.device("cuda"))):
        geometry = from_mesh(sphere(), device)
        renderer = Renderer(geometry, choose(name, device), layout, Lighting(geometry))
        theta = _texture(32, 32).float().to(device).requires_grad_()
        pictures = renderer.draw(build_pool(srgb_decode(theta), layout), renderer.prepare(_gradient_views(), 64))
        pictures.square().sum().backward()
        assert theta.grad is not None
        drawn.append((pictures.detach().cpu(), theta.grad.cpu()))
    (here, slope), (there, other) = drawn
    # nvdiffrast snaps corners to a sixteenth of a sample: single pixels of the silhouette differ.
    assert float((here - there).abs().mean()) < (1e-6 if rasterizer == "numba" else 2e-3)
    assert float(torch.nn.functional.cosine_similarity(slope.flatten(), other.flatten(), dim=0)) > 0.999


# --- orientation and seams ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mips", [True, False])
def test_row_0_of_the_texture_is_at_the_bottom(mips: bool) -> None:
    corners = {(0, 0): (1.0, 0, 0), (0, 7): (0, 1.0, 0), (7, 0): (0, 0, 1.0), (7, 7): (1.0, 1.0, 0)}
    image = torch.zeros(8, 8, 3)
    for at, colour in corners.items():
        image[at] = torch.tensor(colour)
    layout = MipLayout.of(8, 8, mips=mips)
    transport = _renderer(plane(), layout).prepare([shot(overhead(2.0), furnace())], 8, 1)
    picture = accumulate(build_pool(image, layout), transport)[0]
    # Each pixel lies on one texel; picture rows count from the top.
    torch.testing.assert_close(picture, image.flip(0), rtol=0, atol=16 * EPS)


def test_a_texture_that_wraps_shows_no_seam() -> None:
    columns = 64
    u = (torch.arange(columns) + 0.5) / columns
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * u)
    image = wave[None, :, None].expand(4, columns, 3).contiguous()
    # u = 0 = 1 is at −x, and the camera looks right at it; to its right is −y, where u grows from 0.
    cam = camera((-5, 0, 0), projection=orthographic(2.2))
    picture = _linear(cylinder(128), [shot(cam, furnace())], image, size=128, samples=1)[0, :, :, 0]
    x = ((np.arange(128) + 0.5) / 128 - 0.5) * 2.2
    inner = np.abs(x) < 0.7
    expected = 0.5 + 0.4 * np.cos(np.arcsin(x[inner]))
    rows = picture.numpy()[32:96][:, inner]
    # Between texels a line stands for the wave: 0.4 (2π / 64)² / 8; a facet lies (π / 128)² / 2 inside the circle,
    # seen at 45° and on a slope of 0.4; and the coarser levels' share is below one texel, 0.4 (2π / 64)² / 4.
    tolerance = 0.4 * (2 * math.pi / 64) ** 2 * (1 / 8 + 1 / 4) + 0.4 * (math.pi / 128) ** 2
    np.testing.assert_allclose(rows, np.broadcast_to(expected, rows.shape), rtol=0, atol=tolerance)


@pytest.mark.parametrize(("size", "samples"), [(64, 1), (16, 4)])
def test_a_white_texture_has_no_dark_texel_where_it_wraps(size: int, samples: int) -> None:
    for body in (cylinder(24), sphere()):
        view = shot(camera((-3, 0.2, 0.3), projection=orthographic(1.0)), furnace())
        picture = _linear(body, [view], torch.ones(64, 64, 3), size=size, samples=samples)
        torch.testing.assert_close(picture, torch.ones_like(picture), rtol=0, atol=32 * EPS)


def test_vertex_colours_are_interpolated_in_linear_light() -> None:
    colours = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    transport = _renderer(plane(), None).prepare([shot(overhead(2.0), furnace())], 16, 1)
    picture = accumulate(colours, transport)[0]
    centres = (torch.arange(16) + 0.5) / 16
    torch.testing.assert_close(picture[:, :, 0], centres[None].expand(16, 16), rtol=0, atol=16 * EPS)
    torch.testing.assert_close(picture[:, :, 1], centres.flip(0)[:, None].expand(16, 16), rtol=0, atol=16 * EPS)


def test_a_texture_seen_from_far_away_is_its_mean() -> None:
    texture = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(4))
    # One pixel sees exactly the whole plane.
    picture = _linear(plane(), [shot(overhead(2.0), furnace())], texture, size=1, samples=1)
    torch.testing.assert_close(picture[0, 0, 0], texture.mean(dim=(0, 1)), rtol=0, atol=64 * EPS)


# --- Blender's own projection ---------------------------------------------------------------------------------------


def _random_cameras(bpy: Any, count: int = 12) -> list[Any]:
    """Camera objects of all kinds in Blender, scaled and turned at random."""
    rng = np.random.default_rng(11)
    made = []
    for number in range(count):
        data = bpy.data.cameras.new(f"camera {number}")
        data.type = "ORTHO" if number % 3 == 2 else "PERSP"
        data.lens, data.ortho_scale = float(rng.uniform(20, 90)), float(rng.uniform(2, 6))
        data.sensor_fit = ("AUTO", "HORIZONTAL", "VERTICAL")[number % 3]
        if number % 2:
            data.shift_x, data.shift_y = (float(s) for s in rng.uniform(-0.2, 0.2, 2))
        obj = bpy.data.objects.new(f"camera {number}", data)
        obj.location = rng.uniform(-6, 6, 3).tolist()
        obj.rotation_euler = rng.uniform(-3, 3, 3).tolist()
        obj.scale = (1.0, 1.0, 1.0) if number % 2 else (2.0, 2.0, 2.0)
        bpy.context.scene.collection.objects.link(obj)
        made.append(obj)
    bpy.context.view_layer.update()
    return made


def test_points_land_where_blender_says() -> None:
    bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    from blender_addon.collect.cameras import read_camera

    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.render.resolution_x = bpy.context.scene.render.resolution_y = size = 512
    for obj in _random_cameras(bpy):
        cam = read_camera(bpy.context, obj)
        for point in _points_in_front(cam):
            x, y, _ = world_to_camera_view(bpy.context.scene, obj, Vector(point))
            expected = np.array([x * size, (1 - y) * size])
            np.testing.assert_allclose(_project(cam, point, size), expected, rtol=0, atol=0.01)
            np.testing.assert_allclose(_drawn_at(cam, point, size), expected, rtol=0, atol=0.5)


def _points_in_front(cam: Camera) -> np.ndarray:
    """World points all over the frame, at several distances, [5, 3]."""
    inverse = np.linalg.inv(cam.projection @ cam.view)
    rng = np.random.default_rng(12)
    ends = []
    for z in (-1.0, 1.0):
        clip = np.concatenate([rng.uniform(-0.9, 0.9, (5, 2)), np.full((5, 1), z), np.ones((5, 1))], axis=1)
        world = clip @ inverse.T
        ends.append(world[:, :3] / world[:, 3:])
        rng = np.random.default_rng(12)
    share = np.array([0.02, 0.05, 0.1, 0.2, 0.4])[:, None]
    points: np.ndarray = ends[0] * (1 - share) + ends[1] * share
    return points


def _project(cam: Camera, point: np.ndarray, size: int) -> np.ndarray:
    """Column and row in the frame, in pixels from the top left corner."""
    clip = clip_from_world([cam])[0] @ (*point, 1.0)
    return np.array([(clip[0] / clip[3] + 1) * size / 2, (1 - clip[1] / clip[3]) * size / 2])


def _drawn_at(cam: Camera, point: np.ndarray, size: int) -> np.ndarray:
    """The middle of the pixels that a triangle about `point`, some pixels wide, covers."""
    inverse = np.linalg.inv(clip_from_world([cam])[0])
    clip = clip_from_world([cam])[0] @ (*point, 1.0)
    angles = np.arange(3) * 2 * math.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(3), np.zeros(3)], axis=1) * (9 / (size / 2)) * clip[3]
    corners = (clip + ring) @ inverse.T
    body = mesh(corners[:, :3] / corners[:, 3:], [(0, 1, 2)])
    seen = NumbaRasterizer().rasterize(from_mesh(body), clip_from_world([cam]), size, size)
    rows, columns = np.divmod(seen.sample.numpy(), size)
    assert len(rows) > 50
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])
