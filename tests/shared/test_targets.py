"""How targets are named, and what is offered for a name that is not there."""

from __future__ import annotations

import pytest

from shared.errors import UnknownTarget
from shared.targets import SETS, Target, described, members, nearest, resolve, with_own_sets

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


@pytest.mark.parametrize("name", SETS)
def test_sets_name_each_class_once_and_are_called_like_none(name: str) -> None:
    assert len(set(SETS[name])) == len(SETS[name]) > 0
    assert len(members(name)) > 1
    assert not set(SETS) & set(members(name)), "sets inside it are written out"


def test_every_member_of_a_set_is_a_label_and_no_set_is_called_like_one() -> None:
    labels = imagenet()
    for name in SETS:
        assert set(members(name)) <= set(labels)
        assert name not in labels
        assert {labels[index] for index in resolve(name, labels).indices} == set(members(name))


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("dogs", ("Chihuahua", "Mexican hairless", "Airedale", "German shepherd"), ("timber wolf", "dingo", "hotdog")),
        ("birds", ("cock", "albatross", "king penguin"), ("loggerhead", "birdhouse", "African crocodile")),
        (
            "vehicles",
            ("school bus", "sports car", "trailer truck", "canoe", "airliner"),
            ("car wheel", "traffic light"),
        ),
        ("animals", ("tench", "dalmatian", "starfish", "proboscis monkey"), ("teddy", "hen-of-the-woods")),
        ("fruit", ("Granny Smith", "banana"), ("zucchini",)),
        ("musical instruments", ("banjo", "maraca", "sax"), ("chain saw",)),
        ("cats", ("tabby", "Siamese cat"), ("Madagascar cat", "tiger beetle")),
    ],
)
def test_a_set_has_what_its_name_says(name: str, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    found = set(members(name))
    assert found >= set(inside)
    assert not found & set(outside)


def test_sets_are_as_large_as_in_wordnet_where_their_word_is_its() -> None:
    sizes = {"dogs": 118, "birds": 59, "mammals": 218, "animals": 398, "snakes": 17, "insects": 27, "terriers": 26}
    assert {name: len(members(name)) for name in sizes} == sizes


def imagenet() -> tuple[str, ...]:
    pytest.importorskip("torchvision")
    from compute_server.classifiers import labels

    return labels()


# --- own sets ---------------------------------------------------------------------------------------------------------


def test_a_target_can_be_given_a_name() -> None:
    assert resolve("my cups = coffee mug | cup", LABELS) == Target(name="my cups", indices=(5, 7))
    assert resolve("one=jeep", LABELS).name == "one"


@pytest.mark.parametrize("query", ["=jeep", "mine=", "mine=jeep|", "mine=zeppelin", "mine=a=jeep"])
def test_a_name_without_a_target_or_a_target_without_a_name_is_refused(query: str) -> None:
    with pytest.raises(UnknownTarget):
        resolve(query, LABELS)


def test_own_sets_are_written_out_under_their_name() -> None:
    own = {"Mine": "jeep|cab", "cars": "racer"}
    assert with_own_sets("mine", own) == "mine=jeep|cab"
    assert with_own_sets("mine|cup", own) == "mine|cup=jeep|cab|cup"
    assert with_own_sets("all=mine|cup", own) == "all=jeep|cab|cup"
    assert with_own_sets("jeep | cup", own) == "jeep | cup"


def test_an_own_set_takes_the_place_of_one_of_the_same_name() -> None:
    assert resolve(with_own_sets("cars", {"cars": "racer|jeep"}), LABELS) == Target(name="cars", indices=(9, 1))


def test_members_are_written_out_without_any_labels() -> None:
    assert members("buses|817|Minibus") == ("minibus", "school bus", "trolleybus", "817", "Minibus")
    assert members("mine=jeep|jeep") == ("jeep",)


def test_a_target_is_described_with_all_its_classes() -> None:
    assert described(resolve("cups", LABELS), LABELS) == "cups: 2 classes: coffee mug, cup"
    assert described(resolve("jeep", LABELS), LABELS) == "jeep: 1 class: jeep"
