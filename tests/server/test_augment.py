"""What pictures go through in training: pictures come out, the same ones for the same numbers, and gradients pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compute_server.augment import AUGMENTATIONS, augmented
from shared.messages import Augmentation


def pictures(count: int = 2, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(1))


def test_every_name_that_a_job_may_give_is_known() -> None:
    assert set(AUGMENTATIONS) == set(Augmentation.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(64, 64), (48, 96)])
def test_an_augmentation_gives_a_changed_picture_of_the_same_size_and_range(name: str, shape: tuple[int, int]) -> None:
    given = pictures(1, *shape).permute(0, 3, 1, 2)
    differences = []
    for seed in range(3):
        changed = AUGMENTATIONS[name](given, np.random.default_rng(seed))
        assert changed.shape == given.shape
        assert changed.isfinite().all()
        assert float(changed.min()) >= -0.05
        assert float(changed.max()) <= 1.05
        differences.append(float((changed - given).abs().mean()))
    assert max(differences) > 0.02


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_pass_an_augmentation(name: str) -> None:
    given = (0.25 + 0.5 * pictures()).requires_grad_()
    for seed in range(20):  # some of the pictures stay as they are
        changed = augmented(given, (name,), np.random.default_rng(seed))
        if not torch.equal(changed.detach(), given.detach()):
            break
    (slope,) = torch.autograd.grad(changed.square().sum(), given)
    assert slope.isfinite().all()
    assert float((slope != 0).double().mean()) > 0.3


def test_the_same_generator_gives_the_same_pictures_and_another_one_others() -> None:
    names = tuple(AUGMENTATIONS)
    first, again, other = (augmented(pictures(8), names, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_about_half_of_the_pictures_stay_as_they_are() -> None:
    given = pictures(200, 8, 8)
    changed = augmented(given, ("brightness",), np.random.default_rng(0))
    same = sum(bool(torch.equal(a, b)) for a, b in zip(given, changed, strict=True))
    assert 70 < same < 130
