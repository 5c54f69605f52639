"""Contact sheets: pictures before and after, and under each what the classifier says, green when it is right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.messages import Verdict

from .jobs import png

MARGIN, CAPTION, FRAME = 10, 40, 4
PAPER, INK = (250, 250, 250), (30, 30, 30)
RIGHT, WRONG = (34, 139, 74), (200, 50, 45)
COLUMNS = 8


def contact_sheet(
    before: np.ndarray, after: np.ndarray, verdicts: tuple[Sequence[Verdict], Sequence[Verdict]], title: str
) -> np.ndarray:
    """A PNG file ``[B] uint8`` of pictures ``[N, H, W, 3] uint8``: rows of before and after, at most 8 side by side."""
    count, height, width = before.shape[:3]
    columns = max(1, min(count, COLUMNS))
    cell_width, cell_height = width + 2 * FRAME + MARGIN, height + 2 * FRAME + CAPTION
    rows = 2 * -(-count // columns)
    heading = 30
    paper = Image.new("RGB", (columns * cell_width + MARGIN, rows * cell_height + heading + MARGIN), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN // 2), title, INK, ImageFont.load_default(18))
    for which, (pictures, said) in enumerate(zip((before, after), verdicts, strict=True)):
        for index, (picture, verdict) in enumerate(zip(pictures, said, strict=True)):
            row = 2 * (index // columns) + which
            corner = (MARGIN + index % columns * cell_width, heading + row * cell_height)
            _cell(paper, pen, corner, picture, verdict, ("before", "after")[which])
    return png(np.asarray(paper))


def comparison_sheet(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    verdicts: Sequence[tuple[Sequence[Verdict], Sequence[Verdict]]],
    title: str,
) -> np.ndarray:
    """A PNG file ``[B] uint8`` that compares the server's and Blender's pictures, before and after: for each of both
    `pairs` ``[N, H, W, 3] uint8`` a row of either, and one of their difference, four times as strong."""
    count, height, width = pairs[0][0].shape[:3]
    cell_width, cell_height, heading = width + 2 * FRAME + MARGIN, height + 2 * FRAME + CAPTION, 30
    paper = Image.new("RGB", (count * cell_width + MARGIN, 6 * cell_height + heading + MARGIN), PAPER)
    pen = ImageDraw.Draw(paper)
    pen.text((MARGIN, MARGIN // 2), title, INK, ImageFont.load_default(18))
    for which, (pictures, said) in enumerate(zip(pairs, verdicts, strict=True)):
        state = ("before", "after")[which]
        for number in range(count):
            left, top = MARGIN + number * cell_width, heading + 3 * which * cell_height
            for row, name in enumerate(("server", "Blender")):
                corner = (left, top + row * cell_height)
                _cell(paper, pen, corner, pictures[row][number], said[row][number], f"{state}, {name}")
            difference = np.abs(pictures[0][number].astype(int) - pictures[1][number])
            strong = Image.fromarray((4 * difference).clip(0, 255).astype(np.uint8))
            corner = (left + FRAME, top + 2 * cell_height + FRAME)
            paper.paste(strong, corner)
            text = f"difference, four times: mean {difference.mean() / 255:.3f}"
            pen.text((left, corner[1] + height + FRAME + 2), text, INK, ImageFont.load_default(12))
    return png(np.asarray(paper))


def _cell(
    paper: Image.Image, pen: ImageDraw.ImageDraw, corner: tuple[int, int], picture: np.ndarray, said: Verdict, row: str
) -> None:
    color = RIGHT if said.right else WRONG
    x, y = corner
    height, width = picture.shape[:2]
    pen.rectangle((x, y, x + width + 2 * FRAME - 1, y + height + 2 * FRAME - 1), color)
    paper.paste(Image.fromarray(picture), (x + FRAME, y + FRAME))
    best = said.top[0]
    below = y + height + 2 * FRAME + 2
    pen.text((x, below), _fitting(f"{best.label} {best.confidence:.0%}", width), color, ImageFont.load_default(14))
    pen.text((x, below + 17), f"{row}: target {said.confidence:.1%}", INK, ImageFont.load_default(12))


def _fitting(text: str, width: int) -> str:
    """`text` cut to `width` pixels, with an ellipsis where it was cut."""
    font = ImageFont.load_default(14)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
