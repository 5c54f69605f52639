"""What pictures go through on their way to a classifier in training: other scales and crops, and what cameras and
files do to them. No renderer and no classifier here.

Each augmentation changes pictures ``[1, 3, H, W]`` in [0, 1] by a random amount, differentiably. The operations are
torchvision's, kornia's and Pillow's; ranges and names are ours.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torchvision.transforms.v2.functional as tv
from kornia.contrib import diamond_square
from PIL import Image
from torch import Tensor

from .render.color import from_bytes, to_bytes

#: This share of the pictures stays as it is, so that what is trained for is never lost from sight.
UNTOUCHED = 0.5

Augmentation = Callable[[Tensor, np.random.Generator], Tensor]


def augmented(images: Tensor, names: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Pictures ``[N, H, W, 3]``, each as it is or changed by one of the augmentations called `names`."""
    planar = images.permute(0, 3, 1, 2)
    changed = [
        picture if rng.uniform() < UNTOUCHED else AUGMENTATIONS[names[rng.integers(len(names))]](picture, rng)
        for picture in torch.split(planar, 1)
    ]
    return torch.cat(changed).clamp(0.0, 1.0).permute(0, 2, 3, 1).contiguous()


def _resize(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """Smaller, somewhere on grey: the input diversity of Xie et al., "Improving Transferability of Adversarial Examples
    with Input Diversity" (2019)."""
    height, width = picture.shape[2:]
    share = rng.uniform(0.6, 1.0)
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    small = tv.resize(picture, [rows, columns], antialias=True)
    padded: Tensor = tv.pad(small, [left, top, width - columns - left, height - rows - top], fill=0.5)
    return padded


def _crop(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """A part of the picture, as large as the whole."""
    height, width = picture.shape[2:]
    share = rng.uniform(0.6, 1.0)
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    part: Tensor = tv.resized_crop(picture, top, left, rows, columns, [height, width], antialias=True)
    return part


def _blur(picture: Tensor, rng: np.random.Generator) -> Tensor:
    sigma = rng.uniform(0.3, 2.5) * _scale(picture)
    side = 2 * max(1, int(np.ceil(3 * sigma))) + 1
    blurred: Tensor = tv.gaussian_blur(picture, [side, side], [sigma, sigma])
    return blurred


def _noise(picture: Tensor, rng: np.random.Generator) -> Tensor:
    noise = rng.normal(0.0, rng.uniform(0.02, 0.15), picture.shape)
    return (picture + torch.from_numpy(noise).to(picture)).clamp(0.0, 1.0)


def _jpeg(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """A JPEG file's picture; gradients pass as if nothing had happened, since rounding has none (straight-through, as
    in Athalye et al., "Obfuscated Gradients Give a False Sense of Security", 2018)."""
    seen = picture.detach()
    buffer = io.BytesIO()
    image = Image.fromarray(to_bytes(seen)[0].permute(1, 2, 0).cpu().numpy())
    image.save(buffer, "JPEG", quality=int(rng.integers(15, 81)))
    decoded = from_bytes(torch.from_numpy(np.array(Image.open(buffer)))).permute(2, 0, 1)[None].to(picture)
    return picture + (decoded - seen)


def _fog(picture: Tensor, rng: np.random.Generator) -> Tensor:
    """A plasma fractal laid over the picture, which keeps its brightest value: the fog of Hendrycks and Dietterich,
    "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations" (2019)."""
    height, width = picture.shape[2:]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    random = functools.partial(torch.rand, generator=generator)
    plasma = diamond_square((1, 1, height, width), 0.6, random_fn=random, normalize_range=(0.0, 1.0))
    strength = rng.uniform(0.3, 1.5)
    return (picture + strength * plasma.to(picture)) / (1 + strength)


def _brightness(picture: Tensor, rng: np.random.Generator) -> Tensor:
    brighter: Tensor = tv.adjust_brightness(picture, float(rng.uniform(0.6, 1.6)))
    return brighter


def _scale(picture: Tensor) -> float:
    """Pixels are as large as in a picture of 224."""
    return max(picture.shape[2:]) / 224


AUGMENTATIONS: dict[str, Augmentation] = {
    "resize": _resize,
    "crop": _crop,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "fog": _fog,
    "brightness": _brightness,
}
