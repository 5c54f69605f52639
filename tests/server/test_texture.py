"""Θ and its texture: mask, padding, bytes; what the mask keeps is kept bit for bit."""

from __future__ import annotations

import dataclasses
import math

import msgspec
import numpy as np
import pytest
import torch

from compute_server.bench_scene import bench_scene
from compute_server.render.color import srgb_decode
from compute_server.render.excerpt import Excerpt
from compute_server.render.geometry import from_mesh
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.raster_numpy import NumpyRasterizer
from compute_server.texture import TextureModel, free_weights, pad, texel_weights, texture_model
from shared.errors import InvalidInput
from shared.scene import Mesh, Scene, UvTexture, VertexTexture

CPU = torch.device("cpu")
EPS = torch.finfo(torch.float32).eps
RNG = np.random.default_rng(0)


def quad(uv: list[tuple[float, float]], mask: list[float]) -> Mesh:
    """A unit square of two triangles with the given corner UVs."""
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(
        name="quad",
        positions=np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32),
        triangles=triangles,
        normals=np.broadcast_to(np.float32([0, 0, 1]), (2, 3, 3)).copy(),
        uv=np.array(uv, np.float32)[triangles],
        mask=np.array(mask, np.float32),
    )


def kept_and_free() -> Mesh:
    """Two squares: one in the lower left of the texture that is to be kept, one in the upper right that may change."""
    one, other = quad(LOWER_LEFT, [0, 0, 0, 0]), quad([(u + 0.5, v + 0.5) for u, v in LOWER_LEFT], [1, 1, 1, 1])
    return msgspec.structs.replace(
        one,
        positions=np.concatenate([one.positions, other.positions + np.float32(2)]),
        triangles=np.concatenate([one.triangles, other.triangles + 4]).astype(np.int32),
        normals=np.concatenate([one.normals, other.normals]),
        uv=np.concatenate([one.uv, other.uv]),
        mask=np.concatenate([one.mask, other.mask]),
    )


def scene(mesh: Mesh, texture: UvTexture | VertexTexture) -> Scene:
    return msgspec.structs.replace(bench_scene(16), mesh=mesh, texture=texture)


def noise(height: int, width: int | None = None) -> UvTexture:
    return UvTexture(RNG.integers(0, 256, (height, width or height, 3), np.uint8))


def model(mesh: Mesh, texture: UvTexture | VertexTexture) -> TextureModel:
    job_scene = scene(mesh, texture)
    return texture_model(job_scene, free_weights(job_scene, NumbaRasterizer()), CPU)


LOWER_LEFT = [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)]
WHOLE = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


def test_row_zero_is_at_the_bottom() -> None:
    found = model(quad(LOWER_LEFT, [1, 1, 1, 1]), noise(32))
    theta = torch.rand(found.start.shape, generator=torch.Generator().manual_seed(0))
    picture = found.quantised(theta).reshape(32, 32, 3)
    assert torch.equal(picture[:16, :16].reshape(-1, 3), (theta * 255).round().byte())


def test_theta_at_its_start_is_the_original_bit_for_bit() -> None:
    found = model(quad(LOWER_LEFT, [0.3, 1, 0.7, 0]), noise(32))
    assert torch.equal(found.quantised(found.start), found.original)


def test_texels_outside_the_mask_are_bit_identical() -> None:
    mesh = quad(WHOLE, [1, 0, 0, 0])
    found = model(mesh, noise(64))
    changed = found.quantised(1 - found.start)
    assert found.max_change_outside(changed) == 0
    weights = texel_weights(from_mesh(mesh), torch.tensor(mesh.mask), NumpyRasterizer(), 64, 64)
    assert torch.equal(changed[weights == 0], found.original[weights == 0])
    assert not torch.equal(changed[weights > 0.5], found.original[weights > 0.5])


def test_a_change_outside_the_mask_would_be_reported() -> None:
    found = model(kept_and_free(), noise(32))
    touched = found.original.clone()
    touched[4 * 32 + 4] = touched[4 * 32 + 4] ^ 16
    assert found.max_change_outside(touched) == 16


