"""``assistive-server corruptions``: how the textures of a job hold under noise, blur, weather and compression."""

from __future__ import annotations

import csv
import io
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from shared.messages import Stats

from .corruptions import CORRUPTIONS, Row, corruption_rows
from .files import make_folder, write_files
from .jobfile import before_after, judges, read_job
from .jobs import choose_device
from .problem import make_problem
from .views import generators, random_views


def corruptions_file(
    jobfile: Path,
    out: Path,
    *,
    texture: Path | None,
    models: Sequence[str] | None,
    views: int,
    device: str,
    rasterizer: str,
) -> int:
    """Corrupt `views` held-out views of the job in `jobfile`; write ``corruptions.csv`` (all figures) and
    ``corruptions.md`` (means over severities) into `out`."""
    problem = make_problem(read_job(jobfile), choose_device(device), rasterizer)
    classifiers = judges(problem, models)
    textures = before_after(problem, texture)
    make_folder(out)
    pools = {name: problem.texture.pool_of(each) for name, each in textures.items()}
    stream = random_views(problem.job.scene.rig, generators(problem.job.settings.seed).held_out, "varied")
    sizes = len({classifier.spec.size for classifier in classifiers})
    with Progress(TextColumn("corruptions"), BarColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("corruptions", total=sizes * len(pools) * len(CORRUPTIONS))
        rows = corruption_rows(
            problem, pools, list(itertools.islice(stream, views)), classifiers, done=lambda: bar.advance(task)
        )
    table = markdown(rows)
    write_files(out, {"corruptions.csv": _csv(rows), "corruptions.md": table.encode()})
    console = Console(highlight=False)
    console.print(Markdown(table))
    console.print(f"{views} held-out views. Written to {out}")
    return 0


def markdown(rows: Sequence[Row]) -> str:
    """Mean confidence · top-1 over views and severities: a line for each corruption, a column for each texture and
    classifier."""
    columns = list(dict.fromkeys((row.classifier, row.texture) for row in rows))
    kinds = list(dict.fromkeys(row.corruption for row in rows))

    def cell(kinds: Sequence[str], column: tuple[str, str]) -> str:
        found = [row.stats for row in rows if row.corruption in kinds and (row.classifier, row.texture) == column]
        return f"{_mean(found, 'mean'):.3f} · {_mean(found, 'top1'):.0%}"

    lines = [
        f"| corruption | {' | '.join(f'{classifier}, {texture}' for classifier, texture in columns)} |",
        "|---" * (1 + len(columns)) + "|",
    ]
    groups = [(kind.replace("_", " "), [kind]) for kind in kinds] + [("mean of all corruptions", list(CORRUPTIONS))]
    for name, group in groups:
        lines.append(f"| {name} | {' | '.join(cell(group, column) for column in columns)} |")
    return "\n".join(lines) + "\n"


def _mean(found: Sequence[Stats], name: str) -> float:
    return statistics.fmean(getattr(each, name) for each in found)


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["texture", "classifier", "corruption", "severity", "confidence", "top1", "p5", "least"])
    for row in rows:
        figures = [f"{getattr(row.stats, name):.6f}" for name in ("mean", "top1", "p5", "min")]
        table.writerow([row.texture, row.classifier, row.corruption, row.severity, *figures])
    return text.getvalue().encode()
