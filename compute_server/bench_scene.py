"""A scene made of formulas, for benchmarks: a body that fills the frame. No bpy."""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec
import numpy as np

from shared.errors import InvalidInput
from shared.scene import (
    Camera,
    CameraJitter,
    LightJitter,
    LightState,
    Mesh,
    PointLight,
    Rig,
    Scene,
    SunLight,
    Surface,
    UvTexture,
    ViewTransform,
)

TRIANGLES = 14_400


#: What a scene may have besides, as most of Blender's do: a Principled surface, a picture of what is all around, and a
#: view transform that is a table, as AgX's is.
FEATURES = ("glossy", "panorama", "table")
NODES = 81


def bench_scene(texture_size: int, triangles: int = TRIANGLES, features: Collection[str] = ()) -> Scene:
    """A rounded box of about so many triangles with a grey texture, twelve cameras around it, sun, lamp and sky; with
    any of FEATURES.

    Raises :class:`InvalidInput` for a feature that there is not.
    """
    if unknown := set(features).difference(FEATURES):
        raise InvalidInput(f"No scene has {sorted(unknown)[0]!r}.", hint=f"There are {', '.join(FEATURES)}.")
    light = LightState(
        name="day",
        lights=(
            SunLight(power=(2.2, 2.2, 2.2), direction=(-0.4, 0.5, -0.8)),
            PointLight(power=(200.0, 200.0, 200.0), position=(4.0, -4.0, 4.0)),
        ),
        world=(0.3, 0.3, 0.3),
        panorama=0 if "panorama" in features else None,
    )
    rig = Rig(
        cameras=tuple(_camera(index * math.tau / 12, math.radians(10 + 20 * (index % 3))) for index in range(12)),
        lights=(light,),
        center=(0.0, 0.0, 0.0),
        camera_jitter=CameraJitter(azimuth=15.0),
        light_jitter=LightJitter(azimuth=180.0),
        panoramas=_surroundings() if "panorama" in features else None,
    )
    texture = UvTexture(np.full((texture_size, texture_size, 3), 128, np.uint8))
    mesh = _body(triangles)
    if "glossy" in features:
        mesh = msgspec.structs.replace(mesh, surfaces=(Surface(roughness=0.5, specular=0.04),))
    return Scene(mesh=mesh, texture=texture, rig=rig, view_transform=_table() if "table" in features else None)


def _surroundings() -> np.ndarray:
    """One panorama ``[1, 256, 512, 3]``: bright above, dark below, and not the same all around."""
    rows, columns = np.linspace(0, 1, 256)[:, None, None], np.linspace(0, math.tau, 512)[None, :, None]
    return (rows * (1.5 + np.sin(columns + np.arange(3))))[None].astype(np.float32)


def _table() -> ViewTransform:
    """A view transform of the size that the add-on sends: a curve that never quite reaches white."""
    toe, top = 2.0**-6.5, 2.0**4
    linear = toe * ((1 + top / toe) ** np.linspace(0, 1, NODES) - 1)
    curve = np.rint(65535 * (linear / (linear + 0.5)) ** (1 / 2.4)).astype(np.uint16)
    table = np.stack(np.meshgrid(curve, curve, curve, indexing="ij"), axis=-1)
    return ViewTransform(name="bench", toe=toe, top=top, table=table)


def _body(triangles: int) -> Mesh:
    """A superellipsoid, longer than high, with the texture wrapped around it."""
    rings = max(2, round(math.sqrt(triangles / 4)))
    segments = 2 * rings
    v, u = np.meshgrid(np.linspace(0, 1, rings + 1), np.linspace(0, 1, segments + 1), indexing="ij")
    polar, around = (0.002 + 0.996 * v) * math.pi, u * math.tau
    sphere = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), -np.cos(polar)], axis=-1)
    positions = (np.sign(sphere) * np.abs(sphere) ** 0.6 * (1.6, 0.8, 0.7)).reshape(-1, 3).astype(np.float32)
    corner = np.arange((rings + 1) * (segments + 1)).reshape(rings + 1, segments + 1)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], axis=2).reshape(-1, 3).astype(np.int32)
    edges = positions[faces]
    face = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    face /= np.maximum(np.linalg.norm(face, axis=1, keepdims=True), 1e-12)
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    return Mesh(
        name="bench body",
        positions=positions,
        triangles=faces,
        normals=np.repeat(face[:, None, :], 3, axis=1).astype(np.float32),
        uv=uv[faces],
        mask=np.ones(len(positions), np.float32),
    )


def _camera(azimuth: float, elevation: float, distance: float = 5.0, fov: float = math.radians(40)) -> Camera:
    """A camera that looks at the origin."""
    back = np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    to_world = np.eye(4)
    to_world[:3] = np.stack([right, np.cross(back, right), back, back * distance], axis=1)
    near, far, focal = 0.1, 100.0, 1 / math.tan(fov / 2)
    projection = np.array(
        [
            [focal, 0, 0, 0],
            [0, focal, 0, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1.0, 0],
        ]
    )
    return Camera(name=f"{math.degrees(azimuth):.0f}°", view=np.linalg.inv(to_world), projection=projection)
