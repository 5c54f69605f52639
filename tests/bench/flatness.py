"""`python -m bench.flatness` (in tests/): whether a step with fixed views takes as long with a large texture, or with a
large mesh, as with a small one.

All sizes take turns in one process. Rows of ``bench.figures`` are processes of their own, minutes apart: what else the
machine does in that time makes as much of a difference as the size.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping

import msgspec
import torch

from compute_server.bench import PLAIN, in_turns, step_timers, warm_up
from compute_server.bench_scene import bench_scene
from compute_server.problem import make_problem
from shared import messages as m
from shared.scene import Scene

TEXTURES = (256, 512, 1024, 2048)
TRIANGLES = (1_000, 14_400, 100_000, 1_000_000)


def rows(device: torch.device, repeats: int) -> list[str]:
    """A line for each series: how long a step takes with each size, and how far these times are from one another."""
    textures = {f"{size}²": bench_scene(size) for size in TEXTURES}
    meshes = {f"{count:,}": bench_scene(512, count) for count in TRIANGLES}
    standard = m.Settings(target="sports car", views=15, samples=4)
    plain = msgspec.structs.replace(standard, **PLAIN)
    return [
        f"texture: {_compared(textures, plain, device, repeats)}",
        f"texture, Standard preset: {_compared(textures, standard, device, repeats)}",
        f"triangles: {_compared(meshes, plain, device, repeats)}",
    ]


def _compared(scenes: Mapping[str, Scene], settings: m.Settings, device: torch.device, repeats: int) -> str:
    timers = {}
    for name, scene in scenes.items():
        problem = make_problem(m.Job(id="flatness", scene=scene, settings=settings), device)
        timers[name] = step_timers(problem, problem.size)[0]["fixed"]
        warm_up(timers[name], device)
    found = {name: statistics.median(times) for name, times in in_turns(timers, repeats, device).items()}
    low, high = min(found.values()), max(found.values())
    each = ", ".join(f"{name} {took:.1f} ms" for name, took in found.items())
    return f"{each}; the slowest takes {high / low:.2f} times as long: ± {100 * (high - low) / (high + low):.1f} %"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print("\n".join(rows(torch.device(options.device), options.repeats)))


if __name__ == "__main__":
    main()
