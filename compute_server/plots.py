"""Figures of what was measured, by matplotlib, as files in memory. Knows messages, no renderer and no classifier."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from shared.messages import Curves, ModelFigures, Survey
from shared.targets import Target

RIGHT = LinearSegmentedColormap.from_list("right", ["#e3f3e6", "#1b7837"])
"""Confidence where top-1 is right: green, the darker the surer."""
WRONG = LinearSegmentedColormap.from_list("wrong", ["#b2182b", "#fbe3df"])
"""Confidence where it is wrong: red, the darker the less sure of the target."""
RARE = "#999999"
KEY = "green: top-1 right, the darker the surer; red: wrong, the darker the less sure"
#: A map of what is seen has so many colours.
CLASSES = 8
STYLE: Any = {"font.size": 8, "axes.titlesize": 8}


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A figure as a PNG file, the same bytes each time."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


# --- for the report's page --------------------------------------------------------------------------------------------

#: What stands for the page's own colours while matplotlib draws: the page's style sheet has them, light and dark.
COLORS = {
    "#010203": "currentColor",
    "#010204": "var(--before, #9a7b2f)",
    "#010205": "var(--after, #22744a)",
    "#010206": "var(--third, #3565a8)",
    "#010207": "var(--line, #c9cdd2)",
}
INK, BEFORE, AFTER, THIRD, LINE = COLORS
PAGE_STYLE: Any = {
    **{"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8.5, "legend.frameon": False},
    **{"font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "assistive", "savefig.transparent": True},
    **{"text.color": INK, "axes.edgecolor": LINE, "axes.labelcolor": INK, "axes.titlecolor": INK},
    **{"xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": INK, "ytick.labelcolor": INK},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"},
    **{"path.simplify": True, "path.simplify_threshold": 1.0},
}
#: More steps than this are drawn as the means of so many spans of them.
POINTS = 250


def for_report(
    curves: Curves, models: Mapping[str, ModelFigures], survey: Survey | None, target: Target
) -> dict[str, str]:
    """The plots of a report's page, SVG by name; those without anything to show are left out."""
    made = {"steps": _steps(curves) if len(curves.loss) > 1 else None, "views": _views(models)}
    if survey is not None:
        made["around"] = _around(survey, target)
    return {name: svg(figure) for name, figure in made.items() if figure is not None}


def svg(figure: Figure) -> str:
    """A figure made under :data:`PAGE_STYLE` as an SVG element that takes its colours from the page around it. Text
    stays text; the same figure gives the same characters each time."""
    buffer = io.StringIO()
    with mpl.rc_context(PAGE_STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"(\d\.\d\d)\d+", r"\1", text)
    for stand_in, color in COLORS.items():
        text = text.replace(stand_in, color)
    return text


def _steps(curves: Curves) -> Figure:
    """Confidence and loss over the steps of an optimisation."""
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(8.2, 2.5), layout="constrained")
        sure, loss = figure.subplots(1, 2, width_ratios=(3, 2))
        steps, mean = _spans(curves.confidence)
        sure.plot(steps, mean, color=AFTER, linewidth=1.4, label="mean of the step's views")
        sure.plot(*_spans(curves.least), color=BEFORE, linewidth=0.9, label="least of them")
        sure.plot(
            curves.validated, curves.validation, "o", color=THIRD, markersize=3.5, label="views kept for validation"
        )
        sure.set(ylim=(-0.02, 1.02), xlabel="step", title="Confidence in the target")
        sure.legend(loc="best")
        loss.plot(*_spans(curves.loss), color=INK, linewidth=1.0)
        loss.set(xlabel="step", title="Loss")
    return figure


