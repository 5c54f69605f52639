"""What the pages of reports and comparisons are made of: pieces of HTML that need nothing from outside the page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

#: A page refers to nothing outside itself; its browser is told not to fetch anything, and to run this script alone.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'"
HERE = Path(__file__).parent
SVG = "{http://www.w3.org/2000/svg}svg"


def document(title: str, parts: Iterable[str], script: str = "") -> str:
    """A whole page with these `parts` in it; `script` runs at its end."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY.format(digest)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text(title)}</title><link rel="icon" href="data:,"><style>{_read("page.css")}</style>'
    )
    run = f"<script>{script}</script>" if script else ""
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}{run}</body></html>\n'


def sphere_script() -> str:
    """The script that turns the confidence sphere."""
    return _read("sphere.js")


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; nothing where that is nothing."""
    body = "".join(parts)
    return body and f"<section><h2>{text(title)}</h2>{body}</section>"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of pieces of HTML; its first column heads the rows. Nothing without rows."""
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{each}</td>" for each in row[1:])}</tr>' for row in rows
    )
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    return body and f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(title: str, pairs: Iterable[tuple[str, Any]]) -> str:
    """Names and values, in two columns."""
    rows = "".join(
        f'<tr><th scope="row">{text(name.replace("_", " "))}</th><td>{text(plain(value))}</td></tr>'
        for name, value in pairs
    )
    return section(title, rows and f'<div class="facts"><table><tbody>{rows}</tbody></table></div>')


def image(data: bytes, alternative: str) -> str:
    """A PNG file as an image."""
    return f'<img alt="{text(alternative)}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def figure(data: bytes | None, alternative: str, caption: str = "") -> str:
    """A PNG file with a caption; nothing without one."""
    if data is None:
        return ""
    return f"<figure>{image(data, alternative)}<figcaption>{text(caption or alternative)}</figcaption></figure>"


def plot(svg: str | None, alternative: str) -> str:
    """An SVG plot, part of the page so that it has the page's colours; nothing for what is no SVG."""
    if not svg or not _is_svg(svg):
        return ""
    return f'<div class="plot" role="img" aria-label="{text(alternative)}">{svg}</div>'


def _is_svg(svg: str) -> bool:
    """Whether `svg` is one SVG element, so that it ends where it should. What is in it cannot run: see `POLICY`."""
    if "<!" in svg:
        return False
    try:
        return ElementTree.fromstring(svg).tag == SVG
    except ElementTree.ParseError:
        return False


def plain(value: Any) -> str:
    """A value of a report as one reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def text(value: Any) -> str:
    """Anything as text that cannot be taken for markup."""
    return escape(str(value))
