"""Small meshes, cameras, lights and views for tests. Follows the conventions of ``shared.scene``; knows no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shared.messages import Job, Settings
from shared.scene import (
    Camera,
    LightState,
    Mesh,
    PointLight,
    Rig,
    Scene,
    SunLight,
    Texture,
    UvTexture,
    Vector,
    VertexTexture,
    View,
)

DARK = LightState(name="dark")


def look_at(eye: Sequence[float], target: Sequence[float] = (0, 0, 0), up: Sequence[float] = (0, 0, 1)) -> np.ndarray:
    """The view matrix of a camera at `eye` that looks at `target` (along its −Z), its +Y as near to `up` as can be."""
    back = np.asarray(eye, np.float64) - np.asarray(target, np.float64)
    back /= np.linalg.norm(back)
    right = np.cross(np.asarray(up, np.float64), back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(back, right), back])
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = rotation, -rotation @ np.asarray(eye, np.float64)
    return view


def perspective(
    fov_deg: float = 40.0, near: float = 0.1, far: float = 100.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A square frustum; `shift` moves it by frame widths to the right and up, as Blender's lens shift does."""
    focal = 1 / math.tan(math.radians(fov_deg) / 2)
    return np.array(
        [
            [focal, 0, 2 * shift[0], 0],
            [0, focal, 2 * shift[1], 0],
            [0, 0, (far + near) / (near - far), 2 * far * near / (near - far)],
            [0, 0, -1, 0],
        ]
    )


