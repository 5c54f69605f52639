"""Textures that tables and figures are made of: jobs like the one in a file, each done once and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from shared import messages as m
from shared.errors import MissingWeights
from shared.presets import changed
from shared.scene import Scene, UvTexture, View
from shared.wire import fingerprint, load_message, save_message

from ..classifiers import find, loaded
from ..files import make_folder
from ..jobfile import read_job
from ..jobs import choose_device, run_job
from ..problem import Problem, make_problem
from ..runfile import job_bar
from ..views import fixed_views, generators, random_views

HELD_OUT = "held-out protocol: views, lights and backgrounds that training never saw"
PAPER = "the paper's protocol: measured on the very views it was trained on (the rig's fixed ones, in front of grey)"
#: What every job of a table or figure leaves out, as nobody asks for it there.
PLAIN = {"check_views": 0, "survey": 0, "leave_one_out": False, "blender_every": 0}


@dataclass(frozen=True)
class Runs:
    """The job that all are derived from, the classifiers to do it with, and those of them whose weights are missing.

    ``paper`` trains on the rig's fixed views, and measures on the same."""

    job: m.Job
    out: Path
    models: tuple[str, ...]
    missing: Mapping[str, MissingWeights]
    paper: bool
    device: torch.device
    rasterizer: str

    @classmethod
    def of(
        cls,
        jobfile: Path,
        out: Path,
        *,
        models: Sequence[str] | None = None,
        changes: Mapping[str, Any] | None = None,
        paper: bool = False,
        device: str = "auto",
        rasterizer: str = "auto",
    ) -> Runs:
        """From a job file, with `changes` of its settings. `models` None: all of the job.

        Raises :class:`InvalidInput` for a wrong file or setting, :class:`MissingWeights` when no classifier is here.
        """
        job, chosen = read_job(jobfile), choose_device(device)
        protocol = {"sampling": "fixed", "mined": 0.0} if paper else {}
        settings = changed(job.settings, {**PLAIN, **(changes or {}), **protocol})
        wanted = dict.fromkeys(models or (*settings.models, *settings.held_out_models))
        missing = {name: error for name in wanted if (error := _lacking(name)) is not None}
        present = tuple(name for name in wanted if name not in missing)
        if not present:
            raise next(iter(missing.values()))
        make_folder(out)
        return cls(msgspec.structs.replace(job, settings=settings), out, present, missing, paper, chosen, rasterizer)

    @property
    def protocol(self) -> str:
        """How figures are measured, as a sentence for every table and figure."""
        return PAPER if self.paper else HELD_OUT

    @property
    def lacking(self) -> str:
        """One line for figures that says which classifiers are not in them, and for want of which file; or nothing."""
        files = [f"{name} (no {weight_file(name)})" for name in self.missing]
        return f"\nnot here: {', '.join(files)}" if files else ""

    @property
    def name(self) -> str:
        """What is made to be seen as what."""
        return f"{self.job.scene.mesh.name} → {self.job.settings.target}"

    def trained(self, model: str, *, scene: Scene | None = None, **changes: Any) -> m.Job:
        """The job with one classifier to train on and all the others to measure with."""
        others = tuple(name for name in self.models if name != model)
        given = {"models": (model,), "weights": (), "held_out_models": others, **changes}
        return msgspec.structs.replace(
            self.job, scene=scene or self.job.scene, settings=changed(self.job.settings, given)
        )

    def result(self, job: m.Job, title: str) -> m.Result:
        """What `job` makes; remembered in the folder ``runs`` of the output."""
        known = self.out / "runs" / f"{_key(job, self.device)}.result"
        if known.exists():
            message = load_message(known)
            if isinstance(message, m.Ended) and message.result is not None:
                return message.result
        with job_bar(job, title) as observer:
            result = run_job(job, self.device, observer, rasterizer=self.rasterizer)
        make_folder(known.parent)
        part = known.with_suffix(".partial")
        save_message(m.Ended(job_id=job.id, result=result), part)
        part.replace(known)
        return result

    def pair(self, result: m.Result, model: str) -> m.BeforeAfter:
        """What `model` says of a result, by the protocol."""
        figures = result.models[model]
        return figures.train if self.paper else figures.held_out

    def problem(self, job: m.Job) -> Problem:
        """`job` made ready to be looked at."""
        return make_problem(job, self.device, self.rasterizer)

    def shown_views(self, count: int) -> list[View]:
        """The first `count` of the views that figures are measured on; of fixed ones so many, from all around."""
        rig, settings = self.job.scene.rig, self.job.settings
        if self.paper:
            views = fixed_views(rig)
            return [views[int(index)] for index in np.unique(np.linspace(0, len(views), count, endpoint=False).round())]
        stream = random_views(rig, generators(settings.seed).held_out, "varied")
        return [view for view, _ in zip(stream, range(count), strict=False)]


def weight_file(model: str) -> str:
    """The name of the file that has the weights of a classifier."""
    return Path(find(model).weights).name


def texture_of(result: m.Result) -> Tensor:
    """The texture that a job made, ``[N, 3] uint8``."""
    texture = result.texture
    array = texture.image if isinstance(texture, UvTexture) else texture.colors
    return torch.from_numpy(array.reshape(-1, 3).copy())


def _lacking(name: str) -> MissingWeights | None:
    """Why there is no classifier `name` here. A name that nobody knows is raised."""
    if find(name).available:
        return None
    try:
        loaded(name, torch.device("cpu"))
    except MissingWeights as error:
        return error
    return None


def _key(job: m.Job, device: torch.device) -> str:
    """A name that says all that the result depends on."""
    return hashlib.sha256(f"{device} {fingerprint(job)}".encode()).hexdigest()[:24]
