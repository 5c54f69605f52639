# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: one job from the open scene to files, without a window.

Exit codes: 0 done, 1 unexpected error, 2 wrong input, 3 server, 4 job failed, 5 output, 6 the renderers are too far
apart (check only), 130 cancelled with Ctrl-C (pressed once, the best so far is written; pressed twice, nothing is).
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import backgrounds, collect, companion, files, follow, local_server, output, request
from ._shared import client, errors, keys, messages, presets, reporting, targets
from .progress import Display, Interrupts, quiet

CANCELLED = 130
UNEXPECTED = 1
APART = 6
HELLO_S = 5.0
#: The panel shows the last line that `follow` has said.
FOLLOW_EVERY_S = 0.5
#: The worker behind a server that has just been started imports torch before it can answer.
WORKER_START_S = 180.0

RIG_HELP = "auto (default), around: made up, scene: all of the scene's, or the name of a collection of {}"
#: What each command does, and how many steps it takes (None: as the preset says).
COMMANDS: dict[str, tuple[str, int | None]] = {
    "optimize": ("optimise the texture of an object so that classifiers recognise it", None),
    "check": ("compare the server's pictures of an object as it is with Blender's; change nothing", 0),
}
MADE_BACKGROUNDS = ("varied", "flat", "noise", "grey")
EXIT_CODES = (__doc__ or "").partition("\n\n")[2]


def main(argv: Sequence[str]) -> int:
    """`blender -b FILE --command assistive …`: works on the scene that is open. Gives the exit code."""
    return _main(argv, _parser("blender -b SCENE.blend --command assistive", with_scene=False))


def main_with_scene(argv: Sequence[str]) -> int:
    """`python -m blender_addon SCENE …`: opens SCENE first. Gives the exit code."""
    return _main(argv, _parser("python -m blender_addon", with_scene=True))


def _main(argv: Sequence[str], parser: argparse.ArgumentParser) -> int:
    try:
        options = parser.parse_args(argv)
    except SystemExit as done:  # argparse has said what there is to say
        return done.code if isinstance(done.code, int) else 2
    options.typed = f"{parser.prog.replace('SCENE.blend', shlex.quote(bpy.data.filepath))} {shlex.join(argv)}"
    try:
        code: int = options.run(options)
        return code
    except errors.AssistiveError as error:
        return _complain(str(error), error.exit_code, debug=options.debug)
    except KeyboardInterrupt:
        return _complain("Cancelled; nothing was written.", CANCELLED, debug=options.debug)
    except Exception as error:  # the boundary: a user gets a sentence, whatever happened
        said = f"{type(error).__name__}: {error}".rstrip(".")
        return _complain(f"{said}. Run again with --debug for details.", UNEXPECTED, debug=options.debug)


def _complain(sentence: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"error: {sentence}", file=sys.stderr, flush=True)
    return code


# --- arguments --------------------------------------------------------------------------------------------------------


