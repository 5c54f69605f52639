"""What glossy surfaces reflect of lamps and surroundings, compiled for the CPU: all views in one call.

Stands for the torch functions of ``principled`` and ``lights`` that ``Lighting.reflect_reference`` is made of, equal
to them by test. A block of samples at a time goes through loops with nothing to choose inside, which take several of
them at once. All that is known of a block lies in one array, a row for each quantity: of many arrays the compiler would
have to ask each time whether they overlap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba as nb
import numpy as np
import torch
from torch import Tensor

from shared.scene import Vector

from .compiled import BLOCK, flat
from .gbuffer import GBuffer
from .light_kernels import AREA, SPOT, SUN, Lamps, flags, hide
from .principled import Materials

#: Where the rows of a block begin: the unit normal and the directions towards eye and light; what ``Material`` has, and
#: what follows from it; an emitter's irradiance; what is reflected in proportion to the albedo, and added.
N_X, N_Y, N_Z, E_X, E_Y, E_Z, L_X, L_Y, L_Z, RECEIVED = (BLOCK * row for row in range(10))
COS_EYE, MASKED, SQUARE, METALLIC, PLAIN, ETA, F0_R, F0_G, F0_B = (BLOCK * row for row in range(10, 19))
ENERGY, FRESNEL, SCHLICK, MEAN_ENERGY, LAYER, DIFFUSE = (BLOCK * row for row in range(19, 25))
METAL_R, METAL_G, METAL_B, LAYER_R, LAYER_G, LAYER_B = (BLOCK * row for row in range(25, 31))
PART_R, PART_G, PART_B, ADDED_R, ADDED_G, ADDED_B = (BLOCK * row for row in range(31, 37))
ROWS = 37
_f = np.float32


def reflect(
    scale: Tensor,
    lamps: Lamps,
    worlds: Sequence[Vector],
    materials: Materials,
    surface: GBuffer,
    eyes: np.ndarray,
    share: float,
    around: Tensor | None = None,
    visible: Tensor | None = None,
) -> Tensor:
    """Makes of `scale [P, 3]`, the light that matte samples reflect, what glossy ones do for an albedo of one; returns
    what is added whatever the albedo, ``[P, 3]``.

    ``around [P, 3]`` is the radiance that samples mirror (None: that of each view's uniform world, of `worlds`);
    ``visible [L, P] bool`` says whether they see each lamp of their view (None: they do).
    """
    added = torch.empty(scale.shape)
    samples = flat(surface.visibility.triangle), flat(surface.position), flat(surface.normal)
    which = np.zeros(0, np.int64) if materials.surface is None else materials.surface.numpy()
    tables = (each.numpy() for each in (materials.values, materials.tint, materials.table, materials.albedo))
    uniform = np.array(worlds, np.float32).reshape(-1, 3)
    light = *lamps, uniform, np.zeros(0, np.float32) if around is None else flat(around), flags(visible)
    arguments = *samples, eyes.astype(np.float32), which, *tables, *light, _f(share), flat(scale), flat(added)
    _reflect(*arguments)
    return added


def mirrored(position: Tensor, normal: Tensor, eye: np.ndarray) -> Tensor:
    """Unit directions ``[P, 3]`` in which samples mirror what is seen from the homogeneous point `eye`."""
    result = torch.empty(position.shape)
    _mirrored(flat(position), flat(normal), eye.astype(np.float32), flat(result))
    return result


@nb.njit(cache=True, parallel=True, nogil=True)
def _mirrored(position, normal, eye, result):  # type: ignore[no-untyped-def]
    count = position.shape[0] // 3
    for block in nb.prange((count + BLOCK - 1) // BLOCK):
        part = slice(3 * block * BLOCK, 3 * min((block + 1) * BLOCK, count))
        rows = np.empty((COS_EYE + BLOCK), np.float32)
        _face(rows, position[part], normal[part], eye)
        _turn_back(rows, result[part])


@nb.njit(cache=True)
def _turn_back(rows, result):  # type: ignore[no-untyped-def]
    for k in range(result.shape[0] // 3):
        n_x, n_y, n_z = rows[N_X + k], rows[N_Y + k], rows[N_Z + k]
        e_x, e_y, e_z = rows[E_X + k], rows[E_Y + k], rows[E_Z + k]
        twice = _f(2) * (n_x * e_x + n_y * e_y + n_z * e_z)
        result[3 * k], result[3 * k + 1], result[3 * k + 2] = twice * n_x - e_x, twice * n_y - e_y, twice * n_z - e_z


@nb.njit(cache=True, parallel=True, nogil=True)
def _reflect(  # type: ignore[no-untyped-def]
    triangle,
    position,
    normal,
    eyes,
    surface,
    values,
    tint,
    table,
    albedo,
    pieces,
    kinds,
    lamps,
    used,
    nodes,
    first,
    worlds,
    around,
    visible,
    share,
    scale,
    added,
):
    for piece in nb.prange(pieces.shape[0]):
        view, begin, end = pieces[piece, 0], pieces[piece, 1], pieces[piece, 2]
        rows = np.zeros(ROWS * BLOCK, np.float32)
        for start in range(begin, end, BLOCK):
            stop = min(start + BLOCK, end)
            wide = slice(3 * start, 3 * stop)
            p = position[wide]
            _face(rows, p, normal[wide], eyes[view])
            _find_materials(rows, triangle[start:stop], surface, values, tint, table)
            _prepare(rows, stop - start, albedo)
            if around.shape[0]:
                _mirror(rows, around[wide])
            else:
                _mirror_uniform(rows, stop - start, worlds[view])
            for lamp in range(first[view], first[view + 1]):
                row = (lamp - first[view]) * triangle.shape[0]
                seen = visible[row + start : row + stop]
                for node in range(used[lamp, 0], used[lamp, 1]):
                    _look_at(rows, kinds[lamp], p, lamps[lamp], nodes[node])
                    hide(rows[RECEIVED : RECEIVED + BLOCK], seen)
                    _shine(rows, stop - start, lamps[lamp])
            _finish(rows, share, scale[wide], added[wide])


@nb.njit(cache=True, error_model="numpy")
def _face(rows, position, normal, eye):  # type: ignore[no-untyped-def]
    """Normals, directions towards the eye, and the cosine between them."""
    for k in range(position.shape[0] // 3):
        x, y, z = normal[3 * k], normal[3 * k + 1], normal[3 * k + 2]
        e_x = eye[0] - eye[3] * position[3 * k]
        e_y = eye[1] - eye[3] * position[3 * k + 1]
        e_z = eye[2] - eye[3] * position[3 * k + 2]
        unit = _f(1) / max(np.sqrt(e_x * e_x + e_y * e_y + e_z * e_z), _f(1e-12))
        e_x, e_y, e_z = e_x * unit, e_y * unit, e_z * unit
        rows[N_X + k], rows[N_Y + k], rows[N_Z + k] = x, y, z
        rows[E_X + k], rows[E_Y + k], rows[E_Z + k] = e_x, e_y, e_z
        rows[COS_EYE + k] = min(max(x * e_x + y * e_y + z * e_z, _f(0)), _f(1))


@nb.njit(cache=True, error_model="numpy")
def _find_materials(rows, triangle, surface, values, tint, table):  # type: ignore[no-untyped-def]
    """Stands for ``Materials.at``."""
    angles = table.shape[1]
    for k in range(triangle.shape[0]):
        which = surface[triangle[k]] if surface.shape[0] else 0
        roughness, f0 = values[which, 0], values[which, 2]
        rows[SQUARE + k] = roughness * roughness * (roughness * roughness)
        rows[METALLIC + k], rows[PLAIN + k], rows[ETA + k] = values[which, 1], f0, values[which, 3]
        rows[F0_R + k], rows[F0_G + k], rows[F0_B + k] = f0 * tint[which, 0], f0 * tint[which, 1], f0 * tint[which, 2]
        place = rows[COS_EYE + k] * _f(angles) - _f(0.5)
        row = min(max(int(place), 0), angles - 2)
        far = min(max(place - _f(row), _f(0)), _f(1))
        near = _f(1) - far
        rows[ENERGY + k] = near * table[which, row, 0] + far * table[which, row + 1, 0]
        rows[FRESNEL + k] = near * table[which, row, 1] + far * table[which, row + 1, 1]
        rows[SCHLICK + k] = near * table[which, row, 2] + far * table[which, row + 1, 2]
        rows[MEAN_ENERGY + k] = near * table[which, row, 3] + far * table[which, row + 1, 3]


@nb.njit(cache=True, error_model="numpy")
def _prepare(rows, many, albedo):  # type: ignore[no-untyped-def]
    """What of ``Material`` does not depend on the light."""
    m_r, m_g, m_b = _mean_of_metal(albedo[0]), _mean_of_metal(albedo[1]), _mean_of_metal(albedo[2])
    for k in range(many):
        rows[COS_EYE + k] = max(rows[COS_EYE + k], _f(1e-4))
        rows[MASKED + k] = _masking(rows[COS_EYE + k], rows[SQUARE + k]) + _f(1)
        energy, mean, eta = rows[ENERGY + k], rows[MEAN_ENERGY + k], rows[ETA + k]
        lost = (_f(1) - energy) / energy
        reflected = min(max((eta - _f(1)) / (_f(4.08567) + _f(1.00071) * eta), _f(0)), _f(1))
        there = _scattered(lost, mean, reflected) if rows[PLAIN + k] > 0 else _f(0)
        whole, metallic = there * energy, rows[METALLIC + k]
        r = whole * (rows[F0_R + k] + (_f(1) - rows[F0_R + k]) * rows[FRESNEL + k])
        g = whole * (rows[F0_G + k] + (_f(1) - rows[F0_G + k]) * rows[FRESNEL + k])
        b = whole * (rows[F0_B + k] + (_f(1) - rows[F0_B + k]) * rows[FRESNEL + k])
        dielectric = _f(1) - metallic
        rows[DIFFUSE + k] = dielectric * (_f(1) - max(r, g, b))
        rows[LAYER_R + k], rows[LAYER_G + k], rows[LAYER_B + k] = dielectric * r, dielectric * g, dielectric * b
        rows[LAYER + k] = dielectric * there
        rows[METAL_R + k] = metallic * _scattered(lost, mean, m_r)
        rows[METAL_G + k] = metallic * _scattered(lost, mean, m_g)
        rows[METAL_B + k] = metallic * _scattered(lost, mean, m_b)


@nb.njit(cache=True, inline="always")
def _mean_of_metal(albedo):  # type: ignore[no-untyped-def]
    return albedo + (_f(1) - albedo) * _f(1 / 21)


@nb.njit(cache=True, inline="always")
def _scattered(lost, mean, reflectance):  # type: ignore[no-untyped-def]
    """Stands for ``Material._scattered``."""
    return _f(1) + lost * reflectance * mean / (_f(1) - reflectance * (_f(1) - mean))


@nb.njit(cache=True, inline="always")
def _masking(cos, square):  # type: ignore[no-untyped-def]
    """Stands for ``principled._masking``."""
    tangent = (_f(1) - cos * cos) / max(cos * cos, _f(1e-12))
    return (np.sqrt(_f(1) + square * tangent) - _f(1)) * _f(0.5)


@nb.njit(cache=True)
def _mirror(rows, around):  # type: ignore[no-untyped-def]
    """Stands for ``principled.ambient``: what is mirrored of the radiance `around` each sample begins the sums."""
    for k in range(around.shape[0] // 3):
        r, g, b = around[3 * k], around[3 * k + 1], around[3 * k + 2]
        _mirror_one(rows, k, r, g, b)


@nb.njit(cache=True)
def _mirror_uniform(rows, many, world):  # type: ignore[no-untyped-def]
    r, g, b = world[0], world[1], world[2]
    for k in range(many):
        _mirror_one(rows, k, r, g, b)


@nb.njit(cache=True, inline="always")
def _mirror_one(rows, k, r, g, b):  # type: ignore[no-untyped-def]
    energy, schlick = rows[ENERGY + k], rows[SCHLICK + k]
    metal_r, metal_g, metal_b = energy * rows[METAL_R + k], energy * rows[METAL_G + k], energy * rows[METAL_B + k]
    rest = _f(1) - schlick
    rows[PART_R + k], rows[PART_G + k], rows[PART_B + k] = metal_r * rest * r, metal_g * rest * g, metal_b * rest * b
    rows[ADDED_R + k] = (rows[LAYER_R + k] + metal_r * schlick) * r
    rows[ADDED_G + k] = (rows[LAYER_G + k] + metal_g * schlick) * g
    rows[ADDED_B + k] = (rows[LAYER_B + k] + metal_b * schlick) * b


@nb.njit(cache=True)
def _look_at(rows, kind, position, lamp, node):  # type: ignore[no-untyped-def]
    """Stands for ``lights.emitters``: directions towards one point of a lamp, and what is received from it."""
    if kind == SUN:
        _look_at_sun(rows, position.shape[0] // 3, lamp)
    elif kind == AREA:
        _look_at_area(rows, position, lamp, node)
    else:
        _look_at_point(rows, position, lamp)
        if kind == SPOT:
            _narrow(rows, position.shape[0] // 3, lamp)


@nb.njit(cache=True)
def _look_at_sun(rows, many, lamp):  # type: ignore[no-untyped-def]
    x, y, z = -lamp[6], -lamp[7], -lamp[8]
    for k in range(many):
        rows[L_X + k], rows[L_Y + k], rows[L_Z + k], rows[RECEIVED + k] = x, y, z, _f(1)


@nb.njit(cache=True, error_model="numpy")
def _look_at_point(rows, position, lamp):  # type: ignore[no-untyped-def]
    l_x, l_y, l_z = lamp[3], lamp[4], lamp[5]
    for k in range(position.shape[0] // 3):
        x, y, z = l_x - position[3 * k], l_y - position[3 * k + 1], l_z - position[3 * k + 2]
        square = max(x * x + y * y + z * z, _f(1e-12))
        unit = _f(1) / np.sqrt(square)
        rows[L_X + k], rows[L_Y + k], rows[L_Z + k] = x * unit, y * unit, z * unit
        rows[RECEIVED + k] = _f(1 / (4 * math.pi)) / square


@nb.njit(cache=True, error_model="numpy")
def _narrow(rows, many, lamp):  # type: ignore[no-untyped-def]
    """Keep what lies in a spot's cone."""
    d_x, d_y, d_z, cos_half, smooth = lamp[6], lamp[7], lamp[8], lamp[9], lamp[10]
    for k in range(many):
        cos = -(rows[L_X + k] * d_x + rows[L_Y + k] * d_y + rows[L_Z + k] * d_z)
        t = min(max((cos - cos_half) / smooth, _f(0)), _f(1))
        rows[RECEIVED + k] *= t * t * (_f(3) - _f(2) * t)


@nb.njit(cache=True, error_model="numpy")
def _look_at_area(rows, position, lamp, node):  # type: ignore[no-untyped-def]
    l_x, l_y, l_z, weight = lamp[3] + node[0], lamp[4] + node[1], lamp[5] + node[2], node[3] * _f(1 / math.pi)
    out_x, out_y, out_z, tangent, softness = lamp[6], lamp[7], lamp[8], lamp[9], lamp[10]
    limited = tangent >= _f(0)
    for k in range(position.shape[0] // 3):
        x, y, z = l_x - position[3 * k], l_y - position[3 * k + 1], l_z - position[3 * k + 2]
        square = max(x * x + y * y + z * z, _f(1e-12))
        unit = _f(1) / np.sqrt(square)
        cos = max(-(x * out_x + y * out_y + z * out_z), _f(0)) * unit
        angle = np.sqrt(max(_f(1) / max(cos * cos, _f(1e-12)) - _f(1), _f(0)))
        spread = max((tangent - angle) / softness, _f(0)) if limited else _f(1)
        rows[L_X + k], rows[L_Y + k], rows[L_Z + k] = x * unit, y * unit, z * unit
        rows[RECEIVED + k] = weight * cos * spread / square


@nb.njit(cache=True, error_model="numpy")
def _shine(rows, many, lamp):  # type: ignore[no-untyped-def]
    """Stands for ``principled.specular``, added to the sums."""
    power_r, power_g, power_b = lamp[0], lamp[1], lamp[2]
    for k in range(many):
        n_x, n_y, n_z = rows[N_X + k], rows[N_Y + k], rows[N_Z + k]
        l_x, l_y, l_z = rows[L_X + k], rows[L_Y + k], rows[L_Z + k]
        h_x, h_y, h_z = rows[E_X + k] + l_x, rows[E_Y + k] + l_y, rows[E_Z + k] + l_z
        unit = _f(1) / max(np.sqrt(h_x * h_x + h_y * h_y + h_z * h_z), _f(1e-12))
        cos_half = min(max((n_x * h_x + n_y * h_y + n_z * h_z) * unit, _f(0)), _f(1))
        cos_light = min(max(n_x * l_x + n_y * l_y + n_z * l_z, _f(0)), _f(1))
        between = min(max((l_x * h_x + l_y * h_y + l_z * h_z) * unit, _f(0)), _f(1))
        square = rows[SQUARE + k]
        spread = cos_half * cos_half * (square - _f(1)) + _f(1)
        masked = _masking(cos_light, square) + rows[MASKED + k]
        shape = square / (_f(4 * math.pi) * spread * spread * rows[COS_EYE + k] * masked)
        light = rows[RECEIVED + k] * shape if cos_light > 0 else _f(0)
        rest = _f(1) - between
        schlick = rest * rest * (rest * rest) * rest
        plain = rows[PLAIN + k]
        remapped = (_dielectric(between, rows[ETA + k]) - plain) / max(_f(1) - plain, _f(1e-6))
        remapped = min(max(remapped, _f(0)), _f(1))
        r, g, b = light * power_r, light * power_g, light * power_b
        layer, base = rows[LAYER + k], _f(1) - remapped
        metal_r, metal_g, metal_b = rows[METAL_R + k], rows[METAL_G + k], rows[METAL_B + k]
        rows[PART_R + k] += metal_r * (_f(1) - schlick) * r
        rows[PART_G + k] += metal_g * (_f(1) - schlick) * g
        rows[PART_B + k] += metal_b * (_f(1) - schlick) * b
        rows[ADDED_R + k] += (layer * (rows[F0_R + k] * base + remapped) + metal_r * schlick) * r
        rows[ADDED_G + k] += (layer * (rows[F0_G + k] * base + remapped) + metal_g * schlick) * g
        rows[ADDED_B + k] += (layer * (rows[F0_B + k] * base + remapped) + metal_b * schlick) * b


@nb.njit(cache=True, inline="always")
def _dielectric(cos, eta):  # type: ignore[no-untyped-def]
    """Stands for ``principled._dielectric``."""
    g = np.sqrt(max(eta * eta - _f(1) + cos * cos, _f(1e-12)))
    minus = (g - cos) / (g + cos)
    ratio = (cos * (g + cos) - _f(1)) / (cos * (g - cos) + _f(1))
    return _f(0.5) * minus * minus * (_f(1) + ratio * ratio)


@nb.njit(cache=True)
def _finish(rows, share, scale, added):  # type: ignore[no-untyped-def]
    for k in range(scale.shape[0] // 3):
        left = rows[DIFFUSE + k]
        scale[3 * k] = scale[3 * k] * left + share * rows[PART_R + k]
        scale[3 * k + 1] = scale[3 * k + 1] * left + share * rows[PART_G + k]
        scale[3 * k + 2] = scale[3 * k + 2] * left + share * rows[PART_B + k]
        added[3 * k] = share * rows[ADDED_R + k]
        added[3 * k + 1] = share * rows[ADDED_G + k]
        added[3 * k + 2] = share * rows[ADDED_B + k]
