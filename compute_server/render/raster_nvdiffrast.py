"""Visibility by nvdiffrast on CUDA (0.4 API). Installed by the user; see the README for its licence."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from shared.errors import InvalidInput

from .geometry import Geometry
from .rasterizer import HOW_TO_INSTALL, Visibility, in_chunks, nvdiffrast_installed

#: Views are drawn in chunks of about so many triangles and samples: nvdiffrast's memory grows with both.
TRIANGLES_PER_CHUNK = 4_000_000
SAMPLES_PER_CHUNK = 32_000_000
UPSIDE_DOWN = np.array([[1.0], [-1.0], [1.0], [1.0]])


@functools.cache
def _context(device: torch.device) -> Any:
    """The one context of this process on `device`: each that is made keeps its memory."""
    import nvdiffrast.torch as dr

    return dr.RasterizeCudaContext(device=device)


class NvdiffrastRasterizer:
    """See :class:`~compute_server.render.rasterizer.Rasterizer`."""

    name = "nvdiffrast"

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda" or not nvdiffrast_installed():
            raise InvalidInput(
                "The nvdiffrast rasterizer needs a CUDA device and the nvdiffrast package.",
                hint=f"Choose --rasterizer numba. {HOW_TO_INSTALL}",
            )
        import nvdiffrast.torch as dr

        self._dr = dr
        self._context = _context(device)

    def rasterize(self, geometry: Geometry, matrices: np.ndarray, height: int, width: int) -> Visibility:
        """Visibility on the geometry's device."""
        triangles = TRIANGLES_PER_CHUNK // max(1, len(geometry.triangles))
        chunk = max(1, min(triangles, SAMPLES_PER_CHUNK // (height * width)))
        return in_chunks(lambda some: self._draw(geometry, some, height, width), matrices, chunk)

    def _draw(
        self, geometry: Geometry, matrices: np.ndarray, height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # nvdiffrast's row 0 is at the bottom (OpenGL), ours at the top: it draws what it is told upside down.
        clip, triangles = geometry.clip(matrices * UPSIDE_DOWN), geometry.triangles_int32
        drawn = self._dr.rasterize(self._context, clip, triangles, (height, width), grad_db=False)
        if isinstance(drawn, Exception):  # rasterize returns, rather than raises, one of its errors
            raise drawn
        raster = drawn[0]
        return raster[..., 3] - 1, raster[..., :2]
