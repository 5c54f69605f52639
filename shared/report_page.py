"""A job's report as one HTML page that needs nothing from outside it. What stands in a report: see `reporting`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .headline import claims, headline
from .page import document, facts, figure, image, plot, section, sphere_script, table, text
from .reporting import ENGINES, figures_of, local_time, remarks

OUTCOMES = {
    "finished": "Finished",
    "early": "Ended early, good enough",
    "cancelled": "Cancelled; this is the best so far",
    "interrupted": "Interrupted; this is the last preview, nothing was measured",
}
HOW = (
    "Intervals hold 95 %: a bootstrap over the views, or the exact binomial bound where all views agree. Green is from "
    "90 % of views recognised on, red below 50 %; for the worst view from confidence 0.5 on, and below 0.1."
)


def page(
    report: Mapping[str, Any], pictures: Mapping[str, bytes] | None = None, plots: Mapping[str, str] | None = None
) -> str:
    """The page of a `report` of this or an older version. `pictures` are PNG files by their names in the job's folder
    (``texture``, ``patch``, ``importance``, ``pattern``, ``views``, ``check``, ``before/00``, ``after/00`` …), `plots`
    SVG files."""
    pictures, plots = pictures or {}, plots or {}
    target, name = target_of(report), str(report.get("object"))
    survey = _survey(report)
    parts = (
        _head(report, name, target),
        _figures(report),
        _views(report, pictures),
        _sphere(survey, plots),
        section("How it went", plot(plots.get("steps"), "Confidence and loss over steps")),
        section("View by view", plot(plots.get("views"), "Confidence in each unseen view, before and after")),
        _textures(pictures),
        _controls(report),
        _check(pictures),
        _remarks(report),
        _again(report),
        facts("Settings", pairs(report.get("settings"))),
        facts("Made with", [("device", report.get("device")), *pairs(report.get("versions"))]),
        facts("Seconds", _seconds(report)),
    )
    return document(f"{name}: {target}", parts, sphere_script() if survey else "")


def target_of(report: Mapping[str, Any]) -> str:
    """What the object of `report` is to be seen as."""
    target = report.get("target")
    return str(target.get("name") if isinstance(target, Mapping) else target)


def _head(report: Mapping[str, Any], name: str, target: str) -> str:
    outcome = str(report.get("outcome"))
    when = local_time(str(report.get("created", "")))
    done = f"{OUTCOMES.get(outcome, outcome)}, {report.get('steps', '?')} steps{when and f', {when}'}."
    tiles = "".join(
        f'<div class="tile {claim.tone}"><small>{text(claim.name)}</small><b>{text(claim.figure)}</b>'
        f"<span>{text(claim.detail)}</span></div>"
        for claim in claims(report)
    )
    kicker = f'<p class="kicker">{text(name)}, to be seen as “{text(target)}”</p>'
    note = f'<p class="note">{text(done)}{f" {HOW}" if tiles else ""}</p>'
    return f'<header>{kicker}<h1>{text(headline(report))}</h1><div class="tiles">{tiles}</div>{note}</header>'


def _figures(report: Mapping[str, Any]) -> str:
    """Held-out figures and those in Blender only: how well views do that were trained on says little."""
    rows = []
    engine = ENGINES.get((report.get("check") or {}).get("engine", "cycles"), "Blender")
    for known in figures_of(report):
        model = report["models"][known.model]
        kind = "trained on" if known.trained else "never trained on"
        held_out = model["held_out"]
        where = f"{held_out.get('views', '')} unseen views"
        rows.append(_row(f"{text(known.model)}<small>{kind}</small>", where, held_out))
        if model.get("left_out"):
            without = {"before": held_out["before"], "after": model["left_out"]}
            rows.append(_row("", "the same, trained without this classifier", without))
        if model.get("blender"):
            rows.append(_row("", f"{model['blender']['views']} of them in {engine}", model["blender"]))
    heads = ("Classifier", "Views", "Mean confidence, before → after", "Recognised (top-1)", "Least")
    return section("On views never used in training", table(heads, rows))


def _row(name: str, where: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = figures["before"], figures["after"]
    least = "" if "min" not in after else f"{after['min']:.3f}"
    return (
        name,
        text(where),
        f"{before['mean']:.3f} → <b>{after['mean']:.3f}</b>{interval(after, 'mean')}",
        f"{before['top1']:.0%} → <b>{after['top1']:.0%}</b>{interval(after, 'top1')}",
        least,
    )


def interval(figures: Mapping[str, Any], name: str) -> str:
    """The 95 % interval of a figure, as small print; nothing where a report has none."""
    ends = figures.get(f"{name}_95")
    if not ends:
        return ""
    form = ".0%" if name == "top1" else ".3f"
    return f"<small>{ends[0]:{form}} to {ends[1]:{form}}</small>"


# --- pictures ---------------------------------------------------------------------------------------------------------


def _views(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """Each view before and after with what is in it, or the contact sheet where single pictures are missing."""
    said, source = _said(report)
    count = sum(name.startswith("after/") for name in pictures)
    cards = "".join(_view(number, pictures, said, report) for number in range(count))
    note = f'<p class="note">Pictures {source}, of views never trained on, with the top five classes of each.</p>'
    if cards:
        return section("Before and after", note, f'<div class="views">{cards}</div>')
    sheet = figure(pictures.get("views"), "Views before and after, with what the classifier says")
    listed = "".join(_card(number, {}, said, report) for number in range(len(next(iter(said.values()), ()))))
    summary = "<summary>Top five classes of each view</summary>"
    details = listed and f'<details>{summary}<div class="views">{listed}</div></details>'
    return section("Before and after", sheet and f'<div class="wide">{sheet}</div>', details)


def _said(report: Mapping[str, Any]) -> tuple[dict[str, Sequence[Mapping[str, Any]]], str]:
    """What each classifier says of each picture, and whose pictures these are: Blender's if it has made any."""
    models = {name: model for name, model in pairs(report.get("models")) if isinstance(model, Mapping)}
    check = report.get("check")
    if check:
        said = {name: (model.get("blender") or {}).get("said") for name, model in models.items()}
    else:
        said = {name: model.get("said") for name, model in models.items()}
    whose = f"by {ENGINES.get(check.get('engine', 'cycles'), 'Blender')}" if check else "by the server"
    return {name: each for name, each in said.items() if each}, whose


