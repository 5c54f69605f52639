"""``make gallery``: a job for each sample object, its report, and docs/gallery with pictures of them.

The pages themselves stay in ``out/gallery``; what is committed are a picture of each page and of its views.
"""

from __future__ import annotations

import argparse
import io
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from shared.headline import headline
from shared.report_files import Run, read_run

ROOT = Path(__file__).parents[2]
WORK, GALLERY = Path("out/gallery"), ROOT / "docs" / "gallery"
SAMPLES = {"coffee_mug": "coffee mug", "traffic_light": "traffic light", "school_bus": "school bus"}
#: The page as it is seen on a laptop, and how much of its length.
WIDTH, LENGTH = 1366, 2600
#: What is committed is no larger than this, in bytes and in pixels.
LARGEST, SHOWN = 200_000, 900


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is missing of the jobs, and write the gallery."""
    given = _parser().parse_args(argv)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("error: pictures of pages need chromium: apt-get install chromium", file=sys.stderr)
        return 2
    GALLERY.mkdir(parents=True, exist_ok=True)
    entries = []
    for sample in given.samples or SAMPLES:
        folder = ROOT / WORK / sample
        command = _command(sample, given.preset)
        if not (folder / "report.html").exists():
            subprocess.run([sys.executable, "-m", *command], check=True, cwd=ROOT)
        _save(_page(browser, folder / "report.html"), GALLERY / f"{sample}.png")
        _save(Image.open(folder / "views.png").convert("RGB"), GALLERY / f"{sample} views.png")
        entries.append(_entry(sample, read_run(folder), command))
    (GALLERY / "index.md").write_text(_index(entries, given.preset), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--preset", default="draft", help="how much work is done (default: draft)")
    parser.add_argument("samples", nargs="*", choices=[*SAMPLES, []], metavar="SAMPLE", help="default: all")
    return parser


def _command(sample: str, preset: str) -> list[str]:
    return [
        *("blender_addon", f"sample:{sample}", "optimize", "--target", SAMPLES[sample], "--mask", "mask"),
        *("--held-out-models", "efficientnet_lite1", "--preset", preset, "--check-samples", "16"),
        *("--out", (WORK / sample).as_posix()),
    ]


def _page(browser: str, page: Path) -> Image.Image:
    """A picture of the upper part of a page."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "page.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--window-size={WIDTH},{LENGTH}", f"--screenshot={shot}", page.resolve().as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True, timeout=300)
        with Image.open(shot) as opened:
            return opened.convert("RGB")


def _save(picture: Image.Image, path: Path) -> None:
    """As a PNG file that is small enough: not wider than `SHOWN`, with as many colours as fit."""
    picture.thumbnail((SHOWN, 10 * SHOWN), Image.Resampling.LANCZOS)
    for colors in (256, 128, 64, 32, 16):
        data = io.BytesIO()
        picture.quantize(colors).save(data, "PNG", optimize=True)
        if len(data.getvalue()) <= LARGEST:
            break
    path.write_bytes(data.getvalue())


def _entry(sample: str, run: Run, command: Sequence[str]) -> str:
    """A sample's part of the index."""
    title = f"{run.report['object']} → {SAMPLES[sample]}"
    pictures = f"![Views before and after]({sample}%20views.png)\n\n![The report's page]({sample}.png)"
    return f"## {title}\n\n{headline(run.report)}\n\n    python -m {shlex.join(command)}\n\n{pictures}\n"


def _index(entries: Sequence[str], preset: str) -> str:
    return (
        "# Gallery\n\n"
        f"Reports of the sample objects, by `make gallery`, with the preset {preset.capitalize()}: quick jobs, not the"
        " best that can be reached. Each picture is the upper part of the page `report.html` that the command below it"
        " writes; the pages themselves have a sphere to turn, and are left in `out/gallery`.\n\n" + "\n".join(entries)
    )


if __name__ == "__main__":
    sys.exit(main())
