"""The paper's figures 1, 3 and 4: a black patch moved over the object, pictures before and after, and confidence over
steps and directions."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import Tensor

from shared import messages as m
from shared.scene import Camera, View

from .. import plots
from ..classifiers import Classifier, labels, loaded
from ..evaluate import judge, render
from ..files import write_files
from ..jobfile import read_texture
from ..problem import Problem
from ..render.color import from_bytes, to_bytes
from ..survey import directions
from ..sweep import Sticker, looked, stuck, survey_csv, survey_json
from ..views import GREY, camera_toward, direction
from . import drawing
from .masks import part_of, unmasked
from .runs import Runs, texture_of

#: Edge of the pictures of places, and directions from which figure 4 looks.
PICTURE, AROUND = 224, 24


def figure1(runs: Runs, sticker: Sticker, texture: Path | None, azimuths: int, elevations: int) -> int:
    """Write ``figure1.png`` (the rig's first light), ``figure1.csv`` and ``figure1.json``: of the job's own texture, or
    of one in a file. Nothing is trained."""
    problem = runs.problem(runs.trained(runs.models[0]))
    classifiers = [loaded(name, runs.device) for name in runs.models]
    bare = problem.texture.original
    if texture is not None:
        bare = read_texture(texture, problem.job.scene).to(bare)
    places = stuck(problem, bare, sticker)
    textures = {"without": bare, **{name: changed for name, (_, changed) in places.items()}}
    rig = problem.job.scene.rig
    began = time.perf_counter()
    found = looked(problem, textures, classifiers, directions(rig, azimuths, elevations), 1)
    seconds = time.perf_counter() - began
    cameras = [_facing(problem, site) for site, _ in places.values()]
    pictures = [
        _picture(problem, each, camera) for each, camera in zip(textures.values(), [cameras[0], *cameras], strict=True)
    ]
    title = f"Figure 1: {runs.name}\n{len(places)} places for a patch of {sticker.share:.0%}, light: {found.lights[0]}"
    note = "the same by either protocol: nothing is trained here"
    figure = plots.survey_maps(found, problem.target, 0, title, pictures=pictures, note=note + runs.lacking)
    files = {
        "figure1.png": plots.png(figure),
        "figure1.csv": survey_csv(found, problem.target),
        "figure1.json": survey_json(found, problem.target, seconds),
    }
    return _finish(runs, files)


def _facing(problem: Problem, site: m.PatchSite) -> Camera:
    """The rig's camera turned to where a site faces."""
    rig = problem.job.scene.rig
    x, y, z = site.normal
    azimuth = float(np.degrees(np.arctan2(y, x))) % 360.0
    elevation = float(np.degrees(np.arctan2(z, np.hypot(x, y))))
    heights = [direction(camera, rig.center)[1] for camera in rig.cameras]
    return camera_toward(rig, azimuth, min(max(elevation, min(heights)), 75.0))


def _picture(problem: Problem, texture: Tensor, camera: Camera) -> np.ndarray:
    view = View(camera=camera, lights=problem.job.scene.rig.lights[0], background=GREY)
    pool = problem.texture.pool_of(texture)
    pictures = to_bytes(render(problem.renderer, pool, [view], PICTURE, problem.job.settings.samples))
    return np.asarray(pictures[0])


def figure3(runs: Runs, count: int) -> int:
    """Write ``figure3.png``, two rows for each classifier (also what a texture was made for), ``figure3.csv``, and each
    texture as ``texture CLASSIFIER.png`` where it is a picture."""
    files: dict[str, bytes] = {}
    views = runs.shown_views(count)
    rows: dict[str, list[drawing.Shot]] = {}
    for model in runs.models:
        result = runs.result(runs.trained(model, scene=unmasked(runs.job.scene)), f"full, {model}")
        problem = runs.problem(runs.trained(model))
        if result.texture_png is not None:
            files[f"texture {model.replace('/', ' ')}.png"] = result.texture_png.tobytes()
        for name, texture in (
            ("original", problem.texture.original),
            ("assistive", texture_of(result).to(runs.device)),
        ):
            rows[f"{name}, {model}"] = _shots(problem, texture, views, problem.classifiers[0])
    below = f"below each: top-1, and confidence in the target; {runs.job.settings.steps} steps"
    note = f"{below}\n{runs.protocol}{runs.lacking}"
    figure = drawing.examples(f"Figure 3: {runs.name}", rows, note)
    return _finish(runs, {"figure3.png": plots.png(figure), "figure3.csv": _shots_csv(rows, runs), **files})


def _shots(problem: Problem, texture: Tensor, views: Sequence[View], classifier: Classifier) -> list[drawing.Shot]:
    pool = problem.texture.pool_of(texture)
    pictures = to_bytes(render(problem.renderer, pool, views, classifier.spec.size, problem.job.settings.samples))
    said, names = judge(classifier, from_bytes(pictures).to(problem.device), problem.target), labels()
    return [
        drawing.Shot(picture, f"{names[int(top1)]}\ntarget {float(sure):.1%}", bool(right))
        for picture, top1, sure, right in zip(pictures.numpy(), said.top1, said.confidence, said.right, strict=True)
    ]


def _shots_csv(rows: dict[str, list[drawing.Shot]], runs: Runs) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["texture", "view", "top1 and confidence", "right", "protocol"])
    for name, shots in rows.items():
        for number, shot in enumerate(shots, 1):
            table.writerow([name, number, shot.caption.replace("\n", ", "), int(shot.right), runs.protocol])
    return text.getvalue().encode()