def orthographic(
    width: float, near: float = 0.1, far: float = 100.0, shift: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A square box of `width` metres, moved by `shift` frame widths."""
    return np.array(
        [
            [2 / width, 0, 0, -2 * shift[0]],
            [0, 2 / width, 0, -2 * shift[1]],
            [0, 0, 2 / (near - far), (far + near) / (near - far)],
            [0, 0, 0, 1],
        ]
    )


def camera(
    eye: Sequence[float],
    target: Sequence[float] = (0, 0, 0),
    *,
    up: Sequence[float] = (0, 0, 1),
    projection: np.ndarray | None = None,
) -> Camera:
    """A camera at `eye` that looks at `target`; perspective of 40° unless `projection` says otherwise."""
    return Camera(
        name="camera",
        view=look_at(eye, target, up),
        projection=perspective() if projection is None else projection,
    )


def overhead(width: float, height: float = 5.0) -> Camera:
    """An orthographic camera that looks down on the XY plane: +x is right, +y is up, `width` metres fill the frame."""
    return camera((0, 0, height), up=(0, 1, 0), projection=orthographic(width))


def mesh(
    positions: Sequence[Sequence[float]] | np.ndarray,
    triangles: Sequence[Sequence[int]] | np.ndarray,
    *,
    uv: np.ndarray | None = None,
    normals: np.ndarray | None = None,
) -> Mesh:
    """A mesh with free mask; flat normals and zero UVs unless given (by corner)."""
    points = np.asarray(positions, np.float32).reshape(-1, 3)
    faces = np.asarray(triangles, np.int32).reshape(-1, 3)
    if normals is None:
        a, b, c = (points[faces[:, corner]].astype(np.float64) for corner in range(3))
        flat = np.cross(b - a, c - a)
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
        normals = np.repeat(flat[:, None], 3, axis=1)
    return Mesh(
        name="mesh",
        positions=points,
        triangles=faces,
        normals=np.asarray(normals, np.float32),
        uv=np.zeros((len(faces), 3, 2), np.float32) if uv is None else np.asarray(uv, np.float32),
        mask=np.ones(len(points), np.float32),
    )


def plane(size: float = 2.0) -> Mesh:
    """A square in the XY plane about the origin, facing +Z, with u along x and v along y, both from 0 to 1."""
    half = size / 2
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    positions = np.concatenate([(2 * uv - 1) * half, np.zeros((4, 1), np.float32)], axis=1)
    return mesh(positions, faces, uv=uv[faces])


def sphere(segments: int = 24, rings: int = 12, radius: float = 1.0) -> Mesh:
    """A sphere about the origin with smooth normals; u once around from the −x side, v from the south pole up."""
    return _revolved(segments, [(math.sin(a), -math.cos(a)) for a in np.linspace(0, math.pi, rings + 1)], radius)


def cylinder(segments: int = 48, radius: float = 1.0) -> Mesh:
    """An open upright cylinder about the z axis from −1 to 1 (times `radius`); u once around, v upwards."""
    return _revolved(segments, [(1.0, -1.0), (1.0, 1.0)], radius)


def _revolved(segments: int, profile: list[tuple[float, float]], radius: float) -> Mesh:
    """A profile of (distance from the axis, height) turned about z; vertices are not doubled at the UV seam."""
    turns = -math.pi + np.arange(segments) * 2 * math.pi / segments
    points = np.array([[(r * math.cos(t), r * math.sin(t), z) for t in turns] for r, z in profile]) * radius
    last = len(profile) - 1
    faces, uv = [], []
    for ring in range(last):
        for segment in range(segments):
            corners = [(ring, segment), (ring, segment + 1), (ring + 1, segment + 1), (ring + 1, segment)]
            for chosen in ((0, 1, 2), (0, 2, 3)):
                picked = [corners[i] for i in chosen]
                faces.append([r * segments + s % segments for r, s in picked])
                uv.append([(s / segments, r / last) for r, s in picked])
    flat = points.reshape(-1, 3)
    is_open = profile[0][0] > 0
    outward = flat * (1.0, 1.0, 0.0 if is_open else 1.0)
    outward = outward / np.linalg.norm(outward, axis=1, keepdims=True)
    return mesh(flat, faces, uv=np.array(uv), normals=outward[np.array(faces)])


def merged(*parts: Mesh) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(part.positions) for part in parts)])
    return Mesh(
        name="merged",
        positions=np.concatenate([part.positions for part in parts]),
        triangles=np.concatenate([p.triangles + np.int32(s) for p, s in zip(parts, starts[:-1], strict=True)]),
        normals=np.concatenate([part.normals for part in parts]),
        uv=np.concatenate([part.uv for part in parts]),
        mask=np.concatenate([part.mask for part in parts]),
    )


def sun(direction: Vector = (0.0, 0.0, -1.0), strength: float = 1.0) -> LightState:
    """One white sun that shines along `direction`, in W/m², in a black world."""
    return LightState(name="sun", lights=(SunLight(power=(strength,) * 3, direction=direction),))


def furnace(radiance: float = 1.0) -> LightState:
    """Nothing but a uniform white world."""
    return LightState(name="furnace", world=(radiance,) * 3)


def flat_picture(level: int = 0, size: int = 1) -> np.ndarray:
    """A grey background picture of one 8-bit level."""
    return np.full((size, size, 3), level, np.uint8)


def shot(cam: Camera, lights: LightState = DARK, level: int = 0) -> View:
    """A view in front of plain grey."""
    return View(camera=cam, lights=lights, background=flat_picture(level))


def scene(body: Mesh | None = None, texture: Texture | None = None) -> Scene:
    """A whole scene: a plane with a 4 × 2 texture, two cameras, and two light states."""
    rng = np.random.default_rng(5)
    lamp = PointLight(power=(90.0, 80.0, 70.0), position=(1.0, 2.0, 3.0))
    return Scene(
        mesh=plane() if body is None else body,
        texture=UvTexture(rng.integers(0, 256, (2, 4, 3), dtype=np.uint8)) if texture is None else texture,
        rig=Rig(
            cameras=(camera((3, -4, 2)), camera((0, -5, 3), projection=orthographic(4.0))),
            lights=(
                sun((0.0, 0.6, -0.8), 3.0),
                LightState(name="lamp", lights=(lamp,), world=(0.1, 0.1, 0.2)),
            ),
            center=(0.0, 0.0, 0.0),
        ),
    )


def vertex_texture(body: Mesh) -> VertexTexture:
    """A colour for each vertex of `body`, all of them different."""
    colors = np.random.default_rng(6).integers(0, 256, (len(body.positions), 3), dtype=np.uint8)
    return VertexTexture(colors)


def job(job_id: str = "job-1") -> Job:
    """A whole job on :func:`scene`."""
    return Job(id=job_id, scene=scene(), settings=Settings(target="coffee mug", steps=3))
