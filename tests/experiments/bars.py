"""How good the Standard preset is at what the project promises: `make bars`.

Jobs are those that `collect` writes with a grey start, EfficientNet-Lite0 to train on and Lite1 to measure with; those
for patches have `--uv new --texture-size 1024`. What is done is remembered.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.presets import PRESETS

from .runs import Runs

LITE0, LITE1 = "efficientnet_lite0", "efficientnet_lite1"
#: What the Standard preset had until the table of options was whole; most rows were made with it.
AS_BEFORE: dict[str, Any] = {"augment": ("resize", "brightness")}
#: What is changed of the Standard preset, and the seeds.
TEXTURES: dict[str, tuple[dict[str, Any], Sequence[int]]] = {
    "Standard": ({}, (0,)),
    "with resizing and brightness": (AS_BEFORE, (0,)),
    "trained on both": (
        {**AS_BEFORE, "models": (LITE0, LITE1), "held_out_models": (), "leave_one_out": False},
        (0,),
    ),
    "ε = 0.06 around its own colour": ({**AS_BEFORE, "epsilon": 0.06, "alpha": 0.015}, (0,)),
    "a belt of 20 % of the surface": ({**AS_BEFORE, "belt": 0.2}, (0,)),
    "ε = 0.01 as a ball, 50 steps": ({**AS_BEFORE, "epsilon": 0.01, "alpha": 0.0025, "steps": 50}, (0,)),
    "0.01 as a step, 50 steps": ({"alpha": 0.01, "steps": 50, "augment": (), "octaves": 1}, (0,)),
}
#: With the Draft preset, since there are so many.
PATCH: dict[str, Any] = {**PRESETS["draft"], **AS_BEFORE, "held_out_views": 64, "patch": 0.05}
PATCHES: dict[str, tuple[dict[str, Any], Sequence[int]]] = {
    "patch of 5 %, best site": (PATCH, (0,)),
    "patch of 5 %, random sites": ({**PATCH, "patch_site": "random"}, (0, 1, 2)),
    "2D patch put on the best site": ({**PATCH, "method": "flat"}, (0,)),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobfiles", nargs="*", type=Path, help="for textures")
    parser.add_argument("--patches", nargs="*", type=Path, default=(), help="for patches")
    parser.add_argument("--memory", type=Path, default=Path("out/experiments"), help="where runs are remembered")
    given = parser.parse_args(argv)
    runs = Runs(given.memory)
    print("| what | object | lite0: mean · top-1 · p5 · least | lite1: mean · top-1 · p5 · least | minutes |")
    print("|---|---|---|---|---|")
    for options, jobfiles in ((TEXTURES, given.jobfiles), (PATCHES, given.patches)):
        for name, (changes, seeds) in options.items():
            for jobfile in jobfiles:
                for seed in seeds:
                    print(_row(name, jobfile, runs.figures(jobfile, **changes, seed=seed)), flush=True)
    return 0


def _row(name: str, jobfile: Path, found: Mapping[str, Any]) -> str:
    shown = [
        f"{after['mean']:.3f} · {after['top1']:.0%} · {after['p5']:.2f} · {after['min']:.2f}"
        for after in (found["models"][model]["held_out"]["after"] for model in (LITE0, LITE1))
    ]
    return f"| {name} | {jobfile.stem} | {' | '.join(shown)} | {found['optimise_s'] / 60:.1f} |"


if __name__ == "__main__":
    raise SystemExit(main())
