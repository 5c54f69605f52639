"""``assistive-server sweep``: from where, in which light and by which classifier an object is recognised, and what a
sticker on it changes (the paper's Figure 1). In this process, from a job file."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image, ImageColor
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from shared import messages as m
from shared.errors import InvalidInput
from shared.targets import Target

from . import plots
from .classifiers import Classifier, labels
from .evaluate import CHUNK
from .files import make_folder, write_files
from .flat_patch import on_object
from .imagefile import read_picture
from .jobfile import before_after, judges, read_job
from .jobs import choose_device, versions
from .placing import patch_edge
from .problem import Problem, make_problem
from .render.color import from_bytes
from .sites import candidates, covers, on_patch
from .survey import Directions, directions, survey
from .views import generators


@dataclass(frozen=True)
class Sticker:
    """What is put on the object: a picture ``[S, S, 3]`` (display-encoded, row 0 at the top), the share of the seen
    surface that it covers, and at how many places it is tried, one after the other."""

    picture: Tensor
    share: float
    sites: int


@dataclass(frozen=True)
class Request:
    """What to look at. ``lights`` None: all of the rig, else the first few; ``texture`` None: the job's own; ``models``
    None: those of the job."""

    azimuths: int
    elevations: int
    lights: int | None
    texture: Path | None
    models: tuple[str, ...] | None
    sticker: Sticker | None


def sweep_file(jobfile: Path, out: Path, request: Request, device: str, rasterizer: str) -> int:
    """Look at the object of the job in `jobfile` from all around; write ``sweep.json``, ``sweep.csv`` and for each
    light two maps, of confidence and of what is seen, into `out`."""
    chosen = choose_device(device)
    problem = make_problem(read_job(jobfile), chosen, rasterizer)
    classifiers = judges(problem, request.models)
    textures = _textures(problem, request)
    make_folder(out)
    began = time.perf_counter()
    found = _looked(problem, textures, classifiers, request)
    seconds = time.perf_counter() - began
    maps = {}
    for light, name in enumerate(found.lights):
        title = f"{problem.job.scene.mesh.name} → {problem.target.name}, light: {name}"
        maps[f"sweep {light + 1}.png"] = plots.png(plots.survey_maps(found, problem.target, light, title))
        maps[f"sweep {light + 1} top-1.png"] = plots.png(
            plots.top1_maps(found, problem.target, labels(), light, f"{title} (what is seen)")
        )
    tables = {"sweep.json": survey_json(found, problem.target, seconds), "sweep.csv": survey_csv(found, problem.target)}
    write_files(out, {**tables, **maps})
    _print(found, problem.target, seconds, out)
    return 0


def sticker_picture(text: str) -> Tensor:
    """A colour (``black``, ``#102030``) or a picture's file as a square picture ``[S, S, 3]``, display-encoded."""
    try:
        return from_bytes(torch.tensor(ImageColor.getrgb(text)[:3], dtype=torch.uint8)).expand(2, 2, 3)
    except ValueError:
        pass  # no colour: a file
    color = read_picture(Path(text)).color
    edge = min(color.shape[:2])
    return from_bytes(torch.from_numpy(np.array(Image.fromarray(color).resize((edge, edge)))))


def _textures(problem: Problem, request: Request) -> dict[str, Tensor]:
    """Textures ``[N, 3] uint8`` by name: before and after, or without and with the sticker."""
    textures = before_after(problem, request.texture)
    if request.sticker is None:
        return textures
    given = textures["before" if request.texture is None else "after"]
    return {
        "without": given,
        **{name: texture for name, (_, texture) in stuck(problem, given, request.sticker).items()},
    }


def stuck(problem: Problem, texture: Tensor, sticker: Sticker) -> dict[str, tuple[m.PatchSite, Tensor]]:
    """`texture` ``[N, 3] uint8`` with the sticker at each of several places, as far from one another as can be.

    Raises :class:`InvalidInput` when there is no place of that size.
    """
    surface = problem.surface
    free = torch.from_numpy(problem.weight)[surface.texel]
    rng = generators(problem.job.settings.seed).sites
    found = candidates(surface, free, patch_edge(problem, sticker.share), rng)[: sticker.sites]
    if not found:
        raise InvalidInput(
            f"There is no place on {problem.job.scene.mesh.name!r} for a patch of {sticker.share:.1%} of it.",
            hint="Choose another --patch-size.",
        )
    made = {}
    for number, site in enumerate(found, 1):
        inside = covers(site, surface.position, surface.normal)
        color = on_object(sticker.picture, on_patch(site, surface.position[inside]))
        changed = texture.clone()
        changed[surface.texel[inside]] = (color * 255).round().to(torch.uint8).to(texture)
        made[f"place {number}"] = (site, changed)
    return made


def _looked(
    problem: Problem, textures: Mapping[str, Tensor], classifiers: Sequence[Classifier], request: Request
) -> m.Survey:
    grid = directions(problem.job.scene.rig, request.azimuths, request.elevations)
    return looked(problem, textures, classifiers, grid, request.lights)


def looked(
    problem: Problem,
    textures: Mapping[str, Tensor],
    classifiers: Sequence[Classifier],
    grid: Directions,
    lights: int | None,
) -> m.Survey:
    """The survey of textures ``[N, 3] uint8`` by name, with a progress bar."""
    pools = {name: problem.texture.pool_of(texture) for name, texture in textures.items()}
    states = len(problem.job.scene.rig.lights[:lights])
    chunks = math.ceil(states * len(grid.azimuths) * len(grid.elevations) / CHUNK)
    sizes = len({classifier.spec.size for classifier in classifiers})
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("looking from all around", total=chunks * sizes)
        return survey(problem, pools, classifiers, grid, lights=lights, check=lambda: bar.advance(task))


def survey_json(found: m.Survey, target: Target, seconds: float) -> bytes:
    """All of a survey, as JSON."""
    plain = {
        "target": target,
        "survey": {name: getattr(found, name) for name in found.__struct_fields__},
        "seconds": seconds,
        "versions": versions(),
    }
    return msgspec.json.encode(plain, enc_hook=np.ndarray.tolist)


def survey_csv(found: m.Survey, target: Target) -> bytes:
    """One row for each picture and classifier."""
    text, names = io.StringIO(), labels()
    table = csv.writer(text)
    table.writerow(["texture", "classifier", "light", "elevation", "azimuth", "confidence", "top1", "right"])
    axes = (found.textures, found.models, found.lights, found.elevations, found.azimuths)
    for index in np.ndindex(found.confidence.shape):
        top1 = int(found.top1[index])
        place = [axis[number] for axis, number in zip(axes, index, strict=True)]
        sure = f"{found.confidence[index]:.6f}"
        table.writerow([*place, sure, names[top1], int(top1 in target.indices)])
    return text.getvalue().encode()


def _print(found: m.Survey, target: Target, seconds: float, out: Path) -> None:
    console = Console(highlight=False)
    right = np.isin(found.top1, target.indices)
    for row, texture in enumerate(found.textures):
        for column, model in enumerate(found.models):
            sure = found.confidence[row, column]
            light, elevation, azimuth = np.unravel_index(int(sure.argmin()), sure.shape)
            console.print(
                f"{texture}, {model}: confidence {sure.mean():.3f}, top-1 {right[row, column].mean():.0%}; least from "
                f"azimuth {found.azimuths[azimuth]:g}°, elevation {found.elevations[elevation]:g}°, "
                f"light {found.lights[light]!r}: {sure.min():.3f}"
            )
    console.print(f"{found.confidence.size} pictures and verdicts in {seconds:.0f} s. Written to {out}")
