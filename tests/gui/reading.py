"""Finds words in a picture of Blender's window, as a person would: by reading. It knows no Blender.

Pictures have row 0 at the top; boxes are in their pixels.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

#: Tesseract wants letters of some 30 pixels; Blender's have 10 to 15.
SCALE = 2
#: Sauvola's local threshold: what is greyed out is read too, and edges of buttons don't become part of a word.
OPTIONS = ("--psm", "11", "-c", "thresholding_method=2")
#: What looks alike in Blender's font, letter by letter.
ALIKE = str.maketrans({"1": "i", "l": "i", "|": "i", "!": "i", "0": "o", "5": "s", "$": "s"})


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def center(self) -> tuple[int, int]:
        return self.left + self.width // 2, self.top + self.height // 2

    def __or__(self, other: Box) -> Box:
        """The smallest box around both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        return Box(left, top, max(self.right, other.right) - left, max(self.bottom, other.bottom) - top)


@dataclass(frozen=True)
class Word:
    """What was read, and where."""

    text: str
    box: Box


def read(picture: Image.Image, box: Box, *, sideways: bool = False) -> list[Word]:
    """The words inside `box`; `sideways`: those that run up or down instead, as in the tabs of a side panel."""
    part = picture.crop((box.left, box.top, box.right, box.bottom)).convert("L")
    if not sideways:
        return [Word(text, Box(box.left + at.left, box.top + at.top, at.width, at.height)) for text, at in _words(part)]
    upwards, downwards = (part.transpose(turn) for turn in (Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_90))
    return [
        *(
            Word(text, Box(box.left + at.top, box.bottom - at.right, at.height, at.width))
            for text, at in _words(upwards)
        ),
        *(
            Word(text, Box(box.right - at.bottom, box.top + at.left, at.height, at.width))
            for text, at in _words(downwards)
        ),
    ]


def find(words: Sequence[Word], text: str) -> list[Box]:
    """Where `text` stands, from top to bottom. It is whole words of one line; letters that look alike are the same."""
    wanted = _plain(text)
    found = (box for line in _lines(words) for box in _matches(line, wanted))
    return sorted(found, key=lambda box: (box.top, box.left))


def _words(picture: Image.Image) -> Iterator[tuple[str, Box]]:
    """Tesseract's words, with their boxes in the picture. Light on dark becomes dark on light for it."""
    data = io.BytesIO()
    scaled = picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.LANCZOS)
    ImageOps.invert(scaled).save(data, "PNG", compress_level=1)
    command = ["tesseract", "-", "-", *OPTIONS, "tsv"]
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}  # its threads wait for each other: three times slower with two
    printed = subprocess.run(command, input=data.getvalue(), capture_output=True, check=True, env=alone).stdout.decode()
    for row in csv.DictReader(io.StringIO(printed), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["text"] and row["text"].strip():
            left, top, width, height = (int(row[name]) // SCALE for name in ("left", "top", "width", "height"))
            yield row["text"], Box(left, top, width, height)


def _lines(words: Sequence[Word]) -> list[list[Word]]:
    """Words that stand side by side, closer than a line is high."""
    lines: list[list[Word]] = []
    for word in sorted(words, key=lambda word: word.box.left):
        for line in lines:
            if _follows(line[-1].box, word.box):
                line.append(word)
                break
        else:
            lines.append([word])
    return lines


def _follows(before: Box, box: Box) -> bool:
    height = max(before.height, box.height)
    return abs(before.center[1] - box.center[1]) < height / 2 and -height < box.left - before.right < height


def _matches(line: Sequence[Word], wanted: str) -> Iterator[Box]:
    """Runs of words that spell `wanted`; where Tesseract saw the spaces does not matter."""
    for first in range(len(line)):
        spelled, around = "", line[first].box
        for word in line[first:]:
            spelled += _plain(word.text)
            around |= word.box
            if len(spelled) >= len(wanted):
                break
        if spelled == wanted:
            yield around


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold().translate(ALIKE) if letter.isalnum())
