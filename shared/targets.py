"""What an object is to be recognised as: one class, or a set of classes any of which is right.

A target is written as an index (``817``), a label (``"sports car"``), the name of a set (``"cars"``), or several of
these joined by ``|``. The labels come from whoever knows the classifiers (the server); this module has none of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

from .errors import UnknownTarget

#: Named sets of ImageNet classes, by label: what people mean by the word.
SETS: Mapping[str, tuple[str, ...]] = {
    "cars": ("beach wagon", "cab", "convertible", "jeep", "limousine", "minivan", "Model T", "pickup", "police van",
             "racer", "sports car"),
    "buses": ("minibus", "school bus", "trolleybus"),
    "trucks": ("fire engine", "garbage truck", "moving van", "pickup", "tow truck", "trailer truck"),
    "cups": ("coffee mug", "cup", "espresso"),
    "boats": ("canoe", "catamaran", "fireboat", "gondola", "lifeboat", "speedboat", "trimaran", "yawl"),
    "balls": ("baseball", "basketball", "croquet ball", "golf ball", "ping-pong ball", "rugby ball", "soccer ball",
              "tennis ball", "volleyball"),
}  # fmt: skip


class Target(msgspec.Struct, frozen=True):
    """A set of class indices and the name a person gave it."""

    name: str
    indices: tuple[int, ...]


def resolve(query: str, labels: Sequence[str]) -> Target:
    """The target that `query` names among `labels` (index = class).

    Raises :class:`UnknownTarget` with the nearest labels, or with the indices of a label that two classes share.
    """
    parts = [part.strip() for part in str(query).split("|")]
    indices = [index for part in parts for index in _indices(part, labels)]
    unique = tuple(dict.fromkeys(indices))
    name = labels[unique[0]] if len(unique) == 1 else str(query).strip()
    return Target(name=name, indices=unique)


def _indices(part: str, labels: Sequence[str]) -> list[int]:
    if re.fullmatch(r"-?[0-9]+", part):
        return [_checked_index(int(part), labels)]
    if part.lower() in SETS:
        members = [labels.index(label) for label in SETS[part.lower()] if label in labels]
        if not members:
            raise UnknownTarget(f"These classifiers know no class of the set {part!r}.", hint="Name a label.")
        return members
    found = [index for index, label in enumerate(labels) if _fold(label) == _fold(part)]
    if len(found) == 1:
        return found
    if found:
        classes = " and ".join(map(str, found))
        raise UnknownTarget(f"The label {part!r} belongs to classes {classes}.", hint="Give the index.")
    raise UnknownTarget(f"No class or set is called {part!r}.", hint=_suggestion(part, labels))


def _checked_index(index: int, labels: Sequence[str]) -> int:
    if not 0 <= index < len(labels):
        raise UnknownTarget(f"There is no class {index}.", hint=f"Indices go from 0 to {len(labels) - 1}.")
    return index


def nearest(part: str, labels: Sequence[str], count: int = 5) -> list[str]:
    """Labels and set names most like `part`: the two spelt most like it, those that contain it, then others alike."""
    names = {_fold(name): name for name in (*SETS, *labels)}
    word = _fold(part)
    containing = sorted((name for folded, name in names.items() if word and word in folded), key=len)
    alike = [names[folded] for folded in difflib.get_close_matches(word, list(names), n=count, cutoff=0.5)]
    return list(dict.fromkeys([*alike[:2], *containing, *alike]))[:count]


def _suggestion(part: str, labels: Sequence[str]) -> str:
    found = nearest(part, labels)
    if not found:
        return "`assistive-server models --targets` lists them all."
    return f"Did you mean {', '.join(repr(name) for name in found)}?"


def _fold(text: str) -> str:
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split())
