"""The command ``assistive-server``. Imports torch only where a command computes.

Exit codes are those of :mod:`shared.errors`: 0 done, 2 wrong input, 3 address or server, 4 job failed, 5 output,
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from shared import errors
from shared.client import DEFAULT_ADDRESS
from shared.version import VERSION

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors become a sentence on stderr and an exit code."""
    given = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    command: Callable[[argparse.Namespace], int] = given.run
    try:
        return command(given)
    except errors.AssistiveError as error:
        if given.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="assistive-server", description="Compute server of Assistive Signals.")
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = _command(commands, "serve", _serve, "answer jobs until interrupted")
    serve.add_argument("--bind", default=DEFAULT_ADDRESS, help="address (default %(default)s; port 0: any free)")
    serve.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    _device_arguments(serve)

    models = _command(commands, "models", _models, "list the classifiers, or the targets")
    models.add_argument(
        "--targets", action="store_true", help="list the labels and sets that an object can be recognised as"
    )

    doctor = _command(commands, "doctor", _doctor, "say what this machine has and what is missing")
    _device_arguments(doctor)

    bench = _command(commands, "bench", _bench, "time a step against its classifier alone")
    bench.add_argument("--views", type=_positive, default=15)
    bench.add_argument("--size", type=_positive, help="side of the pictures (default: the classifier's own)")
    bench.add_argument("--model", default="efficientnet_lite0")
    bench.add_argument("--samples", type=int, choices=(1, 4, 9, 16), default=4, help="samples per pixel")
    bench.add_argument("--texture-size", type=_positive, default=512)
    bench.add_argument("--repeats", type=_positive, default=15)
    bench.add_argument("--json", action="store_true", help="print JSON")
    _device_arguments(bench)

    run = _command(commands, "run", _run, "do one job from a file, without a server")
    run.add_argument(
        "jobfile", metavar="JOBFILE", type=Path, help="as written by the add-on's collect, or by --save-job"
    )
    run.add_argument("--out", type=Path, default=Path("out"), help="folder for texture, result.json and report.html")
    _device_arguments(run)

    sweep = _command(commands, "sweep", _sweep, "look at a job's object from all around, in every light")
    sweep.add_argument("jobfile", metavar="JOBFILE", type=Path, help="as written by the add-on's collect")
    sweep.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where table and maps go")
    sweep.add_argument("--texture", type=Path, help="texture.png that was made of the job (default: its own)")
    sweep.add_argument("--models", type=_names, metavar="A,B", help="classifiers (default: all of the job)")
    sweep.add_argument("--azimuths", type=_positive, default=36, help="directions around (default 36)")
    sweep.add_argument("--elevations", type=_positive, default=9, help="directions upwards (default 9)")
    sweep.add_argument("--patch", metavar="COLOR|FILE", help="put this on the object, such as black, place after place")
    sweep.add_argument("--patch-size", type=float, default=0.05, metavar="SHARE", help="of the surface (default 0.05)")
    sweep.add_argument("--places", type=_positive, default=6, help="how many places (default 6)")
    _device_arguments(sweep)

    spoilt = _command(
        commands, "corruptions", _corruptions, "measure a job's textures in noise, blur, fog and the like"
    )
    spoilt.add_argument("jobfile", metavar="JOBFILE", type=Path, help="as written by the add-on's collect")
    spoilt.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the tables go")
    spoilt.add_argument("--texture", type=Path, help="texture.png that was made of the job (default: its own)")
    spoilt.add_argument("--models", type=_names, metavar="A,B", help="classifiers (default: all of the job)")
    spoilt.add_argument("--views", type=_positive, default=16, help="held-out views (default 16)")
    _device_arguments(spoilt)

    compare = _command(commands, "compare", _compare, "show the reports of several jobs side by side")
    compare.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="what jobs were written to")
    compare.add_argument("--out", type=Path, default=Path("compare.html"), help="the page (default: compare.html)")

    report = _command(commands, "report", _report, "make the page of a job's folder anew")
    report.add_argument("folder", metavar="FOLDER", type=Path, help="what a job was written to")

    image = _command(commands, "image", _image, "make pictures better recognised, within what cannot be seen")
    image.add_argument("pictures", metavar="PICTURE", type=Path, nargs="+", help="files, or folders of them")
    image.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the new pictures go, as PNG")
    image.add_argument("--target", default="", help="label, index or set (default: what each is taken for already)")
    image.add_argument("--models", type=_names, metavar="A,B", help="classifiers to train on")
    image.add_argument("--held-out-models", type=_names, metavar="C,D", help="classifiers to only measure with")
    image.add_argument("--ensemble", choices=("mean", "worst"))
    image.add_argument("--epsilon", type=float, help="greatest change, of the range 0 to 1 (default 4/255)")
    image.add_argument("--norm", choices=("linf", "l2"), help="what --epsilon measures: any channel, or all together")
    image.add_argument("--alpha", type=float, help="step size, in the same unit (default 1/255)")
    image.add_argument("--steps", type=int, help="(default 40)")
    image.add_argument("--stepper", choices=("sign", "momentum", "adam"))
    image.add_argument("--objective", choices=("cross_entropy", "margin"))
    image.add_argument("--augment", type=_names, metavar="A,B", help="resize, crop, blur, noise, jpeg, fog, brightness")
    image.add_argument("--seed", type=int)
    image.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    parser.set_defaults(run=run)
    return parser


