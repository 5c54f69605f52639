"""Two or more reports side by side as one HTML page: what differs in how they were made, figures, and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import intervals
from .headline import headline
from .page import document, figure, image, plain, plot, section, table, text
from .report_files import Run
from .report_page import interval, pairs, target_of
from .reporting import figures_of, local_time

STRIP = 4


def compare_page(runs: Sequence[Run]) -> str:
    """The page that compares at least two runs, the first of them with each of the others."""
    names = [text(name) for name in _names(runs)]
    parts = (
        _head(runs, names),
        _figures(runs, names),
        _settings(runs, names),
        _pictures(runs, names),
        _plots(runs, names, "views", "View by view"),
        _plots(runs, names, "around", "From all around"),
        _plots(runs, names, "steps", "How it went"),
    )
    return document(f"Comparison of {len(runs)} runs", parts)


def _names(runs: Sequence[Run]) -> list[str]:
    """A name for each run, none twice."""
    given = [run.name for run in runs]
    return [f"{name} ({number + 1})" if given.count(name) > 1 else name for number, name in enumerate(given)]


def _head(runs: Sequence[Run], names: Sequence[str]) -> str:
    rows = [
        (
            name,
            text(f"{run.report.get('object')} → {target_of(run.report)}"),
            text(headline(run.report)),
            text(f"{run.report.get('outcome')}, {run.report.get('steps', '?')} steps"),
            text(local_time(str(run.report.get("created", "")))),
        )
        for name, run in zip(names, runs, strict=True)
    ]
    heads = ("Run", "Object → target", "In short", "How it ended", "When")
    return f"<header><h1>{text(_lead(runs))}</h1>{table(heads, rows)}</header>"


def _lead(runs: Sequence[Run]) -> str:
    """Whether these can be compared at all."""
    if len({target_of(run.report) for run in runs}) > 1:
        return "These runs have different targets: their figures do not measure the same thing."
    scenes = [run.report.get("scene_hash") for run in runs]
    if not all(scenes):
        return "Not every report says which scene it was made of: whether the views are the same is not known."
    if len(set(scenes)) > 1:
        return "These runs have different scenes: views, lights and backgrounds are not the same."
    if len({run.report.get("seed") for run in runs}) > 1:
        return "The same scene with different seeds: unseen views are not the same ones."
    return "The same scene and seed: all were measured on the same unseen views."


def _figures(runs: Sequence[Run], names: Sequence[str]) -> str:
    """A row for each classifier and figure, a column for each run."""
    known = [{each.model: each for each in figures_of(run.report)} for run in runs]
    models = list(dict.fromkeys(name for each in known for name in each))
    rows: list[Sequence[str]] = []
    for model in models:
        there = [run.report["models"][model] if model in each else None for run, each in zip(runs, known, strict=True)]
        rows.append((f"{text(model)}<small>mean confidence</small>", *(_mean(each) for each in there)))
        rows.append(("<small>recognised (top-1)</small>", *(_cell(each, "top1") for each in there)))
        rows.append(("<small>worst view</small>", *(_least(each) for each in there)))
        if any(each and each.get("blender") for each in there):
            rows.append(("<small>in Blender, mean · top-1</small>", *(_blender(each) for each in there)))
        if _same_views(runs):
            changes = (_paired(there[0], each) for each in there[1:])
            rows.append(("<small>mean against the first, same views</small>", "", *changes))
    note = '<p class="note">After optimising, on views never trained on; small print: before, and 95 % intervals.</p>'
    return section("Figures", note if rows else "", table(("Classifier", *names), rows))


def _same_views(runs: Sequence[Run]) -> bool:
    first = runs[0].report
    keys = ("scene_hash", "seed")
    return bool(first.get("scene_hash")) and all(run.report.get(k) == first.get(k) for run in runs for k in keys)


def _mean(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "not measured"
    kind = "trained on" if model["trained"] else "never trained on"
    return f"{_cell(model, 'mean')}<small>{kind}</small>"


def _cell(model: Mapping[str, Any] | None, name: str) -> str:
    if model is None:
        return ""
    before, after = model["held_out"]["before"], model["held_out"]["after"]
    form = ".0%" if name == "top1" else ".3f"
    return f"<b>{after[name]:{form}}</b><small>before {before[name]:{form}}</small>{interval(after, name)}"


def _least(model: Mapping[str, Any] | None) -> str:
    least = None if model is None else model["held_out"]["after"].get("min")
    return "" if least is None else f"{least:.3f}"


def _blender(model: Mapping[str, Any] | None) -> str:
    blender = None if model is None else model.get("blender")
    return "not checked" if not blender else f"{blender['after']['mean']:.3f} · {blender['after']['top1']:.0%}"


def _paired(first: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """The difference of two runs over the same views, and whether it can be told from chance."""
    each = [((model or {}).get("each_after") or {}).get("confidence") or () for model in (first, other)]
    if not each[0] or len(each[0]) != len(each[1]):
        return ""
    low, high = intervals.of_change(each[0], each[1])
    difference = sum(each[1]) / len(each[1]) - sum(each[0]) / len(each[0])
    sure = "" if low > 0 or high < 0 else ", may be chance"
    return f"{difference:+.3f}<small>{low:+.3f} to {high:+.3f}{sure}</small>"


def _settings(runs: Sequence[Run], names: Sequence[str]) -> str:
    """What differs in settings, versions and the like."""
    rows = []
    for part in ("settings", "versions"):
        found = [dict(pairs(run.report.get(part))) for run in runs]
        for name in dict.fromkeys(name for each in found for name in each):
            values = [plain(each.get(name)) for each in found]
            if len(set(values)) > 1:
                rows.append((text(name.replace("_", " ")), *(text(value) for value in values)))
    for name in ("device", "scene_hash", "steps"):
        values = [str(run.report.get(name) or "not known") for run in runs]
        if len(set(values)) > 1:
            rows.append((text(name.replace("_", " ")), *(text(value[:16]) for value in values)))
    body = table(("Setting", *names), rows) or "<p>Nothing differs in settings, versions, device and scene.</p>"
    return section("What differs", body)


def _pictures(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Texture, and a few views after, of each run."""
    cells: list[list[str]] = [["Texture"], ["Patch"], ["Unseen views, after"], ["Sheet"]]
    for run in runs:
        shown = [name for name in sorted(run.pictures) if name.startswith("after/")][:STRIP]
        strip = "".join(image(run.pictures[name], f"{run.name}, {name}") for name in shown)
        cells[0].append(figure(run.pictures.get("texture"), f"Texture of {run.name}"))
        cells[1].append(figure(run.pictures.get("patch"), f"Patch of {run.name}"))
        cells[2].append(strip and f'<div class="strip">{strip}</div>')
        cells[3].append("" if strip else figure(run.pictures.get("views"), f"Views of {run.name}"))
    return section("Pictures", table(("", *names), [row for row in cells if any(row[1:])]))


def _plots(runs: Sequence[Run], names: Sequence[str], which: str, title: str) -> str:
    shown = "".join(
        f"<h3>{name}</h3>{drawn}"
        for name, run in zip(names, runs, strict=True)
        if (drawn := plot(run.plots.get(which), f"{title}: {run.name}"))
    )
    return section(title, shown)