def test_a_soft_weight_moves_its_texel_by_that_share() -> None:
    found = model(quad(WHOLE, [0.25, 0.25, 0.25, 0.25]), UvTexture(np.full((16, 16, 3), 100, np.uint8)))
    moved = found.values(found.start + 0.4) - 100 / 255
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1))


def test_texels_that_have_reached_black_or_white_can_still_move() -> None:
    found = model(quad(WHOLE, [1, 1, 1, 1]), UvTexture(np.full((8, 8, 3), 255, np.uint8)))
    for bound in (0.0, 1.0):
        theta = torch.full_like(found.start, bound).requires_grad_()
        found.values(theta).sum().backward()
        assert theta.grad is not None
        assert (theta.grad > 0).all()


def test_texels_beyond_an_island_follow_its_edge() -> None:
    found = model(quad(LOWER_LEFT, [1, 1, 1, 1]), UvTexture(np.full((64, 64, 3), 128, np.uint8)))
    theta = torch.rand(found.start.shape, generator=torch.Generator().manual_seed(0))
    picture = found.quantised(theta).reshape(64, 64, 3)
    assert torch.equal(picture[:32, 32], picture[:32, 31])
    assert torch.equal(picture[32, :32], picture[31, :32])


def test_at_no_mip_level_does_an_old_colour_show_through() -> None:
    """Islands on black, as a baked atlas has them: what was black between them is not, wherever a filter reaches."""
    image = np.zeros((64, 64, 3), np.uint8)
    found = model(quad(LOWER_LEFT, [1, 1, 1, 1]), UvTexture(image))
    pool = found.pool(torch.full_like(found.start, 0.8), found.linear())
    bright = srgb_decode(torch.tensor(0.8))
    torch.testing.assert_close(pool, bright.expand_as(pool))
    assert (found.quantised(torch.full_like(found.start, 0.8)) == 204).all()


def test_what_nothing_covers_stays_where_it_borders_on_what_is_kept() -> None:
    found = model(kept_and_free(), noise(64))
    after = found.quantised(torch.full_like(found.start, 0.8))
    assert found.max_change_outside(after) == 0
    beside_kept, beside_free = (slice(0, 32), slice(32, 34)), (slice(32, 64), slice(30, 32))
    picture, original = after.reshape(64, 64, 3), found.original.reshape(64, 64, 3)
    assert torch.equal(picture[beside_kept][4:28], original[beside_kept][4:28])
    assert (picture[beside_free][4:28] == 204).all()


def test_padding_takes_the_nearest_texel_and_wraps() -> None:
    weight = np.full((8, 8), -1.0)
    weight[3, 0] = 1
    weight[3, 4] = 1
    target, follows = pad(weight, 2)
    found = dict(zip(target.tolist(), follows.tolist(), strict=True))
    near = {((3 + dy) * 8 + dx % 8): 24 for dy in (-1, 0, 1) for dx in (-1, 0, 1) if abs(dy) + abs(dx) == 1}
    assert {texel: found[texel] for texel in near} == near


@pytest.mark.parametrize("radius", [0, 1, 3, 40])
def test_padding_in_rings_is_that_of_rolling_the_whole_texture(radius: int) -> None:
    weight = np.where(np.random.default_rng(radius).random((29, 46)) < 0.01, 1.0, -1.0)
    expected = np.where(weight >= 0, np.arange(weight.size).reshape(weight.shape), -1)
    for _ in range(radius):
        grown = expected.copy()
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            neighbour = np.roll(expected, shift, axis)
            grown = np.where((grown < 0) & (neighbour >= 0), neighbour, grown)
        expected = grown
    target, follows = pad(weight, radius, everywhere=False)
    np.testing.assert_array_equal(target, np.flatnonzero((weight < 0) & (expected >= 0)))
    np.testing.assert_array_equal(follows, expected.reshape(-1)[target])


def test_padding_fills_the_whole_texture_from_its_own_surroundings() -> None:
    weight = np.full((37, 64), -1.0)
    weight[2, 3] = weight[30, 60] = 1
    target, follows = pad(weight, 1)
    assert len(target) == weight.size - 2
    found = dict(zip(target.tolist(), follows.tolist(), strict=True))
    assert found[6 * 64 + 6] == 2 * 64 + 3
    assert found[34 * 64 + 62] == 30 * 64 + 60


