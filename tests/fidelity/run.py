"""`python -m fidelity.run` (in tests/; `make fidelity`): renders every scene with both renderers, writes the table.

docs/fidelity.md, docs/pictures/fidelity.png and out/fidelity/. Ends with 1 when a scene misses a bar.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import bpy
import numpy as np
from PIL import Image, ImageOps

from .measure import GAP, IOU, Row, measure
from .scenes import CASES, SHADOWED, UNSHADOWED

ROOT = Path(__file__).parents[2]
OUT, DOCS = ROOT / "out" / "fidelity", ROOT / "docs"
THUMBNAIL = 96

#: Why a scene misses its bar, where that is known.
REASONS: dict[str, str] = {}


def main(argv: list[str] | None = None) -> int:
    """Measure the scenes named on the command line, or all of them and write the documents."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", nargs="*", help="names of scenes; none: all, and the table is written")
    parser.add_argument("--samples", type=int, default=256, help="Cycles samples per pixel")
    parser.add_argument("--eevee", action="store_true", help="measure EEVEE too, which needs a GPU or a display")
    options = parser.parse_args(argv)
    chosen = [case for case in CASES if not options.scenes or case.name in options.scenes]
    began = time.perf_counter()
    OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in chosen:
        row = measure(case, cycles_samples=options.samples)
        rows.append(row)
        Image.fromarray(_sheet(row.pictures)).save(OUT / f"{case.name.replace(', ', '-').replace(' ', '-')}.png")
        print(_line(row), flush=True)
    eevee = [measure(case, cycles_samples=options.samples, engine="eevee") for case in chosen if options.eevee]
    for row in eevee:
        print(_line(row), flush=True)
    if not options.scenes:
        _write(rows, eevee, time.perf_counter() - began)
    missing = [row for row in rows if row.misses]
    print(f"{len(rows) - len(missing)} of {len(rows)} scenes meet their bars.", flush=True)
    return 1 if missing else 0


def _line(row: Row) -> str:
    gap = "" if row.gap is None else f"{row.gap:.3f}"
    verdict = "; ".join(row.misses) or "met"
    figures = f"{row.mean:.4f} | {row.p99:.3f} | {row.ssim:.4f} | {row.iou:.4f} | {gap}"
    return f"| {row.case.name} | {row.case.what} | {row.case.light} | {figures} | {row.case.bar} | {verdict} |"


def _eevee(rows: list[Row]) -> list[str]:
    """A table without bars: EEVEE has no light that the server would be meant to follow."""
    lines = [
        f"| {row.case.name} | {row.case.light} | {row.mean:.4f} | {row.p99:.3f} | {row.ssim:.4f} | {row.iou:.4f} | "
        f"{'' if row.gap is None else f'{row.gap:.3f}'} |"
        for row in rows
    ]
    heads = ["| scene | light | mean | 99 % | SSIM | IoU | gap |", "|---|---|---|---|---|---|---|"]
    return [
        "EEVEE, of the same scenes, without bars: its shadows and surroundings are approximations.",
        "",
        *heads,
        *lines,
    ]


def _sheet(pictures: np.ndarray) -> np.ndarray:
    """Views below one another, renderers beside one another: [K · H, 3 · W, 3]."""
    return np.concatenate([np.concatenate(list(view), axis=1) for view in pictures], axis=0)


def _write(rows: list[Row], eevee: list[Row], seconds: float) -> None:
    missing = [row for row in rows if row.misses]
    lines = [
        "# What the optimiser sees, and what Blender renders",
        "",
        f"Made by `make fidelity` in {seconds / 60:.1f} min: Blender {bpy.app.version_string}, Cycles on "
        f"{platform.machine()}, the server's renderer on the CPU, 16 samples per pixel.",
        "",
        "Each scene is drawn by both renderers. Errors are differences of display-encoded values (0 to 1) inside the",
        "silhouette; SSIM is of the whole picture; the gap is that of efficientnet_lite0's confidence in the target.",
        f"Bars: mean error at most {UNSHADOWED} (with shadows {SHADOWED}), silhouette IoU at least {IOU}, confidence",
        f"gap at most {GAP}. The mug and the bus wear textures that a short job has made for them.",
        "",
        "| scene | what | light | mean | 99 % | SSIM | IoU | gap | bar | |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *map(_line, rows),
        "",
        f"{len(rows) - len(missing)} of {len(rows)} scenes meet their bars.",
        *(f"- **{row.case.name}** misses its bar. {REASONS.get(row.case.name, '')}" for row in missing),
        "",
        "Server, Cycles, difference × 4, one view of each scene:",
        "",
        "![Both renderers](pictures/fidelity.png)",
        "",
        *(_eevee(eevee) if eevee else ["EEVEE was not measured: it needs a GPU or a display (`FIDELITY=--eevee`)."]),
    ]
    (DOCS / "fidelity.md").write_text("\n".join(lines) + "\n")
    strips = [_strip(row.pictures[0]) for row in rows]
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % 4)
    grid = np.concatenate([np.concatenate(strips[i : i + 4], axis=1) for i in range(0, len(strips), 4)])
    Image.fromarray(grid).quantize(128).save(DOCS / "pictures" / "fidelity.png", optimize=True)


def _strip(pictures: np.ndarray) -> np.ndarray:
    """Three pictures side by side at the same height, [THUMBNAIL, 3 · THUMBNAIL + 8, 3]."""
    edge = (THUMBNAIL, THUMBNAIL)
    small = [ImageOps.pad(Image.fromarray(picture), edge, Image.Resampling.BOX, "white") for picture in pictures]
    border = np.full((THUMBNAIL + 8, 8, 3), 255, np.uint8)
    row = np.concatenate([np.asarray(picture) for picture in small], axis=1)
    return np.concatenate([np.pad(row, ((4, 4), (0, 0), (0, 0)), constant_values=255), border], axis=1)


if __name__ == "__main__":
    sys.exit(main())