def _device_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rasterizer", choices=("auto", "numba", "numpy", "nvdiffrast"), default="auto")


def _sweep(given: argparse.Namespace) -> int:
    from .sweep import Request, Sticker, sticker_picture, sweep_file

    if not 0 < given.patch_size <= 0.5:
        raise errors.InvalidInput(f"--patch-size {given.patch_size:g} is no share of the surface between 0 and 0.5.")
    sticker = Sticker(sticker_picture(given.patch), given.patch_size, given.places) if given.patch else None
    request = Request(given.azimuths, given.elevations, given.texture, given.models, sticker)
    return sweep_file(given.jobfile, given.out, request, given.device, given.rasterizer)


def _corruptions(given: argparse.Namespace) -> int:
    from .corruption_table import corruptions_file

    return corruptions_file(
        given.jobfile,
        given.out,
        texture=given.texture,
        models=given.models,
        views=given.views,
        device=given.device,
        rasterizer=given.rasterizer,
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def _serve(given: argparse.Namespace) -> int:
    from .front import Front

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    front = Front(given.bind, device=given.device, rasterizer=given.rasterizer)
    if given.exit_with_parent:
        threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    print(f"assistive-server listening on {front.address}", flush=True)
    front.serve(stop.is_set)
    return 0


def _wait_for_eof(stop: threading.Event) -> None:
    """Whoever started us holds the other end of standard input; its end is ours."""
    while os.read(sys.stdin.fileno(), 4096):  # not sys.stdin.read, whose lock would be held at exit
        pass
    stop.set()


def _models(given: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Column, Table

    from shared.targets import SETS, described, resolve

    from .classifiers import available, labels

    if given.targets:
        print("\n".join(f"{index:4d}  {label}" for index, label in enumerate(labels())))
        print("\nSets:")
        print("\n".join(described(resolve(name, labels()), labels()) for name in sorted(SETS)))
        return 0
    columns = (Column("model", no_wrap=True), "size", Column("weights", overflow="fold"), "licence")
    table = Table(*columns)
    for spec in sorted(available(), key=lambda spec: (not spec.available, spec.name)):
        state = f"[green]here[/], {spec.source}" if spec.available else f"missing: {spec.weights}"
        table.add_row(spec.name, str(spec.size), state, spec.license)
    Console().print(table)
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from .doctor import examine

    return examine(given.device, given.rasterizer)


def _bench(given: argparse.Namespace) -> int:
    from .front import worker_environment

    # In a process of its own, with the environment that a worker has.
    options = ["--views", given.views, "--model", given.model, "--samples", given.samples]
    options += ["--texture-size", given.texture_size, "--repeats", given.repeats]
    options += ["--device", given.device, "--rasterizer", given.rasterizer]
    options += ["--size", given.size] if given.size else []
    options += ["--json"] if given.json else []
    command = [sys.executable, "-m", "compute_server.bench", *map(str, options)]
    return subprocess.run(command, env=worker_environment(), check=False).returncode


def _run(given: argparse.Namespace) -> int:
    from .runfile import run_file

    return run_file(given.jobfile, given.out, given.device, given.rasterizer)


def _compare(given: argparse.Namespace) -> int:
    from .compare import compare_folders

    return compare_folders(given.folders, given.out)


def _report(given: argparse.Namespace) -> int:
    from .compare import remake

    return remake(given.folder)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _image(given: argparse.Namespace) -> int:
    from shared.presets import image_settings

    names = ["models", "held_out_models", "ensemble", "epsilon", "norm", "alpha", "steps", "stepper", "objective"]
    names += ["augment", "seed"]
    settings = image_settings(given.target, **{name: getattr(given, name) for name in names})

    from .imagefile import assist_files

    return assist_files(given.pictures, given.out, settings, given.device)


if __name__ == "__main__":
    sys.exit(main())
