"""Random views around a rig (expectation over transformation): camera, light and background, drawn from one generator.

A view is data (:class:`shared.scene.View`), so that what is drawn here can be rendered by the server and by Cycles
alike. Draws random numbers; what is worked out with them is in ``eot_kernels``. No torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from shared.errors import InvalidInput
from shared.scene import (
    AreaLight,
    Camera,
    CameraJitter,
    GlowLight,
    Light,
    LightJitter,
    LightState,
    PointLight,
    Rig,
    SpotLight,
    SunLight,
    Vector,
    View,
)

from . import eot_kernels

#: Backgrounds are made at this size and stretched over the frame.
BACKGROUND_SIZE = 64
#: Random cameras never look straight down or up, where "azimuth" loses its meaning.
MAX_ELEVATION = math.radians(88)

GREY = np.full((2, 2, 3), 128, np.uint8)

Backgrounds = Literal["varied", "flat", "noise", "pictures", "grey"]
Choice = TypeVar("Choice")
Maker = Callable[[np.random.Generator], np.ndarray]


class Generators(NamedTuple):
    """Independent generators for the views of one job."""

    train: np.random.Generator
    validation: np.random.Generator
    held_out: np.random.Generator
    mining: np.random.Generator
    sites: np.random.Generator
    flat: np.random.Generator


def generators(seed: int) -> Generators:
    """New generators, each at its start."""
    return Generators(*(np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)))


def fixed_views(rig: Rig) -> tuple[View, ...]:
    """The rig as it stands: every camera once, the light states in turn, in front of mid grey."""
    return tuple(
        View(camera=camera, lights=rig.lights[index % len(rig.lights)], background=GREY)
        for index, camera in enumerate(rig.cameras)
    )


class Turns(Iterator[Choice]):
    """Items without end, each in its turn, the turns in random order. ``left`` are those still to come in this turn."""

    def __init__(self, items: Sequence[Choice], rng: np.random.Generator) -> None:
        self._items = items
        self._rng = rng
        self.left: list[int] = []

    def __next__(self) -> Choice:
        if not self.left:
            self.left = self._rng.permutation(len(self._items)).tolist()
        return self._items[self.left.pop(0)]


class BackgroundPictures(Iterator[np.ndarray]):
    """See :func:`background_pictures`."""

    def __init__(self, rig: Rig, kind: Backgrounds, rng: np.random.Generator) -> None:
        self.rng = rng
        self._makers = MAKERS.get(kind, ())
        self.turns: Turns[np.ndarray] | None = None
        if kind == "pictures":
            if rig.backgrounds is None or len(rig.backgrounds) == 0:
                raise InvalidInput("The job has no background pictures.", hint="Choose another kind of background.")
            self.turns = Turns(list(rig.backgrounds), rng)

    def __next__(self) -> np.ndarray:
        if self.turns is not None:
            return next(self.turns)
        return background(self.rng, self._makers) if self._makers else GREY

    def state(self) -> str:
        """Where the pictures stand: what :meth:`restore` goes on from, in a process to come."""
        return _state(self.rng, [self.turns] if self.turns is not None else [])

    def restore(self, state: str) -> None:
        """Go on from there."""
        _restore(state, self.rng, [self.turns] if self.turns is not None else [])


class RandomViews(Iterator[View]):
    """See :func:`random_views`."""

    def __init__(self, rig: Rig, rng: np.random.Generator, backgrounds: Backgrounds) -> None:
        self._rig = rig
        self._behind = BackgroundPictures(rig, backgrounds, rng)
        self._cameras, self._states = Turns(rig.cameras, rng), Turns(rig.lights, rng)
        self._rng = rng
        self._turns = [turns for turns in (self._cameras, self._states, self._behind.turns) if turns is not None]

    def __next__(self) -> View:
        rig, rng = self._rig, self._rng
        return View(
            camera=jitter_camera(next(self._cameras), rig.center, rig.camera_jitter, rng),
            lights=jitter_lights(next(self._states), rig.center, rig.light_jitter, rng),
            background=next(self._behind),
        )

    def state(self) -> str:
        """Where the views stand: what :meth:`restore` goes on from, in a process to come."""
        return _state(self._rng, self._turns)

    def restore(self, state: str) -> None:
        """Go on from there."""
        _restore(state, self._rng, self._turns)


def _state(rng: np.random.Generator, turns: Sequence[Turns[Any]]) -> str:
    return json.dumps({"rng": rng.bit_generator.state, "left": [each.left for each in turns]})


def _restore(state: str, rng: np.random.Generator, turns: Sequence[Turns[Any]]) -> None:
    kept = json.loads(state)
    rng.bit_generator.state = kept["rng"]
    for each, left in zip(turns, kept["left"], strict=True):
        each.left = left


def random_views(rig: Rig, rng: np.random.Generator, backgrounds: Backgrounds) -> RandomViews:
    """Views without end. Cameras and light states each take turns in random order, so that none is left out.

    Raises :class:`InvalidInput` when `backgrounds` asks for the rig's pictures and it has none.
    """
    return RandomViews(rig, rng, backgrounds)


# --- cameras --------------------------------------------------------------------------------------------------------


def jitter_camera(camera: Camera, center: Vector, jitter: CameraJitter, rng: np.random.Generator) -> Camera:
    """`camera` moved around `center` and re-aimed a little, within `jitter`."""
    angles = np.radians(rng.uniform(-1, 1, 3) * (jitter.azimuth, jitter.elevation, jitter.roll))
    distance, zoom = _factor(jitter.distance, rng), _factor(jitter.zoom, rng)
    shift = rng.uniform(-1, 1, 2) * jitter.shift
    matrices = np.ascontiguousarray(camera.view), np.ascontiguousarray(camera.projection)
    given = np.array(center), angles, distance, zoom, shift, MAX_ELEVATION
    view, projection = eot_kernels.jittered(*matrices, *given)
    return msgspec.structs.replace(camera, view=view, projection=projection)


def direction(camera: Camera, center: Vector) -> tuple[float, float]:
    """Azimuth and elevation of `camera` as seen from `center`, in degrees: counter-clockwise from +X as seen from
    above, and above the horizon."""
    x, y, z = np.linalg.inv(camera.view)[:3, 3] - center
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def camera_toward(rig: Rig, azimuth: float, elevation: float) -> Camera:
    """The rig's camera that is nearest to a direction (see :func:`direction`), turned about the centre to that
    direction."""

    def apart(camera: Camera) -> tuple[float, float]:
        there, height = direction(camera, rig.center)
        return (azimuth - there + 180.0) % 360.0 - 180.0, elevation - height

    nearest = min(rig.cameras, key=lambda camera: math.hypot(*apart(camera)))
    around, up = np.radians(apart(nearest))
    to_world = eot_kernels.inverse(np.ascontiguousarray(nearest.view))
    moved = eot_kernels.orbit(to_world, np.array(rig.center), around, up, 1.0, MAX_ELEVATION)
    return msgspec.structs.replace(nearest, name=f"{azimuth:g}°, {elevation:g}°", view=np.linalg.inv(moved))


def _factor(spread: float, rng: np.random.Generator) -> float:
    """A factor between 1 / (1 + spread) and 1 + spread, uniform in its logarithm."""
    return float((1 + spread) ** rng.uniform(-1, 1))


# --- lights ---------------------------------------------------------------------------------------------------------


def jitter_lights(state: LightState, center: Vector, jitter: LightJitter, rng: np.random.Generator) -> LightState:
    """`state` turned about the vertical axis through `center`, with another strength and tint, within `jitter`.

    Light that lies in light maps cannot turn: each source gets a strength and tint of its own instead.
    """
    if is_baked(state):
        return _mixed(state, jitter, rng)
    angle = math.radians(jitter.azimuth) * rng.uniform(-1, 1)
    gain = _gain(jitter, rng)
    lights = tuple(_turned(light, angle, center, gain) for light in state.lights)
    around = state.turn + angle if state.panorama is not None else 0.0
    return msgspec.structs.replace(state, lights=lights, world=_scaled(gain, state.world), turn=around)


def is_baked(state: LightState) -> bool:
    """Whether light maps hold what `state` brings to the surface."""
    return state.world_map is not None or any(light.map is not None for light in state.lights)


def _mixed(state: LightState, jitter: LightJitter, rng: np.random.Generator) -> LightState:
    """A mixture of the state's sources. What glows in the scene glows as it does: it is no lamp to be changed."""
    lights = tuple(
        light
        if isinstance(light, GlowLight)
        else msgspec.structs.replace(light, power=_scaled(_gain(jitter, rng), light.power))
        for light in state.lights
    )
    return msgspec.structs.replace(state, lights=lights, world=_scaled(_gain(jitter, rng), state.world))


