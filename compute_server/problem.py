"""A job made ready for the loop: what is checked, loaded and prepared once. Knows no step and no socket."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shared import messages as m
from shared import targets
from shared.errors import InvalidInput
from shared.scene import VertexTexture, check_scene
from shared.targets import Target

from .classifiers import Classifier, labels, loaded
from .ensemble import check_models
from .objectives import objective
from .render import rasterizer
from .render.geometry import clip_from_world, from_mesh
from .render.lighting import lighting
from .render.renderer import Renderer
from .render.view_transform import encoder
from .replay import Replays
from .texel_surface import TexelSurface, texel_surface, vertex_surface
from .texture import TextureModel, free_weights, texture_model

#: A CPU takes at most AT_ONCE pictures at once, and so few that all classifiers together keep no more than KEPT_BYTES
#: of them for the gradient. Always the same: memory stays bounded, and the bytes of a job do not depend on how much
#: there is.
AT_ONCE, KEPT_BYTES = 32, 4 << 30
#: Edge of the pictures in which is looked whether a mask or a site can be seen.
SIGHT = 128


@dataclass(frozen=True)
class Problem:
    """A job made ready: everything that stays fixed while Θ moves.

    ``weight`` says how free each texel is (see `texture.free_weights`), ``covered [H, W]`` which texels of a UV texture
    move. ``sites`` are those searched for a patch, the one taken first.
    """

    job: m.Job
    target: Target
    texture: TextureModel
    renderer: Renderer
    classifiers: tuple[Classifier, ...]
    device: torch.device
    linear_original: Tensor
    covered: Tensor | None
    weight: np.ndarray
    sites: tuple[m.PatchSite, ...] = ()

    @property
    def size(self) -> int:
        """The side of training pictures: the largest that a classifier wants; others see them resized."""
        return max(classifier.spec.size for classifier in self.classifiers)

    @functools.cached_property
    def pictures_at_once(self) -> int | None:
        """How many pictures' gradient is asked of the classifiers at once, on a CPU; None: a GPU takes as many as it
        can hold."""
        if self.device.type != "cpu":
            return None
        kept = sum(classifier.kept_per_picture for classifier in self.classifiers)
        return max(1, min(AT_ONCE, KEPT_BYTES // kept))

    @functools.cached_property
    def replays(self) -> Replays:
        """The graphs of what its steps do, on a GPU."""
        return Replays()

    @functools.cached_property
    def surface(self) -> TexelSurface:
        """Where on the surface each texel (or vertex) lies, on the CPU. Only patches ask for it; of a large texture it
        holds gigabytes."""
        scene = self.job.scene
        geometry = from_mesh(scene.mesh)
        if isinstance(scene.texture, VertexTexture):
            return vertex_surface(geometry)
        flat_raster = rasterizer.choose("numba", torch.device("cpu"))
        return texel_surface(geometry, flat_raster, *scene.texture.image.shape[:2])


def make_problem(job: m.Job, device: torch.device, rasterizer_name: str = "auto") -> Problem:
    """Check the job and load what it needs. Raises the errors of :mod:`shared.errors` for what is wrong with it."""
    check_scene(job.scene)
    settings = job.settings
    target = targets.resolve(settings.target, labels())
    objective(settings.objective)
    _check_settings(settings)
    raster, flat_raster = rasterizer.choose(rasterizer_name, device), rasterizer.choose("numba", torch.device("cpu"))
    weight = free_weights(job.scene, flat_raster)
    texture = texture_model(job.scene, weight, device)
    geometry = from_mesh(job.scene.mesh, device)
    problem = Problem(
        job=job,
        target=target,
        texture=texture,
        renderer=Renderer(
            geometry=geometry,
            rasterizer=raster,
            layout=texture.layout,
            lighting=lighting(job.scene, geometry, settings.light, flat_raster),
            encode=encoder(job.scene.view_transform, device),
        ),
        classifiers=tuple(loaded(name, device) for name in settings.models),
        device=device,
        linear_original=texture.linear(),
        covered=covered_texels(texture),
        weight=weight,
    )
    _check_seen(problem)
    return problem


def covered_texels(texture: TextureModel) -> Tensor | None:
    """Which texels ``[H, W]`` are free to change; None for vertex colours."""
    if texture.layout is None:
        return None
    covered = torch.zeros(len(texture.original), dtype=torch.bool, device=texture.original.device)
    covered[texture.target] = True
    return covered.reshape(texture.shape[:2])


def _check_seen(problem: Problem) -> None:
    """A mask that leaves part of the surface as it is must be in sight of a camera."""
    mesh, cameras = problem.job.scene.mesh, problem.job.scene.rig.cameras
    if (mesh.mask > 0).all():
        return
    visible = problem.renderer.rasterizer.rasterize(problem.renderer.geometry, clip_from_world(cameras), SIGHT, SIGHT)
    if not (mesh.mask[mesh.triangles[visible.triangle.cpu().numpy()]] > 0).any():
        raise InvalidInput(
            f"No camera of the rig sees the mask of {mesh.name!r}.",
            hint="Move the cameras, or paint the mask where they look.",
        )


def _check_settings(settings: m.Settings) -> None:
    """What the types cannot say: settings that contradict one another."""
    check_models(settings)
    if settings.method == "flat" and not settings.patch:
        raise InvalidInput("Only a patch can be made flat.", hint="Give the patch a size, such as --patch 0.05.")
    if settings.mined and settings.sampling == "fixed":
        raise InvalidInput(
            "Fixed views and mined ones exclude each other: mining looks for new views.",
            hint="Choose random views, or mine none.",
        )
