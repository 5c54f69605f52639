"""What is done to each visible sample, compiled for a GPU by Triton, which torch's CUDA builds for Linux bring along.

Each kernel is the equal of a torch function of ``gbuffer``, ``lighting`` or ``sampling``, by test: on a GPU, and here
and there in Triton's interpreter, which needs none. Without Triton those functions do the work, in many more passes
over memory. Imported only where there is Triton; knows no view and no scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from shared.scene import LightState, Vector

from . import light_kernels
from .geometry import Geometry
from .on_gpu import uploaded
from .rasterizer import Visibility
from .taps import MipLayout, MipTaps, Transport

#: Samples that one program looks at: one for each thread of Triton's four warps. With more of them the compiler lets
#: loads and stores have samples in different threads, and exchanges them between, up to 67 times in a kernel, with all
#: threads waiting.
BLOCK = 128
SUN, SPOT, AREA = (tl.constexpr(kind) for kind in (light_kernels.SUN, light_kernels.SPOT, light_kernels.AREA))
_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


def _kernel(function: _Kernel) -> Any:
    """A Triton kernel: another language in Python's syntax."""
    return triton.jit(function)


def _programs(count: int) -> tuple[int]:
    return (triton.cdiv(count, BLOCK),)


# --- surface --------------------------------------------------------------------------------------------------------


