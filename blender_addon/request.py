# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a job out of what the panel says: `scene.assistive` and the object become `messages.Job`. Sends nothing."""

from __future__ import annotations

import difflib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

import bpy
import msgspec
import numpy as np

from . import backgrounds, collect, sphere
from ._shared import errors, messages, scene, targets
from .session import Ticket

ANY_TIMM_MODEL = "timm/"
AUGMENTATIONS = get_args(messages.Augmentation)
#: Settings that the panel calls what the job calls them.
SAME_NAMES = (
    *("steps", "views", "stepper", "objective", "sampling", "light", "blender_every", "held_out_views", "seed"),
    *("norm", "ensemble", "octaves", "leave_one_out", "survey"),
)
DEFAULT_TRAINED, DEFAULT_HELD_OUT = ("efficientnet_lite0",), ("efficientnet_lite1",)


@dataclass(frozen=True)
class Request:
    """A job, what this side has to remember of it, and its object."""

    job: messages.Job
    ticket: Ticket
    obj: bpy.types.Object


def make(
    context: Any,
    obj: bpy.types.Object,
    *,
    labels: Sequence[str],
    models: Sequence[messages.ModelInfo],
    preview_every_s: float,
    file: str,
    steps: int | None = None,
    on_progress: Callable[[float], None] = lambda _: None,
) -> Request:
    """The job that the scene's settings describe for `obj`.

    `steps` takes the place of the panel's. `labels` and `models` are the server's, empty while they are not known.
    `file` is what the open file is known by.
    Raises :class:`InvalidInput` that names what cannot be used; nothing is added to the file then.
    """
    chosen = context.scene.assistive
    settings = settings_of(chosen, preview_every_s)
    if steps is not None:
        settings = msgspec.structs.replace(settings, steps=steps)
    check_names(settings, labels, models)
    began = time.perf_counter()
    collected = collect.collect(
        context,
        obj,
        mask=chosen.mask or None,
        invert_mask=chosen.invert_mask,
        texture=chosen.texture,
        texture_size=int(chosen.size) or None,
        init="own" if chosen.initial == "OWN" else _hex(chosen.color),
        uv="new" if chosen.new_uv_map else "own",
        rig=_rig_choice(chosen),
        light=chosen.light,
        bake=collect.BakeChoice(int(chosen.light_map_size), chosen.light_map_samples),
        on_progress=on_progress,
    )
    job = messages.Job(id=uuid.uuid4().hex, scene=collected.scene, settings=settings)
    ticket = Ticket(
        job_id=job.id,
        address="",
        file=file,
        scene=context.scene.name,
        object=obj.name,
        uv_map=collected.uv_map,
        settings=settings,
        collect_s=time.perf_counter() - began,
        own_rig=collected.own_rig,
        left_out=collected.left_out,
        placement=_placement(obj, collected.scene),
        submitted=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Request(job, ticket, obj)


def _placement(obj: Any, collected: scene.Scene) -> sphere.Placement:
    """Where `obj` is now; its surroundings are surveyed around there."""
    _, radius = collect.bounding_sphere(collected.mesh)
    matrix = tuple(tuple(row) for row in obj.matrix_world)
    return sphere.Placement(center=collected.rig.center, radius=radius, matrix=matrix)


def settings_of(chosen: Any, preview_every_s: float) -> messages.Settings:
    """The settings in `scene.assistive`. Raises :class:`InvalidInput` when the target is missing."""
    if not chosen.target.strip():
        raise errors.InvalidInput("There is no target.", hint="Say what the object is to be recognised as.")
    trained, held_out = classifiers_of(chosen)
    if not trained:
        raise errors.InvalidInput("No classifier is trained on.", hint="Set the role of one to Train.")
    folder = chosen.backgrounds in ("pictures", "panoramas")
    return msgspec.convert(
        {
            "target": target_of(chosen),
            "models": trained,
            "held_out_models": held_out,
            **{name: getattr(chosen, name) for name in SAME_NAMES},
            "weights": weights_of(chosen),
            "augment": [name for name in AUGMENTATIONS if name in chosen.augment],
            "smoothness": _decimal(chosen.smoothness),
            "mined": _decimal(chosen.mined),
            "patch": _decimal(chosen.patch_size) if chosen.patch != "NONE" else 0.0,
            "patch_site": "random" if chosen.patch == "RANDOM" else "best",
            "alpha": _decimal(chosen.alpha),
            "samples": int(chosen.samples),
            "epsilon": _decimal(chosen.epsilon) if chosen.bounded else None,
            "stop_at": _decimal(chosen.stop_at) if chosen.stop_early else None,
            "backgrounds": "pictures" if folder else chosen.backgrounds,
            "preview_every_s": preview_every_s,
        },
        messages.Settings,
    )


def target_of(chosen: Any) -> str:
    """The target in `scene.assistive`, the artist's own sets written out. Raises :class:`UnknownTarget` for a broken
    one."""
    own = {item.name.strip(): item.classes for item in chosen.own_sets if item.name.strip()}
    return targets.with_own_sets(chosen.target.strip(), own)


def _decimal(value: float) -> float:
    """The number that was typed: Blender keeps it in 32 bits, and the same job from the command line would differ."""
    return float(f"{value:.6g}")


def classifiers_of(chosen: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classifiers to train on and of those to measure with; the embedded ones unless any are listed."""
    if not chosen.classifiers:
        return DEFAULT_TRAINED, DEFAULT_HELD_OUT
    named = [(item.name, item.role) for item in chosen.classifiers if item.name]
    return tuple(n for n, role in named if role == "TRAIN"), tuple(n for n, role in named if role == "HELD_OUT")


def weights_of(chosen: Any) -> tuple[float, ...]:
    """The weights of the classifiers that are trained on; none where all are alike."""
    weights = tuple(_decimal(item.weight) for item in chosen.classifiers if item.name and item.role == "TRAIN")
    return weights if len(set(weights)) > 1 else ()


def check_names(settings: messages.Settings, labels: Sequence[str], models: Sequence[messages.ModelInfo]) -> None:
    """Raise :class:`InvalidInput` for a target or classifier that the server does not know, as far as that is known."""
    if labels:
        targets.resolve(settings.target, labels)
    known = {info.name: info for info in models}
    for name in (*settings.models, *settings.held_out_models) if known else ():
        if name.startswith(ANY_TIMM_MODEL):  # the server lists but a few of timm's
            continue
        if name not in known:
            raise _unknown_model(name, list(known))


def _unknown_model(name: str, known: Sequence[str]) -> errors.UnknownModel:
    nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(nearest)}?" if nearest else "`assistive-server models` lists them all."
    return errors.UnknownModel(f"No classifier is called {name!r}.", hint=hint)


def _hex(color: Sequence[float]) -> str:
    return "#" + "".join(f"{round(float(channel) * 255):02x}" for channel in color)


def _rig_choice(chosen: Any) -> collect.RigChoice:
    return collect.RigChoice(
        cameras=_source(chosen.cameras, chosen.camera_collection, "camera"),
        lights=_source(chosen.lights, chosen.light_collection, "light"),
        camera_jitter=scene.CameraJitter(**_jitter(chosen, "camera", scene.CameraJitter)),
        light_jitter=scene.LightJitter(**_jitter(chosen, "light", scene.LightJitter)),
        backgrounds=_background_pictures(chosen),
    )


def _jitter(chosen: Any, prefix: str, kind: type[msgspec.Struct]) -> dict[str, float]:
    return {name: _decimal(getattr(chosen, f"{prefix}_{name}")) for name in kind.__struct_fields__}


def _source(kind: str, collection: Any, what: str) -> Any:
    if kind != "COLLECTION":
        return kind.lower()
    if collection is None:
        raise errors.InvalidInput(f"No {what} rig is chosen.", hint="Choose a collection, or create one.")
    return collection


def _background_pictures(chosen: Any) -> np.ndarray | None:
    if chosen.backgrounds not in ("pictures", "panoramas"):
        return None
    if not chosen.background_folder.strip():
        raise errors.InvalidInput("No folder of backgrounds is chosen.", hint="Choose one, or another kind.")
    read = backgrounds.read_pictures if chosen.backgrounds == "pictures" else backgrounds.read_panoramas
    return read(chosen.background_folder)
