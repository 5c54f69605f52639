"""Makes the pictures of the user guide out of the screenshots that the tests of the panel have left.

`python -m tests.gui.pictures`, in the project's folder and after `ASSISTIVE_GUI_STEPS=120 make gui-test` (so that the
result in the picture is worth something), writes docs/pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from .machine import ROOT

SCREENSHOTS = ROOT / "out" / "gui"
PICTURES = ROOT / "docs" / "pictures"
NAMES = ("empty-panel", "ready", "running", "result-applied", "server-down", "confidence-sphere")
#: The object and the side panel, without the viewport's tools and the editors around it.
CROP = (318, 34, 1322, 898)
#: What stands at the lower edge of the viewport is wider.
CROPS = {"confidence-sphere": (0, 34, 1322, 898)}
COLORS = 64
MOST_BYTES = 150_000


def main() -> int:
    """Write all of them. Gives 1 when there is a screenshot missing, or a picture gets too large."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    problems = [problem for name in NAMES if (problem := write(name)) is not None]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def write(name: str) -> str | None:
    """Crop one screenshot to the viewport and reduce its colours; gives what is wrong with it, as a sentence."""
    found = sorted(SCREENSHOTS.glob(f"*/{name}.png"))
    if not found:
        return f"There is no screenshot {name}.png: the test that takes it has not run."
    path = PICTURES / f"{name}.png"
    with Image.open(found[0]) as screenshot:
        colors = screenshot.convert("RGB").crop(CROPS.get(name, CROP))
        reduced = colors.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    reduced.save(path, optimize=True)
    size = path.stat().st_size
    return None if size <= MOST_BYTES else f"{_short(path)} has {size} bytes, more than {MOST_BYTES}."


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
