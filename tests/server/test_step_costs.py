"""What a step does, counted: how often views are rasterised, data crosses between devices, and memory is taken.

Seconds depend on the machine; these counts do not. Who makes one of them larger has made every step slower.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.jobs import Recorder, gradient, small_job
from torch.utils._python_dispatch import TorchDispatchMode

from compute_server import optimize
from compute_server.bench_scene import bench_scene
from compute_server.classifiers import Classifier
from compute_server.optimize import optimise
from compute_server.problem import Problem, make_problem
from compute_server.render.rasterizer import Rasterizer
from compute_server.steppers import MomentumSign, moved
from compute_server.views import fixed_views

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]


class Counting:
    """A rasterizer that counts its calls."""

    def __init__(self, inner: Rasterizer) -> None:
        self.inner, self.name, self.calls = inner, inner.name, 0

    def rasterize(self, *arguments: Any) -> Any:
        """Theirs."""
        self.calls += 1
        return self.inner.rasterize(*arguments)


class Ledger(TorchDispatchMode):
    """Counts bytes of new tensors, and operations that carry data from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.crossings = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation and count."""
        del types
        result = func(*args, **(kwargs or {}))
        inputs, outputs = list(_tensors(args)), list(_tensors(result))
        known = {each.untyped_storage().data_ptr() for each in inputs}
        self.bytes += sum(
            each.untyped_storage().nbytes() for each in outputs if each.untyped_storage().data_ptr() not in known
        )
        devices = {each.device.type for each in (*inputs, *outputs) if each.numel()}
        scalar = func is torch.ops.aten._local_scalar_dense.default and inputs[0].device.type != "cpu"
        self.crossings += len(devices) > 1 or scalar
        return result


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _tensors(each)


class Blank(Classifier):
    """A classifier that costs next to nothing: 1000 weighted sums of the picture's mean."""

    def __init__(self, inner: Classifier) -> None:
        self.__dict__ = dict(inner.__dict__)

    def logits(self, images: torch.Tensor, needed: torch.Tensor | None = None) -> torch.Tensor:
        """Of each picture."""
        del needed
        return images.mean(dim=(1, 2, 3))[:, None] * torch.linspace(0, 1, 1000, device=images.device)


def _problem(device: str, **settings: Any) -> Problem:
    job = small_job(scene=bench_scene(256), views=4, samples=4, augment=(), octaves=1, stepper="momentum", **settings)
    problem = make_problem(job, torch.device(device))
    counting = Counting(problem.renderer.rasterizer)
    renderer = dataclasses.replace(problem.renderer, rasterizer=counting)
    return dataclasses.replace(problem, renderer=renderer, classifiers=(Blank(problem.classifiers[0]),))


@pytest.mark.parametrize(("sampling", "calls"), [("fixed", 3), ("random", 6)])
def test_fixed_views_are_rasterised_once_and_others_once_in_each_step(
    sampling: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimize._Best, "_judge", lambda *_: 0.0)
    problem = _problem("cpu", sampling=sampling, steps=6)
    optimise(problem, Recorder())
    # Twelve cameras, four at a time.
    assert problem.renderer.rasterizer.calls == calls


def test_fixed_views_beyond_what_may_be_kept_are_made_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimize._Best, "_judge", lambda *_: 0.0)
    problem = _problem("cpu", sampling="fixed", steps=6)
    monkeypatch.setattr(optimize, "KEPT_PIXELS", 5 * problem.size**2)
    optimise(problem, Recorder())
    # Of three batches of four views, each of which has its turn twice, the first is kept.
    assert problem.renderer.rasterizer.calls == 1 + 2 * 2


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_takes_little_memory_and_crosses_between_devices_no_more_than_it_must(device: str) -> None:
    problem = _problem(device)
    views = fixed_views(problem.job.scene.rig)[:4]
    batch = problem.renderer.prepare(views, problem.size, 4)
    walker, theta = MomentumSign(), problem.texture.start
    for _ in range(2):  # the second step has what is kept between steps
        with Ledger() as ledger:
            _, slope = gradient(problem, theta, batch)
            theta = moved(theta, walker.move(slope, 0.01), problem.texture.start, 0.1, "linf")
    picture, pool = batch.base.nbytes, problem.texture.levels.starts[-1] * 12
    # Pictures: the base's copy, encoded, and a gradient of each. Pools: one, and its gradient by each of the threads
    # that scatter; Θ, its gradient and how far it goes are three quarters of one each. torch's own functions, which a
    # GPU has in the place of kernels, take more.
    pictures, more = (4.5, 4) if device == "cpu" else (8.0, 8)
    assert ledger.bytes < pictures * picture + (torch.get_num_threads() + more) * pool
    # Loss and confidences are read together.
    assert ledger.crossings <= 1


def test_new_views_take_no_more_than_their_samples_need() -> None:
    problem = _problem("cpu")
    views = fixed_views(problem.job.scene.rig)[:4]
    problem.renderer.prepare(views, problem.size, 4)
    with Ledger() as ledger:
        batch = problem.renderer.prepare(views, problem.size, 4)
    # 28 bytes are kept of each sample: where it looks, its light, its pixel.
    assert ledger.bytes < 40 * len(batch.pixel) + 3 * batch.base.nbytes
