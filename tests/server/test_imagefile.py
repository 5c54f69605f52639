"""Pictures in files: any format comes in as it is displayed, PNG goes out, and what cannot be read is named."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from compute_server import cli
from compute_server.imagefile import read_picture
from shared.errors import InvalidInput

RNG = np.random.default_rng(2)


def gradient(height: int = 30, width: int = 50) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 2 % 256], axis=2).astype(np.uint8)


def run(*arguments: Any) -> int:
    return cli.main(["image", *map(str, arguments), "--steps", "2", "--device", "cpu"])


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.ppm"])
def test_a_lossless_file_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    Image.fromarray(gradient()).save(tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
    read = read_picture(tmp_path / name)
    np.testing.assert_array_equal(read.color, gradient())
    assert read.alpha is None


def test_a_photograph_is_read_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    Image.fromarray(gradient()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").color, np.rot90(gradient(), -1))


def test_alpha_is_kept_beside_the_colours(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (30, 50), dtype=np.uint8)
    Image.fromarray(np.dstack([gradient(), alpha])).save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(read.color, gradient())
    assert read.alpha is not None
    np.testing.assert_array_equal(read.alpha, alpha)


def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.tiff")
    read = read_picture(tmp_path / "a.tiff").color
    np.testing.assert_allclose(read[:, :, 1], levels / 257, atol=0.51)
    assert (read[:, :, :1] == read).all()


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    flat = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.gif")
    np.testing.assert_allclose(read_picture(tmp_path / "a.gif").color, flat, atol=2)


def test_of_an_animation_the_first_picture_is_taken_and_that_is_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), level, np.uint8)) for level in (10, 200)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    read = read_picture(tmp_path / "a.png")
    assert read.color.max() == 10
    assert "a.png has 2 pictures" in read.note


def test_a_colour_profile_is_applied(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    buffer = io.BytesIO(lab.tobytes())
    Image.fromarray(gradient()).save(tmp_path / "a.png", icc_profile=buffer.getvalue())
    np.testing.assert_allclose(read_picture(tmp_path / "a.png").color.astype(int), gradient(), atol=2)
    Image.fromarray(gradient()).save(tmp_path / "b.png", icc_profile=b"no profile")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").color, gradient())


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_file_that_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"a\.png cannot be read as a picture"):
        read_picture(tmp_path / "a.png")


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput, match=r"a\.png cannot be read"):
        read_picture(tmp_path / "a.png")


def test_a_folder_becomes_pictures_a_sheet_and_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    Image.fromarray(gradient()).save(folder / "a.png")
    Image.fromarray(gradient(40, 40)).save(folder / "a.jpg")
    Image.fromarray(np.dstack([gradient(), gradient()[:, :, 0]])).save(folder / "clear.png")
    (folder / "notes.txt").write_text("no picture")
    assert run(folder, "--out", out, "--held-out-models", "efficientnet_lite1") == 0
    assert {path.name for path in out.iterdir()} == {"a.png.png", "a.jpg.png", "clear.png", "report.json", "sheet.png"}
    report = json.loads((out / "report.json").read_text())
    assert set(report["pictures"]) == {"a.png.png", "a.jpg.png", "clear.png"}
    assert "notes.txt" in report["left_out"][0]
    assert "notes.txt" in capsys.readouterr().out
    for name, said in report["pictures"].items():
        made = Image.open(out / name)
        assert list(made.size) == said["size"]
        assert said["max_change"] <= 4
        assert set(said["models"]) == {"efficientnet_lite0", "efficientnet_lite1"}
    change = np.abs(np.asarray(Image.open(out / "a.png.png")).astype(int) - gradient())
    assert change.max() == report["pictures"]["a.png.png"]["max_change"]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "clear.png"))[:, :, 3], gradient()[:, :, 0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.png",), "There is no file nothing.png"),
        ((".",), "There is no picture in ."),
        (("broken.png",), "broken.png cannot be read"),
        (("good.png", "--epsilon", "0"), "epsilon"),
        (("good.png", "--epsilon", "-0.1"), "epsilon"),
        (("good.png", "--augment", "rain"), "augment"),
        (("good.png", "--target", "golf bal"), "golf ball"),
    ],
)
def test_bad_input_is_named_with_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0].endswith("png") and arguments[0] != "nothing.png":
        (tmp_path / "broken.png").write_bytes(b"no picture")
    if arguments[0] == "good.png":
        Image.fromarray(gradient()).save("good.png")
    assert run(*arguments, "--out", tmp_path / "out") == 2
    assert words in capsys.readouterr().err


def test_what_was_done_before_an_unreadable_file_is_kept(tmp_path: Path) -> None:
    Image.fromarray(gradient()).save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert run(tmp_path / "good.png", tmp_path / "broken.png", "--out", tmp_path / "out") == 2
    assert (tmp_path / "out" / "good.png").exists()
    assert "broken.png" in json.loads((tmp_path / "out" / "report.json").read_text())["left_out"][0]