def _gain(jitter: LightJitter, rng: np.random.Generator) -> Vector:
    """A factor of strength and tint for each channel."""
    strength = 2 ** (jitter.stops * rng.uniform(-1, 1))
    r, g, b = rng.uniform(-1, 1, 3).tolist()
    return strength * (1 + jitter.tint) ** r, strength * (1 + jitter.tint) ** g, strength * (1 + jitter.tint) ** b


# Plain numbers: NumPy takes several times as long with three.
def _turned(light: Light, angle: float, center: Vector, gain: Vector) -> Light:
    """`light` turned about the vertical axis through `center`, its power times `gain`."""
    sin, cos = math.sin(angle), math.cos(angle)

    def turn(vector: Vector) -> Vector:
        x, y, z = vector
        return cos * x - sin * y, sin * x + cos * y, z

    changed: dict[str, Any] = {"power": _scaled(gain, light.power)}
    if isinstance(light, PointLight | SpotLight | AreaLight):
        x, y, z = light.position
        to_x, to_y, _ = turn((x - center[0], y - center[1], z))
        changed["position"] = (to_x + center[0], to_y + center[1], z)
    if isinstance(light, SunLight | SpotLight):
        changed["direction"] = turn(light.direction)
    if isinstance(light, AreaLight):
        changed |= {"axis_x": turn(light.axis_x), "axis_y": turn(light.axis_y)}
    return msgspec.structs.replace(light, **changed)


