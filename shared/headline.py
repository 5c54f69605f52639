"""What a report says first: how a texture does where it was never trained on, what is bad before what is good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .reporting import ENGINES

Tone = Literal["good", "fair", "poor", "unknown"]

#: A share of views recognised from here on is good, below this poor; so is a worst view.
GOOD_TOP1, POOR_TOP1 = 0.9, 0.5
GOOD_WORST, POOR_WORST = 0.5, 0.1

#: Controls as a sentence has them.
ARTICLES = {"plain colour": "a plain colour", "QR code": "a QR code"}


@dataclass(frozen=True)
class Claim:
    """One thing that a report claims: its name, its figure, what belongs to it, and a `sentence` where that is bad."""

    name: str
    tone: Tone
    figure: str
    detail: str
    sentence: str = ""


def claims(report: Mapping[str, Any]) -> list[Claim]:
    """What `report` claims, in the order in which it matters. None for a report without figures."""
    models = report.get("models")
    measured = {
        str(name): figures
        for name, figures in (models.items() if isinstance(models, dict) else ())
        if _has_figures(figures)
    }
    trained = {name: figures for name, figures in measured.items() if figures["trained"]}
    others = {name: figures for name, figures in measured.items() if not figures["trained"]}
    if not measured:
        return []
    found = [_held_out(*pair) for pair in trained.items()] + [_worst(*pair) for pair in trained.items()]
    found += [_transfer(*pair) for pair in others.items()] or [NO_TRANSFER]
    return [*found, *_cycles(report, {**trained, **others}), *_controls(trained)]


def headline(report: Mapping[str, Any]) -> str:
    """One or two sentences that hold: the worst of what is claimed first."""
    if report.get("outcome") == "interrupted":
        return "Interrupted: this is the last preview, and nothing was measured."
    found = claims(report)
    if not found:
        return "Nothing was measured."
    bad = [claim.sentence for claim in found if claim.tone == "poor" and claim.sentence]
    unsaid = [claim.sentence for claim in found if claim.tone == "unknown" and claim.sentence]
    first = found[0]
    good = f"Recognised in {first.figure} of views never trained on{_also(found)}."
    start = "Cancelled: the best so far. " if report.get("outcome") == "cancelled" else ""
    lead = [] if first.tone == "poor" else [good]
    return start + " ".join([*bad, *lead, *unsaid])


NO_TRANSFER = Claim(
    "Transfer", "unknown", "not measured", "no classifier was held out", "Whether it transfers was not measured."
)


def _also(found: list[Claim]) -> str:
    """What else holds, as the end of a sentence."""
    named = {"Transfer": "by a classifier never trained on", "In Blender": "in Blender's own pictures"}
    held = [
        words
        for name, words in named.items()
        if {claim.tone for claim in found if claim.name == name} <= {"good"} and any(c.name == name for c in found)
    ]
    return f", also {' and '.join(held)}" if held else ""


def _has_figures(figures: Any) -> bool:
    try:
        held_out = figures["held_out"]
        return isinstance(figures["trained"], bool) and all(
            isinstance(held_out[when][name], int | float) for when in ("before", "after") for name in ("mean", "top1")
        )
    except (KeyError, TypeError):
        return False


def _tone(value: float, good: float, poor: float) -> Tone:
    return "good" if value >= good else "poor" if value < poor else "fair"


def _held_out(name: str, figures: Mapping[str, Any]) -> Claim:
    held_out = figures["held_out"]
    before, after = held_out["before"], held_out["after"]
    low = (held_out.get("change_95") or (after["mean"] - before["mean"],))[0]
    detail = f"of {held_out.get('views', '?')} unseen views, {name}; mean confidence {after['mean']:.2f}"
    if low <= 0:
        return Claim("Unseen views", "poor", f"{after['top1']:.0%}", detail, f"No gain that is sure for {name}.")
    sentence = f"Most views are not recognised: {after['top1']:.0%} by {name}."
    return Claim("Unseen views", _tone(after["top1"], GOOD_TOP1, POOR_TOP1), f"{after['top1']:.0%}", detail, sentence)


def _worst(name: str, figures: Mapping[str, Any]) -> Claim:
    after = figures["held_out"]["after"]
    least = after.get("min")
    if least is None:
        return Claim("Worst view", "unknown", "not known", name)
    below = f"; one in twenty below {after['p5']:.2f}" if "p5" in after else ""
    sentence = f"At least one unseen view is not recognised (confidence {least:.2f}, {name})."
    return Claim(
        "Worst view", _tone(least, GOOD_WORST, POOR_WORST), f"{least:.2f}", f"least confidence, {name}{below}", sentence
    )


def _transfer(name: str, figures: Mapping[str, Any]) -> Claim:
    before, after = figures["held_out"]["before"], figures["held_out"]["after"]
    detail = f"by {name}, never trained on; mean confidence {after['mean']:.2f}"
    tone: Tone = "poor" if after["mean"] <= before["mean"] else _tone(after["top1"], GOOD_TOP1, POOR_TOP1)
    sentence = f"It hardly transfers: {name}, never trained on, recognises {after['top1']:.0%}."
    return Claim("Transfer", tone, f"{after['top1']:.0%}", detail, sentence)


def _cycles(report: Mapping[str, Any], measured: Mapping[str, Any]) -> list[Claim]:
    check = report.get("check")
    name = next(iter(measured))
    blender = measured[name].get("blender")
    if not check or not blender:
        said = "Not checked in Blender's own pictures."
        return [Claim("In Blender", "unknown", "not checked", "these are the server's pictures", said)]
    after, engine = blender["after"], ENGINES.get(check.get("engine", "cycles"), "Blender")
    tone = _tone(after["top1"], GOOD_TOP1, POOR_TOP1)
    sentence = f"In {engine} it is recognised in {after['top1']:.0%} of {blender['views']} views."
    if check.get("warning"):
        tone, sentence = "poor", f"{engine} disagrees with the server by {check['mean_gap']:.2f} in confidence."
    detail = f"of {blender['views']} views in {engine}, {name}; mean confidence {after['mean']:.2f}"
    return [Claim("In Blender", tone, f"{after['top1']:.0%}", detail, sentence)]


def _controls(trained: Mapping[str, Any]) -> list[Claim]:
    """The best of what else could be in the patch's place."""
    name = next((name for name, figures in trained.items() if figures.get("controls")), None)
    if name is None:
        return []
    after, controls = trained[name]["held_out"]["after"], trained[name]["controls"]
    best = max(controls, key=lambda control: controls[control]["mean"])
    mean, named = controls[best]["mean"], ARTICLES.get(best, best)
    tone: Tone = "good" if after["mean"] > mean else "poor"
    sentence = f"In the place of the patch, {named} does as well or better."
    return [
        Claim(
            "Other patches",
            tone,
            f"{mean:.2f}",
            f"mean confidence with {named}, the best of them",
            sentence,
        )
    ]