def test_uvs_that_leave_the_unit_square_wrap() -> None:
    shifted = [(u + 3, v - 2) for u, v in LOWER_LEFT]
    plain, moved = (
        texel_weights(from_mesh(quad(uv, [1, 1, 1, 1])), torch.ones(4), NumbaRasterizer(), 32, 32)
        for uv in (LOWER_LEFT, shifted)
    )
    np.testing.assert_array_equal(plain, moved)


def test_where_triangles_share_texels_the_least_weight_holds() -> None:
    folded = quad(WHOLE, [1, 1, 1, 1])
    uv = folded.uv.copy()
    uv[1] = uv[0]
    folded = msgspec.structs.replace(folded, uv=uv, mask=np.array([1, 1, 1, 0], np.float32))
    weights = texel_weights(from_mesh(folded), torch.tensor(folded.mask), NumbaRasterizer(), 32, 32)
    alone = texel_weights(from_mesh(folded), torch.ones(4), NumbaRasterizer(), 32, 32)
    assert (weights[alone == 1] < 1).mean() > 0.9


def test_a_texture_repeated_absurdly_often_is_refused() -> None:
    with pytest.raises(InvalidInput, match="repeats the texture"):
        model(quad([(0, 0), (1000, 0), (1000, 1000), (0, 1000)], [1, 1, 1, 1]), noise(16))


def test_a_mask_that_no_texel_sees_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="'quad' covers no texel"):
        model(quad([(0.01, 0.01)] * 4, [1, 1, 1, 1]), noise(16))


def test_vertex_colours_are_parameters_of_their_own() -> None:
    colors = RNG.integers(0, 256, (4, 3), np.uint8)
    found = model(quad(WHOLE, [1, 0, 0.5, 0]), VertexTexture(colors))
    assert len(found.start) == 2
    changed = found.quantised(1 - found.start).numpy()
    np.testing.assert_array_equal(changed[[1, 3]], colors[[1, 3]])
    assert (changed[0] != colors[0]).any()
    written = found.as_texture(torch.tensor(changed))
    assert isinstance(written, VertexTexture)


def test_the_pool_of_theta_is_the_pool_of_its_bytes_up_to_rounding() -> None:
    found = model(quad(LOWER_LEFT, [1, 1, 0.5, 0]), noise(32))
    theta = torch.rand(found.start.shape, generator=torch.Generator().manual_seed(0))
    exact, written = found.pool(theta, found.linear()), found.pool_of(found.quantised(theta))
    assert (exact - written).abs().max() < 2.4 / 1.055 * 0.5 / 255 + 1e-6  # half a level times the steepest slope