def figure4(runs: Runs, belt: float) -> int:
    """Write ``figure4.png``: confidence over steps, and by azimuth before and after, with all of the surface and with
    a part of it; and ``figure4.csv``."""
    what, masked = part_of(runs.job.scene, belt)
    steps: list[drawing.Curve] = []
    around: list[drawing.Curve] = []
    colors = iter(drawing.LINES * (1 + len(runs.models)))
    for model in runs.models:
        for part, scene in (("full", unmasked(runs.job.scene)), ("masked", masked)):
            result = runs.result(runs.trained(model, scene=scene), f"{part}, {model}")
            color = next(colors)
            steps.append(_over_steps(runs, result, f"{part}, {model}", color))
            around += _by_azimuth(runs, model, result, f"{part}, {model}", color, first=part == "full")
    measured = "views of training" if runs.paper else "validation views"
    panels = {
        f"over steps ({measured})": ("steps", steps),
        "from all around": ("azimuth of the camera, degrees", around),
    }
    note = (
        f"masked: {what}; from all around: mean over elevations, the rig's first light\n{runs.protocol}{runs.lacking}"
    )
    figure = drawing.curves(f"Figure 4: {runs.name}", panels, note)
    return _finish(runs, {"figure4.png": plots.png(figure), "figure4.csv": _curves_csv(panels, runs)})


def _over_steps(runs: Runs, result: m.Result, name: str, color: str) -> drawing.Curve:
    """By the paper's protocol each step's own views; else those that choose the best texture."""
    curves = result.curves
    if runs.paper:
        return drawing.Curve(name, range(1, len(curves.confidence) + 1), curves.confidence, color)
    return drawing.Curve(name, curves.validated, curves.validation, color)


def _by_azimuth(runs: Runs, model: str, result: m.Result, name: str, color: str, *, first: bool) -> list[drawing.Curve]:
    problem = runs.problem(runs.trained(model))
    textures = {"before": problem.texture.original, "after": texture_of(result).to(runs.device)}
    grid = directions(problem.job.scene.rig, AROUND, 3)
    found = looked(problem, textures, problem.classifiers, grid, 1)
    before, after = found.confidence[:, 0, 0].mean(axis=1)
    lines = [drawing.Curve(name, found.azimuths, after.tolist(), color)]
    if first:
        lines.insert(0, drawing.Curve(f"original, {model}", found.azimuths, before.tolist(), color, dashed=True))
    return lines


def _curves_csv(panels: dict[str, tuple[str, list[drawing.Curve]]], runs: Runs) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["panel", "line", "x", "confidence", "protocol"])
    for panel, (_, lines) in panels.items():
        for line in lines:
            for x, y in zip(line.x, line.y, strict=True):
                table.writerow([panel, line.name, f"{x:g}", f"{y:.6f}", runs.protocol])
    return text.getvalue().encode()


def _finish(runs: Runs, files: dict[str, bytes]) -> int:
    write_files(runs.out, files)
    console = Console(highlight=False)
    for error in runs.missing.values():
        console.print(str(error))
    console.print(f"Written to {runs.out}: {', '.join(files)}")
    return 0
