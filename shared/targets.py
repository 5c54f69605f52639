"""What an object is to be recognised as: one class, or a set of classes any of which is right.

A target is written as an index (``817``), a label (``"sports car"``), the name of a set (``"cars"``), or several of
these joined by ``|``; ``NAME=`` before them gives them a name. The labels come from whoever knows the classifiers (the
server); this module has none of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import msgspec

from .errors import UnknownTarget
from .label_sets import SETS as SETS  # it is named here to all others


class Target(msgspec.Struct, frozen=True):
    """A set of class indices and the name a person gave it."""

    name: str
    indices: tuple[int, ...]


def resolve(query: str, labels: Sequence[str]) -> Target:
    """The target that `query` names among `labels` (index = class).

    Raises :class:`UnknownTarget` with the nearest labels, or with the indices of a label that two classes share.
    """
    given, expression = _named(query)
    indices = [index for part in _parts(expression) for index in _indices(part, labels)]
    unique = tuple(dict.fromkeys(indices))
    name = labels[unique[0]] if len(unique) == 1 else expression
    return Target(name=given or name, indices=unique)


def members(query: str) -> tuple[str, ...]:
    """What `query` names, sets written out: labels and indices as they were given, each once, known or not."""
    found = [member for part in _parts(_named(query)[1]) for member in _written_out(part)]
    return tuple(dict.fromkeys(found))


def described(target: Target, labels: Sequence[str]) -> str:
    """A target and its classes, as a sentence for people."""
    names = [labels[index] for index in target.indices]
    count = f"{len(names)} class{'es' if len(names) > 1 else ''}"
    return f"{target.name}: {count}: {', '.join(names)}"


def with_own_sets(query: str, own: Mapping[str, str]) -> str:
    """`query` for who does not know a person's `own` sets: they are written out, and it keeps its name.

    `own` has each set's name and what it stands for; one that is called like one of :data:`SETS` takes its place.
    """
    known = {_fold(name): expression for name, expression in own.items()}
    given, expression = _named(query)
    parts = _parts(expression)
    written = [known.get(_fold(part), part) for part in parts]
    return query if written == parts else f"{given or expression}={'|'.join(written)}"


def _named(query: str) -> tuple[str, str]:
    """The name given to a target ("" for none), and what it stands for."""
    name, equals, expression = str(query).partition("=")
    if not equals:
        return "", name.strip()
    if not name.strip():
        raise UnknownTarget(f"There is no name before the = of {str(query)!r}.", hint="Write NAME=LABEL|LABEL.")
    return name.strip(), expression.strip()


def _parts(expression: str) -> list[str]:
    return [part.strip() for part in expression.split("|")]


def _written_out(part: str) -> list[str]:
    """The labels of a set, those of sets inside it included; what is no set stands for itself."""
    inside = SETS.get(part.lower())
    return [part] if inside is None else [member for each in inside for member in _written_out(each)]


def _indices(part: str, labels: Sequence[str]) -> list[int]:
    if re.fullmatch(r"-?[0-9]+", part):
        return [_checked_index(int(part), labels)]
    if part.lower() in SETS:
        found = [labels.index(label) for label in _written_out(part) if label in labels]
        if not found:
            raise UnknownTarget(f"These classifiers know no class of the set {part!r}.", hint="Name a label.")
        return found
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