def interpolate(
    geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stands for ``gbuffer.interpolate_reference``."""
    count, device = len(visibility.sample), geometry.device
    position, normal = (torch.empty(count, 3, device=device) for _ in range(2))
    uv, footprint = torch.empty(count, 2, device=device), torch.empty(count, device=device)
    seen = np.concatenate([matrices[:, [0, 1, 3]].reshape(-1, 12), eyes], axis=1)
    if count:
        _interpolate[_programs(count)](
            visibility.triangle,
            visibility.barycentric,
            visibility.sample,
            geometry.positions,
            geometry.triangles_int32,
            geometry.normals,
            geometry.uv,
            uploaded(seen, torch.float32, device),
            count,
            visibility.height * visibility.width,
            position,
            normal,
            uv,
            footprint,
            block=BLOCK,
        )
    return position, normal, uv, footprint


@_kernel
def _interpolate(  # type: ignore[no-untyped-def]
    triangle, barycentric, sample, positions, triangles, normals, uvs, seen, count, frame,
    position_out, normal_out, uv_out, footprint_out, block: tl.constexpr,
):  # fmt: skip
    """`seen [N, 16]` holds x, y and w of each view's matrix, and its eye."""
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    t = tl.load(triangle + p, mask=inside, other=0)
    view = seen + 16 * (tl.load(sample + p, mask=inside, other=0) // frame)
    first = tl.load(barycentric + 2 * p, mask=inside, other=0.0)
    second = tl.load(barycentric + 2 * p + 1, mask=inside, other=0.0)
    third = 1.0 - (first + second)
    a, b, c = tl.load(triangles + 3 * t), tl.load(triangles + 3 * t + 1), tl.load(triangles + 3 * t + 2)
    a_x, a_y, a_z = _three(positions, a, inside)
    b_x, b_y, b_z = _three(positions, b, inside)
    c_x, c_y, c_z = _three(positions, c, inside)
    x = a_x * first + b_x * second + c_x * third
    y = a_y * first + b_y * second + c_y * third
    z = a_z * first + b_z * second + c_z * third
    _put(position_out, p, inside, x, y, z)

    i_a, j_a, k_a = _three(normals, 3 * t, inside)
    i_b, j_b, k_b = _three(normals, 3 * t + 1, inside)
    i_c, j_c, k_c = _three(normals, 3 * t + 2, inside)
    i = i_a * first + i_b * second + i_c * third
    j = j_a * first + j_b * second + j_c * third
    k = k_a * first + k_b * second + k_c * third
    e_x, e_y = tl.load(view + 12, mask=inside), tl.load(view + 13, mask=inside)
    e_z, e_w = tl.load(view + 14, mask=inside), tl.load(view + 15, mask=inside)
    facing = i * (e_x - e_w * x) + j * (e_y - e_w * y) + k * (e_z - e_w * z)
    unit = 1.0 / tl.maximum(tl.sqrt(i * i + j * j + k * k), 1e-12)
    unit = tl.where(facing < 0, -unit, unit)
    _put(normal_out, p, inside, i * unit, j * unit, k * unit)

    corner = uvs + 6 * t
    u_a, v_a = tl.load(corner, mask=inside), tl.load(corner + 1, mask=inside)
    u_b, v_b = tl.load(corner + 2, mask=inside), tl.load(corner + 3, mask=inside)
    u_c, v_c = tl.load(corner + 4, mask=inside), tl.load(corner + 5, mask=inside)
    tl.store(uv_out + 2 * p, u_a * first + u_b * second + u_c * third, mask=inside)
    tl.store(uv_out + 2 * p + 1, v_a * first + v_b * second + v_c * third, mask=inside)

    # |∂uv/∂screen|: see gbuffer._footprint.
    area = tl.abs((u_b - u_a) * (v_c - v_a) - (v_b - v_a) * (u_c - u_a))
    x_a, y_a, w_a = _projected(view, a_x, a_y, a_z, inside)
    x_b, y_b, w_b = _projected(view, b_x, b_y, b_z, inside)
    x_c, y_c, w_c = _projected(view, c_x, c_y, c_z, inside)
    det = x_a * (y_b * w_c - w_b * y_c) - y_a * (x_b * w_c - w_b * x_c) + w_a * (x_b * y_c - y_b * x_c)
    w = w_a * first + w_b * second + w_c * third
    tl.store(footprint_out + p, area * w * w * w / tl.maximum(tl.abs(det) * (frame * 0.25), 1e-30), mask=inside)


@_kernel
def _three(values, row, inside):  # type: ignore[no-untyped-def]
    at = values + 3 * row
    return (
        tl.load(at, mask=inside, other=0.0),
        tl.load(at + 1, mask=inside, other=0.0),
        tl.load(at + 2, mask=inside, other=0.0),
    )


@_kernel
def _put(values, row, inside, x, y, z):  # type: ignore[no-untyped-def]
    at = values + 3 * row
    tl.store(at, x, mask=inside)
    tl.store(at + 1, y, mask=inside)
    tl.store(at + 2, z, mask=inside)


@_kernel
def _projected(view, x, y, z, inside):  # type: ignore[no-untyped-def]
    """x, y and w in clip space."""
    return _row(view, x, y, z, inside), _row(view + 4, x, y, z, inside), _row(view + 8, x, y, z, inside)


@_kernel
def _row(m, x, y, z, inside):  # type: ignore[no-untyped-def]
    return (
        tl.load(m, mask=inside, other=0.0) * x
        + tl.load(m + 1, mask=inside, other=0.0) * y
        + tl.load(m + 2, mask=inside, other=0.0) * z
        + tl.load(m + 3, mask=inside, other=0.0)
    )


# --- light ----------------------------------------------------------------------------------------------------------


def radiance(
    states: Sequence[LightState],
    position: Tensor,
    normal: Tensor,
    view_start: Tensor,
    share: float,
    worlds: Sequence[Vector],
) -> Tensor:
    """`share` times the radiance ``[P, 3]`` of a white matte surface under the lamps of each view's state, and a
    uniform world of that of `worlds`: stands for ``Lighting.reflect_reference`` where nothing hides lamps."""
    device, result = position.device, torch.empty_like(position)
    most = int(torch.diff(view_start).max()) if len(view_start) > 1 else 0
    if most == 0:
        return result
    table = light_kernels.table_of(states)
    whole = (view_start.numpy(), table.first, table.kinds, table.spans)
    starts, first, kinds, spans = (uploaded(each, torch.int32, device) for each in whole)
    numbers = (table.values, table.nodes, np.array(worlds, np.float32).reshape(-1, 3))
    values, nodes, around = (uploaded(each, torch.float32, device) for each in numbers)
    nearest = torch.full((len(table.kinds),), torch.inf, device=device)
    grid = (triton.cdiv(most, BLOCK), len(states))
    lamps = (starts, first, kinds, values)
    if (table.kinds == light_kernels.AREA).any():
        _find_nearest[grid](position, *lamps, nearest, block=BLOCK)
    _radiance[grid](position, normal, *lamps, spans, nodes, nearest, around, share / math.pi, result, block=BLOCK)
    return result


@_kernel
def _find_nearest(  # type: ignore[no-untyped-def]
    position, view_start, first, kinds, values, nearest, block: tl.constexpr
):
    """The least squared distance of a view's samples from each of its area lamps."""
    view = tl.program_id(1)
    p = tl.load(view_start + view) + tl.program_id(0) * block + tl.arange(0, block)
    inside = p < tl.load(view_start + view + 1)
    x, y, z = _three(position, p, inside)
    for lamp in range(tl.load(first + view), tl.load(first + view + 1)):
        if tl.load(kinds + lamp) == AREA:
            value = values + 13 * lamp
            d_x, d_y, d_z = x - tl.load(value + 3), y - tl.load(value + 4), z - tl.load(value + 5)
            square = tl.where(inside, d_x * d_x + d_y * d_y + d_z * d_z, float("inf"))
            tl.atomic_min(nearest + lamp, tl.reduce(square, 0, _less))


@_kernel
def _at_least(value, least):  # type: ignore[no-untyped-def]
    """`tl.maximum` would make a number of what is none, and hide where light or positions are absurd."""
    return tl.where(value < least, least, value)


@_kernel
def _less(one, other):  # type: ignore[no-untyped-def]
    return tl.minimum(one, other)


@_kernel
def _radiance(  # type: ignore[no-untyped-def]
    position, normal, view_start, first, kinds, values, spans, nodes, nearest, worlds, share, result,
    block: tl.constexpr,
):  # fmt: skip
    view = tl.program_id(1)
    p = tl.load(view_start + view) + tl.program_id(0) * block + tl.arange(0, block)
    inside = p < tl.load(view_start + view + 1)
    x, y, z = _three(position, p, inside)
    n_x, n_y, n_z = _three(normal, p, inside)
    around = share * 3.141592653589793
    r = tl.full([block], 0.0, tl.float32) + tl.load(worlds + 3 * view) * around
    g = tl.full([block], 0.0, tl.float32) + tl.load(worlds + 3 * view + 1) * around
    b = tl.full([block], 0.0, tl.float32) + tl.load(worlds + 3 * view + 2) * around
    for lamp in range(tl.load(first + view), tl.load(first + view + 1)):
        kind, value = tl.load(kinds + lamp), values + 13 * lamp
        d_x, d_y, d_z = x - tl.load(value + 3), y - tl.load(value + 4), z - tl.load(value + 5)
        o_x, o_y, o_z = tl.load(value + 6), tl.load(value + 7), tl.load(value + 8)
        along = d_x * o_x + d_y * o_y + d_z * o_z
        if kind == SUN:
            received = -(n_x * o_x + n_y * o_y + n_z * o_z)
        elif kind == AREA:
            near = tl.load(nearest + lamp) < tl.load(value + 11)
            begin = tl.load(spans + 3 * lamp + tl.where(near, 1, 0))
            end = tl.load(spans + 3 * lamp + tl.where(near, 2, 1))
            emitted = _at_least(along, 0.0)
            received = tl.full([block], 0.0, tl.float32)
            tangent, softness = tl.load(value + 9), tl.load(value + 10)
            for k in range(begin, end):
                node = nodes + 4 * k
                f_x, f_y, f_z = d_x - tl.load(node), d_y - tl.load(node + 1), d_z - tl.load(node + 2)
                far = _at_least(f_x * f_x + f_y * f_y + f_z * f_z, 1e-12)
                part = _at_least(-(n_x * f_x + n_y * f_y + n_z * f_z), 0.0) / (far * far)
                cos = tl.maximum(emitted / tl.sqrt(far), 1e-6)
                angle = tl.sqrt(tl.maximum(1.0 / (cos * cos) - 1.0, 0.0))
                limited = part * tl.maximum((tangent - angle) / softness, 0.0)
                received += tl.where(tangent >= 0.0, limited, part) * tl.load(node + 3)
            received = received * emitted * 0.3183098861837907
        else:
            square = _at_least(d_x * d_x + d_y * d_y + d_z * d_z, 1e-12)
            received = -(n_x * d_x + n_y * d_y + n_z * d_z) * 0.07957747154594767 / (square * tl.sqrt(square))
            if kind == SPOT:
                cone = (along / tl.sqrt(square) - tl.load(value + 9)) / tl.load(value + 10)
                cone = tl.minimum(tl.maximum(cone, 0.0), 1.0)
                received = received * cone * cone * (3.0 - 2.0 * cone)
        received = _at_least(received, 0.0) * share
        r += received * tl.load(value)
        g += received * tl.load(value + 1)
        b += received * tl.load(value + 2)
    _put(result, p, inside, r, g, b)


# --- sampling -------------------------------------------------------------------------------------------------------


def mip_places(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Tensor:
    """Stands for ``sampling.mip_places_reference``."""
    place = torch.empty(len(uv), 3, device=uv.device)
    if len(uv):
        height, width = layout.sizes[0]
        top = float(len(layout.sizes) - 1)
        _mip_places[_programs(len(uv))](uv, footprint, len(uv), float(height * width), top, place, block=BLOCK)
    return place


@_kernel
def _mip_places(uv, footprint, count, texels, top, place, block: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    u, v = tl.load(uv + 2 * p, mask=inside), tl.load(uv + 2 * p + 1, mask=inside)
    covers = tl.load(footprint + p, mask=inside, other=0.0) * texels
    level = tl.minimum(0.5 * tl.log2(tl.maximum(covers, 1.0)), top)
    _put(place, p, inside, u - tl.floor(u), v - tl.floor(v), level)


def gather(pool: Tensor, transport: Transport) -> Tensor:
    """Stands for ``sampling.accumulate_reference``."""
    picture, count = transport.base.clone(), len(transport.pixel)
    if count and isinstance(transport.taps, MipTaps):
        _gather_mips[_programs(count)](pool, *_mips(transport.taps), *_lit(transport), picture, block=BLOCK)
    elif count:
        taps = transport.taps.listed()
        _gather[_programs(count)](
            pool, taps.index, taps.weight, *_lit(transport), picture, many=taps.index.shape[1], block=BLOCK
        )
    return picture


def scatter(grad: Tensor, transport: Transport, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]``, which need not be contiguous, from that
    of the pictures."""
    width, count = _texel_width(grad.device), len(transport.pixel)
    result, grad = grad.new_zeros(texels, width), grad.contiguous()
    if count and isinstance(transport.taps, MipTaps):
        _scatter_mips[_programs(count)](
            grad, *_mips(transport.taps), *_lit(transport), result, width=width, block=BLOCK
        )
    elif count:
        taps = transport.taps.listed()
        many = taps.index.shape[1]
        _scatter[_programs(count)](
            grad, taps.index, taps.weight, *_lit(transport), result, many=many, width=width, block=BLOCK
        )
    return result[:, :3]


def _texel_width(device: torch.device) -> int:
    """How many numbers apart the gradients of texels are gathered, 3 or 4: from Hopper on memory adds four at once,
    where they lie at a multiple of that."""
    return 4 if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0) else 3


def _mips(taps: MipTaps) -> tuple[Tensor, int, int]:
    return (taps.place, *taps.layout.sizes[0])


def _lit(transport: Transport) -> tuple[Tensor, Tensor, int]:
    return transport.light, transport.pixel, len(transport.pixel)


@_kernel
def _gather_mips(  # type: ignore[no-untyped-def]
    pool, place, rows, columns, light, pixel, count, picture, block: tl.constexpr
):
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    u, v, level = _three(place, p, inside)
    r, g, b = tl.full([block], 0.0, tl.float32), tl.full([block], 0.0, tl.float32), tl.full([block], 0.0, tl.float32)
    for tap in tl.static_range(8):
        at, weight, seen = _tap(u, v, level, inside, rows, columns, tap)
        t_r, t_g, t_b = _three(pool, at, seen)
        r += weight * t_r
        g += weight * t_g
        b += weight * t_b
    _add_lit(picture, p, inside, light, pixel, r, g, b)


@_kernel
def _scatter_mips(  # type: ignore[no-untyped-def]
    grad, place, rows, columns, light, pixel, count, result, width: tl.constexpr, block: tl.constexpr
):
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    u, v, level = _three(place, p, inside)
    r, g, b = _lit_gradient(grad, p, inside, light, pixel)
    for tap in tl.static_range(8):
        at, weight, seen = _tap(u, v, level, inside, rows, columns, tap)
        _add(result, at, seen, weight * r, weight * g, weight * b, width)


@_kernel
def _gather(  # type: ignore[no-untyped-def]
    pool, index, weight, light, pixel, count, picture, many: tl.constexpr, block: tl.constexpr
):
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    r, g, b = tl.full([block], 0.0, tl.float32), tl.full([block], 0.0, tl.float32), tl.full([block], 0.0, tl.float32)
    for tap in tl.static_range(many):
        w = tl.load(weight + many * p + tap, mask=inside, other=0.0)
        t_r, t_g, t_b = _three(pool, tl.load(index + many * p + tap, mask=inside, other=0), inside)
        r += w * t_r
        g += w * t_g
        b += w * t_b
    _add_lit(picture, p, inside, light, pixel, r, g, b)


@_kernel
def _scatter(  # type: ignore[no-untyped-def]
    grad, index, weight, light, pixel, count, result,
    many: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    r, g, b = _lit_gradient(grad, p, inside, light, pixel)
    for tap in tl.static_range(many):
        w = tl.load(weight + many * p + tap, mask=inside, other=0.0)
        at = tl.load(index + many * p + tap, mask=inside, other=0)
        _add(result, at, inside, w * r, w * g, w * b, width)


@_kernel
def _tap(u, v, level, inside, rows, columns, tap: tl.constexpr):  # type: ignore[no-untyped-def]
    """One of eight taps: where it lies in the pool, what it weighs, and whether there is anything of it. The compiler
    works out once what several of them share."""
    # A level has a quarter of the texels of the one before: all before it have (4 T − 4 T / 4^level) / 3.
    lower = level.to(tl.int32)
    share = level - lower if tap >= 4 else 1.0 - (level - lower)
    near = lower + tap // 4
    texels = 4 * rows * columns
    start = (texels - (texels >> (2 * near))) // 3
    rows, columns = rows >> near, columns >> near
    x, y = u * columns - 0.5, v * rows - 0.5
    x0, y0 = tl.floor(x), tl.floor(y)
    column, row = x0.to(tl.int32), y0.to(tl.int32)
    column = tl.where(column < 0, columns - 1, tl.minimum(column, columns - 1))
    row = tl.where(row < 0, rows - 1, tl.minimum(row, rows - 1))
    across, up = x - x0, y - y0
    if tap % 2:
        column = tl.where(column + 1 < columns, column + 1, 0)
    else:
        across = 1.0 - across
    if tap % 4 >= 2:
        row = tl.where(row + 1 < rows, row + 1, 0)
    else:
        up = 1.0 - up
    return start + row * columns + column, share * up * across, inside & (share > 0.0)


@_kernel
def _add(values, row, inside, x, y, z, width: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add a colour to a row of `width` numbers, of which a fourth gets nothing."""
    at = values + width * row
    if width == 4:
        four = tl.join(tl.join(x, z), tl.join(y, tl.full(x.shape, 0.0, tl.float32))).reshape(x.shape[0], 4)
        tl.atomic_add(at[:, None] + tl.arange(0, 4)[None, :], four, mask=inside[:, None], sem="relaxed")
    else:
        tl.atomic_add(at, x, mask=inside, sem="relaxed")
        tl.atomic_add(at + 1, y, mask=inside, sem="relaxed")
        tl.atomic_add(at + 2, z, mask=inside, sem="relaxed")


@_kernel
def _add_lit(picture, p, inside, light, pixel, r, g, b):  # type: ignore[no-untyped-def]
    """Add what is seen of samples, in their light."""
    l_r, l_g, l_b = _three(light, p, inside)
    _add(picture, tl.load(pixel + p, mask=inside, other=0), inside, r * l_r, g * l_g, b * l_b, 3)


@_kernel
def _lit_gradient(grad, p, inside, light, pixel):  # type: ignore[no-untyped-def]
    l_r, l_g, l_b = _three(light, p, inside)
    r, g, b = _three(grad, tl.load(pixel + p, mask=inside, other=0), inside)
    return r * l_r, g * l_g, b * l_b


# --- colour ---------------------------------------------------------------------------------------------------------


def encode(linear: Tensor) -> Tensor:
    """Stands for ``color.srgb_encode_reference``."""
    linear = linear.contiguous()
    result = torch.empty_like(linear)
    if linear.numel():
        _encode[_programs(linear.numel())](linear, linear.numel(), result, block=BLOCK)
    return result


def encode_gradient(grad: Tensor, linear: Tensor, encoded: Tensor) -> Tensor:
    """The gradient of what was encoded, from that of `encoded`."""
    grad, linear = grad.contiguous(), linear.contiguous()
    result = torch.empty_like(grad)
    if grad.numel():
        _encode_gradient[_programs(grad.numel())](grad, linear, encoded, grad.numel(), result, block=BLOCK)
    return result


@_kernel
def _encode(linear, count, result, block: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    clipped = _at_least(tl.load(linear + p, mask=inside, other=0.0), 0.0)
    clipped = tl.where(clipped > 1.0, 1.0, clipped)
    power = tl.exp2(tl.log2(_at_least(clipped, 0.0031308)) * (1 / 2.4))
    encoded = tl.where(clipped <= 0.0031308, clipped * 12.92, (power - 1.0) * 1.055 + 1.0)
    tl.store(result + p, encoded, mask=inside)


@_kernel
def _encode_gradient(grad, linear, encoded, count, result, block: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * block + tl.arange(0, block)
    inside = p < count
    x, y = tl.load(linear + p, mask=inside, other=0.0), tl.load(encoded + p, mask=inside, other=0.0)
    slope = (y + 0.055) / _at_least(x, 0.0031308) * (1 / 2.4)
    slope = tl.where(x <= 0.0031308, 12.92, slope)
    slope = tl.where((x < 0.0) | (x > 1.0), 0.0, slope)
    tl.store(result + p, tl.load(grad + p, mask=inside, other=0.0) * slope, mask=inside)
