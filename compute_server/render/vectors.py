"""Colours as vectors in compiled kernels: three channels at a time, in a register of four numbers.

numba has no vectors, and its compiler does not find by itself that the channels of a texel could share a register. A
colour is a tuple (r, g, b, 0) here; tuples that go from one of these functions into the next never leave the register.
Any processor has such registers.

Each names its types for numba, and what writes its instructions; see numba's `intrinsic`.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import cgutils, types

from . import compiled  # noqa: F401 - it says where compiled code is kept, before there is any

#: Who reads an array from one end to the other has the cache fetch numbers this far ahead.
AHEAD = 1024
#: The colour that adds nothing.
NOTHING = (np.float32(0), np.float32(0), np.float32(0), np.float32(0))
#: What it makes takes fewer arguments than the functions below, which numba's own types do not say.
_intrinsic: Any = extending.intrinsic
_COLOR: Any = types.UniTuple(types.float32, 4)  # type: ignore[no-untyped-call]
_FLOAT, _INT, _LONG = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_PAIR, _FOUR = ir.VectorType(_FLOAT, 2), ir.VectorType(_FLOAT, 4)


@_intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, values: Any, at: Any) -> Any:
    """The colour whose channels lie at `at` and after it (uint64) in the flat `values` (float32). Reads no further."""
    del typing, at
    if not _flat(values):
        return None

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        first = _pointer(context, builder, signature, given)
        pair = builder.load(builder.bitcast(first, _PAIR.as_pointer()), align=4)
        # Beside two zeros, and the first of these once more where the third channel goes.
        four = builder.shuffle_vector(pair, ir.Constant(_PAIR, [0.0, 0.0]), _lanes(0, 1, 2, 2))
        third = builder.load(builder.gep(first, [_LONG(2)]))
        return _as_tuple(context, builder, builder.insert_element(four, third, _INT(2)))

    return _COLOR(values, types.uint64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, values: Any, at: Any, color: Any) -> Any:
    """Write a colour's three channels to where :func:`load` reads them: with the same two accesses, as a processor
    hands on what it has just written only to one who asks for the very same."""
    del typing, at, color
    if not _flat(values):
        return None

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        first, four = _pointer(context, builder, signature, given), _as_vector(builder, given[2])
        pair = builder.shuffle_vector(four, ir.Constant(_FOUR, ir.Undefined), _lanes(0, 1))
        builder.store(pair, builder.bitcast(first, _PAIR.as_pointer()), align=4)
        builder.store(builder.extract_element(four, _INT(2)), builder.gep(first, [_LONG(2)]))
        return context.get_dummy_value()

    return types.void(values, types.uint64, _COLOR), generate


@_intrinsic  # type: ignore[untyped-decorator]
def store_twice(typing: Any, values: Any, at: Any, color: Any) -> Any:
    """Write a colour, and once more after it."""
    del typing, at, color
    if not _flat(values):
        return None

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        first, four = _pointer(context, builder, signature, given), _as_vector(builder, given[2])
        for lanes, kind, at in (((0, 1, 2, 0), _FOUR, 0), ((1, 2), _PAIR, 4)):
            part = builder.shuffle_vector(four, ir.Constant(_FOUR, ir.Undefined), _lanes(*lanes))
            builder.store(part, builder.bitcast(builder.gep(first, [_LONG(at)]), kind.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(values, types.uint64, _COLOR), generate


@_intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing: Any, values: Any, at: Any) -> Any:
    """Have the cache fetch what lies at `at` (uint64) of the flat `values`, 64 bytes or so; it may lie beyond their
    end. Where something is worked out with what is read, processors by themselves do not look far enough ahead."""
    del typing
    array = isinstance(values, types.Array) and values.ndim == 1 and values.layout == "C"
    if not array or at != types.uint64:
        return None

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")  # type: ignore[no-untyped-call]
        first = builder.bitcast(_pointer(context, builder, signature, given), byte)
        builder.call(function, [first, _INT(0), _INT(3), _INT(1)])  # to be read, and kept, as data
        return context.get_dummy_value()

    return types.void(values, types.uint64), generate


@_intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a · b + c of colours, or of numbers (float32), rounded once where the processor can.

    Written so, and not left to the compiler by the flag "contract". In the process that compiled it, a kernel calls its
    helpers, and a parallel one its own loop, as they were compiled by themselves; loaded from disk, as they were
    compiled with it. These need not fuse the same products, and the same job would give other bytes.
    """
    del typing, b, c
    one = a == types.float32
    kind, own = (_FLOAT, types.float32) if one else (_FOUR, _COLOR)
    name = "llvm.fmuladd.f32" if one else "llvm.fmuladd.v4f32"

    def generate(context: Any, builder: Any, _: Any, given: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)  # type: ignore[no-untyped-call]
        if one:
            return builder.call(function, given)
        return _as_tuple(context, builder, builder.call(function, [_as_vector(builder, each) for each in given]))

    return own(own, own, own), generate


@nb.njit(cache=True)
def prefetch_run(values, at, count):  # type: ignore[no-untyped-def]
    """Before `count` numbers of four bytes from `at` on (both uint64) are read: have the cache fetch as many that come
    AHEAD of them, 16 to a line."""
    for k in range(np.uint64(0), count, np.uint64(16)):
        prefetch(values, at + np.uint64(AHEAD) + k)


@nb.njit(cache=True, inline="always")
def prefetch_row(colors, rows, at):  # type: ignore[no-untyped-def]
    """Have the cache fetch the colour in row ``rows[at]`` of the flat `colors`, or in that of the last."""
    prefetch(colors, np.uint64(3) * np.uint64(rows[min(at, np.uint64(rows.shape[0] - 1))]))


@nb.njit(cache=True, inline="always")
def alike(x):  # type: ignore[no-untyped-def]
    """A weight for all channels."""
    return x, x, x, x


def _flat(values: Any) -> bool:
    """Whether that is the type of arrays that these functions read and write; numba refuses all others then."""
    array = isinstance(values, types.Array) and values.dtype == types.float32
    return array and values.ndim == 1 and values.layout == "C"


def _pointer(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """To the number at index `given[1]` of the array `given[0]`."""
    array = context.make_array(signature.args[0])(context, builder, given[0])
    return builder.gep(array.data, [given[1]])


def _lanes(*lanes: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_INT, len(lanes)), list(lanes))


def _as_vector(builder: Any, color: Any) -> Any:
    vector = ir.Constant(_FOUR, ir.Undefined)
    for lane in range(4):
        vector = builder.insert_element(vector, builder.extract_value(color, lane), _INT(lane))
    return vector


def _as_tuple(context: Any, builder: Any, vector: Any) -> Any:
    return context.make_tuple(builder, _COLOR, [builder.extract_element(vector, _INT(lane)) for lane in range(4)])