def _parser(program: str, *, with_scene: bool) -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=program, description="Assistive Signals for Blender.", epilog=EXIT_CODES, formatter_class=layout
    )
    if with_scene:
        parser.add_argument("scene", metavar="SCENE", help=".blend, .obj, .ply, .stl, .glb, .fbx, or sample:NAME")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (text, steps) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, epilog=EXIT_CODES, formatter_class=layout)
        _object_arguments(command)
        _setting_arguments(command)
        _run_arguments(command)
        command.set_defaults(command=name, steps=steps, run=_optimize)
        if not with_scene:
            command.set_defaults(scene=None)
    text = "write the job to a file, for `assistive-server run`; needs no server"
    command = commands.add_parser("collect", help=text, description=text, epilog=EXIT_CODES, formatter_class=layout)
    _object_arguments(command)
    _setting_arguments(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    command.add_argument("--debug", action="store_true", help="show tracebacks and what Blender prints")
    command.set_defaults(steps=None, run=_collect_to_file)
    if not with_scene:
        command.set_defaults(scene=None)
    text = "render what a running job asks for, and check its result; the scene is the one that the job was made of"
    command = commands.add_parser("follow", help=text, description=text, epilog=EXIT_CODES, formatter_class=layout)
    _follow_arguments(command)
    command.set_defaults(run=_follow)
    if not with_scene:
        command.set_defaults(scene=None)
    return parser


def _follow_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--job", type=Path, required=True, metavar="FILE", help="the job, as --save-job keeps it")
    parser.add_argument("--uv-map", default="", metavar="NAME", help="the UV map that its texture lives in")
    parser.add_argument("--server", required=True, metavar="ADDRESS", help="the server that has the job")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the check's findings go")
    parser.add_argument("--check-samples", type=_positive, default=64, metavar="N", help="samples per pixel")
    _engine_argument(parser)
    parser.add_argument("--no-check", action="store_true", help="only render what the job asks for")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what Blender prints")


def _object_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--object", metavar="NAME", help="the mesh object (default: the active or only one)")
    parser.add_argument(
        "--mask",
        metavar="GROUP",
        help="where the texture may change (default: all): a vertex group, a boolean attribute of faces, or selected",
    )
    parser.add_argument("--invert-mask", action="store_true", help="change the texture where the mask has no weight")
    parser.add_argument("--cameras", default="auto", metavar="WHICH", help=RIG_HELP.format("cameras"))
    parser.add_argument("--lights", default="auto", metavar="WHICH", help=RIG_HELP.format("lights"))
    parser.add_argument(
        "--backgrounds", metavar="WHICH", help="varied (default), flat, noise, grey, or a folder of pictures"
    )
    parser.add_argument(
        "--light",
        choices=("open", "traced", "baked"),
        default="open",
        help="open (default): nothing hides light; traced: shadows by rays; baked: shadows and bounces, by Cycles",
    )
    parser.add_argument("--light-map-size", type=_positive, default=256, metavar="TEXELS", help="for --light baked")
    parser.add_argument("--light-map-samples", type=_positive, default=64, metavar="N", help="for --light baked")
    parser.add_argument("--uv", choices=("own", "new"), default="own", help="the object's UV map, or a new one")
    parser.add_argument("--texture", choices=("uv", "vertex"), default="uv", help="an image, or vertex colours")
    parser.add_argument("--texture-size", type=_positive, metavar="TEXELS", help="edge (default: the object's own)")
    parser.add_argument("--init", default="own", metavar="COLOR", help='start from "own" (default) or "#RRGGBB"')


def _setting_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        required=True,
        help="label, class index, set (cars), or several joined by |; NAME= before them gives them a name",
    )
    parser.add_argument("--preset", choices=tuple(presets.PRESETS), default="standard", help="how much work is done")
    parser.add_argument("--models", type=_names, metavar="A,B", help="classifiers to train on")
    parser.add_argument("--held-out-models", type=_names, metavar="C,D", help="classifiers to only measure with")
    parser.add_argument(
        "--weights", type=_numbers, metavar="X,Y", help="of the classifiers trained on (default: alike)"
    )
    parser.add_argument(
        "--ensemble", choices=("mean", "worst"), help="make the mean of their losses small, or the worst"
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--views", type=int, help="views in each step")
    parser.add_argument("--alpha", type=float, help="step size, of the display-encoded range 0 to 1")
    parser.add_argument("--epsilon", type=float, help="greatest change of any texel, in the same unit (default: any)")
    parser.add_argument("--stepper", choices=("sign", "momentum", "adam"))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--norm", choices=("linf", "l2"), help="what --epsilon measures: any texel, or all together")
    parser.add_argument("--objective", choices=("cross_entropy", "margin"))
    parser.add_argument("--sampling", choices=("random", "fixed"), help="views around the rig, or the rig's own only")
    parser.add_argument("--smoothness", type=float, metavar="W", help="weight of the texture's total variation")
    parser.add_argument(
        "--augment",
        type=_augmentations,
        metavar="A,B",
        help="what pictures go through in training: resize, crop, blur, noise, jpeg, fog, brightness, or none",
    )
    parser.add_argument("--octaves", type=int, metavar="N", help="scales at which the texture moves at once")
    parser.add_argument("--mined", type=float, metavar="SHARE", help="share of views taken from the hardest found")
    parser.add_argument(
        "--patch", type=float, metavar="SHARE", help="change only a square patch of this share of what cameras see"
    )
    parser.add_argument("--patch-site", choices=("best", "random"), help="where: the best by a search, or anywhere")
    parser.add_argument(
        "--method", choices=("rendered", "flat"), help="flat: make the patch without the object, then put it there"
    )
    parser.add_argument(
        "--no-leave-one-out",
        dest="leave_one_out",
        action="store_const",
        const=False,
        help="of several classifiers, do not train without each in turn",
    )
    parser.add_argument(
        "--blender-every",
        type=int,
        metavar="K",
        help="show classifiers Blender's own pictures, with all that stands around, in every Kth step (default: never)",
    )
    parser.add_argument("--stop-at", type=float, metavar="C", help="end early once unseen views hold this confidence")
    parser.add_argument(
        "--survey", type=int, metavar="N", help="look at the result from N directions around it in the end (0: do not)"
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", default="auto", help="auto (default: one for this run), or tcp://HOST:PORT")
    parser.add_argument(
        "--server-key", metavar="KEY", help="of a server elsewhere, as `assistive-server keys show` prints it; once"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="for --server auto")
    parser.add_argument(
        "--priority",
        type=int,
        choices=range(-10, 11),
        default=0,
        metavar="N",
        help="-10 to 10: of jobs that wait at a server, the highest comes first (default 0)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    parser.add_argument("--no-check", action="store_true", help="leave out the renders in Blender")
    parser.add_argument(
        "--check-samples", type=_positive, default=64, metavar="N", help="samples per pixel (default 64)"
    )
    _engine_argument(parser)
    parser.add_argument(
        "--max-gap",
        type=float,
        default=reporting.MAX_GAP,
        metavar="G",
        help="warn when confidence in Blender's pictures and the server's differs by more (default 0.10)",
    )
    parser.add_argument("--save-job", type=Path, metavar="FILE", help="also keep the job, for `assistive-server run`")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what Blender prints")


def _engine_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--check-engine",
        choices=("cycles", "eevee"),
        default="cycles",
        help="what renders Blender's pictures: cycles (default), or eevee, which needs a GPU or a display",
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2") from None


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("name at least one")
    return names


def _augmentations(text: str) -> tuple[str, ...]:
    return () if text == "none" else _names(text)


def _settings(options: argparse.Namespace) -> messages.Settings:
    names = ["models", "held_out_models", "steps", "views", "alpha", "epsilon", "stepper", "seed"]
    names += ["norm", "objective", "sampling", "stop_at", "light", "blender_every", "ensemble", "weights"]
    names += ["smoothness", "augment", "octaves", "mined", "patch", "patch_site", "method", "leave_one_out", "survey"]
    given = {name: getattr(options, name) for name in names}
    given["backgrounds"] = "pictures" if _background_folder(options) else options.backgrounds
    return presets.settings(options.target, options.preset, **given)


def _background_folder(options: argparse.Namespace) -> str | None:
    return options.backgrounds if options.backgrounds not in (None, *MADE_BACKGROUNDS) else None


# --- the job ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Run:
    """What the steps of one run share. `alive` raises when the server is known to be gone."""

    options: argparse.Namespace
    settings: messages.Settings
    display: Display
    interrupts: Interrupts
    client: client.Client
    alive: Callable[[], None]


def _optimize(options: argparse.Namespace) -> int:
    display = Display()
    with Interrupts(lambda: display.say("Cancelling; press Ctrl-C again to drop everything.")) as interrupts:
        with _quiet(options), contextlib.closing(display):
            report, code, trouble = _run_job(options, display, interrupts)
        print(output.summary(report, options.out), flush=True)
        if trouble is not None:
            raise trouble
        apart = options.command == "check" and report["check"] is not None and report["check"]["warning"] is not None
        return code or (APART if apart else 0)


def _run_job(
    options: argparse.Namespace, display: Display, interrupts: Interrupts
) -> tuple[dict[str, Any], int, errors.AssistiveError | None]:
    """The whole way, from options to files: the report, the exit code, and trouble that cost the check only."""
    output.check_destination(options.out)
    settings = _settings(options)
    for caution in presets.cautions(settings):
        display.say(f"Warning: {caution}")
    if options.scene is not None:
        files.open_scene(options.scene)
    obj = _find_object(options.object)
    with _connected(options, display) as (server, alive):
        run = _Run(options, settings, display, interrupts, server, alive)
        _check_names(run)
        collected, collect_s = _collect(options, display, obj)
        job = messages.Job(id=uuid.uuid4().hex, scene=collected.scene, settings=settings)
        if options.save_job is not None:
            output.save_job(job, options.save_job)
        following = _following(run, job, obj, collected)
        interrupts.graceful = True
        accepted = server.submit(job, priority=options.priority)
        if accepted.position:
            display.say(f"The server is busy: {accepted.position} before this job.")
        result = follow.to_end(following)
        findings = follow.finish(following, result)
    code = CANCELLED if interrupts.asked else 0
    report = reporting.report(
        result,
        settings,
        object_name=obj.name,
        check=findings.check,
        collect_s=collect_s,
        own_rig=collected.own_rig,
        left_out=collected.left_out,
        command=options.typed,
        made_with=output.MADE_WITH,
        vertex_note=output.VERTEX_NOTE,
    )
    written = output.contents(result, report, findings.check, findings.sheet, findings.comparison)
    output.write(options.out, written)
    return report, code, findings.trouble


def _collect_to_file(options: argparse.Namespace) -> int:
    if options.out.is_dir():
        raise errors.OutputFailed(f"{options.out} is a folder.", hint="Give --out the name of a file.")
    output.check_destination(options.out.parent)
    settings = _settings(options)
    display = Display()
    with _quiet(options), contextlib.closing(display):
        if options.scene is not None:
            files.open_scene(options.scene)
        obj = _find_object(options.object)
        collected, _ = _collect(options, display, obj)
    output.save_job(messages.Job(id=uuid.uuid4().hex, scene=collected.scene, settings=settings), options.out)
    print(
        f"{obj.name} and its rig are in {options.out}; `assistive-server run {options.out}` does the job.", flush=True
    )
    return 0


def _following(run: _Run, job: messages.Job, obj: bpy.types.Object, collected: collect.Collected) -> follow.Following:
    return follow.Following(
        client=run.client,
        alive=run.alive,
        display=run.display,
        interrupts=run.interrupts,
        job=job,
        obj=obj,
        uv_map=collected.uv_map,
        samples=run.options.check_samples,
        max_gap=run.options.max_gap,
        check=not run.options.no_check,
        engine=run.options.check_engine,
    )


def _follow(options: argparse.Namespace) -> int:
    if options.exit_with_parent:
        companion.end_with_parent()
    if options.scene is not None:
        files.open_scene(options.scene)
    job = companion.read_job(options.job)
    obj = _find_object(job.scene.mesh.name)
    with Interrupts() as interrupts, _quiet(options), client.Client(options.server) as server:
        server.hello(timeout_s=HELLO_S)
        following = follow.Following(
            client=server,
            alive=lambda: None,
            display=Display(every_s=FOLLOW_EVERY_S),
            interrupts=interrupts,
            job=job,
            obj=obj,
            uv_map=options.uv_map,
            samples=options.check_samples,
            max_gap=reporting.MAX_GAP,
            check=not options.no_check,
            engine=options.check_engine,
        )
        companion.follow_to_files(following, options.out)
    return 0


@contextlib.contextmanager
def _quiet(options: argparse.Namespace) -> Iterator[None]:
    if options.debug:
        yield
        return
    with quiet():
        yield


def _find_object(name: str | None) -> bpy.types.Object:
    obj = collect.find_object(bpy.context, name)
    if obj.mode != "OBJECT":  # a file can be saved in Edit Mode, where colours and materials cannot be written
        with bpy.context.temp_override(active_object=obj, object=obj):
            bpy.ops.object.mode_set(mode="OBJECT")
    return obj


@contextlib.contextmanager
def _connected(options: argparse.Namespace, display: Display) -> Iterator[tuple[client.Client, Callable[[], None]]]:
    """A client of the server that is to be used, and a check that the server is still there."""
    if options.server != "auto":
        if options.server_key:
            keys.trust_first(client.parse_address(options.server), keys.parse_key(options.server_key))
        with client.Client(options.server) as server:
            server.hello(timeout_s=HELLO_S)
            yield server, lambda: None
        return
    display.say("Starting a local server.")
    with (
        local_server.LocalServer(device=options.device, verbose=options.debug) as process,
        client.Client(process.address) as server,
    ):
        server.hello()
        yield server, process.check_alive


def _check_names(run: _Run) -> None:
    """Raise :class:`InvalidInput` for a target or classifier that the server does not know, before any work is done."""
    labels = run.client.request(messages.ListTargets(), messages.Targets, timeout_s=WORKER_START_S).labels
    listed = run.client.request(messages.ListModels(), messages.Models, timeout_s=WORKER_START_S).models
    request.check_names(run.settings, labels, listed)
    target = targets.resolve(run.settings.target, labels)
    if len(target.indices) > 1:
        run.display.say(f"{targets.described(target, labels)}.")


def _collect(options: argparse.Namespace, display: Display, obj: bpy.types.Object) -> tuple[collect.Collected, float]:
    began = time.perf_counter()
    collected = collect.collect(
        bpy.context,
        obj,
        mask=options.mask,
        invert_mask=options.invert_mask,
        texture=options.texture,
        texture_size=options.texture_size,
        init=options.init,
        uv=options.uv,
        rig=_rig_choice(options),
        light=options.light,
        bake=collect.BakeChoice(options.light_map_size, options.light_map_samples),
        on_progress=lambda share: _show_collecting(options, display, share),
    )
    display.close()
    return collected, time.perf_counter() - began


def _show_collecting(options: argparse.Namespace, display: Display, share: float) -> None:
    if options.light == "baked":  # everything else is done in a moment
        display.count("collecting the scene and its light, %:", round(100 * share), 100)


def _rig_choice(options: argparse.Namespace) -> collect.RigChoice:
    folder = _background_folder(options)
    return collect.RigChoice(
        cameras=_source(options.cameras),
        lights=_source(options.lights),
        backgrounds=backgrounds.read_pictures(folder) if folder else None,
    )


def _source(which: str) -> Any:
    """What :class:`collect.RigChoice` calls the cameras or lights that an option names."""
    if which in ("auto", "around", "scene"):
        return which
    found = collect.find_collection(bpy.context, which)
    if found is None:
        names = collect.nearest_first(which, [child.name for child in bpy.context.scene.collection.children_recursive])
        hint = f"Its collections: {', '.join(map(repr, names))}." if names else "Use auto, around or scene."
        raise errors.InvalidInput(f"The scene has no collection {which!r}.", hint=hint)
    return found
