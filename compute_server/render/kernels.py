"""Compiled CPU kernels, each the equal of a torch function elsewhere in this package, by test.

Work is split into as many parts as there are threads, in a fixed order, so that sums come out the same in every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np
import torch
from torch import Tensor

from .taps import MipLayout, MipTaps, Transport

if TYPE_CHECKING:
    from .geometry import Geometry
    from .rasterizer import Visibility
    from .view_transform import Table

#: Each thread that scatters has a pool of its own; for large textures fewer threads take part.
MAX_SCATTER_BYTES = 256 << 20
#: Levels of more texels are cleared in blocks of 2^BLOCK_BITS, when something first comes to one: most of a large
#: texture is not looked at in one step.
LARGE_LEVEL = 1 << 18
BLOCK_BITS = 7
_f = np.float32


def interpolate(
    geometry: Geometry, visibility: Visibility, matrices: np.ndarray, eyes: np.ndarray
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Stands for ``gbuffer.interpolate_reference``."""
    arrays = _interpolate(
        visibility.triangle.numpy(),
        visibility.barycentric.numpy(),
        visibility.view_start.numpy(),
        geometry.positions.numpy(),
        geometry.triangles.numpy(),
        geometry.normals.numpy(),
        geometry.uv.numpy(),
        np.ascontiguousarray(matrices, np.float64),
        np.ascontiguousarray(eyes, np.float64),
        visibility.width * visibility.height / 4,
    )
    position, normal, uv, footprint = (torch.from_numpy(array) for array in arrays)
    return position, normal, uv, footprint


