"""Objectives and figures: right value, right gradient, sets of classes."""

from __future__ import annotations

import pytest
import torch

from compute_server.objectives import (
    OBJECTIVES,
    combined,
    confidence,
    is_right,
    margin,
    objective,
    stats,
    total_variation,
    total_variation_reference,
)
from shared.errors import InvalidInput
from shared.targets import Target

ONE, SET = Target("one", (2,)), Target("set", (1, 4))
LOGITS = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_cross_entropy_of_one_class_is_torchs_own() -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS, torch.full((5,), 2), reduction="none")
    torch.testing.assert_close(objective("cross_entropy")(LOGITS, ONE), expected)


def test_cross_entropy_of_a_set_is_minus_log_of_its_probability() -> None:
    expected = -LOGITS.softmax(1)[:, [1, 4]].sum(1).log()
    torch.testing.assert_close(objective("cross_entropy")(LOGITS, SET), expected)
    torch.testing.assert_close(confidence(LOGITS, SET), (-expected).exp())


def test_margin_is_negative_exactly_where_top_1_is_right() -> None:
    assert torch.equal(margin(LOGITS, SET) < 0, is_right(LOGITS, SET))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("target", [ONE, SET], ids=["one", "set"])
def test_gradients_agree_with_finite_differences(name: str, target: Target) -> None:
    assert torch.autograd.gradcheck(lambda x: objective(name)(x, target), (LOGITS.clone().requires_grad_(),))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_descending_an_objective_raises_confidence(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    objective(name)(logits, ONE).sum().backward()
    assert logits.grad is not None
    assert (confidence(logits - 0.1 * logits.grad, ONE) > confidence(logits, ONE)).all()


def test_stats_are_mean_top_1_share_and_least() -> None:
    found = stats(torch.tensor([0.25, 0.75]), torch.tensor([False, True]))
    assert (found.mean, found.top1, found.min) == (0.5, 0.5, 0.25)


def test_total_variation_counts_only_pairs_of_covered_texels() -> None:
    image = torch.zeros(4, 4, 3)
    image[:, 2:] = 1
    covered = torch.ones(4, 4, dtype=torch.bool)
    assert total_variation(image, covered) == pytest.approx(4 / 24)
    covered[:, 2] = False
    assert total_variation(image, covered) == 0


def test_the_compiled_variation_and_its_gradient_equal_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    # Few levels, so that many neighbours are alike and have no gradient.
    image = (torch.rand(37, 23, 3, generator=generator) * 4).round() / 4
    covered = torch.rand(37, 23, generator=generator) < 0.7
    compiled, exact = image.clone().requires_grad_(), image.double().requires_grad_()
    found, defined = total_variation(compiled, covered), total_variation_reference(exact, covered)
    (3 * found).backward()
    (3 * defined).backward()
    assert found.item() == pytest.approx(defined.item(), rel=1e-6)
    assert compiled.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(compiled.grad.double(), exact.grad, rtol=1e-6, atol=0)


def test_an_unknown_objective_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidInput, match=r"hinge.*cross_entropy"):
        objective("hinge")


# --- several classifiers ----------------------------------------------------------------------------------------------


def test_the_mean_of_losses_is_weighed() -> None:
    losses, weights = torch.tensor([1.0, 4.0]), torch.tensor([3.0, 1.0])
    assert float(combined(losses, weights, "mean")) == pytest.approx(1.75)
    assert float(combined(losses, 10 * weights, "mean")) == pytest.approx(1.75)


def test_the_worst_classifier_gets_the_gradient() -> None:
    losses = torch.tensor([0.1, 6.0, 0.2], requires_grad=True)
    combined(losses, torch.ones(3), "worst").backward()
    assert losses.grad is not None
    assert losses.grad.sum() == pytest.approx(1.0)
    assert losses.grad[1] > 0.99


def test_alike_losses_are_combined_alike_in_either_way() -> None:
    losses, weights = torch.full((3,), 2.5), torch.tensor([1.0, 2.0, 3.0])
    assert float(combined(losses, weights, "worst")) == pytest.approx(2.5)
    assert float(combined(losses, weights, "mean")) == pytest.approx(2.5)


@pytest.mark.parametrize("kind", ["mean", "worst"])
def test_gradients_of_combined_losses_agree_with_finite_differences(kind: str) -> None:
    losses = torch.tensor([0.3, 2.0, 1.1], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda each: combined(each, weights, kind), (losses,))


def test_one_view_in_twenty_may_be_below_the_fifth_percentile() -> None:
    confidences = torch.linspace(0, 1, 21)
    assert stats(confidences, confidences > 0.5).p5 == pytest.approx(0.05)
