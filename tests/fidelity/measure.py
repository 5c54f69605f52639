"""Both renderers' pictures of one scene, and how far they are apart."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import torch

from blender_addon import check, collect
from blender_addon.collect import color
from compute_server.classifiers import loaded
from compute_server.evaluate import judge
from compute_server.problem import Problem, make_problem
from compute_server.render.color import to_bytes
from compute_server.render.geometry import clip_from_world
from shared import messages
from shared.scene import Camera, Scene, View

from .scenes import Case

SAMPLES = 16
IOU, GAP = 0.995, 0.05
CLASSIFIER = "efficientnet_lite0"


@dataclass(frozen=True)
class Row:
    """What was measured of one scene: errors are display-encoded, inside the silhouette; ``gap`` is None without a
    target. ``pictures`` [K, 3, H, W, 3] uint8: server, Blender, difference × 4."""

    case: Case
    mean: float
    p99: float
    ssim: float
    iou: float
    gap: float | None
    seconds: float
    pictures: np.ndarray

    @property
    def misses(self) -> tuple[str, ...]:
        """The bars that the scene misses."""
        found = []
        if self.mean > self.case.bar:
            found.append(f"mean error {self.mean:.4f} > {self.case.bar}")
        if self.iou < IOU:
            found.append(f"silhouette IoU {self.iou:.4f} < {IOU}")
        if self.gap is not None and self.gap > GAP:
            found.append(f"confidence gap {self.gap:.3f} > {GAP}")
        return tuple(found)


def measure(case: Case, *, cycles_samples: int = 64, light_map_size: int = 256, engine: check.Engine = "cycles") -> Row:
    """Build the scene in an empty Blender, render it twice, compare."""
    began = time.perf_counter()
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.view_settings.view_transform = "Standard"
    obj = case.build()
    bpy.context.view_layer.update()
    choice = collect.BakeChoice(size=light_map_size, samples=min(cycles_samples, collect.BakeChoice().samples))
    whole = collect.collect(bpy.context, obj, mask=None, light=case.light, bake=choice).scene
    problem = _problem(case, whole)
    views = _views(case, whole.rig.lights[0])
    pool = problem.texture.pool_of(problem.texture.original)
    ours = to_bytes(problem.renderer.draw(pool, problem.renderer.prepare(views, case.size, SAMPLES))).numpy()
    coverage = _coverage(problem.renderer, [view.camera for view in views], case.size)
    theirs, alpha = _blender(case, obj, views, whole.rig.panoramas, cycles_samples, engine)
    error = np.abs(ours.astype(float) - theirs) / 255
    inside = (coverage > 0.5) & (alpha > 0.5)
    return Row(
        case=case,
        mean=float(error[inside].mean()),
        p99=float(np.quantile(error[inside], 0.99)),
        ssim=float(np.mean([ssim(a, b) for a, b in zip(ours, theirs, strict=True)])),
        iou=float(inside.sum() / ((coverage > 0.5) | (alpha > 0.5)).sum()),
        gap=_gap(problem.target, ours, theirs) if case.target else None,
        seconds=time.perf_counter() - began,
        pictures=np.stack([ours, theirs, to_bytes(torch.from_numpy(error * 4)).numpy()], axis=1),
    )


def _problem(case: Case, whole: Scene) -> Problem:
    settings = messages.Settings(
        target=case.target or "balloon",
        models=(CLASSIFIER,),
        light=case.light,  # type: ignore[arg-type]
    )
    return make_problem(messages.Job(id=uuid.uuid4().hex, scene=whole, settings=settings), torch.device("cpu"), "numba")


def _views(case: Case, lights: Any) -> list[View]:
    """The scene's cameras in its own light, before a grey that is as bright as the object or not."""
    height, width = case.size
    found = [obj for obj in bpy.context.scene.objects if obj.type == "CAMERA"]
    read: list[Camera] = [collect.read_camera(bpy.context, obj, width=width, height=height) for obj in found]
    return [
        View(camera=camera, lights=lights, background=np.full((2, 2, 3), level, np.uint8))
        for camera, level in zip(read, (90, 180), strict=False)
    ]


def _coverage(renderer: Any, cameras: list[Camera], size: tuple[int, int]) -> np.ndarray:
    """The covered share of each pixel, [K, H, W]."""
    height, width = size
    visible = renderer.rasterizer.rasterize(renderer.geometry, clip_from_world(cameras), height * 4, width * 4)
    seen = np.zeros(len(cameras) * height * width * 16, np.float32)
    seen[visible.sample.numpy()] = 1
    return np.asarray(seen.reshape(len(cameras), height, 4, width, 4).mean(axis=(2, 4)))


def _blender(
    case: Case, obj: Any, views: list[View], panoramas: np.ndarray | None, samples: int, engine: check.Engine
) -> tuple[np.ndarray, np.ndarray]:
    """Blender's pictures [K, H, W, 3] uint8 of the views and their alpha [K, H, W], as the check makes them."""
    around: check.Neighbours = "none" if case.light == "open" else "unseen"
    options = {"size": case.size, "samples": samples, "panoramas": panoramas, "neighbours": around, "engine": engine}
    linear = list(check.render_linear(bpy.context, obj, views, **options))  # type: ignore[arg-type]
    with check.view_of(bpy.context.scene) as show:
        pictures = [
            color.to_bytes(show(check.over_background(rgba, view.background)))
            for rgba, view in zip(linear, views, strict=True)
        ]
    return np.stack(pictures), np.stack([rgba[..., 3] for rgba in linear])


def _gap(target: Any, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Mean difference of a classifier's confidence in both renderers' pictures."""
    classifier = loaded(CLASSIFIER, torch.device("cpu"))
    sure = [judge(classifier, torch.from_numpy(p).float() / 255, target).confidence for p in (ours, theirs)]
    return float((sure[0] - sure[1]).abs().mean())


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two pictures [H, W, 3] uint8 (Wang et al. 2004): 11 × 11 Gaussian window, σ = 1.5."""
    weights = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64)
    x, y = ((torch.from_numpy(p.copy()).double() / 255 @ weights)[None, None] for p in (first, second))
    ramp = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    window = (ramp[:, None] * ramp / ramp.sum() ** 2)[None, None]

    def mean(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(values, window)

    mean_x, mean_y = mean(x), mean(y)
    var_x, var_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    both = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return float(similarity.mean())
