"""``assistive-server pattern`` and ``figure5``: robust patterns as files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from shared import messages as m

from .. import plots
from ..evaluate import evaluate, render
from ..files import write_files
from ..importance import covered_places, importance_picture, padded
from ..jobfile import read_texture
from ..jobs import png, versions
from ..problem import Problem
from ..render.color import to_bytes
from . import drawing
from .pattern import (
    Asked,
    Pattern,
    agreement,
    dominant_colors,
    flat_start,
    important,
    looked_into,
    on_view,
)
from .runs import Runs, texture_of

#: Edge of the views that are shown, and how many there are.
SHOWN_SIZE, SHOWN_VIEWS = 320, 2


@dataclass(frozen=True)
class Found:
    """Patterns of one set of classifiers, one for each seed; the first is shown."""

    models: tuple[str, ...]
    problem: Problem
    patterns: tuple[Pattern, ...]
    figures: Mapping[str, m.Stats]

    @property
    def covered(self) -> Tensor:
        """Which texels the surface covers, on the CPU."""
        return covered_places(self.problem).cpu()


def pattern_files(runs: Runs, asked: Asked, texture: Path | None) -> int:
    """Write ``pattern.json``, ``pattern.png`` (the figure), ``texture.png``, ``importance.png`` (grey, in the texture's
    layout) and ``outline.png`` (the texture with a line around what matters most)."""
    found = _found(runs, runs.models, asked, texture)
    shown = found.patterns[0]
    files = {
        "pattern.json": msgspec.json.format(msgspec.json.encode(_report(runs, found, asked)), indent=2),
        "pattern.png": plots.png(drawing.patterns(*_figure(runs, [found]))),
        "texture.png": png(_upright(found.problem, shown.texture)).tobytes(),
        "importance.png": png(importance_picture(found.problem, shown.gradient)).tobytes(),
        "outline.png": plots.png(drawing.overlay(_outlined(found, shown)), dpi=100),
    }
    write_files(runs.out, files)
    _print(runs, found)
    return 0


def figure5(runs: Runs, asked: Asked) -> int:
    """Write ``figure5.png`` with a row for each classifier, and ``figure5.json``."""
    found = [_found(runs, (model,), asked, None) for model in runs.models]
    report = {
        "patterns": [_report(runs, each, asked) for each in found],
        "missing": {name: str(error) for name, error in runs.missing.items()},
    }
    files = {
        "figure5.png": plots.png(drawing.patterns(*_figure(runs, found))),
        "figure5.json": msgspec.json.format(msgspec.json.encode(report), indent=2),
    }
    write_files(runs.out, files)
    for each in found:
        _print(runs, each)
    return 0


def _found(runs: Runs, models: tuple[str, ...], asked: Asked, texture: Path | None) -> Found:
    others = tuple(name for name in runs.models if name not in models)
    base = runs.trained(models[0], models=models, held_out_models=others)
    if texture is None:
        jobs = [flat_start(base, base.settings.seed + number) for number in range(asked.seeds)]
        problem = runs.problem(jobs[0])
        textures = [
            texture_of(runs.result(job, f"pattern {number}, {', '.join(models)}")) for number, job in enumerate(jobs, 1)
        ]
    else:
        problem = runs.problem(base)
        textures = [read_texture(texture, base.scene)]
    views = runs.shown_views(min(32, base.settings.held_out_views))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    patterns = []
    with Progress(*columns) as bar:
        for number, each in enumerate(textures, 1):
            task = bar.add_task(f"looking into pattern {number}", total=1.0)
            moved = each.to(problem.device)

            def done(share: float, task: Any = task) -> None:
                bar.update(task, completed=share)

            patterns.append(looked_into(problem, moved, views, asked, done))
    pool = problem.texture.pool_of(textures[0].to(problem.device))
    said = evaluate(problem.renderer, [pool], views, problem.classifiers, problem.target, problem.job.settings.samples)[
        0
    ]
    figures = {each.spec.name: one.stats() for each, one in zip(problem.classifiers, said, strict=True)}
    return Found(models, problem, tuple(patterns), figures)


def _report(runs: Runs, found: Found, asked: Asked) -> dict[str, Any]:
    shown, covered = found.patterns[0], found.covered
    most = covered & (shown.gradient >= important(shown.gradient, covered))
    return {
        "target": found.problem.target,
        "models": found.models,
        "protocol": runs.protocol,
        "seeds": len(found.patterns),
        "settings": found.problem.job.settings,
        "asked": dataclasses.asdict(asked),
        "confidence": found.figures,
        "agreement": {
            "importance": agreement([each.gradient for each in found.patterns], covered),
            "occlusion": agreement([each.occlusion for each in found.patterns], covered),
            "texture": agreement([each.texture.cpu() for each in found.patterns], covered),
            "gradient_with_occlusion": agreement([shown.gradient, shown.occlusion], covered),
        },
        "colors": _named(dominant_colors(shown.texture.cpu()[covered])),
        "colors_of_what_matters": _named(dominant_colors(shown.texture.cpu()[most])),
        "versions": versions(),
    }


def _named(colors: Sequence[tuple[tuple[int, int, int], float]]) -> list[dict[str, Any]]:
    return [{"color": "#{:02x}{:02x}{:02x}".format(*color), "share": float(share)} for color, share in colors]


def _figure(runs: Runs, found: Sequence[Found]) -> tuple[str, list[drawing.PatternRow], str]:
    return (
        f"Robust patterns: {runs.name}",
        [_row(runs, each) for each in found],
        f"lines: the tenth that matters most; heat: brighter matters more\n{runs.protocol}{runs.lacking}",
    )


def _row(runs: Runs, found: Found) -> drawing.PatternRow:
    shown, problem = found.patterns[0], found.problem
    views = runs.shown_views(SHOWN_VIEWS)
    pool = problem.texture.pool_of(shown.texture)
    pictures = to_bytes(render(problem.renderer, pool, views, SHOWN_SIZE, problem.job.settings.samples)).numpy()
    level = important(shown.gradient, found.covered)
    on_object = [
        drawing.Outlined(picture, on_view(problem, padded(problem, shown.gradient), view, SHOWN_SIZE), level)
        for picture, view in zip(pictures, views, strict=True)
    ]
    same = agreement([each.gradient for each in found.patterns], found.covered)
    agreed = "" if same is None else f"\nseeds agree {same:.2f}"
    sure = next(iter(found.figures.values()))
    return drawing.PatternRow(
        name=f"{', '.join(found.models)}\n{sure.mean:.2f} · {sure.top1:.0%}{agreed}",
        outlined=[_outlined(found, shown), *on_object],
        heat={
            "gradient × input": _heat(found, shown.gradient),
            "occlusion": _heat(found, shown.occlusion.clamp_min(0)),
        },
        colors=dominant_colors(shown.texture.cpu()[found.covered]),
    )


def _outlined(found: Found, shown: Pattern) -> drawing.Outlined:
    picture = np.ascontiguousarray(_upright(found.problem, shown.texture))
    return drawing.Outlined(picture, _heat(found, shown.gradient), important(shown.gradient, found.covered))


def _upright(problem: Problem, texture: Tensor) -> np.ndarray:
    """A texture ``[N, 3]`` as a picture, row 0 at the top."""
    return texture.cpu().numpy().reshape(problem.texture.shape)[::-1]


def _heat(found: Found, values: Tensor) -> np.ndarray:
    """A map ``[N]`` as ``[H, W]``, row 0 at the top, NaN where there is no surface."""
    bare = torch.where(found.covered, values, torch.nan)
    return bare.numpy().reshape(found.problem.texture.shape[:2])[::-1]


def _print(runs: Runs, found: Found) -> None:
    console = Console(highlight=False)
    said = ", ".join(f"{name} {one.mean:.3f} · {one.top1:.0%}" for name, one in found.figures.items())
    console.print(f"{', '.join(found.models)}: {said} ({runs.protocol})")
    for what, maps in (
        ("what matters", [each.gradient for each in found.patterns]),
        ("the textures themselves", [each.texture.cpu() for each in found.patterns]),
    ):
        same = agreement(maps, found.covered)
        if same is not None:
            console.print(f"{len(maps)} seeds agree in {what}: correlation {same:.2f}")
    for error in runs.missing.values():
        console.print(str(error))
    console.print(f"Written to {runs.out}")
