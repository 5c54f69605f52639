"""`python -m bench.figures` (in tests/; `make bench`): what a step costs over its classifiers, on this machine.

Each row is a process of its own with a worker's environment (``assistive-server bench``). Writes docs/benchmarks.md and
docs/benchmarks.json. Run it on a machine that does nothing else, and has 20 GB for the largest texture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from compute_server.render.rasterizer import nvdiffrast_installed, warp_installed
from compute_server.worker_process import worker_environment
from shared.version import VERSION

DOCS = Path(__file__).parents[2] / "docs"

#: What is varied, by the options of ``assistive-server bench``; all else is as in the first row.
CONFIGURATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    "Fixed and resampled views": ({}, {"samples": 1}, {"samples": 9}, {"standard": True}),
    "Views": tuple({"views": views} for views in (4, 15, 30, 60)),
    "Texture": tuple({"texture_size": size} for size in (256, 512, 1024, 2048)),
    "Triangles": tuple({"triangles": count} for count in (1_000, 14_400, 100_000, 1_000_000)),
    "Scenes as Blender has them": (
        {"scene": "glossy"},
        {"scene": "panorama"},
        {"scene": "table"},
        {"scene": "glossy,panorama,table"},
        {"light": "traced"},
        {"scene": "glossy,table", "light": "traced"},
    ),
    "Models": tuple(
        {"model": model}
        for model in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite0,efficientnet_lite1")
    ),
    "Large ones": ({"texture_size": 8192}, {"triangles": 5_000_000}),
}
#: On a CUDA device: the rasterizers that are there, and networks of the usual size, with random weights where theirs
#: are not at hand.
GPU_CONFIGURATIONS: dict[str, tuple[dict[str, Any], ...]] = {
    **CONFIGURATIONS,
    "Rasterizers": tuple(
        {"rasterizer": name}
        for name, there in (
            ("numba", True),
            ("warp", warp_installed()),
            ("nvdiffrast", nvdiffrast_installed()),
        )
        if there
    ),
    "Networks": tuple(
        {"model": model, "views": views, "random_weights": True}
        for model in ("resnet50", "densenet121", "inception_v3")
        for views in (15, 60, 240)
    ),
}
#: What a row has, by the option that it may have instead.
USUAL = {
    "model": "{model}",
    "views": "{views} views",
    "samples": "{samples} samples per pixel",
    "texture_size": "a texture of {texture}²",
    "triangles": "{triangles:,} triangles",
}
HEAD = (
    "| | classifier ms | fixed ms | ratio | spread | resampled ms | ratio | spread | first step s | memory MB |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
FLATNESS = (
    "Whole steps with fixed views, all sizes taking turns in one process: the rows above are minutes apart, in which a",
    "machine changes as much.",
)
ON_CPU = (
    "A step goes back through the first convolutions of small networks only where the object reaches, which the pass",
    "alone does not: what it saves so may be as much as all of the rest of the step takes.",
)
ON_GPU = (
    "A turn is five runs in a row, as the host is a step ahead of the GPU in a job. Both are replayed as CUDA",
    "graphs, in the precision that stands beside each name: the fastest of float16, TF32 and float32 in which the",
    "gradient keeps a cosine of 0.99. Memory is the GPU's, with graphs of both the step and the pass alone.",
)


def main(argv: list[str] | None = None) -> int:
    """Measure all configurations, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--groups", help="only those whose names begin so, with commas between them")
    options = parser.parse_args(argv)
    configurations = CONFIGURATIONS if options.device == "cpu" else GPU_CONFIGURATIONS
    wanted = options.groups.split(",") if options.groups else [""]
    if unknown := [each for each in wanted if not any(name.startswith(each) for name in configurations)]:
        parser.error(f"no group is called {unknown[0]!r}; there are {', '.join(configurations)}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    found: dict[str, Any] = {
        "machine": _machine(options.device),
        "load_before": round(load, 2),
        "import_s": _import_s(),
    }
    found["groups"] = {
        name: [_measured(options.device, options.repeats, each) for each in group]
        for name, group in configurations.items()
        if name.startswith(tuple(wanted))
    }
    found["flatness"] = _said_by("flatness", options.device, options.repeats)
    found["peers"] = _said_by("peers", options.device)
    stem = "benchmarks" if options.device == "cpu" else "benchmarks-gpu"
    (DOCS / f"{stem}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (DOCS / f"{stem}.md").write_text("\n".join(_page(found, options.repeats)) + "\n", encoding="utf-8")
    return 0


def _machine(device: str) -> str:
    what = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return (
        f"{platform.machine()}, {_processor()}, {what}; Python {platform.python_version()}, torch {torch.__version__}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _import_s() -> float:
    """How long a new process takes to have all of the worker imported."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import compute_server.worker"], check=True)
    return round(time.perf_counter() - began, 2)


def _measured(device: str, repeats: int, options: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "compute_server.cli", "bench", "--json", "--device", device, "--repeats", repeats]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
    row: dict[str, Any] = json.loads(subprocess.check_output([str(part) for part in command]))
    print(_line(options, row), flush=True)
    return {"options": options, **row}


def _said_by(script: str, device: str, repeats: int = 7) -> list[str]:
    """What another of these scripts says, with a worker's environment like all that is measured: it makes others faster
    too."""
    command = [sys.executable, "-m", f"bench.{script}", "--device", device, "--repeats", str(repeats)]
    return subprocess.check_output(command, env=worker_environment(), text=True).splitlines()


def _line(options: dict[str, Any], row: dict[str, Any]) -> str:
    named = (key.replace("_", " ") + ("" if value is True else f" {value}") for key, value in options.items())
    name = ", ".join(named) or "as it comes"
    on_gpu = row["device"] == "cuda"
    cells = [f"{name} ({row['precision']})" if on_gpu else name, _ms(row["classifier_ms"])]
    for kind in ("fixed", "resampled"):
        low, high = row[kind]["spread"]
        cells += [_ms(row[kind]["step_ms"]), f"{row[kind]['ratio']:.2f}", f"{low:.2f}–{high:.2f}"]
    memory = row["peak_gpu_mb" if on_gpu else "peak_rss_mb"]
    return "| " + " | ".join([*cells, f"{row['first_step_s']:.1f}", str(memory)]) + " |"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _page(found: dict[str, Any], repeats: int) -> list[str]:
    first = next(rows[0] for rows in found["groups"].values())
    on_gpu = first["device"] == "cuda"
    how = ON_GPU if on_gpu else ON_CPU
    lines = [
        "# What a step costs" + (" on a GPU" if on_gpu else ""),
        "",
        f"Made by `make {'gpu-bench' if on_gpu else 'bench'}` (version {VERSION}): {found['machine']}{_load(found)}.",
        *_left_out(found, GPU_CONFIGURATIONS if on_gpu else CONFIGURATIONS),
        "",
        "A step is a whole one: Θ to texture, pictures of all views in the classifier's size (224² of most), the",
        "classifier, gradient, next Θ. Its ratio is to the same classifier's forward and backward alone (frozen,",
        f"folded, channels-last), in the same run: medians of {repeats} turns, and quartiles of each turn's ratios.",
        *how,
        "With fixed views what can be kept is kept; resampled ones have a new camera, light and background each time.",
        f"Unless a row says otherwise: {', '.join(_usual(found))},",
        "the momentum stepper, no augmentation (`standard` has the Standard preset's).",
        "",
    ]
    if "plain_classifier" in first:
        plain = first["plain_classifier"]
        lines += [
            f"The classifier itself takes {first['classifier_ms']:.0f} ms; the network as its package makes it,",
            f"frozen, in torch's default layout, {plain['step_ms']:.0f} ms ({plain['ratio']:.2f} times as long).",
            "",
        ]
    lines += [f"A new process has imported the worker after {found['import_s']:.1f} s.", ""]
    for name, rows in found["groups"].items():
        lines += [f"## {name}", "", *HEAD, *(_line(row["options"], row) for row in rows), ""]
    lines += ["## Large and small by turns", "", *FLATNESS, "", *(f"- {line}" for line in found["flatness"]), ""]
    lines += ["## Others doing the same", "", *(f"- {line}" for line in found["peers"])]
    return lines


def _usual(found: dict[str, Any]) -> list[str]:
    """What all rows have that do not say otherwise."""
    rows = [row for group in found["groups"].values() for row in group]
    usual = {option: next((row for row in rows if option not in row["options"]), None) for option in USUAL}
    return [USUAL[option].format(**row) for option, row in usual.items() if row is not None]


def _load(found: dict[str, Any]) -> str:
    return f"; load before it began {found['load_before']}" if "load_before" in found else ""


def _left_out(found: dict[str, Any], configurations: Iterable[str]) -> list[str]:
    """What a run with ``--groups`` did not measure."""
    names = [name for name in configurations if name not in found["groups"]]
    return ["", f"Not measured in this run: {'; '.join(names)}."] if names else []


if __name__ == "__main__":
    sys.exit(main())
