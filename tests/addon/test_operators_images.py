"""An image of the file becomes an assistive one, beside the original, by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from blender_addon import properties  # noqa: E402
from blender_addon._shared import messages  # noqa: E402
from blender_addon.operators import images  # noqa: E402


@pytest.fixture(autouse=True)
def registered(context: Any) -> Iterator[None]:
    del context
    properties.register()
    images.register()
    yield
    images.unregister()
    properties.unregister()


def add_image(name: str = "Picture", *, alpha: bool = False) -> Any:
    """A smooth picture of 40 × 24 with a bright disc, and half transparent if it has alpha."""
    image = bpy.data.images.new(name, 40, 24, alpha=alpha)
    y, x = np.mgrid[0:24, 0:40]
    rgba = np.stack([x / 40, y / 24, ((x - 20) ** 2 + (y - 12) ** 2 < 60) * 0.8, np.full(x.shape, 0.5)], axis=2)
    if not alpha:
        rgba[:, :, 3] = 1
    image.pixels.foreach_set(rgba.astype(np.float32).ravel())
    image.update()
    return image


def pixels(image: Any) -> np.ndarray:
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    return values.reshape(image.size[1], image.size[0], -1)


def test_the_new_image_is_within_the_levels_of_the_old_one_which_stays_as_it_was(
    server_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_address", lambda _context: server_address)
    source = add_image(alpha=True)
    before = pixels(source)
    assert bpy.ops.assistive.assist_image(image="Picture", target="golf ball", levels=6) == {"FINISHED"}
    made = bpy.data.images["Picture Assistive"]
    np.testing.assert_array_equal(pixels(source), before)
    change = (pixels(made) - before)[:, :, :3] * 255
    assert 1 <= np.abs(change).max() <= 6.001
    np.testing.assert_allclose(pixels(made)[:, :, 3], before[:, :, 3], atol=1 / 255)
    assert made.packed_file is not None


def test_what_the_server_sees_is_upright() -> None:
    picture = images.read_picture(add_image())
    assert picture.shape == (24, 40, 3)
    assert picture[0, 0, 1] > 200  # green grows upwards, and the first row is at the top
    assert picture[-1, 0, 1] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "No Such"}, "There is no image 'No Such'"),
        ({}, "No image is chosen"),
        ({"image": "Picture", "target": "golf bal"}, "golf ball"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_added(
    server_address: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], words: str
) -> None:
    monkeypatch.setattr(images, "_address", lambda _context: server_address)
    add_image()
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.assistive.assist_image(**options)
    assert len(bpy.data.images) == 1


def test_without_a_server_the_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_address", lambda _context: "tcp://127.0.0.1:9")
    monkeypatch.setattr(images, "HELLO_S", 0.3)
    add_image()
    with pytest.raises(RuntimeError, match="No answer from tcp"):
        bpy.ops.assistive.assist_image(image="Picture")


def test_the_panels_classifiers_and_objective_are_used(context: Any) -> None:
    chosen = context.scene.assistive
    chosen.objective = "margin"
    for name, role in (("efficientnet_lite1", "TRAIN"), ("efficientnet_lite0", "HELD_OUT")):
        item = chosen.classifiers.add()
        item.name, item.role = name, role
    assert images.settings_of(context, " cars ", 8) == messages.ImageSettings(
        target="cars",
        models=("efficientnet_lite1",),
        held_out_models=("efficientnet_lite0",),
        objective="margin",
        epsilon=8 / 255,
    )
