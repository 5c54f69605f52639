"""View transforms as tables: interpolation, its gradient, what is clipped, and the compiled kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compute_server.render.color import srgb_encode
from compute_server.render.view_transform import Table, apply, apply_reference, encoder
from shared.scene import ViewTransform

TOE, TOP = 2.0**-6, 4.0


def _levels(size: int) -> np.ndarray:
    """The linear values of a table's nodes, [size]."""
    return TOE * ((1 + TOP / TOE) ** np.linspace(0, 1, size) - 1)


def _transform(size: int = 9, seed: int = 0) -> ViewTransform:
    """A table of random colours: nothing about it is smooth or symmetric."""
    table = np.random.default_rng(seed).integers(0, 65536, (size, size, size, 3), dtype=np.uint16)
    return ViewTransform(name="random", toe=TOE, top=TOP, table=table)


def _table(transform: ViewTransform) -> Table:
    colors = torch.from_numpy(transform.table.reshape(-1, 3) / np.float32(65535))
    return Table(colors, len(transform.table), transform.toe, transform.top)


def _colors(count: int = 4000, seed: int = 1) -> torch.Tensor:
    """Colours from below black to beyond the table's end."""
    rng = np.random.default_rng(seed)
    wide = TOE * 2 ** rng.uniform(-3, 9, (count, 3)) * rng.choice([1, 1, 1, -1, 0], (count, 3))
    return torch.from_numpy(wide.astype(np.float32))


def test_no_transform_is_the_standard_view() -> None:
    colors = _colors()
    assert torch.equal(encoder(None)(colors), srgb_encode(colors))


def test_the_nodes_of_the_table_come_out_as_they_are() -> None:
    transform = _transform()
    levels = torch.from_numpy(_levels(9).astype(np.float32))
    grid = torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij"), dim=-1)
    # A node's place is found through a logarithm: off by some ulps of 8 cells.
    expected = torch.from_numpy(transform.table / np.float32(65535))
    torch.testing.assert_close(encoder(transform)(grid), expected, rtol=0, atol=2e-5)


def test_a_table_of_a_linear_function_of_places_gives_that_function() -> None:
    place = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3, indexing="ij"), axis=-1)
    mixed = place @ np.array([[0.5, 0.2, 0.1], [0.3, 0.5, 0.1], [0.2, 0.3, 0.8]])
    transform = ViewTransform(name="linear", toe=TOE, top=TOP, table=np.rint(mixed * 65535).astype(np.uint16))
    colors = _colors().clamp(0, TOP)
    where = torch.log2(1 + colors / TOE) / np.log2(1 + TOP / TOE)
    expected = where @ torch.tensor([[0.5, 0.2, 0.1], [0.3, 0.5, 0.1], [0.2, 0.3, 0.8]])
    torch.testing.assert_close(encoder(transform)(colors), expected, rtol=0, atol=2e-5)  # half a level of 16 bits


def test_greys_stay_grey_between_the_nodes() -> None:
    table = np.random.default_rng(3).integers(0, 65536, (7, 7, 7, 3), dtype=np.uint16)
    diagonal = np.arange(7)
    table[diagonal, diagonal, diagonal] = table[diagonal, diagonal, diagonal, :1]
    transform = ViewTransform(name="grey axis", toe=TOE, top=TOP, table=table)
    shown = encoder(transform)(torch.linspace(0, TOP, 500)[:, None].expand(500, 3))
    torch.testing.assert_close(shown, shown[:, :1].expand(500, 3), rtol=0, atol=1e-6)


def test_what_lies_outside_the_table_is_as_at_its_border() -> None:
    encode = encoder(_transform())
    outside = torch.tensor([[-3.0, 0.5, 100.0]])
    torch.testing.assert_close(encode(outside), encode(torch.tensor([[0.0, 0.5, TOP]])), rtol=0, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    table = _table(_transform())
    colors = (torch.rand(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * TOP).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: apply_reference(table, c), colors, eps=1e-7, atol=1e-4)


def test_the_compiled_kernel_gives_the_colours_and_gradients_of_the_definition() -> None:
    table = _table(_transform())
    weight = torch.randn(4000, 3, generator=torch.Generator().manual_seed(4))
    shown, grads = [], []
    for function in (apply, apply_reference):
        colors = _colors().requires_grad_()
        encoded = function(table, colors)
        (encoded * weight).sum().backward()
        shown.append(encoded.detach())
        grads.append(colors.grad)
    torch.testing.assert_close(shown[0], shown[1], rtol=0, atol=1e-5)
    # At the border between two cells either slope is right; a float32 logarithm decides which.
    same = torch.isclose(grads[0], grads[1], rtol=1e-3, atol=1e-3).float().mean()
    assert float(same) > 0.999


def test_a_colour_that_is_no_number_stays_none_and_reads_nothing_outside_the_table() -> None:
    colors = torch.tensor([[0.5, np.inf, 0.1], [np.nan, 1.0, 0.2], [0.1, 0.2, -np.nan]] * 100, requires_grad=True)
    shown = apply(_table(_transform()), colors)
    shown.sum().backward()
    assert shown.isfinite().all(dim=1).tolist() == [True, False, False] * 100


def test_black_has_a_gradient_and_clipped_colours_have_none() -> None:
    colors = torch.tensor([[0.0, 0.0, 0.0], [-1.0, -1.0, -1.0], [5.0, 9.0, 5.0]], requires_grad=True)
    apply(_table(_ramp()), colors).sum().backward()
    assert colors.grad is not None
    assert (colors.grad[0] > 0).all()
    assert (colors.grad[1:] == 0).all()


def _ramp() -> ViewTransform:
    place = np.stack(np.meshgrid(*[np.linspace(0, 65535, 5)] * 3, indexing="ij"), axis=-1)
    return ViewTransform(name="ramp", toe=TOE, top=TOP, table=np.rint(place).astype(np.uint16))


@pytest.mark.parametrize("shape", [(3,), (2, 4, 5, 3), (0, 3)])
def test_pictures_keep_their_shape(shape: tuple[int, ...]) -> None:
    assert encoder(_ramp())(torch.rand(shape)).shape == shape
