"""The sample objects: what an artist and the optimiser may rely on in each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

bpy: Any = pytest.importorskip("bpy")
bmesh: Any = pytest.importorskip("bmesh")

from blender_addon import samples  # noqa: E402
from blender_addon._shared import errors  # noqa: E402

SIZES_M = {  # smallest and largest believable (x, y, z)
    "coffee_mug": ((0.10, 0.07, 0.08), (0.13, 0.09, 0.11)),
    "traffic_light": ((0.30, 0.30, 0.95), (0.45, 0.55, 1.25)),
    "school_bus": ((2.3, 9.5, 2.7), (3.1, 10.5, 3.2)),
}
RASTER = 1024
FINE = 2**22  # UVs as whole numbers of this part, so that the tests of texels are exact

each_sample = pytest.mark.parametrize("name", sorted(samples.SAMPLES))


@pytest.fixture(autouse=True)
def _empty_scene() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture
def registered() -> Iterator[None]:
    samples.register()
    try:
        yield
    finally:
        samples.unregister()


def _points(made: Any) -> np.ndarray:
    flat = np.empty(len(made.data.vertices) * 3)
    made.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def _triangles(made: Any, attribute: str) -> np.ndarray:
    """`vertices` or `loops` of the mesh's triangles, [T, 3]."""
    made.data.calc_loop_triangles()
    flat = np.empty(len(made.data.loop_triangles) * 3, dtype=np.int32)
    made.data.loop_triangles.foreach_get(attribute, flat)
    return flat.reshape(-1, 3)


def _uvs(made: Any) -> np.ndarray:
    layer = made.data.uv_layers["UVMap"].data
    flat = np.empty(len(layer) * 2, dtype=np.float32)
    layer.foreach_get("uv", flat)
    return flat.reshape(-1, 2).astype(np.float64)


def _weights(made: Any) -> np.ndarray:
    """The mask's weight at each vertex, 0 where there is none."""
    group = made.vertex_groups["mask"].index
    return np.array([sum(g.weight for g in v.groups if g.group == group) for v in made.data.vertices])


def _areas(corners: np.ndarray) -> np.ndarray:
    """Areas of triangles [T, 3, 3]."""
    return np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2


