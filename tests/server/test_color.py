"""The sRGB transfer function, forwards and backwards, on values, gradients and bytes."""

from __future__ import annotations

import pytest
import torch

from compute_server.render.color import (
    from_bytes,
    srgb_decode,
    srgb_decode_reference,
    srgb_encode,
    srgb_encode_reference,
    to_bytes,
)

EPS = torch.finfo(torch.float32).eps

#: (display-encoded, linear), IEC 61966-2-1.
KNOWN = [
    (0.0, 0.0),
    (0.02, 0.02 / 12.92),
    (0.04045, 0.0031308049535603713),
    (0.5, 0.21404114048223255),
    (0.7353569830524495, 0.5),
    (0.46135612950044164, 0.18),
    (1.0, 1.0),
]


@pytest.mark.parametrize(("encoded", "linear"), KNOWN)
def test_known_values_decode(encoded: float, linear: float) -> None:
    assert float(srgb_decode(torch.tensor(encoded, dtype=torch.float64))) == pytest.approx(linear, rel=1e-9)


@pytest.mark.parametrize(("encoded", "linear"), KNOWN)
def test_known_values_encode(encoded: float, linear: float) -> None:
    # The standard's two branches miss each other by 3e-8 where they meet.
    assert float(srgb_encode(torch.tensor(linear, dtype=torch.float64))) == pytest.approx(encoded, abs=4e-8)


def test_encoding_undoes_decoding() -> None:
    values = torch.linspace(0, 1, 10001, dtype=torch.float64)
    torch.testing.assert_close(srgb_encode(srgb_decode(values)), values, rtol=0, atol=4e-8)
    torch.testing.assert_close(srgb_decode(srgb_encode(values)), values, rtol=0, atol=4e-8)


def test_all_256_levels_survive_the_way_to_linear_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(srgb_encode(srgb_decode(from_bytes(levels)))), levels)


def test_both_curves_rise_everywhere() -> None:
    values = torch.linspace(0, 1, 4097, dtype=torch.float64)
    assert (torch.diff(srgb_decode(values)) > 0).all()
    assert (torch.diff(srgb_encode(values)) > 0).all()


def test_encoding_clips_what_a_display_cannot_show() -> None:
    assert srgb_encode(torch.tensor([-1.0, -1e-9, 1.0001, 50.0])).tolist() == [0, 0, 1, 1]


def test_clipped_values_have_no_gradient() -> None:
    linear = torch.tensor([-0.5, 3.0, 0.5], requires_grad=True)
    srgb_encode(linear).sum().backward()
    assert linear.grad is not None
    assert linear.grad[:2].tolist() == [0, 0]
    assert linear.grad[2] > 0


@pytest.mark.parametrize("function", [srgb_decode, srgb_encode])
def test_gradients_are_those_of_finite_differences(function: object) -> None:
    values = torch.tensor([0.0005, 0.002, 0.02, 0.05, 0.3, 0.7, 0.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, (values,))


@pytest.mark.parametrize("function", [srgb_decode, srgb_encode])
def test_gradients_are_finite_and_alive_at_both_ends_and_where_the_branches_meet(function: object) -> None:
    values = torch.tensor([0.0, 0.0031308, 0.04045, 1.0], requires_grad=True)
    assert callable(function)
    function(values).sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert (values.grad > 0).all()


@pytest.mark.parametrize(
    ("compiled", "defined"), [(srgb_decode, srgb_decode_reference), (srgb_encode, srgb_encode_reference)]
)
def test_the_compiled_curves_and_their_slopes_equal_the_definitions(compiled: object, defined: object) -> None:
    assert callable(compiled)
    assert callable(defined)
    around = torch.tensor([-0.5, -1e-9, 0.0, 0.0031308, 0.04045, 1.0, 1.0 + 1e-6, 7.0])
    values = torch.cat([torch.linspace(0, 1, 100_001), *([around] if compiled is srgb_encode else [around[2:6]])])
    found, exact = values.clone().requires_grad_(), values.double().requires_grad_()
    compiled(found).sum().backward()
    # Branches meet at numbers that float32 rounds to either side.
    defined(exact).sum().backward()
    # A rounding before the power of 2.4, and three after it; slopes are steeper by 2.4 or 5.
    torch.testing.assert_close(compiled(values).double(), defined(values.double()), rtol=0, atol=3 * EPS)
    assert found.grad is not None
    assert exact.grad is not None
    apart = (values - 0.0031308).abs() > 1e-6 if compiled is srgb_encode else (values - 0.04045).abs() > 1e-6
    torch.testing.assert_close(found.grad[apart].double(), exact.grad[apart], rtol=4e-6, atol=0)


@pytest.mark.parametrize("function", [srgb_decode, srgb_encode])
def test_curves_take_values_of_any_layout(function: object) -> None:
    assert callable(function)
    values = torch.rand(5, 7, 3)
    turned = values.permute(2, 0, 1)
    assert torch.equal(function(turned), function(turned.contiguous()))


def test_bytes_are_256_levels_from_0_to_1() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    values = from_bytes(levels)
    assert values.dtype == torch.float32
    assert (values[0], values[51], values[255]) == (0, pytest.approx(0.2), 1)
    assert torch.equal(to_bytes(values), levels)


def test_bytes_are_rounded_to_the_nearest_level_and_clipped() -> None:
    assert to_bytes(torch.tensor([-1.0, 0.49 / 255, 0.51 / 255, 99.4 / 255, 254.6 / 255, 7.0])).tolist() == [
        *(0, 0, 1, 99, 255, 255)
    ]
