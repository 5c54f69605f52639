"""How targets are named, and what is offered for a name that is not there."""

from __future__ import annotations

import pytest

from shared.errors import UnknownTarget
from shared.targets import SETS, Target, nearest, resolve

LABELS = ("sports car", "jeep", "cab", "ping-pong ball", "crane", "coffee mug", "crane", "cup", "Model T", "racer")


@pytest.mark.parametrize(
    ("query", "name", "indices"),
    [
        ("0", "sports car", (0,)),
        (" 5 ", "coffee mug", (5,)),
        ("jeep", "jeep", (1,)),
        ("Sports_Car", "sports car", (0,)),
        ("ping pong ball", "ping-pong ball", (3,)),
        ("  coffee   mug ", "coffee mug", (5,)),
        ("model t", "Model T", (8,)),
        ("4", "crane", (4,)),
        ("jeep|cab", "jeep|cab", (1, 2)),
        ("jeep | 2 | jeep", "jeep | 2 | jeep", (1, 2)),
        ("1|jeep", "jeep", (1,)),
    ],
)
def test_a_target_is_an_index_a_label_or_several(query: str, name: str, indices: tuple[int, ...]) -> None:
    assert resolve(query, LABELS) == Target(name=name, indices=indices)


def test_a_set_is_all_its_classes_that_the_labels_have() -> None:
    found = resolve("cars", LABELS)
    assert found.name == "cars"
    assert {LABELS[index] for index in found.indices} == {"sports car", "jeep", "cab", "Model T", "racer"}
    assert resolve("Cars|cups", LABELS).indices == (*found.indices, 5, 7)


@pytest.mark.parametrize("index", [-1, 10, 99999])
def test_an_index_outside_the_labels_is_refused_with_the_bounds(index: int) -> None:
    with pytest.raises(UnknownTarget, match=rf"{index}.*0 to 9"):
        resolve(str(index), LABELS)


def test_a_label_of_two_classes_is_refused_with_their_indices() -> None:
    with pytest.raises(UnknownTarget, match="4 and 6"):
        resolve("crane", LABELS)


@pytest.mark.parametrize(
    ("query", "offered"),
    [("sport car", "sports car"), ("coffe mug", "coffee mug"), ("mug", "coffee mug"), ("jep", "jeep"), ("car", "cars")],
)
def test_a_misspelt_name_is_refused_with_the_nearest(query: str, offered: str) -> None:
    with pytest.raises(UnknownTarget) as caught:
        resolve(query, LABELS)
    assert query in caught.value.message
    assert f"'{offered}'" in caught.value.hint


def test_a_member_that_no_label_has_is_named() -> None:
    with pytest.raises(UnknownTarget, match="zeppelin") as caught:
        resolve("jeep|zeppelin", LABELS)
    assert "jeep" not in caught.value.message


@pytest.mark.parametrize("query", ["", "jeep|", "|", "²", "--5", "1.5", "٣", "xyzzy"])
def test_what_names_nothing_is_refused(query: str) -> None:
    with pytest.raises(UnknownTarget):
        resolve(query, LABELS)


def test_a_name_like_no_other_is_told_where_all_are_listed() -> None:
    with pytest.raises(UnknownTarget, match="--targets"):
        resolve("qqqqq", LABELS)


def test_no_more_names_are_offered_than_asked_for_and_none_twice() -> None:
    found = nearest("ball", ("ball", *(f"{kind} ball" for kind in "abcdefgh")), count=4)
    assert len(found) == len(set(found)) == 4


def test_sets_name_each_class_once() -> None:
    for labels in SETS.values():
        assert len(set(labels)) == len(labels) > 0
