"""The commands that look at a job's object or re-make the paper's tables and figures: their arguments. Imports torch
only where one runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.errors import InvalidInput
from shared.presets import PRESETS

from ..arguments import Commands, command, device_arguments, names, positive

if TYPE_CHECKING:
    from .runs import Runs

#: Options that change the job's settings of the same name.
BUDGET = ("steps", "views", "samples", "alpha", "octaves", "held_out_views", "seed")
BLACK = "black"


def declare(commands: Commands) -> None:
    """Add the commands of this package."""
    sweep = _looking(commands, "sweep", _sweep, "look at a job's object from all around, in every light")
    sweep.add_argument("--texture", type=Path, help="texture.png that was made of the job (default: its own)")
    _sphere_arguments(sweep, azimuths=36, elevations=9)
    sweep.add_argument("--lights", type=positive, metavar="N", help="only the first N lights of the rig")
    sweep.add_argument("--patch", metavar="COLOR|FILE", help="put this on the object, such as black, place after place")

    spoilt = _looking(
        commands, "corruptions", _corruptions, "measure a job's textures in noise, blur, fog and the like"
    )
    spoilt.add_argument("--texture", type=Path, help="texture.png that was made of the job (default: its own)")
    spoilt.add_argument("--views", type=positive, default=16, help="held-out views (default 16)")

    pattern = _making(commands, "pattern", _pattern, "which colours and parts a classifier wants of an object")
    pattern.add_argument("--texture", type=Path, help="look at this texture.png of the job instead of making new ones")
    _pattern_arguments(pattern)

    table1 = _making(commands, "table1", _table1, "the paper's table 1: original, 2D patch, 3D patch")
    table1.add_argument("--patch-size", type=float, default=0.05, metavar="SHARE", help="(default 0.05)")

    table2 = _making(commands, "table2", _table2, "the paper's table 2: train model × test model, full and masked")
    table2.add_argument("--belt", type=float, default=0.2, metavar="SHARE", help=_BELT)

    figure1 = _making(commands, "figure1", _figure1, "the paper's figure 1: a black patch moved over the object")
    figure1.add_argument("--texture", type=Path, help="texture.png that was made of the job (default: its own)")
    figure1.add_argument("--patch", default=BLACK, metavar="COLOR|FILE", help="what is moved (default: black)")
    _sphere_arguments(figure1, azimuths=24, elevations=5)

    figure3 = _making(commands, "figure3", _figure3, "the paper's figure 3: pictures before and after, with verdicts")
    figure3.add_argument("--shown", type=positive, default=6, help="how many views (default 6)")

    figure4 = _making(commands, "figure4", _figure4, "the paper's figure 4: confidence over steps and from all sides")
    figure4.add_argument("--belt", type=float, default=0.2, metavar="SHARE", help=_BELT)

    figure5 = _making(commands, "figure5", _figure5, "the paper's figure 5: robust patterns, one row for a classifier")
    _pattern_arguments(figure5)


_BELT = "how much of the surface is free where the job has no mask: a belt around its middle (default 0.2)"


def _looking(commands: Commands, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = command(commands, name, run, text)
    parser.add_argument("jobfile", metavar="JOBFILE", type=Path, help="as written by the add-on's collect")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where tables and pictures go")
    parser.add_argument("--models", type=names, metavar="A,B", help="classifiers (default: all of the job)")
    device_arguments(parser)
    return parser


def _making(commands: Commands, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """A command that makes textures: with a budget, and by one of two protocols."""
    parser = _looking(commands, name, run, text)
    parser.add_argument(
        "--paper-protocol",
        action="store_true",
        help="train on the rig's fixed views, and measure on these same views, as the paper does",
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="how much work a texture is (default: as the job says)"
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--train-views", dest="views", type=int, help="views in a step")
    parser.add_argument("--samples", type=int, choices=(1, 4, 9, 16), help="samples per pixel")
    parser.add_argument("--alpha", type=float, help="step size")
    parser.add_argument("--octaves", type=int)
    parser.add_argument("--held-out-views", type=int)
    parser.add_argument("--seed", type=int)
    return parser


def _sphere_arguments(parser: argparse.ArgumentParser, *, azimuths: int, elevations: int) -> None:
    parser.add_argument("--azimuths", type=positive, default=azimuths, help="directions around (default %(default)s)")
    parser.add_argument("--elevations", type=positive, default=elevations, help="directions up (default %(default)s)")
    parser.add_argument("--patch-size", type=float, default=0.05, metavar="SHARE", help="of the surface (default 0.05)")
    parser.add_argument("--places", type=positive, default=6, help="how many places (default 6)")


def _pattern_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=positive, default=3, help="how many textures are made (default 3)")
    parser.add_argument("--cells", type=positive, default=16, help="occlusion: cells along a side (default 16)")
    parser.add_argument("--occlusion-views", type=positive, default=8, help="(default 8)")


def _share(value: float, option: str) -> float:
    """A share of the surface."""
    if not 0 < value <= 0.5:
        raise InvalidInput(f"{option} {value:g} is no share of the surface between 0 and 0.5.")
    return value


def _runs(given: argparse.Namespace) -> Runs:
    from .runs import Runs

    changes: dict[str, Any] = dict(PRESETS[given.preset]) if given.preset else {}
    changes |= {name: getattr(given, name) for name in BUDGET if getattr(given, name) is not None}
    return Runs.of(
        given.jobfile,
        given.out,
        models=given.models,
        changes=changes,
        paper=given.paper_protocol,
        device=given.device,
        rasterizer=given.rasterizer,
    )


def _sweep(given: argparse.Namespace) -> int:
    from ..sweep import Request, Sticker, sticker_picture, sweep_file

    share = _share(given.patch_size, "--patch-size")
    sticker = Sticker(sticker_picture(given.patch), share, given.places) if given.patch else None
    request = Request(given.azimuths, given.elevations, given.lights, given.texture, given.models, sticker)
    return sweep_file(given.jobfile, given.out, request, given.device, given.rasterizer)


def _corruptions(given: argparse.Namespace) -> int:
    from ..corruption_table import corruptions_file

    return corruptions_file(
        given.jobfile,
        given.out,
        texture=given.texture,
        models=given.models,
        views=given.views,
        device=given.device,
        rasterizer=given.rasterizer,
    )


def _pattern(given: argparse.Namespace) -> int:
    from .pattern_files import pattern_files

    if given.texture is not None and given.paper_protocol:
        raise InvalidInput("--texture and --paper-protocol exclude each other: nothing is trained.")
    return pattern_files(_runs(given), _looked_at(given), given.texture)


def _looked_at(given: argparse.Namespace) -> Any:
    from .pattern import Asked

    return Asked(seeds=given.seeds, cells=given.cells, occlusion_views=given.occlusion_views)


def _table1(given: argparse.Namespace) -> int:
    from .tables import table1

    return table1(_runs(given), _share(given.patch_size, "--patch-size"))


def _table2(given: argparse.Namespace) -> int:
    from .tables import table2

    return table2(_runs(given), _share(given.belt, "--belt"))


def _figure1(given: argparse.Namespace) -> int:
    from ..sweep import Sticker, sticker_picture
    from .figures import figure1

    sticker = Sticker(sticker_picture(given.patch), _share(given.patch_size, "--patch-size"), given.places)
    return figure1(_runs(given), sticker, given.texture, given.azimuths, given.elevations)


def _figure3(given: argparse.Namespace) -> int:
    from .figures import figure3

    return figure3(_runs(given), given.shown)


def _figure4(given: argparse.Namespace) -> int:
    from .figures import figure4

    return figure4(_runs(given), _share(given.belt, "--belt"))


def _figure5(given: argparse.Namespace) -> int:
    from .pattern_files import figure5

    return figure5(_runs(given), _looked_at(given))
