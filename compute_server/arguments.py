"""What the declarations of several commands have in common. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    """A parser for one more command, which `run` does."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    parser.set_defaults(run=run)
    return parser


def device_arguments(parser: argparse.ArgumentParser) -> None:
    """What computes."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rasterizer", choices=("auto", "numba", "numpy", "nvdiffrast", "warp"), default="auto")


def positive(text: str) -> int:
    """A number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def names(text: str) -> tuple[str, ...]:
    """Several names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