#: Heights and widths. Rows of 200 do not begin where blocks of 1,024 texels do, and those of 1,030 have three chunks.
SHAPES = [(16, 16), (37, 37), (64, 64), (200, 200), (1, 300), (300, 2), (2, 600), (37, 200), (6, 1030)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("corners", [LOWER_LEFT, WHOLE], ids=["padded", "covered"])
@pytest.mark.parametrize("mask", [[1, 0.9, 0.5, 0], [1, 1, 1, 1]], ids=["masked", "free"])
def test_the_compiled_pool_and_its_gradient_equal_the_definition(shape: tuple, corners: list, mask: list) -> None:
    _compare_with_definition(model(quad(corners, mask), noise(*shape)))


@pytest.mark.parametrize("held", [1, 2, 67], ids=lambda count: f"{count} held")
def test_the_gradient_of_texels_from_any_column_on_equals_the_definition(held: int) -> None:
    """Parameters that are consecutive, but of which the first lies anywhere in a row, and in a block of 2 × 2."""
    weight = np.ones(64 * 64, np.float32)
    weight[:held] = 0
    _compare_with_definition(texture_model(scene(quad(WHOLE, [1, 1, 1, 1]), noise(64)), weight, CPU))


@pytest.mark.parametrize("texel", [0, 1023, 1024], ids=["first", "last of a block", "first of a block"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_single_texel_that_is_held_back_is_not_taken_for_a_free_one(texel: int, share: float) -> None:
    weight = np.ones(64 * 64, np.float32)
    weight[texel] = share
    _compare_with_definition(texture_model(scene(quad(WHOLE, [1, 1, 1, 1]), noise(64)), weight, CPU))


def test_the_compiled_pool_of_vertex_colours_equals_the_definition() -> None:
    _compare_with_definition(model(quad(WHOLE, [1, 0, 0.5, 0]), VertexTexture(RNG.integers(0, 256, (4, 3), np.uint8))))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("corners", [LOWER_LEFT, WHOLE], ids=["padded", "covered"])
@pytest.mark.parametrize("mask", [[1, 0.9, 0.5, 0], [1, 1, 1, 1]], ids=["masked", "free"])
def test_an_excerpt_of_the_pool_and_its_gradient_equal_the_definition(
    share: float, shape: tuple, corners: list, mask: list
) -> None:
    """Blocks of the finest level here and there, or none."""
    found, count = model(quad(corners, mask), noise(*shape)), math.prod(shape)
    blocks = torch.rand(-(-count // 128), generator=torch.Generator().manual_seed(count)) < share
    texels = torch.arange(count)[blocks.repeat_interleave(128)[:count]]
    _compare_with_definition(found, Excerpt.around(texels, found.levels.starts))


def test_an_excerpt_of_vertex_colours_equals_the_definition() -> None:
    found = model(quad(WHOLE, [1, 0, 0.5, 0]), VertexTexture(RNG.integers(0, 256, (4, 3), np.uint8)))
    _compare_with_definition(found, Excerpt.everything(found.levels.starts))


def _compare_with_definition(found: TextureModel, excerpt: Excerpt | None = None) -> None:
    generator = torch.Generator().manual_seed(0)
    # Some are clipped, and have no gradient.
    theta = torch.rand(found.start.shape, generator=generator) * 1.4 - 0.2
    compiled, exact = theta.clone().requires_grad_(), theta.double().requires_grad_()
    linear = found.linear()
    doubled = dataclasses.replace(found, start=found.start.double(), weight=found.weight.double())
    pool, defined = found.pool(compiled, linear, excerpt), doubled.pool_reference(exact, linear.double(), excerpt)
    # Decoding loses three units in the last place of one, and the mean of four again one.
    torch.testing.assert_close(pool.double(), defined, rtol=0, atol=5 * EPS)
    grad = torch.randn(pool.shape, generator=generator)
    pool.backward(grad)
    (slope,) = torch.autograd.grad(defined, exact, grad.double(), retain_graph=True)
    (size,) = torch.autograd.grad(defined, exact, grad.abs().double())
    assert compiled.grad is not None
    assert (compiled.grad == 0).any()
    # Sums over all texels that follow one, and the levels of each, in float32. Where the curve begins its slope changes
    # fifteen times as fast as the value, in which masking leaves three roundings.
    terms = torch.bincount(found.source)[:, None] + len(found.levels.sizes) + 48
    assert ((compiled.grad.double() - slope).abs() <= EPS * terms * size).all()


@pytest.mark.parametrize("size", [16, 37, 200])
@pytest.mark.parametrize("corners", [LOWER_LEFT, WHOLE], ids=["padded", "covered"])
@pytest.mark.parametrize("mask", [[1, 0.9, 0.5, 0], [1, 1, 1, 1]], ids=["masked", "free"])
def test_the_compiled_texture_and_its_gradient_equal_the_definition(size: int, corners: list, mask: list) -> None:
    found, generator = model(quad(corners, mask), noise(size)), torch.Generator().manual_seed(0)
    theta = torch.rand(found.start.shape, generator=generator) * 1.4 - 0.2
    grads, textures = [], []
    for function in (found.encoded, found.encoded_reference):
        free = theta.clone().requires_grad_()
        textures.append(function(free))
        textures[-1].backward(torch.randn(textures[-1].shape, generator=torch.Generator().manual_seed(1)))
        grads.append(free.grad)
    torch.testing.assert_close(textures[0], textures[1], rtol=0, atol=2 * EPS)
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=32 * EPS * float(grads[1].abs().max()))
