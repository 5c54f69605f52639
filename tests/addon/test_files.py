"""Every kind of file that Blender reads becomes a scene, and one that it can't read becomes a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy", reason="needs Blender as a module: pip install .[headless]")

from blender_addon import files  # noqa: E402
from blender_addon._shared import errors  # noqa: E402
from blender_addon.collect import collect, find_object  # noqa: E402

pytestmark = pytest.mark.usefixtures("context")

ASSETS = Path(__file__).resolve().parents[2].parent / "shared" / "assets"


def fails(source: Any, *words: str) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        files.open_scene(str(source))
    for word in words:
        assert word in str(caught.value)


def export(path: Path) -> None:
    """Write the one object of the scene with Blender's own exporter."""
    if path.suffix == ".blend":
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True)
    elif path.suffix in (".obj", ".ply", ".stl"):
        getattr(bpy.ops.wm, f"{path.suffix[1:]}_export")(filepath=str(path))
    elif path.suffix == ".fbx":
        bpy.ops.export_scene.fbx(filepath=str(path))
    else:
        kind = "GLB" if path.suffix == ".glb" else "GLTF_SEPARATE"
        bpy.ops.export_scene.gltf(filepath=str(path), export_format=kind)


@pytest.mark.parametrize("suffix", [".blend", ".obj", ".ply", ".stl", ".glb", ".gltf", ".fbx", ".OBJ"])
def test_each_file_type_gives_the_object_in_its_place(tmp_path: Path, suffix: str) -> None:
    bpy.ops.mesh.primitive_cone_add(vertices=7, location=(1, 2, 3))
    written = tmp_path / f"a cone{suffix.lower()}"
    export(written)
    path = written.rename(tmp_path / f"a cone{suffix}")
    content = path.read_bytes()
    bpy.ops.mesh.primitive_cube_add()  # must be gone after opening
    files.open_scene(str(path))
    obj = find_object(bpy.context, None)
    mesh = collect(bpy.context, obj, mask=None).scene.mesh
    np.testing.assert_allclose(mesh.positions.min(axis=0)[2], 2, atol=1e-4)
    np.testing.assert_allclose(mesh.positions.max(axis=0)[1:], (3, 4), atol=1e-4)
    assert len(mesh.triangles) == 12
    assert path.read_bytes() == content


def test_a_ply_file_brings_its_s_and_t_as_uvs() -> None:
    path = ASSETS / "car.ply"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    header, _, body = path.read_bytes().partition(b"end_header\n")
    assert b"property float s\nproperty float t\n" in header
    vertices = np.frombuffer(body, "<f4", count=20396 * 8).reshape(-1, 8)
    files.open_scene(str(path))
    collected = collect(bpy.context, find_object(bpy.context, None), mask=None, init="#808080")
    mesh = collected.scene.mesh
    np.testing.assert_array_equal(mesh.positions, vertices[:, :3])
    np.testing.assert_array_equal(mesh.uv, vertices[mesh.triangles][..., 6:])
    assert (len(mesh.triangles), collected.uv_map) == (14314, "UVMap")


def test_the_parts_of_a_file_ask_for_a_choice(context: Any, tmp_path: Path) -> None:
    for _ in range(2):
        bpy.ops.mesh.primitive_cube_add()
    export(tmp_path / "parts.glb")
    files.open_scene(str(tmp_path / "parts.glb"))
    with pytest.raises(errors.InvalidInput, match="several mesh objects"):
        find_object(context, None)


def test_a_ply_file_brings_its_vertex_colors(tmp_path: Path) -> None:
    path = tmp_path / "scan.ply"
    rows = ["0 0 0 255 0 7", "1 0 0 1 128 9", "0 1 0 200 100 50"]
    names = [*(f"property float {axis}" for axis in "xyz"), *(f"property uchar {c}" for c in ("red", "green", "blue"))]
    lines = ["ply", "format ascii 1.0", "element vertex 3", *names, "element face 1"]
    path.write_text("\n".join([*lines, "property list uchar int vertex_indices", "end_header", *rows, "3 0 1 2", ""]))
    files.open_scene(str(path))
    texture = collect(bpy.context, find_object(bpy.context, None), mask=None, texture="vertex").scene.texture
    assert texture.colors.tolist() == [[255, 0, 7], [1, 128, 9], [200, 100, 50]]


@pytest.mark.parametrize("name", ["coffee_mug", "traffic_light", "school_bus"])
def test_a_sample_is_ready_to_collect(name: str) -> None:
    files.open_scene(f"sample:{name}")
    collected = collect(bpy.context, find_object(bpy.context, None), mask="mask", texture_size=64)
    assert 0 < collected.scene.mesh.mask.mean() < 1


def test_an_unknown_sample_is_named() -> None:
    fails("sample:teapot", "teapot", "coffee_mug")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    fails(tmp_path / "gone.blend", "gone.blend", "does not exist")


def test_an_unknown_suffix_lists_the_known(tmp_path: Path) -> None:
    path = tmp_path / "car.max"
    path.touch()
    fails(path, "car.max", "'.max'", ".blend", ".glb", "sample:NAME")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "parts.obj").mkdir()
    fails(tmp_path / "parts.obj", "parts.obj", "not a file")


@pytest.mark.parametrize("suffix", [".blend", ".obj", ".ply", ".stl", ".glb", ".gltf", ".fbx"])
@pytest.mark.parametrize("content", [b"", b"certainly not a mesh\n" * 9, bytes(range(256)) * 4])
def test_a_broken_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    fails(path, f"broken{suffix}")


def test_a_file_without_a_mesh_is_named(context: Any, tmp_path: Path) -> None:
    path = tmp_path / "lights.blend"
    context.scene.collection.objects.link(bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN")))
    export(path)
    fails(path, "lights.blend", "no mesh")


def test_scripts_inside_a_blend_file_do_not_run(context: Any, tmp_path: Path) -> None:
    bpy.ops.mesh.primitive_cube_add()
    marker = tmp_path / "ran"
    text = bpy.data.texts.new("start.py")
    text.write(f"open({str(marker)!r}, 'w').close()")
    text.use_module = True
    export(tmp_path / "script.blend")
    preferences = context.preferences.filepaths
    preferences.use_scripts_auto_execute = True  # even so
    try:
        files.open_scene(str(tmp_path / "script.blend"))
    finally:
        preferences.use_scripts_auto_execute = False
    assert not marker.exists()
