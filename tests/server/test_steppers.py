"""Steps and balls: directions, sizes, and limits that hold exactly."""

from __future__ import annotations

import pytest
import torch

from compute_server.steppers import STEPPERS, MomentumSign, Octaves, Sign, project, stepper
from shared.errors import InvalidInput

START = torch.linspace(0.3, 0.7, 30).reshape(10, 3)


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_a_step_goes_against_the_gradient(name: str) -> None:
    gradient = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    moved = stepper(name).step(START, gradient, 0.01)
    assert ((moved - START).sign() == -gradient.sign()).all()


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_the_first_step_has_the_size_asked_for(name: str) -> None:
    gradient = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    moved = stepper(name).step(START, gradient, 0.02)
    torch.testing.assert_close((moved - START).abs(), torch.full((10, 3), 0.02), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["sign", "momentum"])
def test_texels_without_gradient_stay_where_they_are(name: str) -> None:
    assert torch.equal(stepper(name).step(START, torch.zeros(10, 3), 0.01), START)


def test_momentum_outlasts_one_contrary_gradient() -> None:
    move = stepper("momentum")
    there = torch.ones(10, 3)
    theta = START
    for _ in range(3):
        theta = move.step(theta, there, 0.01)
    assert (move.step(theta, -there, 0.01) < theta).all()


@pytest.mark.parametrize("name", sorted(STEPPERS))
def test_every_stepper_finds_the_minimum_of_a_bowl(name: str) -> None:
    goal, theta, move = torch.full((10, 3), 0.55), START.clone(), stepper(name)
    for step in range(300):
        theta = move.step(theta, theta - goal, 0.02 * (1 - step / 300))
    assert (theta - goal).abs().max() < 0.02


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
    moved = Octaves(Sign, grid(4, 4), 3).step(torch.zeros(16, 3), gradient, 0.3)[:, 0].reshape(4, 4)
    assert moved[0, 0] == pytest.approx(-0.3)  # at every scale
    assert moved[1, 1] == pytest.approx(-0.2)  # in the same 2 × 2 block, and in the same 4 × 4 block
    assert moved[3, 3] == pytest.approx(-0.1)  # in the same 4 × 4 block only


def test_one_octave_is_the_stepper_itself() -> None:
    torch.manual_seed(0)
    theta, gradient = torch.rand(12, 3), torch.randn(12, 3)
    alone = Octaves(MomentumSign, grid(3, 4), 1).step(theta, gradient, 0.02)
    assert torch.allclose(alone, MomentumSign().step(theta, gradient, 0.02), atol=1e-7)


def test_octaves_work_on_the_free_texels_of_a_masked_texture() -> None:
    diagonal = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 3]])
    moved = Octaves(Sign, diagonal, 2).step(
        torch.zeros(4, 3), torch.tensor([[1.0], [1.0], [-3.0], [1.0]]).expand(4, 3), 0.2
    )
    assert moved[:, 0].tolist() == pytest.approx([-0.2, -0.2, 0.2, 0.0])


def test_octaves_work_on_cells_of_space() -> None:
    vertices = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 0, 2], [6, 4, 2]])
    gradient = torch.tensor([[1.0], [0.0], [0.0], [0.0]]).expand(4, 3)
    moved = Octaves(Sign, vertices, 3).step(torch.zeros(4, 3), gradient, 0.3)
    assert moved[:, 0].tolist() == pytest.approx([-0.3, -0.2, -0.1, 0.0])


def test_compiled_octaves_equal_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(40 * 40, generator=generator)[:900]
    cells = torch.stack([cells // 40, cells % 40], dim=1)
    compiled, defined = (Octaves(Sign, cells, 4) for _ in range(2))
    defined._on_cpu = False
    theta = torch.rand(900, 3, generator=generator)
    for _ in range(3):
        # Whole numbers: their sums are exact, in any order.
        slope = torch.randint(-9, 10, (900, 3), generator=generator).float()
        torch.testing.assert_close(
            compiled.step(theta, slope, 0.01), defined.step(theta, slope, 0.01), rtol=0, atol=1e-7
        )
