"""The server shows colours as Blender does: every view transform of this Blender, looks, exposure, gamma, curves."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import torch

from blender_addon.collect import view_transform
from compute_server.render.view_transform import encoder

pytestmark = pytest.mark.usefixtures("context")

VIEWS = [
    ("Standard", "None", 1.5, 1.0),
    ("Standard", "None", -1.5, 1.3),
    ("Standard", "High Contrast", 0.0, 1.0),
    ("AgX", "None", 0.0, 1.0),
    ("AgX", "None", -2.0, 0.8),
    ("AgX", "AgX - Punchy", 0.0, 1.0),
    ("AgX", "AgX - Greyscale", 0.0, 1.0),
    ("Filmic", "None", 0.0, 1.0),
    ("Filmic", "Very High Contrast", 0.5, 1.0),
    ("Khronos PBR Neutral", "None", 0.0, 1.0),
    ("Raw", "None", 0.0, 1.0),
    ("Raw", "None", 1.0, 1.3),
]


def _view(name: str, look: str = "None", exposure: float = 0.0, gamma: float = 1.0) -> Any:
    settings = bpy.context.scene.view_settings
    settings.view_transform, settings.exposure, settings.gamma = name, exposure, gamma
    settings.look = look
    return settings


def _colors() -> np.ndarray:
    """10,000 linear colours: dark to dazzling, the everyday, and pure ones."""
    rng = np.random.default_rng(0)
    wide, even, bright = 2 ** rng.uniform(-10, 4, (4000, 3)), rng.uniform(0, 1, (4000, 3)), rng.uniform(0, 4, (1000, 3))
    pure = rng.uniform(0, 1, (1000, 3)) * (rng.uniform(0, 1, (1000, 3)) > 0.5)
    return np.concatenate([wide, even, bright, pure]).astype(np.float32)


def _differences() -> np.ndarray:
    """|server − Blender| in levels of 255, for each colour and channel, [10000, 3]."""
    colors = _colors()
    with view_transform.developing(bpy.context.scene) as develop:
        blender = develop(colors)
    server = encoder(view_transform.read_view_transform(bpy.context))(torch.from_numpy(colors)).numpy()
    return np.abs(server - blender) * 255


def test_the_standard_view_needs_no_table_and_is_the_servers_own() -> None:
    _view("Standard")
    assert view_transform.read_view_transform(bpy.context) is None
    assert _differences().max() < 0.05  # of 255; Blender has the curve in single precision


@pytest.mark.parametrize(("name", "look", "exposure", "gamma"), VIEWS)
def test_the_server_shows_ten_thousand_colours_as_blender_does(
    name: str, look: str, exposure: float, gamma: float
) -> None:
    _view(name, look, exposure, gamma)
    differences = _differences()
    assert differences.mean() <= 1.0
    assert differences.max() <= 4.0


def test_a_curve_of_the_artists_is_in_the_table() -> None:
    settings = _view("Standard")
    settings.use_curve_mapping = True
    settings.curve_mapping.curves[3].points.new(0.5, 0.7)
    settings.curve_mapping.update()
    assert view_transform.read_view_transform(bpy.context) is not None
    differences = _differences()
    assert differences.mean() <= 1.0
    assert differences.max() <= 4.0


def test_the_table_names_the_view_and_its_look() -> None:
    _view("AgX", "AgX - Punchy")
    table = view_transform.read_view_transform(bpy.context)
    assert table is not None
    assert table.name == "AgX, AgX - Punchy"


def test_reading_a_view_leaves_nothing_in_the_file() -> None:
    _view("AgX")
    bpy.context.scene.render.image_settings.file_format = "OPEN_EXR"
    before = {name: set(getattr(bpy.data, name)) for name in ("scenes", "images", "objects", "collections", "worlds")}
    view_transform.read_view_transform(bpy.context)
    assert before == {name: set(getattr(bpy.data, name)) for name in before}
    assert bpy.context.scene.render.image_settings.file_format == "OPEN_EXR"


CONFIGURATION = """
    ocio_profile_version: 2
    roles: {default: linear, scene_linear: linear, data: raw, color_picking: raw, texture_paint: raw,
            matte_paint: raw, aces_interchange: linear}
    file_rules:
      - !<Rule> {name: Default, colorspace: default}
    displays:
      sRGB:
        - !<View> {name: Night, colorspace: night}
        - !<View> {name: Raw, colorspace: raw}
    active_displays: [sRGB]
    active_views: [Night, Raw]
    colorspaces:
      - !<ColorSpace> {name: linear, isdata: false}
      - !<ColorSpace> {name: raw, isdata: true}
      - !<ColorSpace>
        name: night
        isdata: false
        from_scene_reference: !<GroupTransform>
          children:
            - !<MatrixTransform> {matrix: [0.2, 0.1, 0, 0, 0.1, 0.3, 0, 0, 0.1, 0.2, 0.6, 0, 0, 0, 0, 1]}
            - !<ExponentTransform> {value: [2.4, 2.4, 2.4, 1], style: clamp, direction: inverse}
"""


def test_a_colour_configuration_of_the_studio_is_followed(tmp_path: Path) -> None:
    configuration = tmp_path / "config.ocio"
    configuration.write_text(textwrap.dedent(CONFIGURATION))
    script = (
        "import bpy, numpy as np\n"
        "from blender_addon.collect.view_transform import read_view_transform\n"
        "bpy.context.scene.view_settings.view_transform = 'Night'\n"
        "table = read_view_transform(bpy.context)\n"
        "print('NAME', table.name, 'WHITE', *table.table[-1, -1, -1])\n"
        "np.save(r'{}', table.table)\n".format(tmp_path / "table.npy")
        + "np.save(r'{}', np.array([table.toe, table.top]))\n".format(tmp_path / "range.npy")
    )
    environment = {**os.environ, "OCIO": str(configuration)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    table, (toe, top) = np.load(tmp_path / "table.npy"), np.load(tmp_path / "range.npy")
    levels = toe * ((1 + top / toe) ** np.linspace(0, 1, len(table)) - 1)
    colour = np.array([levels[50], levels[30], levels[40]])
    expected = np.clip(np.array([[0.2, 0.1, 0], [0.1, 0.3, 0], [0.1, 0.2, 0.6]]) @ colour, 0, 1) ** (1 / 2.4)
    np.testing.assert_allclose(table[50, 30, 40] / 65535, expected, atol=1e-3)
