# SPDX-License-Identifier: GPL-3.0-or-later
"""A job's report as one HTML page that needs nothing from outside it. What stands in a report: see `output`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from .output import remarks
from .results import Figures, figures_of, local_time

OUTCOMES = {
    "finished": "Finished",
    "early": "Ended early, good enough",
    "cancelled": "Cancelled; this is the best so far",
    "interrupted": "Interrupted; this is the last preview, nothing was measured",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1c1d1f; --soft: #666a70; --paper: #fff; --line: #dcdfe3; --good: #22744a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9eb; --soft: #a0a5ad; --paper: #1b1c1f; --line: #3a3d42; --good: #6fcf97; }
}
* { box-sizing: border-box; }
body { margin: 2.5rem auto; max-width: 70rem; padding: 0 1.25rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0; color: var(--soft); }
table { border-spacing: 0; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
th { font-weight: 500; }
thead th, small { color: var(--soft); font-size: .85rem; font-weight: 400; }
.figures td { font-size: 1.25rem; }
.up { color: var(--good); font-weight: 600; }
img { display: block; max-width: 100%; border: 1px solid var(--line); border-radius: 4px; }
img.texture { width: 24rem; }
.facts { columns: 2; column-gap: 2.5rem; }
.facts tr { break-inside: avoid; }
@media (max-width: 40rem) { .facts { columns: 1; } }
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --line: #bbb; --good: #14532d; }
  html { font-size: 10px; }
  body { margin: 0; max-width: none; }
  h2 { break-after: avoid; }
  img { break-inside: avoid; }
}
"""


def page(
    report: Mapping[str, Any], *, texture_png: bytes | None, sheet_png: bytes | None, check_png: bytes | None = None
) -> str:
    """The page of a `report`, with texture, contact sheet and check (PNG files) inside it, if there are any."""
    target, name = (_text(part) for part in (_named(report.get("target")), report.get("object")))
    outcome = report.get("outcome")
    done = f"{OUTCOMES.get(str(outcome), outcome)}, {report.get('steps', '?')} steps"
    parts = (
        f"<h1>{name}, to be seen as “{target}”</h1>",
        f"<p>{_text(done)}. {_text(local_time(str(report.get('created', ''))))}</p>",
        _figures(figures_of(report)),
        _remarks(report),
        _picture("Before and after", sheet_png, "Views before and after, with what the classifier says", "sheet"),
        _picture(
            "The server's pictures beside Blender's", check_png, "Both, their difference, and confidence", "check"
        ),
        _picture("Texture", texture_png, "The texture", "texture"),
        _facts("Settings", [*_pairs(report.get("settings")), ("device", report.get("device"))]),
        _facts("Made with", _pairs(report.get("versions"))),
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{name}: {target}</title>'
    start = f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>'
    return f"{start}<body>{''.join(parts)}</body></html>\n"


def _figures(rows: Iterable[Figures]) -> str:
    """Held-out figures only: how well views do that were trained on says little."""
    body = "".join(
        f"<tr><th>{_text(row.model)}<br><small>{'trained on' if row.trained else 'never trained on'}</small></th>"
        f"<td>{_change(row.before_mean, row.after_mean, '.3f')}</td>"
        f"<td>{_change(row.before_top1, row.after_top1, '.0%')}</td></tr>"
        for row in rows
    )
    heads = "<th>Classifier</th><th>Mean confidence in the target</th><th>Views recognised (top-1)</th>"
    return body and (
        "<h2>On views never used in training, before → after</h2>"
        f'<table class="figures"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def _remarks(report: Mapping[str, Any]) -> str:
    """How far the server's pictures can be trusted, and what they leave out."""
    items = "".join(f"<li>{_text(each)}</li>" for each in remarks(report))
    return items and f"<h2>What Blender shows, and what was not modelled</h2><ul>{items}</ul>"


def _change(before: float, after: float, form: str) -> str:
    return f'{before:{form}} → <span class="{"up" if after > before else ""}">{after:{form}}</span>'


def _picture(title: str, data: bytes | None, alternative: str, kind: str) -> str:
    if data is None:
        return ""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<h2>{title}</h2><img class="{kind}" alt="{alternative}" src="{source}">'


def _facts(title: str, pairs: Iterable[tuple[str, Any]]) -> str:
    names = ((_text(name.replace("_", " ")), _text(_plain(value))) for name, value in pairs)
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in names)
    return rows and f'<h2>{title}</h2><div class="facts"><table><tbody>{rows}</tbody></table></div>'


def _pairs(part: Any) -> list[tuple[str, Any]]:
    return list(part.items()) if isinstance(part, Mapping) else []


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _named(part: Any) -> Any:
    return part.get("name") if isinstance(part, Mapping) else part


def _text(value: Any) -> str:
    return escape(str(value))