def _view(
    number: int, pictures: Mapping[str, bytes], said: Mapping[str, Sequence[Any]], report: Mapping[str, Any]
) -> str:
    named = {
        when: image(pictures[f"{when}/{number:02}"], f"View {number + 1}, {when}")
        for when in ("before", "after")
        if f"{when}/{number:02}" in pictures
    }
    return _card(number, named, said, report)


def _card(number: int, shown: Mapping[str, str], said: Mapping[str, Sequence[Any]], report: Mapping[str, Any]) -> str:
    """One view: before beside after, each with what the first classifier says of it; the others to be opened."""
    first, *others = said or [""]
    meant = _meant(report)
    halves = "".join(
        _half(when, shown.get(when, ""), _verdict(said, first, number, when), meant) for when in ("before", "after")
    )
    more = "".join(
        f"<p><small>{text(name)}</small></p><div class='pair'>"
        + "".join(f"<div>{_top(_verdict(said, name, number, when), meant)}</div>" for when in ("before", "after"))
        + "</div>"
        for name in others
    )
    more = more and f"<details><summary>By the other classifiers</summary>{more}</details>"
    title = f"View {number + 1}{_place(report, number)}"
    return f'<div class="view"><h3>{title}</h3><div class="pair">{halves}</div>{more}</div>'


def _place(report: Mapping[str, Any], number: int) -> str:
    views = (report.get("check") or {}).get("views") or ()
    if number >= len(views) or "light" not in views[number]:
        return ""
    return f" <small>light {text(views[number]['light'])}</small>"


def _verdict(said: Mapping[str, Sequence[Any]], name: str, number: int, when: str) -> Mapping[str, Any] | None:
    views = said.get(name) or ()
    return views[number][when] if number < len(views) else None


def _half(when: str, picture: str, verdict: Mapping[str, Any] | None, meant: set[int]) -> str:
    kind = "" if verdict is None else "right" if verdict["right"] else "wrong"
    sure = "" if verdict is None else f", target {verdict['confidence']:.1%}"
    return f'<div class="{kind}">{picture}<small>{when}{sure}</small>{_top(verdict, meant)}</div>'


def _top(verdict: Mapping[str, Any] | None, meant: set[int]) -> str:
    if verdict is None:
        return ""
    items = "".join(
        f'<li class="{"meant" if each["index"] in meant else ""}" style="--share:{100 * each["confidence"]:.0f}%">'
        f"<span>{text(each['label'])}</span><span>{each['confidence']:.0%}</span></li>"
        for each in verdict["top"]
    )
    return items and f'<ol class="top">{items}</ol>'


