"""Steps and balls: directions, sizes, and limits that hold exactly."""

from __future__ import annotations

import pytest
import torch

from compute_server.steppers import (
    STEPPERS,
    Adam,
    MomentumSign,
    Octaves,
    Sign,
    momentum_reference,
    moved,
    project,
    stepper,
)
from shared.errors import InvalidInput

START = torch.linspace(0.3, 0.7, 30).reshape(10, 3)


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_a_step_goes_against_the_gradient(name: str) -> None:
    gradient = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    assert (stepper(name).move(gradient.clone(), 0.01).sign() == -gradient.sign()).all()


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_the_first_step_has_the_size_asked_for(name: str) -> None:
    gradient = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stepper(name).move(gradient, 0.02).abs(), torch.full((10, 3), 0.02), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["sign", "momentum"])
def test_texels_without_gradient_stay_where_they_are(name: str) -> None:
    assert (stepper(name).move(torch.zeros(10, 3), 0.01) == 0).all()


def test_momentum_outlasts_one_contrary_gradient() -> None:
    walker = stepper("momentum")
    there = torch.ones(10, 3)
    for _ in range(3):
        walker.move(there.clone(), 0.01)
    assert (walker.move(-there, 0.01) < 0).all()


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_every_stepper_finds_the_minimum_of_a_bowl(name: str) -> None:
    goal, theta, walker = torch.full((10, 3), 0.55), START.clone(), stepper(name)
    for step in range(300):
        theta = theta + walker.move(theta - goal, 0.02 * (1 - step / 300))
    assert (theta - goal).abs().max() < 0.02


def test_compiled_momentum_equals_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    compiled, velocity = MomentumSign(), torch.zeros(900, 3)
    for _ in range(4):
        # Some texels are not seen, and powers of two are added without an error.
        gradient = torch.randint(-4, 5, (900, 3), generator=generator) * 2.0**-10
        size = gradient.abs().mean()
        expected = momentum_reference(velocity, gradient, size, 0.02)
        torch.testing.assert_close(compiled.move(gradient.clone(), 0.02), expected, rtol=0, atol=0)
        torch.testing.assert_close(compiled.state()["velocity"], velocity, rtol=1e-6, atol=0)


def test_compiled_signs_equal_those_of_torch() -> None:
    gradient = torch.randint(-1, 2, (900, 3), generator=torch.Generator().manual_seed(0)) * 1e-9
    torch.testing.assert_close(Sign().move(gradient.clone(), 0.02), Sign().move(gradient.double(), 0.02).float())


@pytest.mark.parametrize(("epsilon", "norm"), [(None, "linf"), (0.1, "linf"), (0.1, "l2")])
def test_moving_is_adding_and_projecting(epsilon: float | None, norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    start, by = torch.rand(900, 3, generator=generator), torch.randn(900, 3, generator=generator)
    theta = (start + 0.05 * torch.randn(900, 3, generator=generator)).clamp(0, 1)
    found = moved(theta, by.clone(), start, epsilon, norm)
    torch.testing.assert_close(found, project(theta + by, start, epsilon, norm), rtol=0, atol=1e-7)


def test_the_linf_ball_bounds_every_texel() -> None:
    far = START + torch.tensor([[0.5, -0.5, 0.01]])
    held = project(far, START, 0.1, "linf")
    assert ((held - START).abs() <= 0.1 + 1e-7).all()
    torch.testing.assert_close(held[:, 2], far[:, 2])


def test_the_l2_ball_bounds_the_whole_change_and_keeps_its_direction() -> None:
    change = torch.randn(10, 3, generator=torch.Generator().manual_seed(1)) * 0.05
    held = project(START + change, START, 0.1, "l2") - START
    assert held.norm() == pytest.approx(0.1, rel=1e-5)
    assert torch.nn.functional.cosine_similarity(held.flatten(), change.flatten(), dim=0) > 0.9999
    inside = project(START + change * 0.01, START, 0.1, "l2")
    torch.testing.assert_close(inside, START + change * 0.01)


def test_values_never_leave_the_unit_range() -> None:
    assert project(START + 2, START, None, "linf").max() == 1
    assert project(START - 2, START, None, "linf").min() == 0


def test_an_unknown_stepper_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"sideways.*sign"):
        stepper("sideways")


def grid(height: int, width: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


def test_octaves_move_a_block_as_a_whole_where_its_gradient_agrees() -> None:
    gradient = torch.zeros(16, 3)
    gradient[0] = 1.0  # one texel of a 4 × 4 texture says: down
    far = Octaves(Sign, grid(4, 4), 3).move(gradient, 0.3)[:, 0].reshape(4, 4)
    assert far[0, 0] == pytest.approx(-0.3)  # at every scale
    assert far[1, 1] == pytest.approx(-0.2)  # in the same 2 × 2 block, and in the same 4 × 4 block
    assert far[3, 3] == pytest.approx(-0.1)  # in the same 4 × 4 block only


def test_one_octave_is_the_stepper_itself() -> None:
    gradient = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        Octaves(MomentumSign, grid(3, 4), 1).move(gradient.clone(), 0.02), MomentumSign().move(gradient, 0.02)
    )


def test_octaves_work_on_the_free_texels_of_a_masked_texture() -> None:
    diagonal = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 3]])
    far = Octaves(Sign, diagonal, 2).move(torch.tensor([[1.0], [1.0], [-3.0], [1.0]]).expand(4, 3), 0.2)
    assert far[:, 0].tolist() == pytest.approx([-0.2, -0.2, 0.2, 0.0])


def test_octaves_work_on_cells_of_space() -> None:
    vertices = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 2], [6, 4, 2]])
    gradient = torch.tensor([[1.0], [0.0], [0.0], [0.0]]).expand(4, 3)
    far = Octaves(Sign, vertices, 3).move(gradient, 0.3)
    assert far[:, 0].tolist() == pytest.approx([-0.3, -0.2, -0.1, 0.0])


def test_octaves_move_alike_however_a_gradient_lies_in_memory() -> None:
    cells = torch.cartesian_prod(torch.arange(8), torch.arange(8))
    slope = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)).T
    for make in (Sign, MomentumSign, Adam):
        torch.testing.assert_close(
            Octaves(make, cells, 3).move(slope.clone(), 0.3), Octaves(make, cells, 3).move(slope.contiguous(), 0.3)
        )


def test_compiled_octaves_equal_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(40 * 40, generator=generator)[:900]
    cells = torch.stack([cells // 40, cells % 40], dim=1)
    compiled, defined = (Octaves(Sign, cells, 4) for _ in range(2))
    defined._on_cpu = False
    for _ in range(3):
        # Whole numbers: their sums are exact, in any order.
        slope = torch.randint(-9, 10, (900, 3), generator=generator).float()
        torch.testing.assert_close(
            compiled.move(slope.clone(), 0.01), defined.move(slope.clone(), 0.01), rtol=0, atol=1e-7
        )
