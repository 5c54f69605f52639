"""Compiles the GPU's kernels for GPUs that are not here: a program of its own, as Triton runs kernels in its
interpreter from the first one on, or not at all. (When they are called, Triton compiles them anew for whole numbers
that are 1 or multiples of 16.)

``python -m helpers.triton_ahead 80 90`` prints the PTX of each kernel, by compute capability (90 is 9.0), as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from compute_server.render import gpu_kernels
from compute_server.render.geometry import clip_from_world, eye_points, from_mesh
from compute_server.render.raster_numba import NumbaRasterizer
from compute_server.render.taps import MipLayout, MipTaps, Taps, Transport
from shared.scene import AreaLight, LightState

from .scenes import camera, sphere

_POINTERS = {torch.float32: "*fp32", torch.int32: "*i32"}
_WARP = 32


@contextlib.contextmanager
def _compiled_for(capability: int) -> Iterator[dict[str, str]]:
    """Within it, a kernel that is called is compiled to machine code, and not run. Gives the PTX of those called so
    far, by name. Raises what the compiler raises."""
    found: dict[str, str] = {}

    def compiled(kernel: Any, *given: Any, grid: Any, warmup: bool, **constants: Any) -> None:
        del grid, warmup
        signature = {name: _type(value) for name, value in zip(kernel.arg_names, given, strict=False)}
        pointers = [at for at, kind in enumerate(signature.values()) if kind.startswith("*")]
        source = ASTSource(
            kernel,
            {**signature, **dict.fromkeys(constants, "constexpr")},
            constants,
            {(at,): [["tt.divisibility", 16]] for at in pointers},  # torch's memory begins at multiples of more
        )
        made = compile_kernel(source, GPUTarget("cuda", capability, _WARP))
        found["".join([kernel.__name__, *(f" {name} {value}" for name, value in constants.items())])] = made.asm["ptx"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", compiled)
        yield found


def _type(value: torch.Tensor | int | float) -> str:
    if isinstance(value, torch.Tensor):
        return _POINTERS[value.dtype]
    return "i32" if isinstance(value, int) else "fp32"


def _call_all() -> None:
    """Call each kernel, in each of its forms."""
    geometry, cameras, layout = from_mesh(sphere()), (camera((2, -3, 2)),), MipLayout.of(16, 16)
    matrices, eyes = clip_from_world(cameras), eye_points(cameras)
    visible = NumbaRasterizer().rasterize(geometry, matrices, 8, 8)
    position, normal, uv, footprint = gpu_kernels.interpolate(geometry, visible, matrices, eyes)
    panel = AreaLight(power=(1.0, 1.0, 1.0), position=(3, -4, 3), axis_x=(1, 0, 0), axis_y=(0, 1, 0), shape="ellipse")
    states = [LightState(name="panel", lights=(panel,))]
    light = gpu_kernels.radiance(states, position, normal, visible.view_start, 1.0, [(0.1, 0.1, 0.1)])
    places = MipTaps(gpu_kernels.mip_places(uv, footprint, layout), layout)
    listed = Taps(torch.zeros(len(uv), 3, dtype=torch.int32), torch.ones(len(uv), 3))
    picture = torch.zeros(1, 8, 8, 3)
    for taps in (places, listed):
        transport = Transport(taps, light, visible.sample, visible.view_start, picture)
        gpu_kernels.gather(torch.zeros(layout.starts[-1], 3), transport)
        for width in (3, 4):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(gpu_kernels, "_texel_width", lambda _, width=width: width)
                gpu_kernels.scatter(picture, transport, layout.starts[-1])
    gpu_kernels.encode_gradient(picture, picture, gpu_kernels.encode(picture))


def _all_for(capability: int) -> dict[str, str]:
    with _compiled_for(capability) as found:
        _call_all()
    return found


if __name__ == "__main__":
    json.dump({given: _all_for(int(given)) for given in sys.argv[1:]}, sys.stdout)
