"""Every message that crosses the wire, and the job and result types they carry. Types only: no sockets, no files.

Requests go from client to server and are answered at once by the reply named in their docstring, or by
:class:`Refused`. Events (:class:`Progress`, :class:`Preview`, :class:`Draw`, :class:`Ended`) come unasked to whoever
watches a job.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import numpy as np

from .arrays import Array, Blob, Picture, Pictures
from .errors import ErrorData
from .scene import Scene, Texture, Vector, View
from .targets import Target

Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]

Augmentation = Literal["resize", "crop", "blur", "noise", "jpeg", "fog", "brightness"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a job is done. Defaults are the Standard preset; `α` and `ε` are in display-encoded units of [0, 1].

    ``epsilon`` None leaves the texture free; ``norm`` says which ball it is. ``sampling`` "random" draws new views,
    lights and backgrounds around the rig in every step (EoT), "fixed" uses the rig's own cameras in turn with its light
    states. ``backgrounds`` "pictures" are those of the rig, the others are made up. ``stop_at`` ends the job early once
    held-out confidence of the trained models holds above it.

    Several ``models`` are weighed by ``weights`` (one for each, or none: all alike). ``ensemble`` "mean" makes the mean
    of their losses small, "worst" the logarithm of their mean exponential, which listens to the worst of them first.

    ``light`` "open" is direct light that nothing hides; "traced" the same with shadows of the object and its
    surroundings; "baked" takes the scene's light maps, with all that Cycles knows of shadows and bounces.

    For transfer to classifiers never trained on: ``augment`` names what half of a step's pictures go through on their
    way to the classifiers (other scales and crops, blur, noise, JPEG, fog, brightness); with ``octaves`` above 1 the
    texture moves at so many scales at once, each twice as coarse as the one before; ``smoothness`` weighs the total
    variation of covered texels. ``mined`` is the share of a step's views that are taken from those found to be
    recognised least so far.

    With ``patch`` above 0 only a square patch of that share of the surface that the rig's cameras see may change,
    inside the mask: at the site that a search ranks best, or at a random one (``patch_site``). ``method`` "flat" makes
    the patch without the object, over random moves, turns and sizes on backgrounds, with the same number of steps and
    pictures, and only then puts it there: the baseline.

    Of several ``models``, ``leave_one_out`` also trains without each in turn, and tells how the texture that was made
    without it does with it.

    With ``blender_every`` above 0, in every so manieth step the classifiers see Blender's pictures (:class:`Draw`)
    instead of the server's, and gradients go the server's way (straight-through).

    ``survey`` is from how many directions around the object the result is looked at in the end, at each of several
    elevations (:class:`Survey`); 0: not at all.
    """

    target: str
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=64)] = ("efficientnet_lite0",)
    held_out_models: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    steps: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 500
    views: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    samples: Literal[1, 4, 9, 16] = 4
    alpha: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.06
    epsilon: Annotated[float, msgspec.Meta(gt=0.0)] | None = None
    norm: Literal["linf", "l2"] = "linf"
    stepper: Literal["sign", "momentum", "adam"] = "sign"
    objective: Literal["cross_entropy", "margin"] = "cross_entropy"
    ensemble: Literal["mean", "worst"] = "mean"
    weights: tuple[Annotated[float, msgspec.Meta(gt=0.0)], ...] = ()
    smoothness: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    augment: tuple[Augmentation, ...] = ()
    octaves: Annotated[int, msgspec.Meta(ge=1, le=8)] = 8
    mined: Fraction = 0.0
    patch: Annotated[float, msgspec.Meta(ge=0.0, le=0.5)] = 0.0
    patch_site: Literal["best", "random"] = "best"
    method: Literal["rendered", "flat"] = "rendered"
    leave_one_out: bool = True
    sampling: Literal["random", "fixed"] = "random"
    backgrounds: Literal["varied", "flat", "noise", "pictures", "grey"] = "varied"
    light: Literal["open", "traced", "baked"] = "open"
    blender_every: Annotated[int, msgspec.Meta(ge=0)] = 0
    held_out_views: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    check_views: Annotated[int, msgspec.Meta(ge=0, le=64)] = 8
    survey: Annotated[int, msgspec.Meta(ge=0, le=72)] = 12
    stop_at: Fraction | None = None
    preview_every_s: Annotated[float, msgspec.Meta(ge=0.0)] = 1.0
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture is made an assistive one. As :class:`Settings` where names are the same.

    ``target`` "" is the label that the first classifier gives the picture as it is. ``epsilon`` bounds the change of
    any channel ("linf") or of all together ("l2"), also after rounding to 8 bits.
    """

    target: str = ""
    models: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=64)] = ("efficientnet_lite0",)
    held_out_models: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()
    weights: tuple[Annotated[float, msgspec.Meta(gt=0.0)], ...] = ()
    ensemble: Literal["mean", "worst"] = "mean"
    steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 40
    alpha: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 1 / 255
    epsilon: Annotated[float, msgspec.Meta(gt=0.0)] = 4 / 255
    norm: Literal["linf", "l2"] = "linf"
    stepper: Literal["sign", "momentum", "adam"] = "sign"
    objective: Literal["cross_entropy", "margin"] = "cross_entropy"
    augment: tuple[Augmentation, ...] = ()
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job is a value: the same job gives the same texture.

    ``id`` is made by the client; sent twice, it is one job.
    """

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    scene: Scene
    settings: Settings


