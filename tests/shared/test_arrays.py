"""Arrays at the border: what is wrong is named by its path."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from helpers.scenes import job

from shared.arrays import Array, array_fields, validate
from shared.errors import InvalidInput
from shared.messages import Classify, Preview, Submit
from shared.scene import LightState, Mesh, SunLight, UvTexture, VertexTexture


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One of each kind of declaration."""

    points: Annotated[np.ndarray, Array("float32", "V", 3)]
    faces: Annotated[np.ndarray, Array("int32", "T", 3, below="V")]
    share: Annotated[np.ndarray, Array("float32", "V", low=0.0, high=1.0)]
    extra: Annotated[np.ndarray, Array("uint8", "B")] | None = None


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Parts in all the places where they may be."""

    one: Part
    many: tuple[Part, ...] = ()
    named: dict[str, Part] = {}


def _part(**changed: Any) -> Part:
    fields: dict[str, Any] = {
        "points": np.zeros((4, 3), np.float32),
        "faces": np.array([[0, 1, 3]], np.int32),
        "share": np.array([0.0, 0.5, 1.0, 0.2], np.float32),
    }
    return Part(**{**fields, **changed})


def _with(array: np.ndarray, at: tuple[int, ...], value: float) -> np.ndarray:
    changed = array.copy()
    changed[at] = value
    return changed


def test_what_is_as_declared_passes() -> None:
    validate(Whole(one=_part(), many=(_part(), _part()), named={"a": _part(extra=np.zeros(3, np.uint8))}))
    validate(Submit(job()))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"points": np.zeros((4, 3))}, "points has dtype float64, not float32"),
        ({"points": np.zeros((4, 3), ">f4")}, "points has dtype >f4, not float32"),
        ({"points": np.full((4, 3), None)}, "points has dtype object, not float32"),
        ({"faces": np.zeros((1, 3), np.int64)}, "faces has dtype int64, not int32"),
        ({"faces": np.zeros((1, 3), np.uint32)}, "faces has dtype uint32, not int32"),
        ({"points": np.zeros((4, 2), np.float32)}, "points has shape [4, 2], not [V, 3]"),
        ({"points": np.zeros(12, np.float32)}, "points has shape [12], not [V, 3]"),
        ({"points": np.zeros((1, 4, 3), np.float32)}, "points has shape [1, 4, 3], not [V, 3]"),
        ({"share": np.zeros(5, np.float32)}, "share has shape [5], not [V] with V = 4"),
        ({"points": [[0, 0, 0]]}, "points is list, not an array"),
        ({"extra": "text"}, "extra is str, not an array"),
        ({"faces": np.array([[0, 1, 4]], np.int32)}, "faces holds 4; the greatest value allowed is 3"),
        ({"faces": np.array([[0, -1, 2]], np.int32)}, "faces holds -1; the least value allowed is 0"),
        ({"share": np.full(4, -0.1, np.float32)}, "share holds -0.1"),
        ({"share": np.full(4, 1.5, np.float32)}, "share holds 1.5; the greatest value allowed is 1.0"),
        ({"points": _with(np.zeros((4, 3), np.float32), (2, 1), np.nan)}, "points holds NaN or infinity, first at"),
        ({"points": _with(np.zeros((4, 3), np.float32), (2, 1), np.inf)}, "first at index [2, 1]"),
        ({"share": np.array([0, 1, -np.inf, 0], np.float32)}, "share holds NaN or infinity, first at index [2]"),
    ],
)
def test_what_is_not_as_declared_is_refused_with_what_was_found(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(told)):
        validate(_part(**changed))


def test_the_bound_of_an_index_is_found_whatever_the_order_of_fields() -> None:
    class Turned(msgspec.Struct, frozen=True):
        faces: Annotated[np.ndarray, Array("int32", "T", below="V")]
        points: Annotated[np.ndarray, Array("float32", "V")]

    validate(Turned(np.array([1], np.int32), np.zeros(2, np.float32)))
    with pytest.raises(InvalidInput, match="faces holds 2"):
        validate(Turned(np.array([2], np.int32), np.zeros(2, np.float32)))


def test_any_index_is_too_great_for_no_vertices() -> None:
    empty = {"points": np.zeros((0, 3), np.float32), "share": np.zeros(0, np.float32)}
    validate(_part(**empty, faces=np.zeros((0, 3), np.int32)))
    with pytest.raises(InvalidInput, match="faces holds 0"):
        validate(_part(**empty, faces=np.zeros((1, 3), np.int32)))


def test_dimensions_bind_within_one_struct_only() -> None:
    other = _part(points=np.zeros((7, 3), np.float32), share=np.zeros(7, np.float32))
    validate(Whole(one=_part(), many=(other, _part())))


@pytest.mark.parametrize(
    ("whole", "path"),
    [
        (lambda bad: Whole(one=bad), "one.faces"),
        (lambda bad: Whole(one=_part(), many=(_part(), bad)), "many[1].faces"),
        (lambda bad: Whole(one=_part(), named={"a b": bad}), "named['a b'].faces"),
    ],
)
def test_the_path_leads_through_structs_tuples_and_dicts(whole: Any, path: str) -> None:
    with pytest.raises(InvalidInput, match="^" + re.escape(path + " holds 9")):
        validate(whole(_part(faces=np.full((1, 3), 9, np.int32))))


def _submit(**mesh_fields: np.ndarray) -> Submit:
    good = job()
    body = msgspec.structs.replace(good.scene.mesh, **mesh_fields)
    return Submit(msgspec.structs.replace(good, scene=msgspec.structs.replace(good.scene, mesh=body)))


@pytest.mark.parametrize(
    ("field", "array"),
    [
        ("positions", _with(job().scene.mesh.positions, (0, 0), np.nan)),
        ("positions", job().scene.mesh.positions.astype(np.float64)),
        ("triangles", job().scene.mesh.triangles + np.int32(2)),
        ("normals", job().scene.mesh.normals[:-1]),
        ("uv", _with(job().scene.mesh.uv, (0, 0, 0), np.inf)),
        ("mask", job().scene.mesh.mask * np.float32(2)),
        ("mask", job().scene.mesh.mask[1:]),
    ],
)
def test_a_wrong_array_of_a_submitted_job_is_named_in_full(field: str, array: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match=rf"^job\.scene\.mesh\.{field} "):
        validate(_submit(**{field: array}))


def test_a_camera_matrix_is_named_with_its_place_in_the_rig() -> None:
    good = job()
    cameras = list(good.scene.rig.cameras)
    cameras[1] = msgspec.structs.replace(cameras[1], view=_with(cameras[1].view, (3, 3), np.nan))
    rig = msgspec.structs.replace(good.scene.rig, cameras=tuple(cameras))
    bad = msgspec.structs.replace(good, scene=msgspec.structs.replace(good.scene, rig=rig))
    with pytest.raises(InvalidInput, match=r"^job\.scene\.rig\.cameras\[1\]\.view holds NaN"):
        validate(Submit(bad))


def test_textures_and_pictures_are_bytes_of_three_channels() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    with pytest.raises(InvalidInput, match=r"^texture\.image has shape \[2, 2, 4\]"):
        validate(Preview(job_id="a", step=0, texture=UvTexture(rgba), worst_view=rgba[..., :3]))
    with pytest.raises(InvalidInput, match=r"^colors has dtype float32"):
        validate(VertexTexture(np.zeros((2, 3), np.float32)))
    with pytest.raises(InvalidInput, match=r"^pictures has shape \[2, 2, 4\]"):
        validate(Classify(pictures=rgba, model="m", target="t"))


def test_declared_arrays_are_found_also_where_they_are_optional() -> None:
    assert set(array_fields(Part)) == {"points", "faces", "share", "extra"}
    assert set(array_fields(Mesh)) == {"positions", "triangles", "normals", "uv", "mask", "surface"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_plain_numbers_must_be_finite_too(value: float) -> None:
    light = SunLight(power=(1.0, value, 1.0), direction=(0.0, 0.0, -1.0))
    with pytest.raises(InvalidInput, match=r"state\.lights\[0\]\.power\[1\]"):
        validate(LightState(name="s", lights=(light,)), "state")