@nb.njit(cache=True, parallel=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _interpolate(  # type: ignore[no-untyped-def]
    triangle, barycentric, view_start, positions, triangles, normals, uv, matrices, eyes, to_samples
):
    """Neighbouring samples mostly share a triangle: what is linear across it is kept as c + b_a · a + b_b · b in local
    numbers, which stay in registers, and set anew when the triangle changes."""
    count = triangle.shape[0]
    position_out, normal_out = np.empty((count, 3), np.float32), np.empty((count, 3), np.float32)
    uv_out, footprint_out = np.empty((count, 2), np.float32), np.empty(count, np.float32)
    corner_normals = normals.reshape(-1, 3)  # a view of a row costs more than all that is done with it
    for view in nb.prange(view_start.shape[0] - 1):
        m = matrices[view]
        e_x, e_y, e_z, e_w = _f(eyes[view, 0]), _f(eyes[view, 1]), _f(eyes[view, 2]), _f(eyes[view, 3])
        last, scale, w_a, w_b, w_c = np.int32(-1), _f(0), _f(0), _f(0), _f(0)
        x_a = y_a = z_a = x_b = y_b = z_b = x_c = y_c = z_c = _f(0)
        i_a = j_a = k_a = i_b = j_b = k_b = i_c = j_c = k_c = _f(0)
        u_a = v_a = u_b = v_b = u_c = v_c = _f(0)
        for p in range(np.uint64(view_start[view]), np.uint64(view_start[view + 1])):
            if triangle[p] != last:
                last = triangle[p]
                t = np.uint64(last)
                a, b, c = np.uint64(triangles[t, 0]), np.uint64(triangles[t, 1]), np.uint64(triangles[t, 2])
                x_a, y_a, z_a, x_b, y_b, z_b, x_c, y_c, z_c = _linear(positions, a, b, c)
                first = np.uint64(3) * t
                i_a, j_a, k_a, i_b, j_b, k_b, i_c, j_c, k_c = _linear(
                    corner_normals, first, first + np.uint64(1), first + np.uint64(2)
                )
                u_c, v_c = uv[t, 2, 0], uv[t, 2, 1]
                u_a, v_a, u_b, v_b = uv[t, 0, 0] - u_c, uv[t, 0, 1] - v_c, uv[t, 1, 0] - u_c, uv[t, 1, 1] - v_c
                w_a, w_b, w_c, det = _depths(m, positions, a, b, c)
                scale = _f(abs(u_a * v_b - v_a * u_b) / max(abs(det) * to_samples, 1e-30))
            b_a, b_b = barycentric[p, 0], barycentric[p, 1]
            w = w_c + b_a * w_a + b_b * w_b
            footprint_out[p] = scale * w * w * w
            x, y, z = x_c + b_a * x_a + b_b * x_b, y_c + b_a * y_a + b_b * y_b, z_c + b_a * z_a + b_b * z_b
            i, j, k = i_c + b_a * i_a + b_b * i_b, j_c + b_a * j_a + b_b * j_b, k_c + b_a * k_a + b_b * k_b
            facing = i * (e_x - e_w * x) + j * (e_y - e_w * y) + k * (e_z - e_w * z)
            unit = _f(1) / max(np.sqrt(i * i + j * j + k * k), _f(1e-12))
            unit = -unit if facing < 0 else unit
            position_out[p, 0], position_out[p, 1], position_out[p, 2] = x, y, z
            normal_out[p, 0], normal_out[p, 1], normal_out[p, 2] = i * unit, j * unit, k * unit
            uv_out[p, 0], uv_out[p, 1] = u_c + b_a * u_a + b_b * u_b, v_c + b_a * v_a + b_b * v_b
    return position_out, normal_out, uv_out, footprint_out


@nb.njit(cache=True, inline="always")
def _linear(v, a, b, c):  # type: ignore[no-untyped-def]
    """Of three rows of ``v [N, 3]``: the first less the third, the second less the third, the third."""
    x, y, z = v[c, 0], v[c, 1], v[c, 2]
    return v[a, 0] - x, v[a, 1] - y, v[a, 2] - z, v[b, 0] - x, v[b, 1] - y, v[b, 2] - z, x, y, z


@nb.njit(cache=True, inline="always")
def _depths(m, positions, a, b, c):  # type: ignore[no-untyped-def]
    """w of the first and the second corner less that of the third, which comes next; and det(x, y, w of all three)."""
    x_a, y_a, w_a = _xyw(m, positions, a)
    x_b, y_b, w_b = _xyw(m, positions, b)
    x_c, y_c, w_c = _xyw(m, positions, c)
    det = x_a * (y_b * w_c - w_b * y_c) - y_a * (x_b * w_c - w_b * x_c) + w_a * (x_b * y_c - y_b * x_c)
    return _f(w_a - w_c), _f(w_b - w_c), _f(w_c), det


@nb.njit(cache=True, inline="always")
def _xyw(m, positions, vertex):  # type: ignore[no-untyped-def]
    """x, y and w of a vertex in clip space."""
    x, y, z = positions[vertex, 0], positions[vertex, 1], positions[vertex, 2]
    return (
        m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3],
        m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3],
        m[3, 0] * x + m[3, 1] * y + m[3, 2] * z + m[3, 3],
    )


def mip_places(uv: Tensor, footprint: Tensor, layout: MipLayout) -> Tensor:
    """Stands for ``sampling.mip_places_reference``."""
    height, width = layout.sizes[0]
    place = torch.empty(len(uv), 3)
    _mip_places(uv.numpy(), footprint.numpy(), float(height * width), len(layout.sizes) - 1.0, place.numpy())
    return place


@nb.njit(cache=True, parallel=True, nogil=True)
def _mip_places(uv, footprint, texels, top, place):  # type: ignore[no-untyped-def]
    texels, top = np.float32(texels), np.float32(top)
    for p in nb.prange(uv.shape[0]):
        place[p, 0], place[p, 1] = uv[p, 0] - np.floor(uv[p, 0]), uv[p, 1] - np.floor(uv[p, 1])
        covered = footprint[p] * texels
        # Most samples of a texture that is not much finer than the picture need no logarithm.
        place[p, 2] = min(np.float32(0.5) * np.log2(covered), top) if covered > 1 else np.float32(0)


