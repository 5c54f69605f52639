"""What all tests of the add-on need: an empty Blender."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def context() -> Any:
    """Blender's context in an empty factory scene, without world, cameras and lights."""
    bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    return bpy.context


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """The address of one compute server on the CPU, shared by all tests; it keeps its classifiers loaded."""
    for needed in ("bpy", "torch"):
        pytest.importorskip(needed)
    from blender_addon.local_server import LocalServer

    with LocalServer(device="cpu") as server:
        yield server.address
