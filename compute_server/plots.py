"""Figures of what was measured, by matplotlib, as files in memory. Knows messages, no renderer and no classifier."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from shared.messages import Survey
from shared.targets import Target

RIGHT = LinearSegmentedColormap.from_list("right", ["#e3f3e6", "#1b7837"])
"""Confidence where top-1 is right: green, the darker the surer."""
WRONG = LinearSegmentedColormap.from_list("wrong", ["#b2182b", "#fbe3df"])
"""Confidence where it is wrong: red, the darker the less sure of the target."""
STYLE: Any = {"font.size": 8, "axes.titlesize": 8}


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as a PNG file, the same bytes each time."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def survey_maps(survey: Survey, target: Target, light: int, title: str) -> Figure:
    """Maps of azimuth × elevation under one light: a row for each texture, a column for each classifier."""
    rows, columns = len(survey.textures), len(survey.models)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.6 * columns, 0.7 + 1.35 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for row, texture in enumerate(survey.textures):
            for column, model in enumerate(survey.models):
                confidence = survey.confidence[row, column, light]
                right = np.isin(survey.top1[row, column, light], target.indices)
                _map(axes[row][column], survey, confidence, right)
                mean = f"{confidence.mean():.2f} · {right.mean():.0%}"
                axes[row][column].set_title(f"{texture}, {model}: {mean}" if columns > 1 else f"{texture}: {mean}")
        figure.supxlabel("azimuth of the camera, degrees", fontsize=8)
        figure.supylabel("elevation, degrees", fontsize=8)
        figure.suptitle(f"{title}\ngreen: top-1 right, the darker the surer; red: wrong", fontsize=9)
    return figure


def _map(axes: Axes, survey: Survey, confidence: np.ndarray, right: np.ndarray) -> None:
    """One map: green where top-1 is right, red where it is not."""
    colors = np.where(right[..., None], RIGHT(confidence), WRONG(confidence))
    across, up = _edges(survey.azimuths, 360.0), _edges(survey.elevations, 10.0)
    axes.pcolormesh(across, up, colors)
    axes.set_xticks(range(0, 360, 90))
    axes.set_xlim(across[0], across[-1])


def _edges(centers: Sequence[float], whole: float) -> np.ndarray:
    """The borders of evenly spaced cells; `whole` is the width of a single one."""
    width = centers[1] - centers[0] if len(centers) > 1 else whole
    return centers[0] + width * (np.arange(len(centers) + 1) - 0.5)
