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
from typing import TYPE_CHECKING

from shared import errors, keys
from shared.client import DEFAULT_ADDRESS
from shared.limits import MIB, Limits
from shared.version import VERSION

from .arguments import command, device_arguments, names, positive
from .evidence.commands import declare as declare_evidence

if TYPE_CHECKING:
    from .ledger import Ledger

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors become a sentence on stderr and an exit code."""
    given = _parser().parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
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

    serve = command(commands, "serve", _serve, "answer jobs until interrupted")
    serve.add_argument("--bind", default=DEFAULT_ADDRESS, help="address (default %(default)s; port 0: any free)")
    serve.add_argument("--exit-with-parent", action="store_true", help="end when standard input is closed")
    serve.add_argument("--home", type=Path, help="where jobs are kept (default: $ASSISTIVE_HOME, or the user's data)")
    serve.add_argument("--max-jobs", type=positive, default=1000, help="jobs that may wait (default %(default)s)")
    serve.add_argument("--max-jobs-per-client", type=positive, default=100, help="(default %(default)s)")
    serve.add_argument("--checkpoint-s", type=float, default=30.0, help="seconds between checkpoints (default 30)")
    serve.add_argument("--hang-s", type=float, default=600.0, help="a worker may be silent so long (default 600)")
    serve.add_argument("--keep-days", type=float, default=30.0, help="ended jobs are kept so long (default 30)")
    serve.add_argument("--keep-gib", type=float, default=20.0, help="and as long as they hold so much (default 20)")
    serve.add_argument("--log-json", action="store_true", help="write the log as JSON, one object a line")
    serve.add_argument("--log-file", type=Path, help="write the log there, at most 50 MiB of it")
    serve.add_argument("--metrics-port", type=int, help="answer Prometheus on this port of 127.0.0.1")
    limits = Limits()
    mib = limits.message_bytes // MIB
    serve.add_argument("--max-message-mib", type=positive, default=mib, help="of one message (default %(default)s)")
    serve.add_argument("--max-triangles", type=positive, default=limits.triangles, help="(default %(default)s)")
    serve.add_argument(
        "--max-texture", type=positive, default=limits.texture_side, help="texels along a side (default %(default)s)"
    )
    device_arguments(serve)

    health = command(commands, "health", _health, "say whether a server answers, and how it stands")
    health.add_argument("address", nargs="?", default=DEFAULT_ADDRESS, help="(default %(default)s)")

    _jobs_parser(commands)
    _keys_commands(commands)

    models = command(commands, "models", _models, "list the classifiers, or the targets")
    models.add_argument(
        "--targets", action="store_true", help="list the labels and sets that an object can be recognised as"
    )

    doctor = command(commands, "doctor", _doctor, "say what this machine has and what is missing")
    doctor.add_argument("--bind", default=DEFAULT_ADDRESS, help="address to look at (default %(default)s)")
    doctor.add_argument("--home", type=Path, help="where jobs are kept, as given to serve")
    device_arguments(doctor)

    bench = command(commands, "bench", _bench, "time a step against its classifier alone")
    bench.add_argument("--views", type=positive, default=15)
    bench.add_argument("--size", type=positive, help="side of the pictures (default: the classifier's own)")
    bench.add_argument("--model", type=names, default=("efficientnet_lite0",), help="one, or several with commas")
    bench.add_argument("--samples", type=int, choices=(1, 4, 9, 16), default=4, help="samples per pixel")
    bench.add_argument("--texture-size", type=positive, default=512)
    bench.add_argument("--triangles", type=positive, default=14_400)
    bench.add_argument(
        "--scene", type=names, default=(), metavar="FEATURES", help="any of glossy, panorama and table, with commas"
    )
    bench.add_argument("--light", choices=("open", "traced"), default="open")
    bench.add_argument("--random-weights", action="store_true", help="torchvision's networks without their weights")
    bench.add_argument("--standard", action="store_true", help="with the Standard preset's augmentations and octaves")
    bench.add_argument("--repeats", type=positive, default=15)
    bench.add_argument("--json", action="store_true", help="print JSON")
    device_arguments(bench)

    run = command(commands, "run", _run, "do one job from a file, without a server")
    run.add_argument(
        "jobfile", metavar="JOBFILE", type=Path, help="as written by the add-on's collect, or by --save-job"
    )
    run.add_argument("--out", type=Path, default=Path("out"), help="folder for texture, result.json and report.html")
    device_arguments(run)

    declare_evidence(commands)

    compare = command(commands, "compare", _compare, "show the reports of several jobs side by side")
    compare.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="what jobs were written to")
    compare.add_argument("--out", type=Path, default=Path("compare.html"), help="the page (default: compare.html)")

    report = command(commands, "report", _report, "make the page of a job's folder anew")
    report.add_argument("folder", metavar="FOLDER", type=Path, help="what a job was written to")

    image = command(commands, "image", _image, "make pictures better recognised, within what cannot be seen")
    image.add_argument("pictures", metavar="PICTURE", type=Path, nargs="+", help="files, or folders of them")
    image.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the new pictures go, as PNG")
    image.add_argument("--target", default="", help="label, index or set (default: what each is taken for already)")
    image.add_argument("--models", type=names, metavar="A,B", help="classifiers to train on")
    image.add_argument("--held-out-models", type=names, metavar="C,D", help="classifiers to only measure with")
    image.add_argument("--ensemble", choices=("mean", "worst"))
    image.add_argument("--epsilon", type=float, help="greatest change, of the range 0 to 1 (default 4/255)")
    image.add_argument("--norm", choices=("linf", "l2"), help="what --epsilon measures: any channel, or all together")
    image.add_argument("--alpha", type=float, help="step size, in the same unit (default 1/255)")
    image.add_argument("--steps", type=int, help="(default 40)")
    image.add_argument("--stepper", choices=("sign", "momentum", "adam"))
    image.add_argument("--objective", choices=("cross_entropy", "margin"))
    image.add_argument("--augment", type=names, metavar="A,B", help="resize, crop, blur, noise, jpeg, fog, brightness")
    image.add_argument("--seed", type=int)
    image.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


def _keys_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "who may connect: this server's key, and the clients that are let in"
    parts = commands.add_parser("keys", help=text, description=text).add_subparsers(required=True, metavar="COMMAND")
    command(parts, "show", _keys_show, "print this server's public key and its fingerprint")
    command(parts, "list", _keys_list, "list the clients that are let in")
    add = command(parts, "add", _keys_add, "let a client in; a running server does so at once")
    add.add_argument("name", metavar="NAME", help="what you call it")
    add.add_argument("key", metavar="KEY", help="its public key, as the panel's Server section shows it")
    remove = command(parts, "remove", _keys_remove, "let a client in no longer; its connections end at once")
    remove.add_argument("name", metavar="NAME")


def _jobs_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    jobs = commands.add_parser("jobs", help="what the server has done and will do", description="The server's jobs.")
    verbs = jobs.add_subparsers(required=True, metavar="VERB")
    command(verbs, "list", _jobs_list, "a table of all jobs")
    for name, run, text in (
        ("show", _jobs_show, "all that is known of a job"),
        ("cancel", _jobs_cancel, "end a job within its next step"),
        ("export", _jobs_export, "write a job and its result into a folder"),
    ):
        command(verbs, name, run, text).add_argument("job", metavar="ID")
    verbs.choices["export"].add_argument("--out", type=Path, required=True, metavar="FOLDER")
    prune = command(verbs, "prune", _jobs_prune, "forget old jobs")
    prune.add_argument("--keep-days", type=float, default=30.0, help="ended jobs are kept so long (default 30)")
    prune.add_argument("--keep-gib", type=float, default=20.0, help="and as long as they hold so much (default 20)")
    for verb in verbs.choices.values():
        verb.add_argument("--home", type=Path, help="as given to serve")


def _ledger(given: argparse.Namespace) -> Ledger:
    from .ledger import Ledger, default_home

    return Ledger(given.home or default_home())


def _health(given: argparse.Namespace) -> int:
    from shared.client import Client

    with Client(given.address, timeout_s=5.0) as client:
        welcome = client.hello()
    device = welcome.device or "worker starting"
    print(
        f"{client.address} answers: version {welcome.version}, {device}, {welcome.jobs_running} running,"
        f" {welcome.jobs_queued} waiting"
    )
    return 0


def _jobs_list(given: argparse.Namespace) -> int:
    from .jobs_command import list_jobs

    return list_jobs(_ledger(given))


def _jobs_show(given: argparse.Namespace) -> int:
    from .jobs_command import show_job

    return show_job(_ledger(given), given.job)


def _jobs_cancel(given: argparse.Namespace) -> int:
    from .jobs_command import cancel_job

    return cancel_job(_ledger(given), given.job)


def _jobs_export(given: argparse.Namespace) -> int:
    from .jobs_command import export_job

    return export_job(_ledger(given), given.job, given.out)


def _jobs_prune(given: argparse.Namespace) -> int:
    from .jobs_command import prune_jobs

    return prune_jobs(_ledger(given), given.keep_days, given.keep_gib)


def _serve(given: argparse.Namespace) -> int:
    from . import logs, own_models
    from .front import Front, Policy
    from .ledger import Room, default_home

    logs.set_up(as_json=given.log_json, file=given.log_file)
    own_models.registered()  # what is wrong in the owner's file is said now, not to the first client
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    policy = Policy(
        limits=Limits(
            message_bytes=given.max_message_mib * MIB, triangles=given.max_triangles, texture_side=given.max_texture
        ),
        room=Room(given.max_jobs, given.max_jobs_per_client),
        hang_s=given.hang_s,
        checkpoint_s=given.checkpoint_s,
        keep_s=given.keep_days * 86400,
        keep_bytes=round(given.keep_gib * (1 << 30)),
    )
    # A server that ends with the program that started it has nobody to come back to: its jobs go with it.
    home = given.home or (None if given.exit_with_parent else default_home())
    front = Front(given.bind, home=home, device=given.device, rasterizer=given.rasterizer, policy=policy)
    if given.exit_with_parent:
        threading.Thread(target=_wait_for_eof, args=(stop,), daemon=True).start()
    if given.metrics_port is not None:
        from . import metrics

        port = metrics.serve(given.metrics_port, front.figures)
        print(f"metrics on http://127.0.0.1:{port}/metrics", file=sys.stderr, flush=True)
    print(f"assistive-server listening on {front.address}", flush=True)
    front.serve(stop.is_set)
    return 0


def _wait_for_eof(stop: threading.Event) -> None:
    """Whoever started us holds the other end of standard input; its end is ours."""
    while os.read(sys.stdin.fileno(), 4096):  # not sys.stdin.read, whose lock would be held at exit
        pass
    stop.set()


def _keys_show(_given: argparse.Namespace) -> int:
    key = keys.own_pair(keys.SERVER_KEY).public
    print(f"key          {key}\nfingerprint  {keys.fingerprint(key)}")
    return 0


def _keys_list(_given: argparse.Namespace) -> int:
    from .security import LOCAL, clients

    for name, key in {LOCAL: keys.own_pair().public, **clients()}.items():
        print(f"{keys.fingerprint(key)}  {name}")
    return 0


def _keys_add(given: argparse.Namespace) -> int:
    from .security import add_client

    key = add_client(given.name, given.key)
    print(f"{given.name} is let in; the fingerprint of its key is {keys.fingerprint(key)}.")
    return 0


def _keys_remove(given: argparse.Namespace) -> int:
    from .security import remove_client

    remove_client(given.name)
    print(f"{given.name} is let in no longer.")
    return 0


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
    from .ledger import default_home

    return examine(given.device, given.rasterizer, given.home or default_home(), given.bind)


def _bench(given: argparse.Namespace) -> int:
    from .worker_process import worker_environment

    # In a process of its own, with the environment that a worker has.
    options = ["--views", given.views, "--model", ",".join(given.model), "--samples", given.samples]
    options += ["--texture-size", given.texture_size, "--repeats", given.repeats]
    options += ["--device", given.device, "--rasterizer", given.rasterizer]
    options += ["--triangles", given.triangles, "--light", given.light]
    options += ["--scene", ",".join(given.scene)] if given.scene else []
    options += ["--size", given.size] if given.size else []
    options += ["--standard"] if given.standard else []
    options += ["--random-weights"] if given.random_weights else []
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


def _image(given: argparse.Namespace) -> int:
    from shared.presets import image_settings

    fields = ["models", "held_out_models", "ensemble", "epsilon", "norm", "alpha", "steps", "stepper", "objective"]
    fields += ["augment", "seed"]
    settings = image_settings(given.target, **{name: getattr(given, name) for name in fields})

    from .imagefile import assist_files

    return assist_files(given.pictures, given.out, settings, given.device)


if __name__ == "__main__":
    sys.exit(main())
