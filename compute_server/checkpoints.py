"""Checkpoints in a job's folder, each whole or not at all: how a job outlives the process that does it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.errors import AssistiveError
from shared.wire import byte_count, decode, encode, load_frames, save_frames

from .ledger import check_space
from .optimize import Checkpoint, Keeper

log = logging.getLogger(__name__)


class Paused(Exception):
    """The job has been put down at a checkpoint, to go on in another process."""


class FileKeeper:
    """Keeps checkpoints in `folder`, about every `every_s` seconds.

    `kept` is told of each with its step. When `pausing` says so after a step, that step is kept and :class:`Paused`
    raised.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        every_s: float,
        kept: Callable[[int], None] = lambda _step: None,
        pausing: Callable[[], bool] = lambda: False,
        name: str = "texture",
    ) -> None:
        self._folder = folder
        self._device = device
        self._every_s = every_s
        self._kept = kept
        self._pausing = pausing
        self._path = folder / f"{name}.checkpoint"
        self._saved = time.monotonic()

    def phase(self, name: str) -> Keeper:
        """See :class:`compute_server.optimize.Keeper`."""
        return FileKeeper(
            self._folder, self._device, every_s=self._every_s, kept=self._kept, pausing=self._pausing, name=name
        )

    def load(self) -> Checkpoint | None:
        """See :class:`compute_server.optimize.Keeper`. What cannot be read, from another version say, is nothing."""
        if not self._path.exists():
            return None
        try:
            return decode(load_frames(self._path), Checkpoint, self._tensor)
        except AssistiveError as error:
            log.warning("A checkpoint cannot be read, the job begins anew: %s", error)
            return None

    def _tensor(self, kind: type, array: np.ndarray) -> Any:
        assert kind is Tensor, f"a checkpoint holds no {kind}"
        return torch.tensor(array, device=self._device)  # a copy that may be written to

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """See :class:`compute_server.optimize.Keeper`."""
        pausing = self._pausing()
        if pausing or time.monotonic() - self._saved >= self._every_s:
            self.save(make())
        if pausing:
            raise Paused

    def save(self, checkpoint: Checkpoint) -> None:
        """See :class:`compute_server.optimize.Keeper`. A full disk costs the checkpoint, not the job."""
        frames = encode(checkpoint, lambda tensor: tensor.detach().cpu().numpy())
        try:
            check_space(self._folder, byte_count(frames))
            save_frames(frames, self._path)
        except (OSError, AssistiveError) as error:
            log.error("No checkpoint could be written: %s", error)
        else:
            self._kept(checkpoint.trace.steps)
        self._saved = time.monotonic()
