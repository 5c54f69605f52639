"""A few of the scenes of `make fidelity` in every run of the tests, small, so that a drift between renderers shows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from fidelity.measure import IOU, measure, ssim
from fidelity.scenes import CASES

QUICK = [case for case in CASES if case.name in ("area", "agx", "glossy", "metal", "shifted", "portrait")]


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_the_server_draws_what_cycles_draws(case) -> None:  # type: ignore[no-untyped-def]
    row = measure(case, cycles_samples=64)
    assert row.mean <= case.bar
    assert row.iou >= IOU
    assert not row.misses


def test_the_table_has_every_kind_of_scene() -> None:
    assert len(CASES) >= 16
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.light for case in CASES} == {"open", "traced", "baked"}


def test_a_picture_is_like_itself_and_unlike_noise() -> None:
    rng = np.random.default_rng(0)
    picture, noise = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert ssim(picture, picture) == pytest.approx(1.0)
    assert abs(ssim(picture, noise)) < 0.1
