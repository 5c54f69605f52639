"""Θ: the free texels (or vertex colours) of an object, their mask, and the way from Θ to a linear pool and to bytes.

Only texels that the surface covers and the mask frees are parameters. A UV texture is padded: what no surface covers
takes the colour of a free texel near it, so that filtering across an edge finds the new colour, not the old, at any mip
level, here and in Blender's viewport.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput
from shared.scene import Scene, Texture, UvTexture, VertexTexture

from .pad_kernels import grow
from .render import pool_kernels
from .render.color import from_bytes, saturate, srgb_decode, to_bytes
from .render.excerpt import Excerpt
from .render.geometry import Geometry, from_mesh
from .render.rasterizer import Rasterizer
from .render.sampling import build_pool
from .render.taps import MipLayout
from .texel_surface import in_uv_space, tiles

#: So many texels are looked at at once, which bounds memory.
BLOCK = 1 << 22
#: Up to this share of the texture's size, padding takes the nearest texel; farther away, one of the nearer ones.
PADDING = 1 / 64


@dataclass(frozen=True)
class TextureModel:
    """A texture as a function of Θ ``[K, 3]`` (display-encoded, [0, 1]), everything else held fixed.

    ``start [K, 3]`` is the original Θ₀ and ``weight [K, 1]`` its mask. Texel ``target[i]`` of the flattened texture has
    the value of parameter ``source[i]``; all other texels keep ``original [N, 3] uint8``. ``layout`` is None for vertex
    colours.
    """

    original: Tensor
    shape: tuple[int, ...]
    layout: MipLayout | None
    start: Tensor
    weight: Tensor
    target: Tensor
    source: Tensor
    coverage: float

    def values(self, theta: Tensor) -> Tensor:
        """Θ with the mask applied, ``[K, 3]``: Θ₀ + w · (Θ − Θ₀)."""
        return saturate(self.start + self.weight * (theta - self.start))

    def encoded(self, theta: Tensor) -> Tensor:
        """The whole texture, display-encoded, ``[N, 3]``; differentiable."""
        if theta.device.type == "cpu" and theta.dtype == torch.float32:
            return _Encoded.apply(theta, self)  # type: ignore[no-any-return]
        return self.encoded_reference(theta)

    def encoded_reference(self, theta: Tensor) -> Tensor:
        """:meth:`encoded` in torch."""
        return from_bytes(self.original).index_copy(0, self.target, self.values(theta)[self.source])

    def pool(self, theta: Tensor, linear_original: Tensor, excerpt: Excerpt | None = None) -> Tensor:
        """The linear pool that the renderer samples, or an excerpt of it; `linear_original` is ``linear()`` (kept by
        the caller)."""
        if theta.device.type == "cpu" and theta.dtype == torch.float32:
            return _Pool.apply(theta, self, linear_original, excerpt or self.whole)  # type: ignore[no-any-return]
        return self.pool_reference(theta, linear_original, excerpt)

    def pool_reference(self, theta: Tensor, linear_original: Tensor, excerpt: Excerpt | None = None) -> Tensor:
        """:meth:`pool` in torch."""
        linear = linear_original.index_copy(0, self.target, srgb_decode(self.values(theta))[self.source])
        pool = self._pool(linear)
        return pool if excerpt is None else excerpt.of_pool(pool)

    def free(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, pool_kernels.Parameters]:
        """What the compiled kernels ask of Θ: itself, Θ₀, its mask, and which texels it is of."""
        return theta.contiguous(), self.start, self.weight, self.parameters

    @functools.cached_property
    def parameters(self) -> pool_kernels.Parameters:
        """``target`` and ``source`` as the compiled kernels want them."""
        weight = self.weight.view(-1).numpy()
        return pool_kernels.Parameters.of(self.target.numpy(), self.source.numpy(), weight, self.levels)

    @functools.cached_property
    def whole(self) -> Excerpt:
        """That of the whole pool."""
        return Excerpt.everything(self.levels.starts)

    @functools.cached_property
    def levels(self) -> MipLayout:
        """The layout of the pool; that of vertex colours is one row."""
        return self.layout or MipLayout.of(1, len(self.original), mips=False)

    def linear(self) -> Tensor:
        """The original texture, linear, ``[N, 3]``."""
        return srgb_decode(from_bytes(self.original))

    def pool_of(self, texture: Tensor) -> Tensor:
        """The linear pool of an 8-bit texture ``[N, 3]``."""
        return self.pool_of_encoded(from_bytes(texture))

    def pool_of_encoded(self, encoded: Tensor) -> Tensor:
        """The linear pool of a whole display-encoded texture ``[N, 3]``; differentiable with respect to it."""
        return self._pool(srgb_decode(encoded))

    def _pool(self, linear: Tensor) -> Tensor:
        return linear if self.layout is None else build_pool(linear.reshape(self.shape), self.layout)

    def quantised(self, theta: Tensor) -> Tensor:
        """The texture as bytes ``[N, 3] uint8``: what is written, and what all reported figures are measured on.

        At Θ₀ that is the original, also where nothing is covered.
        """
        if torch.equal(theta, self.start):
            return self.original
        return self.original.index_copy(0, self.target, to_bytes(self.values(theta))[self.source])

    def as_texture(self, texture: Tensor) -> Texture:
        """Bytes ``[N, 3]`` as the type that crosses the wire."""
        array = texture.cpu().numpy().reshape(self.shape)
        return VertexTexture(array) if self.layout is None else UvTexture(array)

    def max_change_outside(self, texture: Tensor) -> int:
        """The greatest change, in 8-bit levels, of any texel whose mask weight is zero."""
        free = torch.zeros(len(self.original), dtype=torch.bool, device=self.original.device)
        free[self.target[self.weight[self.source, 0] > 0]] = True
        change = (texture.int() - self.original.int()).abs().amax(dim=1)
        return int(change[~free].max()) if (~free).any() else 0


class _Pool(torch.autograd.Function):
    """The compiled pool, and the product with its Jacobian."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, model: TextureModel, linear_original: Tensor, excerpt: Excerpt) -> Tensor:
        ctx.model, ctx.excerpt = model, excerpt
        ctx.save_for_backward(theta)
        return pool_kernels.build(*model.free(theta), linear_original, model.levels, excerpt)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        model: TextureModel = ctx.model
        (theta,) = ctx.saved_tensors
        slope = pool_kernels.gradient(grad.contiguous(), *model.free(theta), model.levels, ctx.excerpt)
        return slope, None, None, None