def _texel_counts(triangles: np.ndarray, size: int = RASTER) -> np.ndarray:
    """How many UV triangles [T, 3, 2] have each texel's centre strictly inside; computed in whole numbers."""
    corners = np.rint(triangles * FINE).astype(np.int64)
    texel = FINE // size
    counts = np.zeros((size, size), dtype=np.int32)
    for corner in corners:
        first = np.clip(corner.min(axis=0) // texel, 0, size - 1)
        last = np.clip(corner.max(axis=0) // texel, 0, size - 1)
        u = np.arange(first[0], last[0] + 1) * texel + texel // 2
        v = np.arange(first[1], last[1] + 1)[:, None] * texel + texel // 2
        turns = np.stack([_turn(corner[i - 1], corner[i], u, v) for i in range(3)])
        inside = (turns > 0).all(axis=0) | (turns < 0).all(axis=0)
        counts[first[1] : last[1] + 1, first[0] : last[0] + 1] += inside
    return counts


def _turn(start: np.ndarray, end: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Positive where (u, v) lies left of the line, 0 on it."""
    return (end[0] - start[0]) * (v - start[1]) - (end[1] - start[1]) * (u - start[0])


def _connected(triangles: np.ndarray) -> list[np.ndarray]:
    """The triangles of each connected part, by index, for triangles [T, 3] that name their corners."""
    parent = list(range(int(triangles.max()) + 1))

    def root(corner: int) -> int:
        while parent[corner] != corner:
            parent[corner] = parent[parent[corner]]
            corner = parent[corner]
        return corner

    for a, b, c in triangles.tolist():
        parent[root(a)] = parent[root(b)] = root(c)
    roots = np.array([root(int(corner)) for corner in triangles[:, 0]])
    return [np.flatnonzero(roots == part) for part in np.unique(roots)]


def _islands(triangles: np.ndarray) -> list[np.ndarray]:
    """The triangles of each UV island, by index; triangles are [T, 3, 2]."""
    _, corners = np.unique(np.rint(triangles.reshape(-1, 2) * 2**18), axis=0, return_inverse=True)
    return _connected(corners.reshape(-1, 3))


# --- shape ---


@each_sample
def test_it_has_the_size_of_the_real_thing(name: str) -> None:
    size = np.ptp(_points(samples.create(name)), axis=0)
    smallest, largest = SIZES_M[name]
    assert (size >= smallest).all(), size
    assert (size <= largest).all(), size


@each_sample
def test_it_stands_on_the_floor_centred_on_the_origin(name: str) -> None:
    made = samples.create(name)
    low, high = _points(made).min(axis=0), _points(made).max(axis=0)
    assert low[2] == pytest.approx(0.0, abs=1e-6)
    assert (low + high)[:2] / 2 == pytest.approx(0.0, abs=1e-5)
    assert tuple(made.location) == (0.0, 0.0, 0.0)


@each_sample
def test_it_has_enough_triangles_for_vertex_colours_and_not_too_many(name: str) -> None:
    assert 2_000 <= len(_triangles(samples.create(name), "vertices")) <= 20_000


@each_sample
def test_no_face_is_without_area(name: str) -> None:
    made = samples.create(name)
    extent = np.ptp(_points(made), axis=0).max()
    areas = _areas(_points(made)[_triangles(made, "vertices")])
    assert areas.min() > 1e-8 * extent**2


@each_sample
def test_every_edge_has_two_faces_and_no_vertex_is_loose(name: str) -> None:
    made = samples.create(name)
    bm = bmesh.new()
    try:
        bm.from_mesh(made.data)
        assert all(len(edge.link_faces) == 2 for edge in bm.edges)
        assert all(edge.is_contiguous for edge in bm.edges)
        assert all(vertex.is_manifold for vertex in bm.verts)
    finally:
        bm.free()


@each_sample
def test_every_part_faces_outward(name: str) -> None:
    made = samples.create(name)
    triangles = _triangles(made, "vertices")
    for part in _connected(triangles):
        a, b, c = np.moveaxis(_points(made)[triangles[part]], 1, 0)
        assert np.einsum("ti,ti->", a, np.cross(b, c)) / 6 > 0.0


@each_sample
def test_blender_finds_nothing_to_correct_in_the_mesh(name: str) -> None:
    assert samples.create(name).data.validate() is False


# --- texture ---


@each_sample
def test_uvs_stay_on_the_texture(name: str) -> None:
    made = samples.create(name)
    assert [layer.name for layer in made.data.uv_layers] == ["UVMap"]
    assert _uvs(made).min() >= 0.0
    assert _uvs(made).max() <= 1.0


@each_sample
def test_no_texel_is_covered_twice(name: str) -> None:
    made = samples.create(name)
    counts = _texel_counts(_uvs(made)[_triangles(made, "loops")])
    assert counts.max() == 1
    assert (counts == 1).mean() > 0.4  # and the texture is well used


@each_sample
def test_islands_keep_their_distance_from_each_other_and_from_the_border(name: str) -> None:
    made = samples.create(name)
    triangles = _uvs(made)[_triangles(made, "loops")]
    islands = _islands(triangles)
    low = np.array([triangles[island].min(axis=(0, 1)) for island in islands])
    high = np.array([triangles[island].max(axis=(0, 1)) for island in islands])
    assert min(low.min(), 1.0 - high.max()) > 3 / RASTER
    apart = np.maximum(low[:, None] - high[None], low[None] - high[:, None]).max(axis=2)
    np.fill_diagonal(apart, 1.0)
    assert apart.min() > 6 / RASTER  # between their bounding boxes


@each_sample
def test_no_face_is_mirrored_or_folded_over_on_the_texture(name: str) -> None:
    made = samples.create(name)
    a, b, c = np.moveaxis(_uvs(made)[_triangles(made, "loops")], 1, 0)
    turns = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert turns.min() > 0.0


def test_the_count_of_texels_sees_an_overlap_and_not_a_shared_edge() -> None:
    square = np.array([[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], [[0.1, 0.1], [0.9, 0.9], [0.1, 0.9]]])
    assert _texel_counts(square).max() == 1
    assert _texel_counts(np.concatenate([square, square[:1] + 0.01])).max() == 2


# --- mask ---


@each_sample
def test_the_mask_covers_a_good_part_of_the_surface(name: str) -> None:
    made = samples.create(name)
    weights, triangles = _weights(made), _triangles(made, "vertices")
    areas = _areas(_points(made)[triangles])
    assert weights.min() >= 0.0
    assert weights.max() <= 1.0
    assert 0.2 < np.average(weights[triangles].mean(axis=1), weights=areas) < 0.9


@each_sample
def test_the_edge_of_the_mask_is_narrow(name: str) -> None:
    made = samples.create(name)
    weights, triangles = _weights(made), _triangles(made, "vertices")
    areas = _areas(_points(made)[triangles])
    of_triangle = weights[triangles].mean(axis=1)
    fading = (of_triangle > 0.0) & (of_triangle < 1.0)
    assert areas[fading].sum() < 0.1 * areas[of_triangle > 0.0].sum()


def test_the_mugs_mask_is_on_its_outer_wall_away_from_the_handle() -> None:
    made = samples.create("coffee_mug")
    masked = _points(made)[_weights(made) > 0.0]
    axis_x = _points(made)[:, 0].min() + 0.041
    from_axis = np.hypot(masked[:, 0] - axis_x, masked[:, 1])
    assert from_axis == pytest.approx(0.041, abs=1e-5)
    assert masked[:, 0].max() < axis_x + 0.039  # the handle starts at + 0.041


def test_lamps_of_the_traffic_light_are_not_in_the_mask() -> None:
    made = samples.create("traffic_light")
    points, weights = _points(made), _weights(made)
    # Nothing else is that close to a lamp's middle and that far in front of the housing's face.
    face = points[:, 1].max() - 0.22
    for height in (0.22, 0.56, 0.90):
        lens = (np.hypot(points[:, 0], points[:, 2] - height) < 0.13) & (points[:, 1] < face - 0.001)
        assert lens.any()
        assert not weights[lens].any()


def test_wheels_and_panes_of_the_bus_are_not_in_the_mask() -> None:
    made = samples.create("school_bus")
    points, weights = _points(made), _weights(made)
    wheels = points[:, 2] < 0.41  # only tyres are that low
    from_panes = np.abs(points - (0.0, 0.5, 1.89))
    panes = (np.abs(from_panes[:, 0] - 1.155) < 0.01) & (from_panes[:, 1] < 3.0) & (from_panes[:, 2] < 0.2)
    for part in (wheels, panes):
        assert part.any()
        assert not weights[part].any()


# --- material and naming ---


@each_sample
def test_its_material_is_one_matte_grey_principled_shader(name: str) -> None:
    made = samples.create(name)
    assert len(made.data.materials) == 1
    shaders = [node for node in made.data.materials[0].node_tree.nodes if node.type == "BSDF_PRINCIPLED"]
    assert len(shaders) == 1
    inputs = shaders[0].inputs
    assert inputs["Roughness"].default_value == 1.0
    assert inputs["Specular IOR Level" if "Specular IOR Level" in inputs else "Specular"].default_value == 0.0
    assert inputs["Base Color"].default_value[:3] == pytest.approx((0.214,) * 3, abs=1e-3)


@each_sample
def test_it_is_linked_to_the_scene_under_its_label(name: str) -> None:
    made = samples.create(name)
    assert made.name == samples.SAMPLES[name].label
    assert made.name in bpy.context.scene.collection.objects


@each_sample
def test_two_of_a_kind_share_nothing(name: str) -> None:
    one, other = samples.create(name), samples.create(name)
    assert one.data != other.data
    assert one.data.materials[0] != other.data.materials[0]


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        samples.create("teapot")
    assert "teapot" in str(caught.value)
    for name in samples.SAMPLES:
        assert name in str(caught.value)
    assert len(bpy.data.objects) == 0


def test_keys_are_the_names_and_targets_are_the_labels_of_imagenet() -> None:
    assert {key: sample.name for key, sample in samples.SAMPLES.items()} == {key: key for key in SIZES_M}
    assert [samples.SAMPLES[key].target for key in SIZES_M] == ["coffee mug", "traffic light", "school bus"]


# --- operator and menu ---


@pytest.mark.usefixtures("registered")
@each_sample
def test_the_operator_adds_it_at_the_cursor_and_selects_it_alone(name: str) -> None:
    before = samples.create("coffee_mug")
    before.select_set(True)
    bpy.context.scene.cursor.location = (1.0, 2.0, 3.0)
    assert bpy.ops.assistive.add_sample(kind=name) == {"FINISHED"}
    made = bpy.context.view_layer.objects.active
    assert made != before
    assert tuple(made.location) == (1.0, 2.0, 3.0)
    assert list(bpy.context.selected_objects) == [made]


@pytest.mark.usefixtures("registered")
def test_the_operator_can_be_undone_and_offers_every_sample() -> None:
    operator = bpy.ops.assistive.add_sample
    assert {"REGISTER", "UNDO"} <= samples.ASSISTIVE_OT_add_sample.bl_options
    kinds = operator.get_rna_type().properties["kind"].enum_items
    assert [item.identifier for item in kinds] == list(samples.SAMPLES)


@pytest.mark.usefixtures("registered")
def test_the_operator_is_off_outside_object_mode() -> None:
    bpy.ops.assistive.add_sample(kind="coffee_mug")
    bpy.ops.object.mode_set(mode="EDIT")
    assert not bpy.ops.assistive.add_sample.poll()
    bpy.ops.object.mode_set(mode="OBJECT")


def test_unregistering_leaves_nothing_behind() -> None:
    def entries() -> list[Any]:
        return list(bpy.types.VIEW3D_MT_mesh_add._dyn_ui_initialize())

    before = entries()
    samples.register()
    during = entries()
    samples.unregister()
    assert len(during) == len(before) + 1
    assert entries() == before
    assert not hasattr(bpy.types, "ASSISTIVE_OT_add_sample")
    assert not hasattr(bpy.types, "ASSISTIVE_MT_add_sample")
