"""Visibility: which triangle is seen at which sample. The protocol, its packed result, and the choice between them.

A rasterizer knows geometry and cameras; nothing of textures, lights or colours. Every implementation passes the
conformance suite in ``tests/server/test_rasterizers.py``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from shared.errors import InvalidInput

from .geometry import Geometry

_log = logging.getLogger(__name__)

HOW_TO_INSTALL = (
    "nvdiffrast draws on the GPU. It is not on PyPI and licensed for research and evaluation only; with a CUDA toolkit "
    "of torch's version and ninja: pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast"
)
INSTALL_WARP = "pip install warp-lang"


@dataclass(frozen=True)
class Visibility:
    """The covered samples of N views of H × W samples, ordered by view and then by row and column.

    ``triangle [P] int32``; ``barycentric [P, 2] float32``, perspective-correct weights of the triangle's first two
    corners; ``sample [P] int32``, index into the flattened [N, H, W] (row 0 at the top); ``view_start [N + 1] int64``
    (on the CPU), where each view's samples begin.
    """

    triangle: Tensor
    barycentric: Tensor
    sample: Tensor
    view_start: Tensor
    height: int
    width: int


class Rasterizer(Protocol):
    """Finds the nearest surface behind each sample."""

    name: str

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device.

        `matrices` are [N, 4, 4] float64, world to OpenGL clip space; samples lie at the centres of an H × W grid.
        Both sides of a triangle are seen; what is nearer than the near plane or beyond the far plane is cut away.
        """


def choose(name: str, device: torch.device) -> Rasterizer:
    """The rasterizer called `name` (``numba``, ``numpy``, ``nvdiffrast``, ``warp``), or the best for the device for
    ``auto``: that is never ``warp``, whose speed on a GPU has not been measured yet."""
    if name == "auto":
        name = "nvdiffrast" if device.type == "cuda" and nvdiffrast_installed() else "numba"
        if device.type == "cuda" and name == "numba":
            _log.warning("Views are rasterised on the CPU. %s", HOW_TO_INSTALL)
    if name == "numba":
        from .raster_numba import NumbaRasterizer

        return NumbaRasterizer()
    if name == "numpy":
        from .raster_numpy import NumpyRasterizer

        return NumpyRasterizer()
    if name == "nvdiffrast":
        from .raster_nvdiffrast import NvdiffrastRasterizer

        return NvdiffrastRasterizer(device)
    if name == "warp":
        if not warp_installed():
            raise InvalidInput("The warp rasterizer needs the warp-lang package.", hint=f"Run `{INSTALL_WARP}`.")
        from .raster_warp import WarpRasterizer

        return WarpRasterizer(device)
    raise InvalidInput(f"No rasterizer is called {name!r}.", hint="There are auto, numba, numpy, nvdiffrast and warp.")


@functools.cache
def nvdiffrast_installed() -> bool:
    """Whether nvdiffrast can be imported; it is never installed by this project (research and evaluation licence)."""
    try:
        import nvdiffrast.torch  # noqa: F401
    except (ImportError, OSError):  # not there, or built against another torch or CUDA
        return False
    return True


def warp_installed() -> bool:
    """Whether NVIDIA Warp can be imported."""
    return find_spec("warp") is not None


def in_chunks(draw: Callable[[np.ndarray], tuple[Tensor, Tensor]], matrices: np.ndarray, views: int) -> Visibility:
    """What `draw` sees through `matrices` ``[N, 4, 4]``, so many `views` at once; it gives dense images as :func:`pack`
    takes them."""
    drawn = [draw(matrices[start : start + views]) for start in range(0, len(matrices), views)]
    return pack(_joined([each[0] for each in drawn]), _joined([each[1] for each in drawn]))


def _joined(parts: list[Tensor]) -> Tensor:
    """Parts one after another; one part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def pack(triangle: Tensor, barycentric: Tensor) -> Visibility:
    """Dense images as packed samples: ``triangle [N, H, W]`` (−1: nothing; any type of number), ``barycentric
    [N, H, W, 2]``."""
    views, height, width = triangle.shape
    flat = triangle.reshape(-1)
    sample = torch.nonzero(flat >= 0).reshape(-1)
    starts = torch.arange(views + 1, device=sample.device) * (height * width)
    return Visibility(
        triangle=flat[sample].to(torch.int32),
        barycentric=barycentric.reshape(-1, 2)[sample].to(torch.float32),
        sample=sample.to(torch.int32),
        view_start=torch.searchsorted(sample, starts).cpu(),
        height=height,
        width=width,
    )
