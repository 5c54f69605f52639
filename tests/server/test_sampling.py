"""Texture sampling as a linear operator: taps, mip levels, and the operator with its adjoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from helpers.scenes import camera, overhead, plane, sphere
from torch import Tensor

from compute_server.render import gbuffer, gradient_pools, merge_kernels
from compute_server.render import sampling_kernels as kernels
from compute_server.render.excerpt import Excerpt
from compute_server.render.geometry import clip_from_world, eye_points, from_mesh
from compute_server.render.merge_kernels import excerpted, merged
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.sampling import (
    TapByTap,
    accumulate,
    accumulate_reference,
    build_pool,
    covered,
    covered_reference,
    mip_places_reference,
    vertex_taps,
)
from compute_server.render.taps import Merged, MipLayout, MipTaps, Prepared, Taps, Transport
from shared.scene import Camera, Mesh

EPS = float(np.finfo(np.float32).eps)
#: A footprint so small that only the finest level is sampled.
FINEST = 1e-12
LAYOUTS = [MipLayout.of(64, 32), MipLayout.of(12, 20), MipLayout.of(7, 5), MipLayout.of(16, 16, mips=False)]


def _taps(uv: Tensor, footprint: Tensor | float, layout: MipLayout) -> Taps:
    if not isinstance(footprint, Tensor):
        footprint = torch.full((len(uv),), footprint)
    return MipTaps(kernels.mip_places(uv, footprint, layout), layout).listed()


def _defined_taps(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Taps:
    return MipTaps(mip_places_reference(uv, footprint, layout), layout).listed()


def _sample(pool: Tensor, taps: Taps) -> Tensor:
    return (pool[taps.index.long()] * taps.weight[:, :, None].to(pool.dtype)).sum(dim=1)


def _random_uv(count: int = 3000) -> tuple[Tensor, Tensor]:
    """UVs within and far without [0, 1] and footprints of all levels."""
    generator = torch.Generator().manual_seed(3)
    uv = torch.cat([torch.rand(count, 2, generator=generator), torch.rand(count, 2, generator=generator) * 12 - 6])
    return uv, 10 ** (torch.rand(2 * count, generator=generator) * 14 - 12)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_compiled_taps_sample_what_the_definition_samples(layout: MipLayout) -> None:
    uv, footprint = _random_uv()
    pool = torch.rand(layout.starts[-1], 3, dtype=torch.float64)
    compiled, defined = _taps(uv, footprint, layout), _defined_taps(uv, footprint, layout)
    # Two logarithms may differ by one unit in the last place of a level below 8, and a level is read as a blend.
    levels = np.spacing(np.float32(7.9))
    torch.testing.assert_close(_sample(pool, compiled), _sample(pool, defined), rtol=0, atol=float(levels) + 8 * EPS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_weights_are_shares_of_one_whole(layout: MipLayout) -> None:
    uv, footprint = _random_uv()
    for taps in (_taps(uv, footprint, layout), _defined_taps(uv, footprint, layout)):
        assert taps.weight.min() >= 0
        torch.testing.assert_close(taps.weight.sum(dim=1), torch.ones(len(uv)), rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_taps_lie_inside_the_pool(layout: MipLayout) -> None:
    uv, footprint = _random_uv()
    edges = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1 - 6e-8, -1e-9], [-3.0, 5.0]])
    taps = _taps(torch.cat([uv, edges]), torch.cat([footprint, torch.tensor([0.0, 1e30, 1.0, FINEST])]), layout)
    assert taps.index.min() >= 0
    assert taps.index.max() < layout.starts[-1]


@pytest.mark.parametrize(("rows", "columns"), [(8, 16), (4, 4), (2, 32)])
def test_the_centre_of_a_texel_gives_that_texel_exactly(rows: int, columns: int) -> None:
    image = torch.rand(rows, columns, 3)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    centres = torch.stack([(column + 0.5) / columns, (row + 0.5) / rows], dim=-1).reshape(-1, 2)
    layout = MipLayout.of(rows, columns)
    assert torch.equal(_sample(build_pool(image, layout), _taps(centres, FINEST, layout)), image.reshape(-1, 3))


def test_between_two_texels_the_mean_is_seen() -> None:
    image = torch.rand(4, 8, 3)
    layout = MipLayout.of(4, 8)
    sampled = _sample(build_pool(image, layout), _taps(torch.tensor([[3 / 8, 1.5 / 4]]), FINEST, layout))
    torch.testing.assert_close(sampled[0], (image[1, 2] + image[1, 3]) / 2)


def test_the_texture_goes_on_across_its_border() -> None:
    image = torch.rand(4, 8, 3)
    layout = MipLayout.of(4, 8)
    pool = build_pool(image, layout)
    seam = torch.tensor([[0.0, 1.5 / 4], [1.0, 1.5 / 4], [-2.0, 1.5 / 4]])
    expected = (image[1, 0] + image[1, -1]) / 2
    torch.testing.assert_close(_sample(pool, _taps(seam, FINEST, layout)), expected.expand(3, 3))
    upright = torch.tensor([[2.5 / 8, 0.0], [2.5 / 8, 1.0], [2.5 / 8, 3.0]])
    expected = (image[0, 2] + image[-1, 2]) / 2
    torch.testing.assert_close(_sample(pool, _taps(upright, FINEST, layout)), expected.expand(3, 3))


def test_mip_levels_are_exact_averages() -> None:
    image = torch.randint(0, 256, (16, 32, 3)).float()  # sums of whole numbers and halves are exact
    layout = MipLayout.of(16, 32)
    pool = build_pool(image, layout)
    assert layout.sizes == ((16, 32), (8, 16), (4, 8), (2, 4), (1, 2))
    for level, (rows, columns) in enumerate(layout.sizes):
        block = 2**level
        expected = image.reshape(rows, block, columns, block, 3).mean(dim=(1, 3))
        found = pool[layout.starts[level] : layout.starts[level + 1]].reshape(rows, columns, 3)
        assert torch.equal(found, expected)


def test_the_pyramid_ends_where_a_side_no_longer_halves() -> None:
    assert MipLayout.of(12, 20).sizes == ((12, 20), (6, 10), (3, 5))
    assert MipLayout.of(7, 8).sizes == ((7, 8),)
    assert MipLayout.of(64, 64, mips=False) == MipLayout(((64, 64),), (0, 4096))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_footprint_of_one_texel_of_a_level_is_seen_at_that_level(level: int) -> None:
    layout = MipLayout.of(16, 16)
    image = torch.rand(16, 16, 3)
    side, block = 16 >> level, 1 << level
    taps = _taps(torch.tensor([[0.5 / side, 1.5 / side if side > 1 else 0.5]]), 1 / side**2, layout)
    row = 1 if side > 1 else 0
    expected = image[row * block : (row + 1) * block, :block].mean(dim=(0, 1))
    torch.testing.assert_close(_sample(build_pool(image, layout), taps)[0], expected, rtol=0, atol=4 * EPS)


def test_between_levels_their_blend_is_seen() -> None:
    layout = MipLayout.of(4, 4)
    pool = torch.cat([torch.zeros(16, 3), torch.ones(4, 3), torch.full((1, 3), 5.0)])
    # 2 texels' area is level 0.5, 8 texels' area is level 1.5.
    sampled = _sample(pool, _taps(torch.full((2, 2), 0.3), torch.tensor([2 / 16, 8 / 16]), layout))
    torch.testing.assert_close(sampled[:, 0], torch.tensor([0.5, 3.0]), rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_constant_texture_is_constant_at_all_levels(layout: MipLayout) -> None:
    uv, footprint = _random_uv()
    pool = build_pool(torch.full((*layout.sizes[0], 3), 0.7), layout)
    torch.testing.assert_close(_sample(pool, _taps(uv, footprint, layout)), torch.full((len(uv), 3), 0.7))


# --- the operator and its adjoint -----------------------------------------------------------------------------------


def _transport(*, views: int = 3, size: int = 16, samples: int = 1500, texels: int = 400) -> Transport:
    """A transport of random numbers; the middle view has no samples."""
    rng = np.random.default_rng(8)
    counts = [samples, 0, samples // 2][:views]
    pixel = np.concatenate([np.sort(rng.integers(0, size * size, n)) + v * size * size for v, n in enumerate(counts)])
    index = rng.integers(0, texels, (len(pixel), 8))
    weight = rng.dirichlet(np.ones(8), len(pixel))
    return Transport(
        taps=Taps(torch.tensor(index, dtype=torch.int32), torch.tensor(weight, dtype=torch.float32)),
        light=torch.tensor(rng.random((len(pixel), 3)), dtype=torch.float32),
        pixel=torch.tensor(pixel, dtype=torch.int32),
        view_start=torch.tensor([0, *np.cumsum(counts)]),
        base=torch.tensor(rng.random((views, size, size, 3)), dtype=torch.float32),
    )


def _one_row(transport: Transport) -> Transport:
    """The same, but that each picture has a single row."""
    return dataclasses.replace(transport, base=transport.base.flatten(1, 2)[:, None])


def _mip_transport(columns: int = 32) -> Transport:
    """The same, but that its samples look into a mip pyramid, at all of its levels and across its border."""
    layout, transport = MipLayout.of(16, columns), _transport()
    uv, footprint = _random_uv(len(transport.pixel))
    chosen = torch.randperm(len(uv), generator=torch.Generator().manual_seed(5))[: len(transport.pixel)]
    places = kernels.mip_places(uv[chosen].contiguous(), footprint[chosen].contiguous(), layout)
    return dataclasses.replace(transport, taps=MipTaps(places, layout))


TRANSPORTS = {
    "listed taps": (_transport, 400),
    "trilinear taps": (_mip_transport, 682),
    # Each row of the finest level is a block.
    "trilinear taps, large levels": (lambda: _mip_transport(1 << gradient_pools.BLOCK_BITS), 2728),
    "trilinear taps, one thread": (_mip_transport, 682),
    "more samples than a thread takes at a time": (lambda: _transport(size=96, samples=90000), 400),
    "the samples of several threads in one row": (lambda: _one_row(_transport(size=200, samples=90000)), 400),
}


@pytest.fixture(params=TRANSPORTS)
def operator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Transport, int]:
    """An operator of each kind, and how many texels its pool has."""
    make, texels = TRANSPORTS[request.param]
    if request.param.endswith("large levels"):
        monkeypatch.setattr(gradient_pools, "LARGE_LEVEL", 64)
    if request.param.endswith("one thread"):
        monkeypatch.setattr(gradient_pools, "MAX_SCATTER_BYTES", 1)
    # Memory that is not cleared holds anything.
    new = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **kinds: new(*size, **kinds).fill_(113))
    return make(), texels


#: How an operator is made ready to be drawn: as it is, or pixel by pixel for views that are drawn many times.
READY: dict[str, Callable[[Transport], Prepared]] = {"as it is": lambda transport: transport, "merged": merged}


@pytest.fixture(params=READY)
def ready(request: pytest.FixtureRequest) -> Callable[[Transport], Prepared]:
    """Each of these ways."""
    return READY[request.param]


def _scattered(grad: Tensor, prepared: Prepared, texels: int) -> Tensor:
    """The gradient of the pool from that of the pictures."""
    pool = torch.zeros(texels, 3, requires_grad=True)
    accumulate(pool, prepared).backward(grad)
    assert pool.grad is not None
    return pool.grad


def _without_base(transport: Transport) -> Transport:
    return Transport(
        transport.taps, transport.light, transport.pixel, transport.view_start, torch.zeros_like(transport.base)
    )


def _terms_per_pixel(transport: Transport) -> int:
    return int(torch.bincount(transport.pixel.long()).max()) * 8


def test_gathering_equals_its_definition(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    transport, pool = operator[0], torch.rand(operator[1], 3)
    exact = accumulate_reference(pool.double(), transport)
    # All terms are positive, so each of the additions loses at most half an eps of the sum.
    rounding = _terms_per_pixel(transport) * EPS
    torch.testing.assert_close(accumulate(pool, ready(transport)).double(), exact, rtol=rounding, atol=0)
    torch.testing.assert_close(accumulate_reference(pool, transport).double(), exact, rtol=rounding, atol=0)


def test_tap_by_tap_equals_the_definition_and_its_gradient(operator: tuple[Transport, int]) -> None:
    transport, texels = operator
    pool = torch.rand(texels, 3, generator=torch.Generator().manual_seed(3))
    found, exact = pool.clone().requires_grad_(), pool.double().requires_grad_()
    pictures, defined = TapByTap.apply(found, transport), accumulate_reference(exact, transport)
    torch.testing.assert_close(pictures.double(), defined, rtol=_terms_per_pixel(transport) * EPS, atol=0)
    grad = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(4))
    pictures.backward(grad)
    defined.backward(grad.double())
    assert found.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(found.grad.double(), exact.grad, rtol=_terms_per_texel(transport) * EPS, atol=0)


def test_pixels_without_samples_show_the_base_unchanged(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    transport, texels = operator
    pictures = accumulate(torch.rand(texels, 3), ready(transport))
    assert torch.equal(pictures[1], transport.base[1])
    bare = torch.bincount(transport.pixel.long(), minlength=transport.base[..., 0].numel()) == 0
    assert torch.equal(pictures.reshape(-1, 3)[bare], transport.base.reshape(-1, 3)[bare])


def test_covered_are_the_pixels_that_have_samples(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    transport, _ = operator
    found = covered(ready(transport))
    assert torch.equal(found, covered_reference(transport.pixel, transport.base.shape[:3]))
    assert found.dtype == torch.bool
    assert not found[1].any()


def test_gathering_leaves_its_inputs_alone(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    transport, pool = operator[0], torch.rand(operator[1], 3)
    base, before = transport.base.clone(), pool.clone()
    accumulate(pool, ready(transport))
    assert torch.equal(transport.base, base)
    assert torch.equal(pool, before)


def test_scattering_is_the_adjoint_of_gathering(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    """⟨A x, g⟩ = ⟨x, Aᵀ g⟩."""
    transport, texels = _without_base(operator[0]), operator[1]
    prepared = ready(transport)
    generator = torch.Generator().manual_seed(1)
    pool = torch.randn(texels, 3, generator=generator)
    grad = torch.randn(transport.base.shape, generator=generator)
    left = (accumulate(pool, prepared).double() * grad.double()).sum()
    right = (pool.double() * _scattered(grad, prepared, texels).double()).sum()
    # Rounding is bounded by eps times the number of terms of one sum times the inner product of absolute values.
    size = (accumulate_reference(pool.abs().double(), transport) * grad.abs().double()).sum()
    terms = max(_terms_per_pixel(transport), _terms_per_texel(transport))
    assert abs(left - right) <= EPS * terms * size
    assert abs(left) > 1000 * EPS * size, "the products cancel, and the test tests nothing"


def _terms_per_texel(transport: Transport) -> int:
    return int(torch.bincount(transport.taps.listed().index.long().reshape(-1)).max())


def test_the_gradient_equals_autograd_through_the_definition(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    transport, texels = operator
    grad = torch.randn(transport.base.shape, generator=torch.Generator().manual_seed(2))
    found = _scattered(grad, ready(transport), texels)
    exact = torch.rand(texels, 3, dtype=torch.float64, requires_grad=True)
    accumulate_reference(exact, transport).backward(grad.double())
    bound = torch.zeros(texels, 3, dtype=torch.float64, requires_grad=True)
    accumulate_reference(bound, transport).backward(grad.abs().double())
    assert exact.grad is not None
    assert bound.grad is not None
    assert ((found.double() - exact.grad).abs() <= EPS * _terms_per_texel(transport) * bound.grad).all()


def test_a_gradient_that_is_not_contiguous_is_read_rightly() -> None:
    transport = _transport()
    planes = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    for prepared in (transport, merged(transport)):
        grads = [
            _scattered(grad, prepared, 400)
            for grad in (planes.permute(0, 2, 3, 1), planes.permute(0, 2, 3, 1).contiguous())
        ]
        assert torch.equal(*grads)


def test_repeated_runs_give_the_same_bits(
    operator: tuple[Transport, int], ready: Callable[[Transport], Prepared]
) -> None:
    (transport, texels), pool = operator, torch.rand(operator[1], 3)
    grad, prepared = torch.randn(transport.base.shape), [ready(transport) for _ in range(5)]
    pictures = [accumulate(pool, each) for each in prepared]
    grads = [_scattered(grad, each, texels) for each in prepared]
    assert all(torch.equal(pictures[0], other) for other in pictures[1:])
    assert all(torch.equal(grads[0], other) for other in grads[1:])


def test_merged_samples_keep_each_texel_of_a_pixel_once(operator: tuple[Transport, int]) -> None:
    transport, texels = operator
    found = merged(transport).forth
    listed = transport.taps.listed()
    key = transport.pixel.long()[:, None] * texels + listed.index.long()
    expected = torch.unique(key[listed.weight > 0])
    pixel = torch.repeat_interleave(found.row.long(), found.start.diff())
    # Those that weigh next to nothing may be missing from either: a level is read as a blend.
    pairs = pixel * texels + found.column.long()
    assert len(torch.unique(pairs)) == len(pairs)
    heavy = torch.unique(key[listed.weight > 1e-5])
    assert torch.isin(heavy, pairs).all()
    assert torch.isin(pairs, expected).all()


@pytest.mark.parametrize("way", ["forth", "back"])
def test_merging_in_many_parts_gives_the_same(
    way: str, operator: tuple[Transport, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = getattr(merged(operator[0]), way)
    monkeypatch.setattr(merge_kernels, "SAMPLES", 50)
    parts = getattr(merged(operator[0]), way)
    for name in ("row", "start", "column", "weight"):
        assert torch.equal(getattr(parts, name), getattr(whole, name)), name


@pytest.mark.parametrize("threads", [1, 2, 64])
def test_any_number_of_threads_draws_merged_samples_to_the_same_bits(
    threads: int, operator: tuple[Transport, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (transport, texels), pool = operator, torch.rand(operator[1], 3)
    views, grad = merged(transport), torch.randn(transport.base.shape)
    picture, slope = merge_kernels.gather(pool, views), merge_kernels.scatter(grad, views, texels)
    monkeypatch.setattr(merge_kernels.nb, "get_num_threads", lambda: threads)
    assert torch.equal(merge_kernels.gather(pool, views), picture)
    assert torch.equal(merge_kernels.scatter(grad, views, texels), slope)


def _excerpt(columns: int = 256) -> tuple[Merged, Merged, int]:
    """Samples of a small part of a texture's finest level, and of all others: as views of the whole pool and of an
    excerpt, and how many texels the pool has."""
    transport = _mip_transport(columns)
    assert isinstance(transport.taps, MipTaps)
    place = transport.taps.place.clone()
    place[:, 0] = torch.where(place[:, 2] < 1, place[:, 0] * 0.2 + 0.1, place[:, 0])
    place[:, 1] = torch.where(place[:, 2] < 1, place[:, 1] * 0.2 + 0.5, place[:, 1])
    layout = transport.taps.layout
    whole = merged(dataclasses.replace(transport, taps=MipTaps(place, layout)))
    return whole, excerpted(whole, layout), layout.starts[-1]


def test_an_excerpt_of_the_pool_is_drawn_as_the_whole_is_to_the_same_bits() -> None:
    whole, part, texels = _excerpt()
    assert part.excerpt is not None
    assert texels / 4 < part.excerpt.size < texels / 2, "all is looked at, or nothing of the finest level"
    pool, grad = torch.rand(texels, 3), torch.randn(whole.base.shape)
    excerpt = part.excerpt.of_pool(pool)
    assert torch.equal(accumulate(excerpt, part), accumulate(pool, whole))
    slope = _scattered(grad, whole, texels)
    assert torch.equal(_scattered(grad, part, part.excerpt.size), part.excerpt.of_pool(slope))
    assert slope.count_nonzero() == part.excerpt.of_pool(slope).count_nonzero(), "some of the gradient is left out"


def test_views_refuse_a_pool_of_another_size_than_they_look_at() -> None:
    _, part, texels = _excerpt()
    with pytest.raises(ValueError, match=f"not of {texels}"):
        accumulate(torch.rand(texels, 3), part)
    with pytest.raises(ValueError, match="of 682 texels, not of 681"):
        accumulate(torch.rand(681, 3), _mip_transport())


@pytest.mark.parametrize("finest", [1, 100, 128, 500, 1024])
def test_an_excerpt_has_the_blocks_that_are_looked_at_and_all_other_levels(finest: int) -> None:
    starts = (0, finest, finest + 40)
    texels = torch.tensor([0, finest - 1, finest, finest + 39], dtype=torch.int32)
    found = Excerpt.around(texels, starts)
    kept = [texel for texel in range(finest) if texel >> 7 in (0, (finest - 1) >> 7)]
    expected = torch.tensor([*kept, *range(finest, finest + 40)])
    assert torch.equal(found.of_pool(torch.arange(finest + 40.0)[:, None])[:, 0].long(), expected)
    assert found.size == len(expected)
    assert found.rows(texels).dtype == torch.int32
    assert torch.equal(expected[found.rows(texels).long()], texels.long())


def test_an_excerpt_around_nothing_has_no_texel_of_the_finest_level() -> None:
    found = Excerpt.around(torch.empty(0, dtype=torch.int32), (0, 300, 340))
    assert (found.kept, found.size) == (0, 40)


def test_views_without_any_sample_show_the_base() -> None:
    transport = _transport(samples=0)
    assert torch.equal(accumulate(torch.rand(400, 3), merged(transport)), transport.base)
    assert not _scattered(torch.ones_like(transport.base), merged(transport), 400).any()


# --- vertex colours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [plane(3.0), sphere()], ids=["plane", "sphere"])
@pytest.mark.parametrize("cam", [camera((2, -3, 2)), overhead(2.5)], ids=["perspective", "orthographic"])
def test_vertex_taps_interpolate_between_the_corners(body: Mesh, cam: Camera) -> None:
    """A colour that is the vertex's own place comes out as the sample's place."""
    geometry, matrices = from_mesh(body), clip_from_world([cam])
    seen = NumbaRasterizer().rasterize(geometry, matrices, 32, 32)
    surface = gbuffer.build(geometry, seen, matrices, eye_points([cam]))
    taps = vertex_taps(geometry, surface)
    assert taps.index.shape == taps.weight.shape == (len(seen.triangle), 3)
    torch.testing.assert_close(taps.weight.sum(dim=1), torch.ones(len(taps.weight)), rtol=0, atol=4 * EPS)
    torch.testing.assert_close(_sample(geometry.positions, taps), surface.position, rtol=0, atol=8 * EPS)
