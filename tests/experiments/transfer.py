"""What each option does to views never trained on and to a classifier never trained on: `make transfer-table`.

One row for each option, the mean over all job files and seeds. Takes hours on two cores; what is done is remembered.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from .runs import Runs

#: The budget of every run in the table, small, so that seeds and meshes can be many, and what each option is added to.
BUDGET: dict[str, Any] = {"steps": 60, "views": 6, "samples": 1, "held_out_views": 64, "check_views": 0, "survey": 0}
BASE: dict[str, Any] = {"stepper": "sign", "alpha": 0.01, "augment": (), "octaves": 1, "mined": 0.0, "smoothness": 0.0}
COARSE: dict[str, Any] = {"octaves": 8, "alpha": 0.06}
OPTIONS: dict[str, dict[str, Any]] = {
    "sign steps (base)": {},
    "momentum-sign steps": {"stepper": "momentum"},
    "random resize and pad": {"augment": ("resize",)},
    "local crops": {"augment": ("crop",)},
    "blur": {"augment": ("blur",)},
    "noise": {"augment": ("noise",)},
    "JPEG": {"augment": ("jpeg",)},
    "fog": {"augment": ("fog",)},
    "brightness": {"augment": ("brightness",)},
    "α 0.03": {"alpha": 0.03},
    "8 octaves, α 0.06": COARSE,
    "8 octaves, α 0.06, resize and pad": {**COARSE, "augment": ("resize",)},
    "8 octaves, α 0.06, resize and pad, brightness": {**COARSE, "augment": ("resize", "brightness")},
    "total variation, weight 5": {"smoothness": 5.0},
    "a quarter of the views mined": {"mined": 0.25},
}
TRAINED, HELD_OUT = "efficientnet_lite0", "efficientnet_lite1"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is missing of the table; print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobfiles", nargs="+", type=Path, help="as the add-on's `collect` writes them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--memory", type=Path, default=Path("out/experiments"), help="where runs are remembered")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    runs = Runs(given.memory)
    for seed, name, jobfile in itertools.product(range(given.seeds), OPTIONS, given.jobfiles):
        figures = runs.figures(jobfile, **{**BUDGET, **BASE, **OPTIONS[name]}, seed=seed)["models"]
        shown = "  ".join(f"{each['held_out']['after']['mean']:.3f}" for each in figures.values())
        print(f"{jobfile.stem:8} seed {seed}  {name:32} {shown}", flush=True)
    print("\n".join(table(runs, given.jobfiles, range(given.seeds))))
    return 0


def table(runs: Runs, jobfiles: Sequence[Path], seeds: Sequence[int]) -> list[str]:
    """The table as lines of markdown."""
    lines = [
        "| option | lite0 (trained): mean · top-1 · worst 5 % | lite1 (never trained on): mean · top-1 | seconds |",
        "|---|---|---|---|",
    ]
    for name, changes in OPTIONS.items():
        found = [
            runs.figures(jobfile, **{**BUDGET, **BASE, **changes}, seed=seed)
            for jobfile, seed in itertools.product(jobfiles, seeds)
        ]
        own, other = ([each["models"][model]["held_out"]["after"] for each in found] for model in (TRAINED, HELD_OUT))
        seconds = statistics.fmean(each["optimise_s"] for each in found)
        lines.append(
            f"| {name} | {_spread(own, 'mean')} · {_mean(own, 'top1'):.0%} · {_mean(own, 'p5'):.2f} "
            f"| {_spread(other, 'mean')} · {_mean(other, 'top1'):.0%} | {seconds:.0f} |"
        )
    return lines


def _mean(figures: Sequence[dict[str, float]], name: str) -> float:
    return statistics.fmean(each[name] for each in figures)


def _spread(figures: Sequence[dict[str, float]], name: str) -> str:
    """Mean over runs, and its standard error."""
    values = [each[name] for each in figures]
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