class Stats(msgspec.Struct, frozen=True):
    """Over a set of views: mean confidence in the target, share of views whose top-1 is right, least confidence, and
    the confidence that 19 views in 20 are above (5th percentile)."""

    mean: float
    top1: float
    min: float
    p5: float


class BeforeAfter(msgspec.Struct, frozen=True):
    """The same views with the original and with the assistive texture."""

    before: Stats
    after: Stats


class Prediction(msgspec.Struct, frozen=True):
    """One class and its probability."""

    index: int
    label: str
    confidence: float


class Verdict(msgspec.Struct, frozen=True):
    """What a classifier says of one picture: probability of the target, whether top-1 is right, the top classes."""

    confidence: float
    right: bool
    top: tuple[Prediction, ...]


class EachView(msgspec.Struct, frozen=True):
    """What one classifier says of each of a set of views: confidence in the target, and whether its top-1 is right."""

    confidence: tuple[float, ...] = ()
    right: tuple[bool, ...] = ()


class ModelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one classifier says, on training views and on views never used in training.

    ``each_before`` and ``each_after`` are the views behind ``held_out``, one by one, the same views in both.
    ``left_out`` are the figures, on views never used in training, of the texture that was made without this classifier.
    ``check_before`` and ``check_confidence`` have the confidence in the server's own picture of each check view, before
    and after, in the order of ``Result.check_views``; ``said_before`` and ``said_after`` what is said of the pictures
    that cross the wire (``Result.pictures_before``, ``pictures_after``), with the top classes. ``controls`` are the
    same views as ``each_after`` with something else in the place of the patch: noise, a plain colour, a QR code.
    """

    trained: bool
    train: BeforeAfter
    held_out: BeforeAfter
    held_out_views: int
    each_before: EachView = EachView()
    each_after: EachView = EachView()
    left_out: Stats | None = None
    check_before: tuple[float, ...] = ()
    check_confidence: tuple[float, ...] = ()
    said_before: tuple[Verdict, ...] = ()
    said_after: tuple[Verdict, ...] = ()
    controls: dict[str, EachView] = {}


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds on the server."""

    queue_s: float
    optimise_s: float
    evaluate_s: float
    step_median_s: float
    classifier_median_s: float


