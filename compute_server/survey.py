"""How an object is recognised from all around it: confidence and top-1 by direction, light and classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from shared.messages import Survey
from shared.scene import Rig, View

from .classifiers import Classifier, labels
from .evaluate import Figures, evaluate
from .problem import Problem
from .views import GREY, camera_toward, direction

#: The rig's own elevations are widened to multiples of this, in degrees; one camera alone is given so much either way.
STEP = 5.0


@dataclass(frozen=True)
class Directions:
    """A grid of directions, in degrees (see :func:`~compute_server.views.direction`)."""

    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]


def directions(rig: Rig, azimuths: int, elevations: int) -> Directions:
    """Evenly spaced directions: all around, and from the lowest to the highest that random views of `rig` come to."""
    heights = [direction(camera, rig.center)[1] for camera in rig.cameras]
    spare = max(rig.camera_jitter.elevation, STEP if min(heights) == max(heights) else 0.0)
    low, high = STEP * np.floor((min(heights) - spare) / STEP), STEP * np.ceil((max(heights) + spare) / STEP)
    low, high = max(low, -90.0), min(high, 90.0)
    rows = low + (high - low) * (np.arange(elevations) + 0.5) / elevations
    return Directions(
        azimuths=tuple(360.0 * index / azimuths for index in range(azimuths)),
        elevations=tuple(float(row) for row in rows),
    )


def survey(
    problem: Problem,
    pools: Mapping[str, Tensor],
    classifiers: Sequence[Classifier],
    grid: Directions,
    *,
    lights: int | None = None,
    samples: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> Survey:
    """What each classifier says of each texture (linear pools by name) from each direction under each light (the first
    `lights` of the rig's, or all), with so many `samples` per pixel (or as many as the job's).

    `check` is called between chunks; what it raises ends the survey.
    """
    rig = problem.job.scene.rig
    states = rig.lights[:lights]
    views = [
        View(camera=camera_toward(rig, azimuth, elevation), lights=state, background=GREY)
        for state in states
        for elevation in grid.elevations
        for azimuth in grid.azimuths
    ]
    figures = evaluate(
        problem.renderer,
        tuple(pools.values()),
        views,
        classifiers,
        problem.target,
        samples or problem.job.settings.samples,
        check=check,
    )
    names = labels()
    shape = (len(pools), len(classifiers), len(states), len(grid.elevations), len(grid.azimuths))

    def gathered(value: Callable[[Figures], Tensor], dtype: type) -> np.ndarray:
        return np.array([value(each).numpy() for row in figures for each in row], dtype).reshape(shape)

    top1 = gathered(lambda each: each.top1, np.int32)
    return Survey(
        textures=tuple(pools),
        azimuths=grid.azimuths,
        elevations=grid.elevations,
        lights=tuple(state.name for state in states),
        models=tuple(classifier.spec.name for classifier in classifiers),
        confidence=gathered(lambda each: each.confidence, np.float32),
        top1=top1,
        labels={index: names[index] for index in np.unique(top1).tolist()},
    )
