"""`python -m bench.peers` (in tests/): other differentiable renderers at the same job, beside ours, in one run.

Same mesh, cameras, light, texture, size and samples per pixel; rendering forward, and backward to the texture. What
each shows is compared with ours where the object covers all of it: linear colours, relative to their mean.
Mitsuba 3 comes from PyPI and may live in an environment of its own: PEERS_PYTHON names its interpreter
(DRJIT_LIBLLVM_PATH an LLVM that it can use). PyTorch3D is built from source, and compared when it can be imported here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from compute_server.bench import step_timers
from compute_server.bench_scene import bench_scene
from compute_server.problem import Problem, make_problem
from compute_server.render.geometry import clip_from_world
from compute_server.render.rasterizer import nvdiffrast_installed
from compute_server.render.sampling import accumulate
from compute_server.views import RandomViews, generators, random_views
from shared import messages as m
from shared.scene import Camera, PointLight, SunLight

VIEWS, SIZE, SAMPLES, TEXTURE = 15, 224, 4, 512


def rows(device: str, repeats: int = 7) -> list[str]:
    """A line for each renderer: how long it takes, or why it was not compared."""
    problem = _problem(device)
    own = own_times(problem, repeats)
    lines = [
        f"ours, {problem.renderer.rasterizer.name}: fixed {own['fixed']:.1f} ms, resampled {own['resampled']:.1f} ms"
    ]
    if problem.device.type == "cuda":
        lines.append(_nvdiffrast(problem, own, repeats))
    return [*lines, _mitsuba(problem, own, repeats), _pytorch3d(problem, own, repeats)]


def _problem(device: str) -> Problem:
    settings = m.Settings(target="sports car", views=VIEWS, samples=SAMPLES, augment=(), octaves=1)
    return make_problem(m.Job(id="peers", scene=bench_scene(TEXTURE), settings=settings), torch.device(device))


def _stream(problem: Problem) -> RandomViews:
    """Views that begin anew: all renderers draw the same."""
    return random_views(problem.job.scene.rig, generators(0).train, "grey")


def _cameras(stream: RandomViews) -> list[Camera]:
    """Those of the next step."""
    return [view.camera for view in itertools.islice(stream, VIEWS)]


def _compared(times: dict[str, float], own: dict[str, float]) -> str:
    """Milliseconds, and as multiples of ours."""
    return ", ".join(f"{name} {times[name]:.1f} ms ({times[name] / own[name]:.2f} × ours)" for name in own)


def own_times(problem: Problem, repeats: int) -> dict[str, float]:
    """Milliseconds for Θ → pictures → gradient of Θ."""
    renderer, theta, stream = problem.renderer, problem.texture.start, _stream(problem)
    kept = renderer.prepare_kept(list(itertools.islice(stream, VIEWS)), SIZE, SAMPLES)
    slope = torch.randn(kept.base.shape, generator=torch.Generator().manual_seed(0)).to(theta.device)

    def step(transport: Any) -> None:
        free = theta.detach().requires_grad_()
        pool = problem.texture.pool(free, problem.linear_original, transport.excerpt)
        renderer.draw(pool, transport).backward(slope)

    def resampled() -> None:
        step(renderer.prepare(list(itertools.islice(stream, VIEWS)), SIZE, SAMPLES))

    return {name: _median_ms(run, repeats) for name, run in (("fixed", lambda: step(kept)), ("resampled", resampled))}


def _median_ms(run: Callable[[], None], repeats: int) -> float:
    times = []
    for turn in range(repeats + 1):
        began = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if turn:
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def _difference(problem: Problem, pictures: Tensor) -> float:
    """How far linear `pictures` ``[N, H, W, 3]`` of the first cameras in the rig's own light are from ours, of ours."""
    light = problem.job.scene.rig.lights[0]
    views = [msgspec.structs.replace(view, lights=light) for view in itertools.islice(_stream(problem), VIEWS)]
    with torch.no_grad():
        transport = problem.renderer.prepare(views, SIZE, SAMPLES)
        own = accumulate(problem.texture.pool(problem.texture.start, problem.linear_original), transport)
    # Blocks of pixels, as Mitsuba's pictures are noisy; those that the object covers whole.
    here, there, behind = (_blocks(each.to(own.device)) for each in (own, pictures, transport.base))
    whole = behind.amax(dim=1) == 0
    return float((here - there).abs().amax(dim=1)[whole].mean() / here.mean(dim=1)[whole].mean())


