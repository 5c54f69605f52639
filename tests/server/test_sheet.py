"""Contact sheets: every picture is there, framed by whether it was recognised."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from compute_server.sheet import COLUMNS, RIGHT, WRONG, comparison_sheet, contact_sheet
from shared.messages import Prediction, Verdict


def verdict(*, right: bool) -> Verdict:
    label = "a label much too long to fit under so small a picture"
    return Verdict(confidence=0.5, right=right, top=(Prediction(1, label, 0.7),))


def decoded(count: int) -> np.ndarray:
    before, after = np.full((count, 64, 64, 3), 10, np.uint8), np.full((count, 64, 64, 3), 200, np.uint8)
    said = ([verdict(right=False)] * count, [verdict(right=True)] * count)
    return np.asarray(Image.open(io.BytesIO(contact_sheet(before, after, said, "title").tobytes())))


def pixels(sheet: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((sheet == color).all(axis=-1).sum())


def test_every_picture_is_on_the_sheet_framed_green_or_red() -> None:
    sheet = decoded(3)
    assert pixels(sheet, (10, 10, 10)) == pixels(sheet, (200, 200, 200)) == 3 * 64 * 64
    frame = 72 * 72 - 64 * 64
    assert pixels(sheet, RIGHT) >= 3 * frame
    assert pixels(sheet, WRONG) >= 3 * frame


def test_more_pictures_than_fit_side_by_side_go_on_below() -> None:
    one, two = decoded(COLUMNS), decoded(COLUMNS + 1)
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] > 1.8 * one.shape[0] - 60


def test_no_pictures_make_an_empty_sheet() -> None:
    assert decoded(0).size > 0


def test_a_comparison_shows_both_renderers_pictures_and_their_difference_before_and_after() -> None:
    def flat(level: int) -> np.ndarray:
        return np.full((2, 64, 64, 3), level, np.uint8)

    pairs = [(flat(11), flat(13)), (flat(201), flat(221))]
    said = [([verdict(right=False)] * 2, [verdict(right=False)] * 2), ([verdict(right=True)] * 2,) * 2]
    sheet = np.asarray(Image.open(io.BytesIO(comparison_sheet(pairs, said, "title").tobytes())))
    for level in (11, 13, 201, 221, 4 * 2, 4 * 20):
        assert 0 <= pixels(sheet, (level,) * 3) - 2 * 64 * 64 < 100  # soft edges of letters have any grey
