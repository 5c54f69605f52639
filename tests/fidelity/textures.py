"""Textures that a classifier does recognise: made by the product itself, once for each sample and run."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
import torch
from torch import Tensor

from blender_addon import collect, samples
from compute_server.jobs import run_job
from compute_server.optimize import StepReport
from compute_server.problem import Problem
from shared import messages
from shared.scene import UvTexture, View

STEPS = 150


class _Quiet:
    """Watches a job and says nothing."""

    def stepped(self, problem: Problem, report: StepReport) -> None:
        """See :class:`compute_server.optimize.Observer`."""

    def cancelled(self) -> bool:
        """Never."""
        return False

    def drawn(self, problem: Problem, views: Sequence[View], texture: Tensor, step: int) -> Tensor | None:
        """Nobody is asked."""

    def evaluating(self, problem: Problem, steps: int) -> None:
        """See :class:`compute_server.jobs.JobObserver`."""


@functools.cache
def assistive(sample: str, size: int = 512) -> np.ndarray:
    """The texture of a short job on a sample, [size, size, 3] uint8, row 0 at the bottom.

    The open file is lost; an empty one is open afterwards.
    """
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.view_settings.view_transform = "Standard"
    obj = samples.create(sample)
    whole = collect.collect(bpy.context, obj, mask=None, texture_size=size).scene
    settings = messages.Settings(
        target=samples.SAMPLES[sample].target, steps=STEPS, alpha=0.02, held_out_views=1, check_views=0
    )
    job = messages.Job(id=uuid.uuid4().hex, scene=whole, settings=settings)
    texture = run_job(job, torch.device("cpu"), _Quiet()).texture
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    bpy.context.scene.view_settings.view_transform = "Standard"
    assert isinstance(texture, UvTexture)
    return np.array(texture.image)


def as_image(texture: np.ndarray) -> Any:
    """A Blender image of a texture [H, W, 3] uint8."""
    height, width, _ = texture.shape
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = texture / np.float32(255)
    image = bpy.data.images.new("Assistive", width, height)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image