class _Encoded(torch.autograd.Function):
    """The compiled texture, and the product with its Jacobian."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, model: TextureModel) -> Tensor:
        ctx.model = model
        ctx.save_for_backward(theta)
        return pool_kernels.encoded(*model.free(theta), from_bytes(model.original), model.whole)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        model: TextureModel = ctx.model
        (theta,) = ctx.saved_tensors
        return pool_kernels.encoded_gradient(grad.contiguous(), *model.free(theta), model.whole), None


def free_weights(scene: Scene, rasterizer: Rasterizer) -> np.ndarray:
    """How free each texel (or vertex) of the scene's texture is, ``[N] float32`` in [0, 1]; −1: nothing covers it.

    Raises :class:`InvalidInput` when the mask leaves nothing free.
    """
    if isinstance(scene.texture, VertexTexture):
        return scene.mesh.mask
    height, width = scene.texture.image.shape[:2]
    weight = texel_weights(from_mesh(scene.mesh), torch.tensor(scene.mesh.mask), rasterizer, height, width)
    if not (weight > 0).any():
        raise InvalidInput(
            f"The mask of {scene.mesh.name!r} covers no texel of its {width} × {height} texture.",
            hint="Widen the mask, choose a larger --texture-size, or check the UV map.",
        )
    return weight


def texture_model(scene: Scene, weight: np.ndarray, device: torch.device) -> TextureModel:
    """The texture of `scene` as a function of its free texels or vertices: those with a `weight` above 0 (see
    :func:`free_weights`)."""
    if isinstance(scene.texture, VertexTexture):
        return _vertex_model(scene.texture, weight, device)
    return _uv_model(scene.texture, weight, device)


def _vertex_model(texture: VertexTexture, weight: np.ndarray, device: torch.device) -> TextureModel:
    free = np.flatnonzero(weight > 0)
    return _model(texture.colors, None, weight, free, free, np.arange(len(free)), float((weight > 0).mean()), device)


def _uv_model(texture: UvTexture, weight: np.ndarray, device: torch.device) -> TextureModel:
    height, width = texture.image.shape[:2]
    free = np.flatnonzero(weight > 0)
    radius = max(2, round(PADDING * max(height, width)))
    covered = float((weight > 0).sum() / max(1, (weight >= 0).sum()))
    # What lies far from a small free part keeps its colour as most of the surface does: a patch stays small.
    target, follows = pad(weight.reshape(height, width), radius, everywhere=covered > 0.5)
    position = np.full(height * width, -1)
    position[free] = np.arange(len(free))
    padded = position[follows] >= 0
    return _model(
        texture.image,
        MipLayout.of(height, width),
        weight,
        free,
        np.concatenate([free, target[padded]]),
        np.concatenate([np.arange(len(free)), position[follows[padded]]]),
        covered,
        device,
    )


def _model(
    image: np.ndarray,
    layout: MipLayout | None,
    weight: np.ndarray,
    free: np.ndarray,
    target: np.ndarray,
    source: np.ndarray,
    coverage: float,
    device: torch.device,
) -> TextureModel:
    original = torch.tensor(image.reshape(-1, 3), device=device)
    return TextureModel(
        original=original,
        shape=image.shape,
        layout=layout,
        start=from_bytes(original[torch.from_numpy(free).to(device)]),
        weight=torch.from_numpy(weight.reshape(-1, 1)[free]).to(device, torch.float32),
        target=torch.from_numpy(target).to(device),
        source=torch.from_numpy(source).to(device),
        coverage=coverage,
    )


def texel_weights(geometry: Geometry, mask: Tensor, rasterizer: Rasterizer, height: int, width: int) -> np.ndarray:
    """The vertex mask ``[V]`` at texel centres, ``[H · W] float32``; −1 where no triangle covers the texel.

    Row 0 is at the bottom. Where triangles overlap in UV space the least weight holds: what is to be kept is kept.
    """
    corner_mask = mask[geometry.triangles].reshape(-1, 1)
    weights = np.full(height * width, np.inf, np.float32)
    for tile in tiles(geometry.uv):
        # Halved, so that nothing lies on the far plane.
        seen = in_uv_space(geometry, tile, corner_mask / 2, rasterizer, height, width)
        for triangle, first, sample in zip(
            *(torch.split(each, BLOCK) for each in (seen.triangle, seen.barycentric, seen.sample)), strict=True
        ):
            corners = corner_mask.reshape(-1, 3)[triangle.long()]
            share = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1)
            found = (corners * share).sum(dim=1).clamp(0.0, 1.0).numpy()
            at = sample.numpy()  # each texel once: a tile has one nearest triangle for it
            weights[at] = np.minimum(weights[at], found)
    weights[np.isinf(weights)] = -1
    return weights


def pad(weight: np.ndarray, radius: int, *, everywhere: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The uncovered texels (weight < 0 in ``[H, W]``), and the covered texel that each follows; both flat indices.

    Within `radius` of an island that is one of the nearest (rings, which wrap as the texture repeats), beyond it one
    that lies in the same block of texels, the smallest that has any (not unless `everywhere`).
    """
    height, width = weight.shape
    follows = np.where(weight >= 0, np.arange(height * width, dtype=np.int32).reshape(height, width), np.int32(-1))
    grow(follows, radius)
    follows = (_filled(follows) if everywhere else follows).ravel()
    target = np.flatnonzero((weight < 0).ravel() & (follows >= 0))
    return target, follows[target]


def _filled(follows: np.ndarray) -> np.ndarray:
    """`follows [H, W]` where entries below 0 have that of a block around them: a pyramid, down and up again."""
    if (follows >= 0).all() or follows.size == 1:
        return follows
    height, width = follows.shape
    even = np.pad(follows, ((0, height % 2), (0, width % 2)), constant_values=-1)
    coarse = _filled(np.maximum.reduce([even[y::2, x::2] for y in (0, 1) for x in (0, 1)]))
    return np.where(follows < 0, coarse.repeat(2, axis=0).repeat(2, axis=1)[:height, :width], follows)
