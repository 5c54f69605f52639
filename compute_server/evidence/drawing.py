"""The pictures of tables, examples, curves and patterns, by matplotlib. Knows arrays, no renderer and no classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from ..plots import RIGHT, STYLE

GOOD, BAD = "#1b7837", "#b2182b"
#: Colours of lines that are compared.
LINES = ("#1f5a99", "#d1662f", "#5b8c3a", "#7a4d9e", "#a8862b", "#3b8f8f")
#: The outline encloses what matters most: this share of the surface.
OUTLINED = 0.1
HEAT = "magma"


@dataclass(frozen=True)
class Shot:
    """A picture ``[H, W, 3] uint8`` (row 0 at the top) with what is said of it."""

    picture: np.ndarray
    caption: str
    right: bool


@dataclass(frozen=True)
class Outlined:
    """A picture ``[H, W, 3] uint8``, how much each pixel matters ``[H, W]`` (NaN: no surface), where a line goes."""

    picture: np.ndarray
    importance: np.ndarray
    level: float


def table(
    title: str, grid: Sequence[Sequence[str]], shades: Sequence[Sequence[float | None]], notes: Sequence[str]
) -> Figure:
    """A table whose cells are the greener, the surer; `grid` has the headings, `shades` only the body."""
    widths = [max(len(line[column]) for line in grid) for column in range(len(grid[0]))]
    width, rows = max(5.0, 0.4 + 0.075 * sum(widths) + 0.15 * len(widths)), len(grid)
    lines = [piece for note in notes for piece in _wrapped(note, int(width * 17))]
    height = 0.45 + 0.28 * rows + 0.16 * len(lines) + 0.15
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        figure.text(0.15 / width, 1 - 0.12 / height, title, va="top", fontsize=10, weight="bold")
        bottom = (0.16 * len(lines) + 0.15) / height
        axes = figure.add_axes((0.15 / width, bottom, 1 - 0.3 / width, 0.28 * rows / height))
        axes.axis("off")
        colors = [["#e8e8e8"] * len(grid[0])] + [["#f4f4f4", *map(_shade, line)] for line in shades]
        drawn = axes.table(
            [list(line) for line in grid],
            cellColours=colors,
            cellLoc="center",
            bbox=Bbox.from_bounds(0, 0, 1, 1),
            colWidths=[share / sum(widths) for share in widths],
        )
        drawn.auto_set_font_size(False)
        drawn.set_fontsize(8)
        for cell in drawn.get_celld().values():
            cell.set_edgecolor("white")
        figure.text(0.15 / width, bottom - 0.06 / height, "\n".join(lines), va="top", fontsize=7, linespacing=1.35)
    return figure


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if len(longer) <= width or not lines[-1] else [*lines, word]
    return lines


def _shade(confidence: float | None) -> str:
    """Pale enough for black text."""
    if confidence is None:
        return "#fdf3e1"
    red, green, blue, _ = RIGHT(confidence)
    return to_hex((0.45 * red + 0.55, 0.45 * green + 0.55, 0.45 * blue + 0.55))


def examples(title: str, rows: Mapping[str, Sequence[Shot]], note: str) -> Figure:
    """Pictures with a frame in green or red: a row for each name."""
    columns = max(map(len, rows.values()))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.5 + 1.75 * columns, 0.85 + 2.15 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), columns, squeeze=False)
        for line, (name, shots) in zip(axes, rows.items(), strict=True):
            line[0].set_ylabel(name, fontsize=8)
            for place in line[len(shots) :]:
                place.axis("off")
            for place, shot in zip(line, shots, strict=False):
                _framed(place, shot)
        figure.suptitle(f"{title}\n{note}", fontsize=9)
    return figure


def _framed(axes: Axes, shot: Shot) -> None:
    color = GOOD if shot.right else BAD
    axes.imshow(shot.picture, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color=color, linewidth=2.5)
    axes.set_xlabel(shot.caption, color=color, fontsize=7)


@dataclass(frozen=True)
class Curve:
    """A line of confidence over something, dashed where it is what the others are compared with."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: str
    dashed: bool = False


