"""Array fields of message structs: how they are declared, and how they are checked at the border.

A field is declared as ``Annotated[np.ndarray, Array("float32", "V", 3)]``. Letters name dimensions that must agree
inside one struct; ``below="V"`` bounds the values of index arrays by such a dimension. :func:`validate` walks a struct
and everything in it, and names the field that is wrong.
"""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from .errors import InvalidInput


@dataclass(frozen=True)
class Array:
    """What one array field promises: dtype, shape (numbers are exact, letters are bound), and bounds of its values."""

    dtype: str
    shape: tuple[int | str, ...]
    below: str | None
    low: float | None
    high: float | None

    def __init__(
        self,
        dtype: str,
        *shape: int | str,
        below: str | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        for name, value in (("dtype", dtype), ("shape", shape), ("below", below), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)


Matrix4 = Annotated[np.ndarray, Array("float64", 4, 4)]
"""A 4 × 4 matrix for column vectors."""
Picture = Annotated[np.ndarray, Array("uint8", "H", "W", 3)]
"""One display-encoded sRGB picture, row 0 at the top."""
Pictures = Annotated[np.ndarray, Array("uint8", "N", "H", "W", 3)]
"""A batch of display-encoded sRGB pictures, row 0 at the top."""
Blob = Annotated[np.ndarray, Array("uint8", "B")]
"""Bytes of a file."""


def validate(value: Any, path: str = "") -> None:
    """Check every array inside `value` (a struct, tuple or dict of structs) against its declaration.

    Plain numbers must be finite.

    Raises :class:`InvalidInput` that names the field (``scene.mesh.positions``), what was found and what is wanted.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(f"{path} is {value}, not a number that can be used.")
    if isinstance(value, msgspec.Struct):
        _validate_struct(value, path)
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            validate(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            validate(item, f"{path}[{key!r}]")


def _validate_struct(struct: msgspec.Struct, path: str) -> None:
    dims: dict[str, int] = {}
    declared = array_fields(type(struct))
    for name in struct.__struct_fields__:
        field = getattr(struct, name)
        where = f"{path}.{name}" if path else name
        if name not in declared:
            validate(field, where)
        elif field is not None:
            _check_layout(field, declared[name], dims, where)
    for name, spec in declared.items():
        if (field := getattr(struct, name)) is not None:
            _check_values(field, spec, dims, f"{path}.{name}" if path else name)


@functools.cache
def array_fields(struct: type[msgspec.Struct]) -> dict[str, Array]:
    """The declared array fields of a struct type, by name."""
    hints = typing.get_type_hints(struct, include_extras=True)
    return {name: spec for name, hint in hints.items() for spec in _specs(hint)}


def _specs(hint: Any) -> Iterator[Array]:
    if typing.get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Array))
    elif type(None) in typing.get_args(hint):  # an optional array
        for arm in typing.get_args(hint):
            yield from _specs(arm)


def _check_layout(array: Any, spec: Array, dims: dict[str, int], where: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{where} is {type(array).__name__}, not an array.")
    if array.dtype != np.dtype(spec.dtype):
        raise InvalidInput(f"{where} has dtype {array.dtype}, not {spec.dtype}.")
    wanted = "[" + ", ".join(map(str, spec.shape)) + "]"
    if array.ndim != len(spec.shape):
        raise InvalidInput(f"{where} has shape {list(array.shape)}, not {wanted}.")
    for size, dim in zip(array.shape, spec.shape, strict=True):
        expected = dims.setdefault(dim, size) if isinstance(dim, str) else dim
        if size != expected:
            bound = f" with {dim} = {expected}" if isinstance(dim, str) else ""
            raise InvalidInput(f"{where} has shape {list(array.shape)}, not {wanted}{bound}.")


def _check_values(array: np.ndarray, spec: Array, dims: dict[str, int], where: str) -> None:
    if array.size == 0:
        return
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        first = np.argwhere(~np.isfinite(array))[0].tolist()
        raise InvalidInput(f"{where} holds NaN or infinity, first at index {first}.")
    low = 0 if spec.below is not None else spec.low
    high = dims[spec.below] - 1 if spec.below is not None else spec.high
    if low is not None and array.min() < low:
        raise InvalidInput(f"{where} holds {array.min()}; the least value allowed is {low}.")
    if high is not None and array.max() > high:
        raise InvalidInput(f"{where} holds {array.max()}; the greatest value allowed is {high}.")
