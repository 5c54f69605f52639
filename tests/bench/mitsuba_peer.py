"""`python mitsuba_peer.py SCENE.npz VARIANT REPEATS PICTURES.npy`: Mitsuba 3 renders the scene forward and backward;
prints JSON, and writes pictures of many samples, linear ``[N, H, W, 3]``, to be looked at.

Started by ``peers``, with a Python that has Mitsuba. Imports nothing of this project. Light is direct, as here, but
Mitsuba asks by a ray whether it arrives: it has no mode without shadows.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import drjit as dr
import mitsuba as mi
import numpy as np

#: Samples per pixel of the pictures that are compared with ours.
LOOKED_AT = 256


def main() -> None:
    """Time both kinds of steps."""
    path, variant, repeats, pictures = sys.argv[1:5]
    mi.set_variant(variant)
    given = dict(np.load(path))
    scene = mi.load_dict(_scene(given))
    params = mi.traverse(scene)
    key = next(name for name in params.keys() if name.endswith("reflectance.data"))  # noqa: SIM118
    steps = {"fixed": _fixed, "resampled": _resampled}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(int(repeats) + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step(scene, params, key, given, turn)
            if turn:  # the first compiles kernels
                times[name].append((time.perf_counter() - began) * 1000)
    np.save(pictures, np.stack([np.array(mi.render(scene, sensor=each, spp=LOOKED_AT)) for each in given["sensors"]]))
    found = {f"{name}_ms": round(statistics.median(values), 2) for name, values in times.items()}
    print(json.dumps({"version": mi.__version__, "variant": variant, "threads": dr.thread_count(), **found}))


def _fixed(scene: Any, params: Any, key: str, given: dict[str, Any], turn: int) -> None:
    sensors = given.setdefault(
        "sensors", [mi.load_dict(_sensor(given, view)) for view in range(len(given["to_world"]))]
    )
    _step(scene, params, key, sensors, given, turn)


def _resampled(scene: Any, params: Any, key: str, given: dict[str, np.ndarray], turn: int) -> None:
    rng = np.random.default_rng(turn)
    turned = [_turned(matrix, rng.uniform(-0.26, 0.26)) for matrix in given["to_world"]]
    sensors = [mi.load_dict(_sensor({**given, "to_world": turned}, view)) for view in range(len(turned))]
    _step(scene, params, key, sensors, given, turn)


def _step(scene: Any, params: Any, key: str, sensors: list[Any], given: dict[str, np.ndarray], turn: int) -> None:
    """Pictures of all views, and the texture's gradient from a gradient of the pictures."""
    dr.enable_grad(params[key])
    params.update()
    slope = mi.TensorXf(given["slope"])
    spp = int(given["samples"])
    for view, sensor in enumerate(sensors):
        picture = mi.render(scene, params, sensor=sensor, spp=spp, seed=turn * len(sensors) + view)
        dr.backward(dr.sum(picture * slope))
    dr.eval(dr.grad(params[key]))
    dr.sync_thread()
    dr.set_grad(params[key], 0.0)


def _turned(matrix: np.ndarray, angle: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ matrix


def _sensor(given: dict[str, Any], view: int) -> dict[str, Any]:
    size = int(given["size"])
    # Mitsuba's cameras look along +Z, with +X to the left.
    to_world = np.asarray(given["to_world"][view]) @ np.diag([-1.0, 1.0, -1.0, 1.0])
    film = {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}, "pixel_format": "rgb"}
    return {
        "type": "perspective",
        "fov": float(given["fov"][view]),
        "principal_point_offset_x": float(given["offset"][view, 0]),
        "principal_point_offset_y": float(-given["offset"][view, 1]),
        "to_world": mi.ScalarTransform4f(to_world),
        "film": film,
        "sampler": {"type": "independent", "sample_count": int(given["samples"])},
    }


def _scene(given: dict[str, np.ndarray]) -> dict[str, Any]:
    corners = given["corners"].reshape(-1, 3)
    mesh = mi.Mesh("body", len(corners), len(corners) // 3, has_vertex_normals=False, has_vertex_texcoords=True)
    values = mi.traverse(mesh)
    values["vertex_positions"] = corners.ravel()
    values["faces"] = np.arange(len(corners), dtype=np.uint32)
    values["vertex_texcoords"] = given["uv"].ravel()
    values.update()
    path = given["mesh_path"].item()
    mesh.write_ply(path)
    texture = {"type": "bitmap", "data": mi.TensorXf(given["texture"]), "raw": True}
    return {
        "type": "scene",
        "integrator": {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0},
        "body": {
            "type": "ply",
            "filename": path,
            "face_normals": True,
            "bsdf": {"type": "twosided", "inner": {"type": "diffuse", "reflectance": texture}},
        },
        "sun": {
            "type": "directional",
            "direction": given["sun_direction"].tolist(),
            "irradiance": {"type": "rgb", "value": given["sun"].tolist()},
        },
        "lamp": {
            "type": "point",
            "position": given["lamp_position"].tolist(),
            "intensity": {"type": "rgb", "value": (given["lamp"] / (4 * np.pi)).tolist()},
        },
        "sky": {"type": "constant", "radiance": {"type": "rgb", "value": given["world"].tolist()}},
    }


if __name__ == "__main__":
    main()