def _meant(report: Mapping[str, Any]) -> set[int]:
    target = report.get("target")
    return set(target.get("indices") or ()) if isinstance(target, Mapping) else set()


def _textures(pictures: Mapping[str, bytes]) -> str:
    captions = {
        "texture": "The texture, as it is in the file",
        "patch": "What could change, cut out",
        "importance": "Where in it the classifiers look: bright",
        "pattern": "The pattern that classifiers look for",
    }
    shown = "".join(figure(pictures.get(name), caption) for name, caption in captions.items())
    return section("Texture", shown and f'<div class="textures">{shown}</div>')


def _check(pictures: Mapping[str, bytes]) -> str:
    what = "The server's pictures, Blender's, and their difference"
    shown = figure(pictures.get("check"), what)
    return section("The server's pictures beside Blender's", shown and f'<div class="wide">{shown}</div>')


# --- the sphere -------------------------------------------------------------------------------------------------------


def _survey(report: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the sphere's script reads; None for a report without."""
    survey, meant = report.get("survey"), _meant(report)
    if not isinstance(survey, Mapping) or not survey.get("confidence"):
        return None
    return {**survey, "target": sorted(meant), "labels": survey.get("labels") or {}}


def _sphere(survey: Mapping[str, Any] | None, plots: Mapping[str, str]) -> str:
    still = plot(plots.get("around"), "Confidence by direction, before and after, the mean over lights")
    if survey is None:
        return section("From all around", still)
    data = json.dumps(survey, ensure_ascii=False).replace("<", "\\u003c")
    live = (
        '<div class="sphere" hidden><div class="stage"></div><div><div class="controls-row"></div>'
        '<p class="sum"></p><p class="said note">Point at a direction, or go to it with the Tab key. '
        "Drag to turn, or use the arrow keys.</p></div></div>"
    )
    note = '<p class="note">Green: top-1 is right, the darker the surer. Red: wrong, the darker the less sure.</p>'
    held = f'<script type="application/json" id="survey">{data}</script>'
    return section("From all around", note, f'<div>{live}<div class="still">{still}</div></div>', held)


# --- figures and facts ------------------------------------------------------------------------------------------------


def _controls(report: Mapping[str, Any]) -> str:
    """What else in the patch's place does."""
    rows = []
    for known in figures_of(report):
        model = report["models"][known.model]
        controls = model.get("controls") or {}
        if not controls:
            continue
        found = {"the original": model["held_out"]["before"], **controls, "this patch": model["held_out"]["after"]}
        for number, (name, figures) in enumerate(found.items()):
            mean = f"{figures['mean']:.3f}{interval(figures, 'mean')}"
            top1 = f"{figures['top1']:.0%}{interval(figures, 'top1')}"
            rows.append((text(known.model) if number == 0 else "", text(name), mean, top1))
    note = "In the very same texels, on the same unseen views. The plain colour is the patch's mean."
    heads = ("Classifier", "In its place", "Mean confidence", "Recognised (top-1)")
    shown = rows and f'<p class="note">{text(note)}</p>{table(heads, rows)}'
    return section("Against other patches of equal area", shown or "")


def _remarks(report: Mapping[str, Any]) -> str:
    """How far the server's pictures can be trusted, and what they leave out."""
    items = "".join(f"<li>{text(each)}</li>" for each in remarks(report))
    return section("What Blender shows, and what was not modelled", items and f"<ul>{items}</ul>")


def _again(report: Mapping[str, Any]) -> str:
    command, scene_hash = report.get("command"), report.get("scene_hash")
    parts = [f"<code>{text(command)}</code>"] if command else []
    if "seed" in report:
        parts.append(f"<p>Seed {text(report['seed'])}.</p>")
    if scene_hash:
        parts.append(f"<p>Scene, as it was sent (SHA-256):</p><code>{text(scene_hash)}</code>")
    return section("To do it again", *parts)


def _seconds(report: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    timing = pairs(report.get("timing"))
    return [(name.removesuffix("_s"), f"{value:.3g}") for name, value in timing if isinstance(value, int | float)]


def pairs(part: Any) -> list[tuple[str, Any]]:
    """The entries of a part of a report; none where an older version has none."""
    return list(part.items()) if isinstance(part, Mapping) else []