def _blocks(pictures: Tensor) -> Tensor:
    """Means over blocks of 7 × 7 pixels, ``[N, 3, H / 7, W / 7]``."""
    return torch.nn.functional.avg_pool2d(pictures.permute(0, 3, 1, 2), 7)


# --- Mitsuba 3 --------------------------------------------------------------------------------------------------------


def _mitsuba(problem: Problem, own: dict[str, float], repeats: int) -> str:
    python = os.environ.get("PEERS_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import mitsuba"], capture_output=True, check=False).returncode:
        return "Mitsuba 3: not installed (pip install mitsuba; PEERS_PYTHON names the interpreter that has it)"
    variant = "cuda_ad_rgb" if problem.device.type == "cuda" else "llvm_ad_rgb"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.npz"
        np.savez(path, **_scene_arrays(problem), mesh_path=np.array(str(Path(folder) / "body.ply")))
        script, pictures = Path(__file__).with_name("mitsuba_peer.py"), Path(folder) / "pictures.npy"
        done = subprocess.run(
            [python, str(script), str(path), variant, str(repeats), str(pictures)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = next(reversed(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
            return f"Mitsuba 3: did not run ({reason})"
        difference = _difference(problem, torch.from_numpy(np.load(pictures)))
    found = json.loads(done.stdout.strip().splitlines()[-1])
    compared = _compared({name: found[f"{name}_ms"] for name in own}, own)
    what = f"Mitsuba {found['version']} ({found['variant']}, {found['threads']} threads)"
    return f"{what}: {compared}; pictures differ by {difference:.1%}"


def _scene_arrays(problem: Problem) -> dict[str, Any]:
    scene = problem.job.scene
    cameras = _cameras(_stream(problem))
    sun = next(light for light in scene.rig.lights[0].lights if isinstance(light, SunLight))
    lamp = next(light for light in scene.rig.lights[0].lights if isinstance(light, PointLight))
    return {
        "corners": scene.mesh.positions[scene.mesh.triangles],
        "uv": scene.mesh.uv,
        "texture": problem.texture.linear().reshape(TEXTURE, TEXTURE, 3).cpu().numpy(),
        "to_world": np.stack([np.linalg.inv(camera.view) for camera in cameras]),
        "fov": np.array([math.degrees(2 * math.atan(1 / camera.projection[0, 0])) for camera in cameras]),
        # In frames: NDC is two units wide.
        "offset": np.array([camera.projection[:2, 2] / 2 for camera in cameras]),
        "size": SIZE,
        "samples": SAMPLES,
        "slope": np.random.default_rng(0).normal(size=(SIZE, SIZE, 3)).astype(np.float32),
        "sun": np.array(sun.power),
        "sun_direction": np.array(sun.direction),
        "lamp": np.array(lamp.power),
        "lamp_position": np.array(lamp.position),
        "world": np.array(scene.rig.lights[0].world),
    }


# --- nvdiffrast -------------------------------------------------------------------------------------------------------


def _nvdiffrast(problem: Problem, own: dict[str, float], repeats: int) -> str:
    """The floor of rendering on a GPU: nvdiffrast's texture as it comes, without light or background."""
    if not nvdiffrast_installed():
        return "nvdiffrast: not installed (built from its source against the installed torch)"
    import nvdiffrast.torch as dr

    geometry, device = problem.renderer.geometry, problem.device
    side, context = SIZE * math.isqrt(SAMPLES), dr.RasterizeCudaContext(device=device)
    corners = torch.arange(3 * len(geometry.triangles), dtype=torch.int32, device=device).reshape(-1, 3)
    uv = geometry.uv.reshape(1, -1, 2).contiguous()
    theta = problem.texture.linear().reshape(1, TEXTURE, TEXTURE, 3).contiguous()
    slope = torch.randn(VIEWS, side, side, 3, device=device)
    stream = _stream(problem)

    def rasterised() -> tuple[Tensor, Tensor]:
        clip = geometry.clip(clip_from_world(_cameras(stream)))
        seen, seen_db = dr.rasterize(context, clip, geometry.triangles_int32, (side, side))
        found: tuple[Tensor, Tensor] = dr.interpolate(uv, seen, corners, rast_db=seen_db, diff_attrs="all")
        return found

    def step(kept: tuple[Tensor, Tensor]) -> None:
        free = theta.detach().requires_grad_()
        dr.texture(free, *kept, filter_mode="linear-mipmap-linear").backward(slope)

    kept = rasterised()
    times = {
        "fixed": _median_ms(lambda: step(kept), repeats),
        "resampled": _median_ms(lambda: step(rasterised()), repeats),
    }
    return f"nvdiffrast's bare texture, without light or background: {_compared(times, own)}"


# --- PyTorch3D --------------------------------------------------------------------------------------------------------


def _pytorch3d(problem: Problem, own: dict[str, float], repeats: int) -> str:
    if find_spec("pytorch3d") is None:
        return "PyTorch3D: not installed (built from its source against the installed torch)"
    times, pictures = _pytorch3d_times(problem, repeats)
    what = "PyTorch3D (no gradients of vertices, fixed views rasterised once)"
    line = f"{what}: {_compared(times, own)}; pictures differ by {_difference(problem, pictures):.1%}"
    return f"{line}. {_whole_steps(problem, times['fixed'], repeats)}"


def _whole_steps(problem: Problem, rendering: float, repeats: int) -> str:
    """Whole steps with fixed views: ours, and of one whose `rendering` takes so many milliseconds."""
    timers, _ = step_timers(problem, SIZE)
    alone = next(run for name, run in timers.items() if name.startswith("classifier "))
    ours, classifier, plain = (_median_ms(run, repeats) for run in (timers["fixed"], alone, timers["plain"]))
    theirs = "; ".join(
        f"{rendering + each:.0f} ms with {name} (ours is {ours / (rendering + each):.2f} of it)"
        for name, each in (("our classifier", classifier), ("the network as its package makes it", plain))
    )
    return f"A whole step with fixed views: ours {ours:.0f} ms; theirs {theirs}"


def _pytorch3d_times(problem: Problem, repeats: int) -> tuple[dict[str, float], Tensor]:
    """As tuned as it goes without changing PyTorch3D: one face per sample, fragments kept, one `grid_sample`. Times in
    milliseconds, and its pictures ``[N, H, W, 3]``."""
    from pytorch3d.ops import interpolate_face_attributes
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    scene, device = problem.job.scene, problem.device
    geometry = problem.renderer.geometry
    side = SIZE * math.isqrt(SAMPLES)
    stream = _stream(problem)
    light = scene.rig.lights[0]

    def rasterised() -> tuple[Tensor, Tensor, Tensor]:
        """Where samples look [N, S, S, 2], their radiance on white [N, S, S, 3], and whether they see anything."""
        from compute_server.render.lights import irradiance

        projected = geometry.clip(clip_from_world(_cameras(stream)))
        ndc = torch.cat([-projected[..., :1], projected[..., 1:2], projected[..., 3:]], dim=2)
        ndc[..., :2] /= projected[..., 3:]
        meshes = Meshes(list(ndc), [geometry.triangles] * VIEWS)
        faces, _, weights, _ = rasterize_meshes(meshes, side, faces_per_pixel=1, perspective_correct=True)
        position, normal, uv = (
            interpolate_face_attributes(faces, weights, each.repeat(VIEWS, 1, 1))[:, :, :, 0]
            for each in (geometry.positions[geometry.triangles], geometry.normals, geometry.uv)
        )
        lit = irradiance(light.lamps, position.reshape(-1, 3), normal.reshape(-1, 3)).reshape(position.shape) / math.pi
        return uv * 2 - 1, lit + torch.tensor(light.world, device=device), (faces[..., 0] >= 0)[..., None]

    theta = problem.texture.linear().reshape(1, TEXTURE, TEXTURE, 3).permute(0, 3, 1, 2).contiguous()
    slope = torch.randn(VIEWS, SIZE, SIZE, 3, device=device)

    def draw(free: Tensor, kept: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        uv, radiance, seen = kept
        texture = free.expand(VIEWS, -1, -1, -1)
        albedo = torch.nn.functional.grid_sample(texture, uv, align_corners=False).permute(0, 2, 3, 1)
        picture = albedo * radiance * seen + 0.2 * ~seen
        return torch.nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), math.isqrt(SAMPLES)).permute(0, 2, 3, 1)

    def step(kept: tuple[Tensor, Tensor, Tensor]) -> None:
        draw(theta.detach().requires_grad_(), kept).backward(slope)

    began = time.perf_counter()
    kept = rasterised()
    first = (time.perf_counter() - began) * 1000
    fixed = _median_ms(lambda: step(kept), repeats)
    # On a CPU it looks for each sample at each triangle: minutes, in which nothing needs to warm up.
    slow = device.type == "cpu"
    times = {
        "fixed": fixed,
        "resampled": first + fixed if slow else _median_ms(lambda: step(rasterised()), repeats),
    }
    with torch.no_grad():
        return times, draw(theta, kept)


def main() -> int:
    """Print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print("\n".join(rows(options.device, options.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
