"""From images to logits: resizing, normalisation and a frozen network in one object.

Not for finding or loading weights (`registry`) and not for losses.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor, nn
from torch.nn import functional

from compute_server.classifiers import frozen
from compute_server.classifiers.precision import Precision, chosen
from compute_server.classifiers.spec import ClassifierSpec

_log = logging.getLogger(__name__)


class Classifier:
    """A frozen ImageNet-1k classifier; callers never see its input size or normalisation."""

    def __init__(self, spec: ClassifierSpec, network: nn.Module, device: torch.device) -> None:
        """`network` maps normalised [N, 3, size, size] to [N, 1000] logits; `folding.prepared` makes one."""
        self.spec = spec
        self.device = device
        self.network = network.to(device)
        self._route = frozen.Route(self.network)
        self.precision: Precision | None = None
        if device.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # but where `precision` says that gradients survive it
        mean, std = torch.tensor(spec.mean, dtype=torch.float64), torch.tensor(spec.std, dtype=torch.float64)
        self._scale = std.reciprocal().to(device, torch.float32)
        self._offset = (-mean / std).to(device, torch.float32)

    def logits(self, images: Tensor, needed: Tensor | None = None) -> Tensor:
        """Logits of each image; differentiable with respect to `images`.

        images: [N, H, W, 3] float32, display-encoded sRGB in [0, 1], row 0 at the top, on any device. Resized
        (bilinear, antialiased) to spec.size × spec.size when H or W differ. Returns [N, 1000] float32 on `device`.
        needed: [N, H, W] bool, the pixels whose gradient is asked for (None: all); that of others may be anything.
        Raises ValueError for another shape or dtype.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.float32:
            raise ValueError(f"images must be [N, H, W, 3] float32, got {list(images.shape)} {images.dtype}")
        if needed is not None and (needed.shape != images.shape[:3] or needed.dtype != torch.bool):
            raise ValueError(f"needed must be {list(images.shape[:3])} bool, got {list(needed.shape)} {needed.dtype}")
        resized = self._resized(images.to(self.device))
        # A row at a time: torch takes twice as long where three numbers are to be repeated for each pixel.
        scale, offset = (each.repeat(self.spec.size) for each in (self._scale, self._offset))
        normalised = torch.addcmul(offset, resized.flatten(2), scale).view(resized.shape)
        # A permuted NHWC tensor is channels-last already: nothing is copied.
        planar = normalised.permute(0, 3, 1, 2)
        self._route.ask(needed if resized.shape == images.shape else None)
        try:
            logits: Tensor = self.network(planar)
        finally:
            self._route.ask(None)
        return logits

    def settle(self, images: Tensor) -> None:
        """Find the `precision` of :meth:`training_logits` on a GPU, once, with the first pictures."""
        if self.device.type == "cuda" and self.precision is None:
            self.precision = chosen(self.logits, images)

    def training_logits(self, images: Tensor, needed: Tensor | None = None) -> Tensor:
        """As :meth:`logits`, for gradients: on a GPU in float16 if these survive it. What is reported is never measured
        with these. Whoever takes their gradient does it, too, within ``ensemble.as_precise``."""
        self.settle(images)
        if self.precision != "half":
            return self.logits(images, needed)
        with torch.autocast("cuda", torch.float16):
            return self.logits(images).float()

    @functools.cached_property
    def kept_per_picture(self) -> int:
        """Bytes that torch keeps of each picture until it has gone back through the network, in float32: 6 MB of
        EfficientNet-Lite0's, 1.5 GB of EfficientNet-B7's. A whole pass takes a tenth to three quarters more, that of a
        small network several times as much. 1 where a network does not let this be seen."""
        try:
            return max(1, self._kept(2) - self._kept(1))
        except RuntimeError as error:  # one that takes a derivative in its own forward pass, say
            _log.warning("What %s keeps of a picture is not known: %s", self.spec.name, error)
            return 1

    def _kept(self, count: int) -> int:
        """Bytes that torch keeps of so many pictures, and of what it makes of weights."""
        own = {_storage(each) for each in (*self.network.parameters(), *self.network.buffers())}
        kept: dict[int, int] = {}

        def keep(values: Tensor) -> Tensor:
            if _storage(values) not in own:
                kept[_storage(values)] = values.untyped_storage().nbytes()
            return values.detach()  # what a step has itself made, and keeps, would keep the step, and never go

        size = self.spec.size
        images = torch.zeros(count, size, size, 3, device=self.device, requires_grad=True)
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
            logits = self.logits(images)
        del logits  # until then no storage has been given away, and none is counted as another
        return sum(kept.values())

    def _resized(self, images: Tensor) -> Tensor:
        """[N, H, W, 3] -> [N, size, size, 3]."""
        size = (self.spec.size, self.spec.size)
        if images.shape[1:3] == size:
            return images
        planar = images.permute(0, 3, 1, 2)
        resized = functional.interpolate(planar, size=size, mode="bilinear", align_corners=False, antialias=True)
        return resized.permute(0, 2, 3, 1)


def _storage(values: Tensor) -> int:
    return values.untyped_storage().data_ptr()
