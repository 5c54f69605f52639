"""``assistive-server image``: pictures from files or folders made assistive ones, in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shared import messages as m
from shared import targets
from shared.errors import InvalidInput

from .classifiers import labels
from .ensemble import check_models
from .files import make_folder, write_files
from .images import assist
from .jobs import choose_device, versions
from .sheet import contact_sheet

#: The contact sheet shows so many pictures, each inside a square of this edge.
SHOWN, EDGE = 64, 224


@dataclass(frozen=True)
class PictureFile:
    """A picture as it is displayed: ``color [H, W, 3] uint8`` sRGB, ``alpha [H, W] uint8`` or None, and what was left
    out of the file (a sentence, or nothing)."""

    color: np.ndarray
    alpha: np.ndarray | None
    note: str = ""


@dataclass(frozen=True)
class Done:
    """What is remembered of a picture that is done; the picture itself is in its file."""

    size: tuple[int, int]
    note: str
    assisted: m.Assisted
    thumbnails: tuple[np.ndarray, np.ndarray]


def assist_files(paths: Sequence[Path], out: Path, settings: m.ImageSettings, device: str) -> int:
    """Make assistive pictures of all files, and of those in folders. Writes into `out` a PNG of each, ``report.json``
    and ``sheet.png``.

    What cannot be read is left out and named; in the end that raises :class:`InvalidInput` if it was no mere part of a
    folder, or if nothing is left.
    """
    _check(settings)
    chosen = choose_device(device)
    files = dict(_files(paths))
    make_folder(out)
    done: dict[str, Done] = {}
    unread: dict[Path, InvalidInput] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        for path in bar.track(files, description="pictures"):
            try:
                picture = read_picture(path)
            except InvalidInput as error:
                unread[path] = error
                continue
            name = _name(path, list(files))
            done[name] = _one(picture, out / name, settings, chosen)
    if done:
        report = _report(done, unread, settings)
        encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
        write_files(out, {"report.json": encoded, "sheet.png": _sheet(done)})
        _print(done, unread, out)
    _complain(paths, files, unread, empty=not done)
    return 0


def _one(picture: PictureFile, path: Path, settings: m.ImageSettings, device: torch.device) -> Done:
    assisted = assist(picture.color, settings, device)
    # Lossless, since a JPEG's rounding would leave the ball; and at once, so that nothing done is lost.
    write_files(path.parent, {path.name: _png(assisted.picture, picture.alpha)})
    thumbnails = (_square(picture.color), _square(assisted.picture))
    nothing = np.zeros((0, 0, 3), np.uint8)
    height, width = picture.color.shape[:2]
    return Done((width, height), picture.note, msgspec.structs.replace(assisted, picture=nothing), thumbnails)


def _check(settings: m.ImageSettings) -> None:
    """What can be wrong before a picture is read."""
    check_models(settings)
    if settings.target:
        targets.resolve(settings.target, labels())


def _files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file, and whether it is a part of a folder."""
    for path in paths:
        if path.is_dir():
            yield from ((each, True) for each in sorted(path.iterdir()) if each.is_file())
        else:
            yield path, False


def _complain(
    paths: Sequence[Path], files: Mapping[Path, bool], unread: Mapping[Path, InvalidInput], *, empty: bool
) -> None:
    for path, error in unread.items():
        if not files[path]:
            raise error
    if empty:
        raise InvalidInput(
            f"There is no picture in {', '.join(map(str, paths))}.", hint="Name picture files, or a folder of them."
        )


def read_picture(path: Path) -> PictureFile:
    """The picture in a file, in any format that Pillow reads: upright, in sRGB, the first of several.

    Raises :class:`InvalidInput` that names the file.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            frames = getattr(opened, "n_frames", 1)
            upright = ImageOps.exif_transpose(opened)
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {path}.", hint="Check its name.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(
            f"{path} cannot be read as a picture: {error}.", hint="Convert it to PNG or JPEG."
        ) from error
    has_alpha = upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info
    alpha = np.asarray(upright.convert("RGBA"))[:, :, 3] if has_alpha else None
    note = f"{path.name} has {frames} pictures; the first is taken." if frames > 1 else ""
    return PictureFile(np.array(_srgb(upright)), alpha, note)


def _srgb(picture: Image.Image) -> Image.Image:
    """As RGB of 8 bits in sRGB."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):  # Pillow would clip these, not scale them
        values = np.asarray(picture, np.float64)
        top = 1.0 if picture.mode == "F" else 65535.0
        return Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8)).convert("RGB")
    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "RGBA", "L", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            plain = picture.convert("RGB") if picture.mode == "RGBA" else picture
            converted = ImageCms.profileToProfile(plain, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a broken profile says nothing about the pixels
            return picture.convert("RGB")
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _name(path: Path, files: Sequence[Path]) -> str:
    """``STEM.png``, or the whole name before that where two files have the same stem."""
    alone = sum(each.stem == path.stem for each in files) == 1
    return f"{path.stem if alone else path.name}.png"


def _png(color: np.ndarray, alpha: np.ndarray | None) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(color if alpha is None else np.dstack([color, alpha])).save(buffer, "PNG")
    return buffer.getvalue()


def _report(done: Mapping[str, Done], unread: Mapping[Path, InvalidInput], settings: m.ImageSettings) -> dict[str, Any]:
    return {
        "settings": settings,
        "versions": versions(),
        "left_out": [error.message for error in unread.values()],
        "pictures": {
            name: {
                "size": each.size,
                "note": each.note,
                "target": each.assisted.target,
                "improved": each.assisted.improved,
                "max_change": each.assisted.max_change,
                "l2": each.assisted.l2,
                "models": each.assisted.models,
            }
            for name, each in done.items()
        },
    }


def _sheet(done: Mapping[str, Done]) -> bytes:
    shown = list(done.values())[:SHOWN]
    before, after = (np.stack([each.thumbnails[which] for each in shown]) for which in (0, 1))
    model, _ = next(iter(shown[0].assisted.models.items()))
    said = [each.assisted.models[model] for each in shown]
    verdicts = ([each.before for each in said], [each.after for each in said])
    return contact_sheet(before, after, verdicts, f"Pictures before and after · classifier: {model}").tobytes()


def _square(picture: np.ndarray) -> np.ndarray:
    return np.asarray(ImageOps.pad(Image.fromarray(picture), (EDGE, EDGE), color=(250, 250, 250)))


def _print(done: Mapping[str, Done], unread: Mapping[Path, InvalidInput], out: Path) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name, each in done.items():
        model, said = next(iter(each.assisted.models.items()))
        better = "" if each.assisted.improved else " (left as it was: nothing better was found)"
        sure = f"{said.before.confidence:.3f} → {said.after.confidence:.3f}"
        console.print(f"{name}: {each.assisted.target.name}, {model} {sure}{better}")
        if each.note:
            console.print(f"  {each.note}")
    for model in next(iter(done.values())).assisted.models:
        figures = [each.assisted.models[model] for each in done.values()]
        before, after = ([getattr(each, when) for each in figures] for when in ("before", "after"))
        console.print(
            f"{model} ({'trained' if figures[0].trained else 'held out'}), {len(done)} pictures: "
            f"confidence {_mean(before):.3f} → {_mean(after):.3f}, "
            f"right {sum(each.right for each in before)} → {sum(each.right for each in after)}"
        )
    for error in unread.values():
        console.print(f"Left out: {error.message}")
    console.print(f"Written to {out}")


def _mean(said: Sequence[m.Verdict]) -> float:
    return sum(each.confidence for each in said) / len(said)