def _scaled(gain: Vector, color: Vector) -> Vector:
    return gain[0] * color[0], gain[1] * color[1], gain[2] * color[2]


# --- backgrounds ----------------------------------------------------------------------------------------------------


def background_pictures(rig: Rig, kind: Backgrounds, rng: np.random.Generator) -> BackgroundPictures:
    """Backgrounds ``[H, W, 3] uint8`` of one kind without end."""
    return BackgroundPictures(rig, kind, rng)


def background(rng: np.random.Generator, makers: Sequence[Maker]) -> np.ndarray:
    """A background by one of `makers`, ``[B, B, 3] uint8`` display-encoded."""
    return makers[rng.integers(len(makers))](rng)


def _colors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours [count, 3] that are mostly muted, as most surroundings are."""
    grey = rng.uniform(0, 1, (count, 1))
    return grey + rng.uniform(-1, 1, (count, 3)) * rng.uniform(0, 0.35, (count, 1))


def _flat(rng: np.random.Generator) -> np.ndarray:
    return np.tile(eot_kernels.bytes_of(_colors(rng, 1)), (BACKGROUND_SIZE, BACKGROUND_SIZE, 1))


def _horizon(rng: np.random.Generator) -> np.ndarray:
    """Two vertical gradients that meet: sky and ground, or wall and floor."""
    colors = _colors(rng, 4)
    split = int(rng.uniform(0.2, 0.8) * BACKGROUND_SIZE)
    return _made(eot_kernels.horizon(colors, split, rng.normal(0, 0.02, (BACKGROUND_SIZE, BACKGROUND_SIZE))))


def _blocks(rng: np.random.Generator) -> np.ndarray:
    """Overlapping rectangles: edges and corners, as rooms and streets have."""
    ground = _colors(rng, 1)
    others = _colors(rng, int(rng.integers(6, 30)))
    far = BACKGROUND_SIZE
    boxes = rng.integers((-12, -12, 3, 3), (far, far, 40, 40), (len(others), 4))
    return _made(eot_kernels.blocks(eot_kernels.bytes_of(np.concatenate([ground, others])), boxes, far))


def _noise(rng: np.random.Generator) -> np.ndarray:
    """Noise with spectrum 1/f^β, as natural pictures have on average, in two colours."""
    spectrum = np.fft.rfft2(rng.normal(size=(BACKGROUND_SIZE, BACKGROUND_SIZE)))
    eot_kernels.falling(spectrum, _LOG_FREQUENCY, rng.uniform(0.7, 1.6))
    field = np.fft.irfft2(spectrum, (BACKGROUND_SIZE, BACKGROUND_SIZE))
    dark, light = _colors(rng, 2)
    return _made(eot_kernels.mixed(field, dark, light))


def _made(picture: Any) -> np.ndarray:
    """What a kernel gives, of which no type is known."""
    return np.asarray(picture)


def _log_frequency() -> np.ndarray:
    """Of each coefficient of ``rfft2``, in cycles per pixel; infinite for the mean, which is taken away so."""
    frequency = np.hypot(np.fft.fftfreq(BACKGROUND_SIZE)[:, None], np.fft.rfftfreq(BACKGROUND_SIZE)[None, :])
    frequency[0, 0] = np.inf
    logarithms: np.ndarray = np.log(frequency)
    return logarithms


_LOG_FREQUENCY = _log_frequency()

#: What makes each kind of backgrounds up.
MAKERS: dict[str, tuple[Maker, ...]] = {
    "flat": (_flat,),
    "noise": (_noise,),
    "varied": (_flat, _horizon, _blocks, _noise),
}