class Curves(msgspec.Struct, frozen=True, kw_only=True):
    """How an optimisation went. For each step: the loss, and the first trained classifier's confidence in the views of
    that step, in the mean and in the least of them. After ``validated`` steps each: the trained classifiers' mean
    confidence on validation views (of the textures judged so, the best is the one that is kept)."""

    loss: tuple[float, ...] = ()
    confidence: tuple[float, ...] = ()
    least: tuple[float, ...] = ()
    validated: tuple[int, ...] = ()
    validation: tuple[float, ...] = ()


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was taken on Blender's pictures.

    ``server`` and ``blender``: mean confidence (first trained classifier) in the pictures of either, of the same views
    and texture. ``mean_error``: of a pixel's channel, of 1. ``cosine``: between the gradients that the one and the
    other pictures lead to; 1 would mean that Blender's told nothing new.
    """

    step: int
    server: float
    blender: float
    mean_error: float
    cosine: float


class PatchSite(msgspec.Struct, frozen=True, kw_only=True):
    """A place for a square patch, as a sticker is put on: ``edge`` (units of the scene) long, ``normal`` away from the
    surface, ``up`` (a unit vector in the tangent plane) to its upper edge.

    ``gain``: by how much a small change of size α is expected to lower the loss, for α = 1 (first order).
    ``visibility``: the share of views that see it. ``flatness``: of its directions, 1 for a plane. ``area``: the share
    of the square that is surface which may change. ``score`` is their product, and sites are ranked by it; the first
    few are then tried for some steps, and ``trial`` is the loss that came of it: theirs is ranked by that.
    """

    center: Vector
    normal: Vector
    up: Vector
    edge: float
    gain: float
    visibility: float
    flatness: float
    area: float
    score: float
    trial: float | None = None


class Patch(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a texture that was free to change, to be cut out.

    ``png`` is an RGBA file, opaque where texels were free to change (with the padding around them). Pasted at ``box``
    (left, bottom, width, height in texels; row 0 at the bottom) into the original texture it gives the new one.
    ``uv`` is the same rectangle in UV space (left, bottom, right, top). ``width_mm``, ``height_mm`` and ``area_mm2``
    are those of the free part on the surface, seen from where it faces, upright. Texels that several places share count
    as nowhere.
    """

    png: Blob
    box: tuple[int, int, int, int]
    uv: tuple[float, float, float, float]
    width_mm: float
    height_mm: float
    area_mm2: float


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """How the object is recognised from directions all around it, under each of the rig's lights, in front of grey.

    ``azimuths`` (degrees, counter-clockwise from +X as seen from above) and ``elevations`` (degrees above the horizon)
    are those of the camera as seen from the rig's centre. ``confidence`` in the target and the class of ``top1`` are
    indexed by texture, classifier, light, elevation and azimuth. ``labels`` names the classes that occur.
    """

    textures: tuple[str, ...]
    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    lights: tuple[str, ...]
    models: tuple[str, ...]
    confidence: Annotated[np.ndarray, Array("float32", "T", "M", "L", "E", "A")]
    top1: Annotated[np.ndarray, Array("int32", "T", "M", "L", "E", "A")]
    labels: dict[int, str] = {}


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a job made. All figures are measured on the 8-bit texture given here.

    ``texture_png`` is the texture as a PNG file (UV textures only), ``importance_png`` a greyscale one of the same size
    and rows that is bright where the trained classifiers look (gradient × input over a few held-out views; UV textures
    of jobs that were not cancelled), ``check_views`` held-out views for another renderer
    to repeat, ``pictures_*`` the server's own pictures of them with the first trained classifier's size. ``exchanges``
    are the steps taken on Blender's pictures. ``patch`` is there where the mask or a site left part of a UV texture as
    it was, ``sites`` where one was searched for: the one taken first, then the others by rank. ``survey`` looks at the
    object from all around, before and after. ``plots`` are SVG files by name, for the report's page, ``scene_hash``
    the fingerprint of the job's scene (see `wire.fingerprint`). ``notes`` are sentences on what went
    otherwise than asked for.
    """

    outcome: Literal["finished", "early", "cancelled"]
    steps: int
    target: Target
    texture: Texture
    texture_png: Blob | None
    importance_png: Annotated[np.ndarray, Array("uint8", "I")] | None = None
    mask_coverage: float
    max_change_outside: int
    models: dict[str, ModelFigures]
    check_views: tuple[View, ...]
    pictures_before: Pictures
    pictures_after: Pictures
    exchanges: tuple[Exchange, ...] = ()
    patch: Patch | None = None
    sites: tuple[PatchSite, ...] = ()
    curves: Curves = Curves()
    survey: Survey | None = None
    notes: tuple[str, ...] = ()
    plots: dict[str, str] = {}
    scene_hash: str = ""
    timing: Timing
    versions: dict[str, str]
    device: str


# --- requests -------------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag=True):
    """Who is there? Answered by `Welcome`."""

    version: str


class ListModels(msgspec.Struct, frozen=True, tag=True):
    """Answered by `Models`."""


class ListTargets(msgspec.Struct, frozen=True, tag=True):
    """Answered by `Targets`."""


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Do this job, and tell me of it. Answered by `Accepted`. Jobs of a higher priority are done first."""

    job: Job
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] = 0


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Tell me of this job (again). Answered by `Accepted`; if it has ended, `Ended` follows at once."""

    job_id: str


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """End this job within one step and keep the best so far. Answered by `Accepted`."""

    job_id: str


class Drawn(msgspec.Struct, frozen=True, tag=True):
    """Blender's pictures of the views that a job has asked for (:class:`Draw`). Answered by `Accepted`."""

    job_id: str
    step: int
    pictures: Pictures