@nb.njit(cache=True)
def _bilinear(u, v, share, rows, columns, start):  # type: ignore[no-untyped-def]
    """Indices and weights of the four taps on one level. Unsigned indices spare numba its test for negative ones."""
    x, y = u * np.float32(columns) - np.float32(0.5), v * np.float32(rows) - np.float32(0.5)
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    # Wrapped by comparison: a remainder for each tap would take most of the time. −1 ≤ x0, y0 < size.
    left = int(x0) if x0 >= 0 else columns - 1
    low = int(y0) if y0 >= 0 else rows - 1
    right = left + 1 if left + 1 < columns else 0
    high = low + 1 if low + 1 < rows else 0
    low, high = start + low * columns, start + high * columns
    one = np.float32(1)
    return (
        (np.uint64(low + left), np.uint64(low + right), np.uint64(high + left), np.uint64(high + right)),
        (share * (one - fx) * (one - fy), share * fx * (one - fy), share * (one - fx) * fy, share * fx * fy),
    )


def pixels(sample: Tensor, width: int, side: int) -> Tensor:
    """Stands for ``renderer.pixels_reference``."""
    result = torch.empty(len(sample), dtype=torch.int32)
    _pixels(sample.numpy(), width, side, result.numpy(), nb.get_num_threads())
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _pixels(sample, width, side, result, parts):  # type: ignore[no-untyped-def]
    count, across = sample.shape[0], width * side
    # Samples come row by row: only the first of a row needs a division, and columns have a table.
    column = (np.arange(across) // side).astype(np.int32)
    for part in nb.prange(parts):
        begin, to = 0, np.int32(0)
        for p in range(np.uint64(count * part // parts), np.uint64(count * (part + 1) // parts)):
            at = np.int64(sample[p])
            if at >= begin + across or begin == 0:
                begin = at // across * across
                to = np.int32(at // across // side * width)
            result[p] = to + column[np.uint64(at - begin)]


def backdrop(pictures: Tensor, height: int, width: int, pixel: Tensor, view_start: Tensor, samples: int) -> Tensor:
    """Stands for ``renderer.backdrop_reference`` of pictures no larger than the frame."""
    base = torch.empty(len(pictures), height, width, 3)
    _backdrop(pictures.numpy(), pixel.numpy(), view_start.numpy(), samples, base.numpy())
    return base


@nb.njit(cache=True, parallel=True, nogil=True)
def _backdrop(pictures, pixel, view_start, samples, base):  # type: ignore[no-untyped-def]
    _, height, width, _ = base.shape
    x0, x1, fx = _stretched(pictures.shape[2], width)
    y0, y1, fy = _stretched(pictures.shape[1], height)
    for view in nb.prange(base.shape[0]):
        hits = np.zeros(height * width, np.int32)
        begin = np.uint64(view * height * width)
        for p in range(np.uint64(view_start[view]), np.uint64(view_start[view + 1])):
            hits[np.uint64(pixel[p]) - begin] += 1
        picture, result = pictures[view], base[view]
        mixed = np.empty((pictures.shape[2], 3), np.float32)
        for row in range(np.uint64(height)):
            low, high, share = y0[row], y1[row], fy[row]
            for column in range(np.uint64(pictures.shape[2])):
                for channel in range(3):
                    near, far = picture[low, column, channel], picture[high, column, channel]
                    mixed[column, channel] = near + (far - near) * share
            for column in range(np.uint64(width)):
                uncovered = np.float32(1) - np.float32(hits[row * np.uint64(width) + column]) / np.float32(samples)
                left, right, share = x0[column], x1[column], fx[column]
                for channel in range(3):
                    near, far = mixed[left, channel], mixed[right, channel]
                    result[row, column, channel] = (near + (far - near) * share) * uncovered


@nb.njit(cache=True)
def _stretched(few, many):  # type: ignore[no-untyped-def]
    """For each of `many` pixels across, the two of `few` that it lies between, and how near it is to the second."""
    low, high, share = np.empty(many, np.uint64), np.empty(many, np.uint64), np.empty(many, np.float32)
    for i in range(many):
        place = max((i + 0.5) * few / many - 0.5, 0.0)
        low[i] = min(int(place), few - 1)
        high[i] = min(int(place) + 1, few - 1)
        share[i] = place - int(place)
    return low, high, share


def gather(pool: Tensor, transport: Transport) -> Tensor:
    """Stands for ``sampling.accumulate_reference``."""
    picture = transport.base.clone()
    run: Any = _gather_mips if isinstance(transport.taps, MipTaps) else _gather
    colors, view_start = pool.detach().contiguous().numpy(), transport.view_start.numpy()
    run(colors, *_arrays(transport), view_start, picture.view(-1, 3).numpy())
    return picture


def scatter(grad: Tensor, transport: Transport, texels: int) -> Tensor:
    """The adjoint of :func:`gather`: the gradient of the pool ``[texels, 3]`` from that of the pictures."""
    parts = max(1, min(nb.get_num_threads(), MAX_SCATTER_BYTES // (12 * texels)))
    result, others = torch.empty(texels, 3), torch.empty(parts - 1, texels, 3)
    cleared = np.zeros((parts, (texels >> BLOCK_BITS) + 1), np.bool_)
    into: tuple[Any, ...] = (result.numpy(), others.numpy(), cleared)
    arguments: list[Any] = [grad.reshape(-1, 3).numpy(), *_arrays(transport), *into]
    run: Any = _scatter
    if isinstance(transport.taps, MipTaps):
        run = _scatter_mips
        arguments.append(_large_levels(transport.taps.layout))
    run(*arguments)
    _sum_pools(*into)
    return result


def _large_levels(layout: MipLayout) -> int:
    """How many levels are so large that it pays to look which of their blocks have been cleared."""
    return sum(rows * columns > LARGE_LEVEL for rows, columns in layout.sizes)


def _arrays(transport: Transport) -> tuple[np.ndarray, ...]:
    taps, rest = transport.taps, (transport.light.numpy(), transport.pixel.numpy())
    if isinstance(taps, MipTaps):
        return (taps.place.numpy(), np.array(taps.layout.sizes), np.array(taps.layout.starts), *rest)
    return (taps.index.numpy(), taps.weight.numpy(), *rest)


@nb.njit(cache=True, parallel=True, nogil=True)
def _gather(pool, index, weight, light, pixel, view_start, picture):  # type: ignore[no-untyped-def]
    for view in nb.prange(view_start.shape[0] - 1):
        for p in range(view_start[view], view_start[view + 1]):
            r, g, b = np.float32(0), np.float32(0), np.float32(0)
            for k in range(index.shape[1]):
                w, texel = weight[p, k], index[p, k]
                r += w * pool[texel, 0]
                g += w * pool[texel, 1]
                b += w * pool[texel, 2]
            picture[pixel[p], 0] += r * light[p, 0]
            picture[pixel[p], 1] += g * light[p, 1]
            picture[pixel[p], 2] += b * light[p, 2]


@nb.njit(cache=True, parallel=True, nogil=True)
def _scatter(grad, index, weight, light, pixel, result, others, cleared):  # type: ignore[no-untyped-def]
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = result if part == 0 else others[part - 1], cleared[part]
        for p in range(count * part // parts, count * (part + 1) // parts):
            at = pixel[p]
            r, g, b = grad[at, 0] * light[p, 0], grad[at, 1] * light[p, 1], grad[at, 2] * light[p, 2]
            for k in range(index.shape[1]):
                texel, w = np.uint64(index[p, k]), weight[p, k]
                _clear(pool, mine, texel >> np.uint64(BLOCK_BITS))
                pool[texel, 0] += w * r
                pool[texel, 1] += w * g
                pool[texel, 2] += w * b


@nb.njit(cache=True, parallel=True, nogil=True, fastmath={"contract"})
def _gather_mips(pool, place, sizes, starts, light, pixel, view_start, picture):  # type: ignore[no-untyped-def]
    for view in nb.prange(view_start.shape[0] - 1):
        for p in range(np.uint64(view_start[view]), np.uint64(view_start[view + 1])):
            u, v, level = place[p, 0], place[p, 1], place[p, 2]
            lower = np.uint64(level)
            blend = level - np.float32(lower)
            at, w = _bilinear(u, v, np.float32(1) - blend, sizes[lower, 0], sizes[lower, 1], starts[lower])
            r, g, b = _mixed(pool, at, w)
            if blend > 0:
                upper = lower + np.uint64(1)
                at, w = _bilinear(u, v, blend, sizes[upper, 0], sizes[upper, 1], starts[upper])
                more_r, more_g, more_b = _mixed(pool, at, w)
                r, g, b = r + more_r, g + more_g, b + more_b
            to = np.uint64(pixel[p])
            picture[to, 0] += r * light[p, 0]
            picture[to, 1] += g * light[p, 1]
            picture[to, 2] += b * light[p, 2]


@nb.njit(cache=True)
def _mixed(pool, at, w):  # type: ignore[no-untyped-def]
    """The colour of four taps."""
    return (
        w[0] * pool[at[0], 0] + w[1] * pool[at[1], 0] + w[2] * pool[at[2], 0] + w[3] * pool[at[3], 0],
        w[0] * pool[at[0], 1] + w[1] * pool[at[1], 1] + w[2] * pool[at[2], 1] + w[3] * pool[at[3], 1],
        w[0] * pool[at[0], 2] + w[1] * pool[at[1], 2] + w[2] * pool[at[2], 2] + w[3] * pool[at[3], 2],
    )


@nb.njit(cache=True, parallel=True, nogil=True, fastmath={"contract"})
def _scatter_mips(  # type: ignore[no-untyped-def]
    grad, place, sizes, starts, light, pixel, result, others, cleared, large
):
    parts, count = cleared.shape[0], pixel.shape[0]
    for part in nb.prange(parts):
        pool, mine = result if part == 0 else others[part - 1], cleared[part]
        small = np.uint64(starts[large]) >> np.uint64(BLOCK_BITS)
        pool[small << np.uint64(BLOCK_BITS) :] = 0
        mine[small:] = True
        for p in range(np.uint64(count * part // parts), np.uint64(count * (part + 1) // parts)):
            to = np.uint64(pixel[p])
            r, g, b = grad[to, 0] * light[p, 0], grad[to, 1] * light[p, 1], grad[to, 2] * light[p, 2]
            u, v, level = place[p, 0], place[p, 1], place[p, 2]
            lower = np.uint64(level)
            blend = level - np.float32(lower)
            at, w = _bilinear(u, v, np.float32(1) - blend, sizes[lower, 0], sizes[lower, 1], starts[lower])
            if lower < large:
                _clear_blocks(pool, mine, at)
            _add(pool, at, w, r, g, b)
            if blend > 0:
                upper = lower + np.uint64(1)
                at, w = _bilinear(u, v, blend, sizes[upper, 0], sizes[upper, 1], starts[upper])
                if upper < large:
                    _clear_blocks(pool, mine, at)
                _add(pool, at, w, r, g, b)


@nb.njit(cache=True)
def _add(pool, at, w, r, g, b):  # type: ignore[no-untyped-def]
    """Give four taps their shares of a colour."""
    for k in range(4):
        pool[at[k], 0] += w[k] * r
        pool[at[k], 1] += w[k] * g
        pool[at[k], 2] += w[k] * b


@nb.njit(cache=True)
def _clear_blocks(pool, cleared, at):  # type: ignore[no-untyped-def]
    """Clear the blocks of four taps where that has not been done."""
    bits = np.uint64(BLOCK_BITS)
    if not (cleared[at[0] >> bits] & cleared[at[1] >> bits] & cleared[at[2] >> bits] & cleared[at[3] >> bits]):
        for k in range(4):
            _clear(pool, cleared, at[k] >> bits)


@nb.njit(cache=True)
def _clear(pool, cleared, block):  # type: ignore[no-untyped-def]
    if not cleared[block]:
        cleared[block] = True
        pool[block << np.uint64(BLOCK_BITS) : (block + np.uint64(1)) << np.uint64(BLOCK_BITS)] = 0


@nb.njit(cache=True, parallel=True, nogil=True)
def _sum_pools(result, others, cleared):  # type: ignore[no-untyped-def]
    """Clear the blocks of `result` that have not been `cleared`, and add those of `others` that have."""
    for block in nb.prange(cleared.shape[1]):
        begin = block << BLOCK_BITS
        end = min(begin + (1 << BLOCK_BITS), result.shape[0])
        if not cleared[0, block]:
            result[begin:end] = 0
        for part in range(others.shape[0]):
            if cleared[part + 1, block]:
                for texel in range(begin, end):
                    for channel in range(3):
                        result[texel, channel] += others[part, texel, channel]


def look_up(linear: Tensor, table: Table) -> Tensor:
    """Stands for ``view_transform.apply_reference``."""
    result = torch.empty(linear.shape)
    _look_up(*_look_up_arguments(linear, table), result.view(-1, 3).numpy())
    return result


def look_up_gradient(grad: Tensor, linear: Tensor, table: Table) -> Tensor:
    """The gradient of the linear colours from that of the encoded ones, for :func:`look_up`."""
    result = torch.empty(linear.shape)
    arguments = _look_up_arguments(linear, table)
    _look_up_gradient(*arguments, grad.detach().reshape(-1, 3).contiguous().numpy(), result.view(-1, 3).numpy())
    return result


def _look_up_arguments(linear: Tensor, table: Table) -> tuple[np.ndarray, np.ndarray, int, float, float, float, int]:
    colors = linear.detach().reshape(-1, 3).contiguous().numpy()
    return colors, table.colors.numpy(), table.size, table.toe, table.top, table.scale, nb.get_num_threads()


@nb.njit(cache=True)
def _cell(color, size, toe, top, scale, share, order):  # type: ignore[no-untyped-def]
    """Index of the dark corner of a colour's cell; its `share` [3] in the cell, and their `order` from the largest."""
    corner, stride = 0, size * size
    for channel in range(3):
        place = np.log2(np.float32(1) + min(max(color[channel], np.float32(0)), top) / toe) * scale
        index = min(max(int(place), 0), size - 2)
        share[channel] = place - np.float32(index)
        corner += index * stride
        stride //= size
    order[0], order[1], order[2] = 0, 1, 2
    if share[1] > share[0]:
        order[0], order[1] = 1, 0
    if share[2] > share[order[1]]:
        order[1], order[2] = 2, order[1]
        if share[2] > share[order[0]]:
            order[0], order[1] = 2, order[0]
    return corner


@nb.njit(cache=True, parallel=True, nogil=True)
def _look_up(linear, colors, size, toe, top, scale, parts, result):  # type: ignore[no-untyped-def]
    count = linear.shape[0]
    toe, top, scale = np.float32(toe), np.float32(top), np.float32(scale)
    for part in nb.prange(parts):
        share, order = np.empty(3, np.float32), np.empty(3, np.int64)
        for p in range(count * part // parts, count * (part + 1) // parts):
            corner = _cell(linear[p], size, toe, top, scale, share, order)
            for channel in range(3):
                result[p, channel] = colors[corner, channel]
            for step in range(3):
                beyond = corner + (size * size if order[step] == 0 else size if order[step] == 1 else 1)
                for channel in range(3):
                    result[p, channel] += share[order[step]] * (colors[beyond, channel] - colors[corner, channel])
                corner = beyond


@nb.njit(cache=True, parallel=True, nogil=True)
def _look_up_gradient(linear, colors, size, toe, top, scale, parts, grad, result):  # type: ignore[no-untyped-def]
    count = linear.shape[0]
    toe, top, scale = np.float32(toe), np.float32(top), np.float32(scale)
    slope = scale / np.float32(np.log(2.0))
    for part in nb.prange(parts):
        share, order = np.empty(3, np.float32), np.empty(3, np.int64)
        for p in range(count * part // parts, count * (part + 1) // parts):
            corner = _cell(linear[p], size, toe, top, scale, share, order)
            for step in range(3):
                along = order[step]
                beyond = corner + (size * size if along == 0 else size if along == 1 else 1)
                total = np.float32(0)
                for channel in range(3):
                    total += grad[p, channel] * (colors[beyond, channel] - colors[corner, channel])
                inside = linear[p, along] >= 0 and linear[p, along] <= top
                result[p, along] = total * slope / (toe + linear[p, along]) if inside else np.float32(0)
                corner = beyond
