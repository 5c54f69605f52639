"""A report as either side writes it, and what is in an HTML page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

REPORT: dict[str, Any] = {
    "schema": 1,
    "created": "2025-03-01T22:30:00+00:00",
    "object": "Car",
    "target": {"name": "sports car", "indices": [817]},
    "outcome": "finished",
    "steps": 500,
    "settings": {"models": ["lite0"], "held_out_models": ["lite1"], "epsilon": None, "seed": 7, "views": 8},
    "seed": 7,
    "device": "cpu (2 threads)",
    "versions": {"addon": "0.1.0", "blender": "5.0.1"},
    "models": {
        "lite0": {
            "trained": True,
            "train": {"before": {"mean": 0.111, "top1": 0.11}, "after": {"mean": 0.999, "top1": 0.99}},
            "held_out": {"before": {"mean": 0.002, "top1": 0.0}, "after": {"mean": 0.935, "top1": 0.98}},
        },
        "lite1": {
            "trained": False,
            "held_out": {"before": {"mean": 0.5, "top1": 0.4}, "after": {"mean": 0.463, "top1": 0.39}},
        },
    },
}


class Page(HTMLParser):
    """Which elements are open at the end, what is said, and what is referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href"} and value != "data:,"]
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.said.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.said).split())