class Classify(msgspec.Struct, frozen=True, tag=True):
    """What is in these pictures? Answered by `Classified`."""

    pictures: Pictures
    model: str
    target: str
    top: Positive = 5


class Assist(msgspec.Struct, frozen=True, tag=True):
    """Make this picture an assistive one. Answered by `Assisted`."""

    picture: Picture
    settings: ImageSettings


class DrawSheet(msgspec.Struct, frozen=True, tag=True):
    """A contact sheet of pictures before and after, labelled by a classifier. Answered by `Sheet`."""

    before: Pictures
    after: Pictures
    model: str
    target: str


class DrawComparison(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A sheet that shows the server's own pictures of some views beside Blender's, before and after, with their
    difference and what a classifier says of each. Answered by `Sheet`."""

    server_before: Pictures
    blender_before: Pictures
    server_after: Pictures
    blender_after: Pictures
    model: str
    target: str


Request = (
    Hello | ListModels | ListTargets | Submit | Watch | Cancel | Drawn | Classify | Assist | DrawSheet | DrawComparison
)


# --- replies and events ---------------------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A server of this version, computing on this device (as the worker names it; empty while it starts), that takes
    messages of so many bytes (None: it does not say)."""

    version: str
    device: str
    jobs_running: int
    jobs_queued: int
    message_bytes: int | None = None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One classifier that a server knows."""

    name: str
    size: int
    available: bool
    license: str
    source: str
    weights: str


class Models(msgspec.Struct, frozen=True, tag=True):
    """All classifiers that this server knows, those that can be used now marked available."""

    models: tuple[ModelInfo, ...]


class Targets(msgspec.Struct, frozen=True, tag=True):
    """The labels, index = class."""

    labels: tuple[str, ...]


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job is known; ``position`` counts the jobs before it, the running one included, and ``wait_s`` is how long
    they will take (None: not known)."""

    job_id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    position: int
    wait_s: float | None = None


class Classified(msgspec.Struct, frozen=True, tag=True):
    """One verdict for each picture."""

    verdicts: tuple[Verdict, ...]


class ImageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one classifier says of a picture before and after."""

    trained: bool
    before: Verdict
    after: Verdict


class Assisted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A picture that is recognised better, or the very same one where none was found (``improved`` False).

    ``max_change`` is in levels of 255, ``l2`` of all channels together, of the range 0 to 1.
    """

    picture: Picture
    target: Target
    models: dict[str, ImageFigures]
    improved: bool
    max_change: int
    l2: float


class Sheet(msgspec.Struct, frozen=True, tag=True):
    """A contact sheet as a PNG file."""

    png: Blob


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The request could not be met."""

    error: ErrorData


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How a running job stands. ``confidence`` has one number for each view of this step, first trained model.

    ``steps`` are all that the job takes, those "comparing" textures that leave one classifier out included.
    """

    job_id: str
    phase: Literal["preparing", "optimising", "evaluating", "comparing"]
    step: int
    steps: int
    loss: float
    confidence: tuple[float, ...]
    eta_s: float


class Preview(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The texture so far (UV: image with row 0 at the bottom) and the view of this step that is recognised least."""

    job_id: str
    step: int
    texture: Texture
    worst_view: Picture


class Draw(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A running job waits for :class:`Drawn`: how Blender renders `views` with `texture` on the object, as square
    pictures of `size`. Any of those who watch the job may answer; the first answer counts."""

    job_id: str
    step: int
    views: tuple[View, ...]
    texture: Texture
    size: Positive


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The job's last event: a result, or an error."""

    job_id: str
    result: Result | None = None
    error: ErrorData | None = None


Reply = Welcome | Models | Targets | Accepted | Classified | Assisted | Sheet | Refused
Event = Progress | Preview | Draw | Ended
Message = Request | Reply | Event