def _spans(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps, counted from 1, and values; means over spans of them where there are more than can be seen."""
    span = -(-len(values) // POINTS)
    parts = [np.asarray(values[start : start + span]) for start in range(0, len(values), span)]
    centers = [start * span + (len(part) + 1) / 2 for start, part in enumerate(parts)]
    return np.array(centers), np.array([part.mean() for part in parts])


def _views(models: Mapping[str, ModelFigures]) -> Figure | None:
    """The confidence in each held-out view, in order, before and after: a panel for each classifier."""
    shown = {name: figures for name, figures in models.items() if figures.each_after.confidence}
    if not shown:
        return None
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(max(4.1, 4.1 * min(len(shown), 3)), 2.3 * -(-len(shown) // 3)), layout="constrained")
        panels = figure.subplots(-(-len(shown) // 3), min(len(shown), 3), squeeze=False, sharey=True).ravel()
        for panel, (name, figures) in zip(panels, shown.items(), strict=False):
            for each, color, label in ((figures.each_before, BEFORE, "before"), (figures.each_after, AFTER, "after")):
                order = np.argsort(each.confidence)
                sure, right = np.asarray(each.confidence)[order], np.asarray(each.right)[order]
                number = np.arange(1, len(sure) + 1)
                panel.plot(number[right], sure[right], "o", color=color, markersize=3, label=f"{label}, top-1 right")
                panel.plot(number[~right], sure[~right], "x", color=color, markersize=3.5, label=f"{label}, wrong")
            panel.set(ylim=(-0.03, 1.03), xlabel="views never trained on, least sure first")
            panel.set_title(name if figures.trained else f"{name} (never trained on)")
        panels[0].set_ylabel("confidence")
        for unused in panels[len(shown) :]:
            unused.remove()
        # Above the panels: inside them, points lie everywhere.
        marks = panels[0].get_legend_handles_labels()
        figure.legend(*marks, loc="outside upper left", ncols=4 if len(shown) > 1 else 2)
    return figure


def _around(survey: Survey, target: Target) -> Figure:
    """Maps of azimuth × elevation, the mean over lights: a row for each texture, a column for each classifier."""
    rows, columns = len(survey.textures), len(survey.models)
    with mpl.rc_context(PAGE_STYLE):
        figure = Figure(figsize=(0.6 + 3.7 * columns, 0.5 + 1.3 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for row, texture in enumerate(survey.textures):
            for column, model in enumerate(survey.models):
                confidence = survey.confidence[row, column].mean(axis=0)
                right = np.isin(survey.top1[row, column], target.indices).mean(axis=0) >= 0.5
                _cells(axes[row][column], survey, confidence, right)
                axes[row][column].set_title(f"{texture}, {model}: {confidence.mean():.2f}")
        figure.supxlabel("azimuth of the camera, degrees", fontsize=9)
        figure.supylabel("elevation", fontsize=9)
    return figure


def _cells(axes: Axes, survey: Survey, confidence: np.ndarray, right: np.ndarray) -> None:
    """One map as a small picture inside the figure."""
    colors = np.where(right[..., None], RIGHT(confidence), WRONG(confidence))
    across, up = _edges(survey.azimuths, 360.0), _edges(survey.elevations, 10.0)
    axes.imshow(
        colors,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(float(across[0]), float(across[-1]), float(up[0]), float(up[-1])),
    )
    axes.set_xticks(range(0, 360, 90))


# --- from all around --------------------------------------------------------------------------------------------------


def survey_maps(
    survey: Survey,
    target: Target,
    light: int,
    title: str,
    *,
    pictures: Sequence[np.ndarray] = (),
    note: str = "",
) -> Figure:
    """Maps of azimuth × elevation under one light: a row for each texture, a column for each classifier. `pictures`
    ``[H, W, 3] uint8``, one for each texture, come in a column before them; `note` below the title."""
    rows, columns, first = len(survey.textures), len(survey.models), int(bool(pictures))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.6 * columns + 1.4 * first, 0.9 + 1.35 * rows), layout="constrained")
        ratios = [0.38] * first + [1.0] * columns
        axes = figure.subplots(rows, first + columns, squeeze=False, gridspec_kw={"width_ratios": ratios})
        for row, texture in enumerate(survey.textures):
            if pictures:
                axes[row][0].imshow(pictures[row], interpolation="antialiased")
                axes[row][0].axis("off")
            for column, model in enumerate(survey.models):
                place = axes[row][first + column]
                confidence = survey.confidence[row, column, light]
                right = np.isin(survey.top1[row, column, light], target.indices)
                _map(place, survey, confidence, right)
                mean = f"{confidence.mean():.2f} · {right.mean():.0%}"
                place.set_title(f"{texture}, {model}: {mean}" if columns > 1 else f"{texture}: {mean}")
                place.tick_params(labelbottom=row == rows - 1, labelleft=column == 0)
        figure.supxlabel("azimuth of the camera, degrees", fontsize=8)
        figure.supylabel("elevation, degrees", fontsize=8)
        heading = "\n".join(filter(None, (f"{title} (mean confidence · top-1)", KEY, note)))
        figure.suptitle(heading, fontsize=9)
    return figure


def top1_maps(survey: Survey, target: Target, labels: Sequence[str], light: int, title: str) -> Figure:
    """As :func:`survey_maps`, with what is seen from each direction: classes of the target in greens, others in reds,
    and what is seen rarely in grey."""
    rows, columns = len(survey.textures), len(survey.models)
    seen = survey.top1[:, :, light]
    colors = _class_colors(seen, target)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.6 * columns, 0.7 + 1.35 * max(rows, 1.4)), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for row, texture in enumerate(survey.textures):
            for column, model in enumerate(survey.models):
                cells = seen[row, column]
                shown = np.array([[to_rgba(colors.get(int(each), RARE)) for each in line] for line in cells])
                _colored(axes[row][column], survey, shown)
                axes[row][column].set_title(f"{texture}, {model}: top-1 {np.isin(cells, target.indices).mean():.0%}")
        figure.supxlabel("azimuth of the camera, degrees", fontsize=8)
        figure.supylabel("elevation, degrees", fontsize=8)
        figure.suptitle(title, fontsize=9)
        known = [
            Patch(color=color, label=f"{labels[each]}, {(seen == each).mean():.0%}") for each, color in colors.items()
        ]
        rare = [Patch(color=RARE, label="others")] if not np.isin(seen, list(colors)).all() else []
        figure.legend(handles=[*known, *rare], loc="outside right upper", fontsize=7, frameon=False)
    return figure


def _class_colors(seen: np.ndarray, target: Target) -> dict[int, str]:
    """A colour for each of the classes seen most often."""
    classes, counts = np.unique(seen, return_counts=True)
    often = [int(each) for each in classes[np.argsort(-counts, kind="stable")][:CLASSES]]
    right = [each for each in often if each in target.indices]
    wrong = [each for each in often if each not in target.indices]
    greens = RIGHT(np.linspace(1.0, 0.3, len(right)))
    reds = WRONG(np.linspace(0.0, 0.9, len(wrong)))
    shades = dict(zip([*right, *wrong], map(to_hex, [*greens, *reds]), strict=True))
    return {each: shades[each] for each in often}


def _map(axes: Axes, survey: Survey, confidence: np.ndarray, right: np.ndarray) -> None:
    """One map: green where top-1 is right, red where it is not."""
    colors = np.where(right[..., None], RIGHT(confidence), WRONG(confidence))
    _colored(axes, survey, colors)


def _colored(axes: Axes, survey: Survey, colors: np.ndarray) -> None:
    """A map of colours ``[E, A, 4]``."""
    across, up = _edges(survey.azimuths, 360.0), _edges(survey.elevations, 10.0)
    axes.pcolormesh(across, up, colors)
    axes.set_xticks(range(0, 360, 90))
    axes.set_xlim(across[0], across[-1])


def _edges(centers: Sequence[float], whole: float) -> np.ndarray:
    """The borders of evenly spaced cells; `whole` is the width of a single one."""
    width = centers[1] - centers[0] if len(centers) > 1 else whole
    return centers[0] + width * (np.arange(len(centers) + 1) - 0.5)
