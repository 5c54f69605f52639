"""In a Blender whose Python lacks a package the add-on still registers, and its panel says what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
import bpy
sys.modules["zmq"] = None  # what Python does with a package that cannot be imported
import blender_addon
blender_addon.register()
panels = [name for name in dir(bpy.types) if name.startswith("ASSISTIVE")]
missing = blender_addon.missing_packages()
blender_addon.unregister()
left = [name for name in dir(bpy.types) if name.startswith("ASSISTIVE")]
print(json.dumps([panels, missing, left]))
"""


def test_the_panel_of_an_addon_without_its_packages_says_so_and_goes() -> None:
    pytest.importorskip("bpy")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    panels, missing, left = json.loads(done.stdout.splitlines()[-1])
    assert panels == ["ASSISTIVE_PT_missing"]
    assert missing == ["zmq"]
    assert not left