def curves(title: str, panels: Mapping[str, tuple[str, Sequence[Curve]]], note: str) -> Figure:
    """Panels side by side: each by its title, with the name of its x axis and its lines."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.4 + 3.6 * len(panels), 4.1), layout="constrained")
        row = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axes, (name, (across, lines)) in zip(row, panels.items(), strict=True):
            for line in lines:
                axes.plot(
                    line.x, line.y, color=line.color, linestyle="--" if line.dashed else "-", label=line.name, lw=1.4
                )
            axes.set(title=name, xlabel=across, ylim=(-0.02, 1.02))
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.legend(fontsize=6.5, loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
        row[0].set_ylabel("confidence in the target")
        figure.suptitle(f"{title}\n{note}", fontsize=9)
    return figure


@dataclass(frozen=True)
class PatternRow:
    """What is shown of one pattern: its name and figures, the outlined texture and views, heat maps ``[H, W]`` by name
    (NaN where there is no surface), and colours ``[3] uint8`` with their shares."""

    name: str
    outlined: Sequence[Outlined]
    heat: Mapping[str, np.ndarray]
    colors: Sequence[tuple[tuple[int, int, int], float]]


def patterns(title: str, rows: Sequence[PatternRow], note: str) -> Figure:
    """A row for each pattern: texture with outline, heat maps, views with outlines, colours."""
    columns = len(rows[0].outlined) + len(rows[0].heat)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(0.7 + 2.0 * columns + 0.9, 0.75 + 2.25 * len(rows)), layout="constrained")
        axes = figure.subplots(
            len(rows), columns + 1, squeeze=False, gridspec_kw={"width_ratios": [1.0] * columns + [0.42]}
        )
        for line, row in zip(axes, rows, strict=True):
            line[0].set_ylabel(row.name, fontsize=8)
            outline(line[0], row.outlined[0])
            line[0].set_title("texture, outlined")
            for place, (name, values) in zip(line[1:], row.heat.items(), strict=False):
                _heat(place, values, name)
            for place, view in zip(line[1 + len(row.heat) :], row.outlined[1:], strict=False):
                outline(place, view)
                place.set_title("on the object")
            _swatches(line[-1], row.colors)
        figure.suptitle(f"{title}\n{note}", fontsize=9)
    return figure


def overlay(shown: Outlined) -> Figure:
    """One picture with its outline, at its own size (at 100 dots per inch)."""
    height, width = shown.picture.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100))
    axes = figure.add_axes((0, 0, 1, 1))
    outline(axes, shown)
    axes.axis("off")
    return figure


def outline(axes: Axes, shown: Outlined) -> None:
    """A picture with lines around what matters most, white on black so that they are seen on any colour."""
    axes.imshow(shown.picture, interpolation="antialiased")
    values = np.nan_to_num(shown.importance)
    if values.min() < shown.level < values.max():
        axes.contour(values, levels=[shown.level], colors="black", linewidths=1.8)
        axes.contour(values, levels=[shown.level], colors="white", linewidths=0.8)
    axes.set_xticks([])
    axes.set_yticks([])


def _heat(axes: Axes, values: np.ndarray, name: str) -> None:
    top = float(np.nanquantile(values, 0.99)) or float(np.nanmax(values)) or 1.0
    colored = mpl.colormaps[HEAT].with_extremes(bad="#cfcfcf")
    axes.imshow(values, cmap=colored, vmin=0, vmax=top, interpolation="antialiased")
    axes.set_title(name)
    axes.set_xticks([])
    axes.set_yticks([])


def _swatches(axes: Axes, colors: Sequence[tuple[tuple[int, int, int], float]]) -> None:
    axes.axis("off")
    axes.set_title("colours")
    axes.set(xlim=(0, 1), ylim=(len(colors), 0))
    for row, (color, share) in enumerate(colors):
        red, green, blue = color
        shade = to_hex((red / 255, green / 255, blue / 255))
        axes.add_patch(Rectangle((0, row + 0.05), 0.45, 0.9, color=shade))
        axes.text(0.52, row + 0.5, f"{share:.0%}", va="center", fontsize=7)
