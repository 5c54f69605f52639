"""What hides light: rays from surface points towards lamps, against the object itself and its surroundings (Embree).

Rays are traced on the CPU, wherever the points are.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from torch import Tensor

from shared.scene import AreaLight, Lamp, SunLight, Surroundings

from .geometry import Geometry
from .lights import unit, vector

#: Rays begin this far above the surface, in parts of the object's extent: float32 positions are that exact.
OFFSET = 1e-4
#: As far as a ray goes that nothing ends.
FAR = 1e30
#: Of more rays each thread takes a part; embreex since 4 traces them without Python's lock.
FEW_RAYS = 1 << 13
#: Steps of Roberts' R2 sequence, which spreads points over a square evenly (Roberts 2018, from the plastic number).
R2 = (0.7548776662466927, 0.5698402909980532)
_THREADS = ThreadPoolExecutor(thread_name_prefix="rays")


class Occlusion:
    """The triangles that stand in the way of light, ready for rays."""

    def __init__(self, geometry: Geometry, surroundings: Surroundings | None) -> None:
        own = geometry.positions[geometry.triangles].cpu().numpy()
        parts = [own] if surroundings is None else [own, surroundings.positions[surroundings.triangles]]
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, np.ascontiguousarray(np.concatenate(parts), np.float32))
        corners = own.reshape(-1, 3)
        self.offset = OFFSET * float(np.linalg.norm(corners.max(axis=0) - corners.min(axis=0)))

    def hidden(self, origin: Tensor, direction: Tensor, distance: Tensor | None = None) -> Tensor:
        """Whether something lies on each ray, [P] bool: from `origin [P, 3]` along `direction [P, 3]` (unit), up to
        `distance [P]` (None: any)."""
        if len(origin) == 0:
            return torch.zeros(0, dtype=torch.bool, device=origin.device)
        far = np.full(len(origin), FAR, np.float32) if distance is None else _array(distance)
        rays = _array(origin), _array(direction), far
        parts = max(1, min(torch.get_num_threads(), len(origin) // FEW_RAYS))
        shares = [np.array_split(each, parts) for each in rays]
        hits = _THREADS.map(self._hits, *shares) if parts > 1 else [self._hits(*rays)]
        return torch.from_numpy(np.concatenate(list(hits))).to(origin.device)

    def _hits(self, origin: np.ndarray, direction: np.ndarray, distance: np.ndarray) -> np.ndarray:
        return np.asarray(self._scene.run(origin, direction, dists=distance, query="OCCLUDED") >= 0)

    def visible(self, lamp: Lamp, position: Tensor, flat: Tensor, facing: Tensor, number: Tensor) -> Tensor:
        """Whether one point of `lamp` is seen from each surface point, [P] float (0 or 1).

        `flat [P, 3]` are the triangles' own unit normals on the seen side. Only points that `facing [P] bool` says turn
        towards the lamp are asked for, the others are 0. Which point of the lamp is looked at follows from
        `number [P]`, so that the same view looks the same again; over the samples of a pixel they spread over the lamp.
        """
        result = torch.zeros_like(position[:, 0])
        asked = torch.nonzero(facing).reshape(-1)
        start = position[asked]
        toward, distance = _toward(lamp, start, _square(number[asked]))
        side = torch.sign((flat[asked] * toward).sum(dim=1, keepdim=True))
        hidden = self.hidden(start + flat[asked] * (self.offset * side), toward, distance)
        result[asked] = (~hidden).to(result.dtype)
        return result


def _square(number: Tensor) -> Tensor:
    """A point of the unit square for each integer, [P, 2]."""
    steps = torch.tensor(R2, dtype=torch.float64, device=number.device)
    return torch.remainder(0.5 + (number.to(torch.float64) + 1)[:, None] * steps, 1.0).to(torch.float32)


def _disk(square: Tensor) -> Tensor:
    """Points of the unit square as points of the unit disk, evenly."""
    angle, radius = square[:, 0] * (2 * math.pi), square[:, 1].sqrt()
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)


def _toward(lamp: Lamp, position: Tensor, square: Tensor) -> tuple[Tensor, Tensor | None]:
    """Unit directions [P, 3] from points towards one point of the lamp each, and how far that is (None: any)."""
    if isinstance(lamp, SunLight):
        direction = -unit(lamp.direction, position).expand(position.shape)
        return _spread(direction, _disk(square) * math.tan(lamp.angle / 2)), None
    relative = vector(lamp.position, position) - position
    if isinstance(lamp, AreaLight):
        place = _disk(square) / 2 if lamp.shape == "ellipse" else square - 0.5
        target = relative + place[:, :1] * vector(lamp.axis_x, position) + place[:, 1:] * vector(lamp.axis_y, position)
    else:
        distance = relative.norm(dim=1, keepdim=True).clamp_min(1e-12)
        target = _spread(relative / distance, _disk(square) * (lamp.radius / distance)) * distance
    distance = target.norm(dim=1).clamp_min(1e-12)
    return target / distance[:, None], distance * (1 - OFFSET)


def _spread(direction: Tensor, offset: Tensor) -> Tensor:
    """Unit directions [P, 3] moved by `offset [P, 2]` across themselves."""
    helper = torch.where(
        direction[:, 2:].abs() > 0.9, direction.new_tensor([[1.0, 0, 0]]), direction.new_tensor([[0, 0, 1.0]])
    )
    across = torch.nn.functional.normalize(torch.linalg.cross(helper, direction), dim=1)
    up = torch.linalg.cross(direction, across)
    return torch.nn.functional.normalize(direction + offset[:, :1] * across + offset[:, 1:] * up, dim=1)


def _array(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().cpu().numpy(), np.float32)
