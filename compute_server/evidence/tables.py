"""The paper's tables: what a patch made in 2D and one made on the object are worth (1), and which classifier's texture
helps which other one (2)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markdown import Markdown

from shared import messages as m

from .. import plots
from ..files import write_files
from . import drawing
from .masks import part_of, unmasked
from .runs import Runs, weight_file


@dataclass(frozen=True)
class Cell:
    """One figure of a table: in which row and column, and what was found; None where `lacking` says which weight file
    is not here."""

    row: str
    column: str
    stats: m.Stats | None
    lacking: str = ""

    @property
    def text(self) -> str:
        """Mean confidence · top-1, or the file that is missing."""
        if self.stats is None:
            return f"missing: {self.lacking}" if self.lacking else "–"
        return f"{self.stats.mean:.3f} · {self.stats.top1:.0%}"


@dataclass(frozen=True)
class Table:
    """A table with all that is said of it: ``corner`` names what the rows are."""

    name: str
    title: str
    corner: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> list[str]:
        """Names of the rows, in order."""
        return list(dict.fromkeys(cell.row for cell in self.cells))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return list(dict.fromkeys(cell.column for cell in self.cells))

    def cell(self, row: str, column: str) -> Cell:
        """The cell there; an empty one where nothing was asked."""
        found = (cell for cell in self.cells if (cell.row, cell.column) == (row, column))
        return next(found, Cell(row, column, None))


def table1(runs: Runs, share: float) -> int:
    """Original, 2D patch and 3D patch, a row for each classifier, which the patches are also made for."""
    cells = tuple(cell for model in runs.models for cell in _patches(runs, model, share))
    cells += tuple(_lacking(name, "original", name) for name in runs.missing)
    where = "at the place that a search on the object finds, the same for both"
    notes = (f"A patch of {share:.0%} of what cameras see, {where}. Each is made for the classifier of its row.",)
    return _finish(runs, Table("table1", f"Table 1: {runs.name}", "classifier", cells, notes))


def _patches(runs: Runs, model: str, share: float) -> Iterator[Cell]:
    flat, made = (
        runs.result(
            runs.trained(model, held_out_models=(), patch=share, patch_site="best", method=method),
            f"{name}, {model}",
        )
        for method, name in (("flat", "2D patch"), ("rendered", "3D patch"))
    )
    yield Cell(model, "original", runs.pair(made, model).before)
    yield Cell(model, "2D patch", runs.pair(flat, model).after)
    yield Cell(model, "3D patch", runs.pair(made, model).after)


def table2(runs: Runs, belt: float) -> int:
    """A row for each texture (which part of the object, trained on what), a column for each classifier that judges."""
    what, masked = part_of(runs.job.scene, belt)
    cells: list[Cell] = []
    for part, scene in (("full", unmasked(runs.job.scene)), ("masked", masked)):
        for model in runs.models:
            result = runs.result(runs.trained(model, scene=scene), f"{part}, {model}")
            if not cells:
                cells += [Cell("original", judge, runs.pair(result, judge).before) for judge in runs.models]
                cells += [_lacking("original", name, name) for name in runs.missing]
            row = f"{part}, trained on {model}"
            cells += [Cell(row, judge, runs.pair(result, judge).after) for judge in runs.models]
            cells += [_lacking(row, name, name) for name in runs.missing]
        cells += [
            _lacking(f"{part}, trained on {name}", judge, name)
            for name in runs.missing
            for judge in (*runs.models, *runs.missing)
        ]
    notes = (f"Full: all of the surface. Masked: {what}.", "A classifier trained on is judged too: the diagonal.")
    return _finish(runs, Table("table2", f"Table 2: {runs.name}", "texture", tuple(cells), notes))


def _lacking(row: str, column: str, model: str) -> Cell:
    return Cell(row, column, None, weight_file(model))


def _finish(runs: Runs, table: Table) -> int:
    """Write ``NAME.md``, ``NAME.csv`` and ``NAME.png``, and print the table."""
    text = markdown(table, runs)
    picture = plots.png(drawing.table(table.title, _grid(table), _shades(table), notes(table, runs)))
    csv_file = as_csv(table, runs)
    write_files(
        runs.out, {f"{table.name}.md": text.encode(), f"{table.name}.csv": csv_file, f"{table.name}.png": picture}
    )
    console = Console(highlight=False)
    console.print(Markdown(text))
    console.print(f"Written to {runs.out}")
    return 0


def notes(table: Table, runs: Runs) -> tuple[str, ...]:
    """What is said below a table: what the cells are, by which protocol, and what is missing."""
    settings = runs.job.settings
    cells = f"Cells: mean confidence in the target · top-1; {settings.steps} steps of {settings.views} views."
    return (cells, f"By {runs.protocol}.", *table.notes, *map(str, runs.missing.values()))


def markdown(table: Table, runs: Runs) -> str:
    """The table with its notes."""
    grid = _grid(table)
    lines = [f"| {' | '.join(line)} |" for line in grid]
    lines.insert(1, "|---" * len(grid[0]) + "|")
    return "\n".join([f"**{table.title}**", "", *lines, "", *(f"{note}  " for note in notes(table, runs)), ""])


def _grid(table: Table) -> list[list[str]]:
    body = [[row, *(table.cell(row, column).text for column in table.columns)] for row in table.rows]
    return [[table.corner, *table.columns], *body]


def _shades(table: Table) -> list[list[float | None]]:
    """How confident each cell is."""
    found = [[table.cell(row, column).stats for column in table.columns] for row in table.rows]
    return [[None if stats is None else stats.mean for stats in line] for line in found]


def as_csv(table: Table, runs: Runs) -> bytes:
    """One line for each cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([table.corner, "column", "confidence", "top1", "p5", "least", "missing", "protocol"])
    for cell in table.cells:
        stats = cell.stats
        figures: Sequence[str] = [""] * 4
        if stats is not None:
            figures = [f"{value:.6f}" for value in (stats.mean, stats.top1, stats.p5, stats.min)]
        writer.writerow([cell.row, cell.column, *figures, cell.lacking, runs.protocol])
    return text.getvalue().encode()
