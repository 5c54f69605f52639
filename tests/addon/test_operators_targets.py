"""An artist's own sets: made of the target, edited, used by jobs under their name, and saved with the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy
import pytest

from blender_addon import panels, properties, request
from blender_addon._shared import errors, targets
from blender_addon.operators import targets as operators


@pytest.fixture(autouse=True)
def _registered(context: Any) -> Iterator[None]:
    """Every test starts from an empty file."""
    del context
    properties.register()
    operators.register()
    try:
        yield
    finally:
        operators.unregister()
        properties.unregister()


def chosen() -> Any:
    return bpy.context.scene.assistive


def own() -> dict[str, str]:
    return {item.name: item.classes for item in chosen().own_sets}


def edit(target: str) -> None:
    chosen().target = target
    assert bpy.ops.assistive.add_target_set() == {"FINISHED"}


def test_a_set_is_edited_under_its_own_name_and_jobs_get_what_it_is_now() -> None:
    edit("buses")
    assert own() == {"buses": "minibus|school bus|trolleybus"}
    chosen().own_sets[0].classes = "school bus|trolleybus"
    assert request.settings_of(chosen(), 1.0).target == "buses=school bus|trolleybus"


def test_several_labels_become_a_set_with_a_name_of_its_own() -> None:
    edit("jeep|cab")
    edit("cab|minivan")
    assert own() == {"my set": "jeep|cab", "my set 2": "cab|minivan"}
    assert chosen().target == "my set 2"


def test_a_name_that_was_given_is_kept() -> None:
    edit("vans=minivan|police van")
    assert own() == {"vans": "minivan|police van"}
    assert chosen().target == "vans"


def test_editing_an_own_set_again_makes_no_second() -> None:
    edit("buses")
    edit("buses")
    assert len(own()) == 1


def test_a_removed_set_is_as_it_was() -> None:
    edit("buses")
    chosen().own_sets[0].classes = "school bus"
    assert bpy.ops.assistive.remove_target_set(name="buses") == {"FINISHED"}
    assert request.settings_of(chosen(), 1.0).target == "buses"
    with pytest.raises(RuntimeError, match="no set 'buses'"):
        bpy.ops.assistive.remove_target_set(name="buses")


def test_own_sets_are_saved_with_the_file(tmp_path: Path) -> None:
    edit("jeep|cab")
    path = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert own() == {"my set": "jeep|cab"}


def test_without_a_target_there_is_nothing_to_edit() -> None:
    with pytest.raises(RuntimeError, match="There is no target yet"):
        bpy.ops.assistive.add_target_set()


def test_the_panel_shows_what_a_set_contains_before_any_server_is_there() -> None:
    chosen().target = "buses"
    assert panels._classes(bpy.context) == ["buses: 3 classes", "minibus, school bus, trolleybus"]
    chosen().target = "school bus"
    assert panels._classes(bpy.context) == ["1 class", "school bus"]
    edit("jeep|cab")
    assert panels._classes(bpy.context)[0] == "my set: 2 classes"
    chosen().target = "=jeep"
    assert panels._classes(bpy.context)[0] == "No such target"


def test_own_sets_are_offered_while_typing() -> None:
    edit("jeep|cab")
    assert "my set" in properties._search_target(chosen(), bpy.context, "my")
    assert properties._search_target(chosen(), bpy.context, "")[0] == "my set"


def test_what_a_broken_own_set_says_names_its_part() -> None:
    edit("buses")
    chosen().own_sets[0].classes = "skool bus"
    with pytest.raises(errors.UnknownTarget, match="skool bus"):
        targets.resolve(request.settings_of(chosen(), 1.0).target, ("school bus", "cab"))
