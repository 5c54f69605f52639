"""The window itself, on what Blender brings, and the extension as it is installed in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from .conftest import EXTENSION
from .machine import SIZE
from .window import BlenderError, NotSeen, Window

#: What is empty at the left of a region that floats over the viewport.
MARGIN = 10
OBJECTS = "sorted(obj.name for obj in bpy.data.objects)"


def test_the_window_fills_the_screen_and_shows_the_default_scene_without_a_splash(window: Window) -> None:
    assert window.value("[bpy.context.window.width, bpy.context.window.height]") == list(SIZE)
    window.wait_for_text("Object Mode")
    with Image.open(window.screenshot("start")) as picture:
        assert picture.size == SIZE
    assert not window.shows("New File")


def test_the_extension_is_enabled_and_adds_a_sample_that_undo_takes_away(window: Window) -> None:
    assert window.value(f"{EXTENSION!r} in bpy.context.preferences.addons")
    before = window.value(OBJECTS)
    window.choose("Add", "Mesh", "Assistive Sample", "Coffee Mug")
    window.wait_for("'Coffee Mug' in bpy.data.objects")
    window.screenshot("added")
    window.move(window.region("WINDOW").center)
    window.key("Z", ctrl=True)
    window.wait_for("'Coffee Mug' not in bpy.data.objects")
    assert window.value(OBJECTS) == before
    window.screenshot("undone")
    window.key("Z", ctrl=True, shift=True)
    window.wait_for("'Coffee Mug' in bpy.data.objects")


def test_the_extension_starts_the_server_of_this_machine(window: Window) -> None:
    window.run(
        f"from {EXTENSION}.local_server import LocalServer\n"
        "with LocalServer(device='cpu') as server:\n"
        "    bpy.app.driver_namespace['address'] = server.address"
    )
    assert window.value("bpy.app.driver_namespace['address']").startswith("tcp://127.0.0.1:")


def test_fields_boxes_and_dropdowns_of_the_side_panel_can_be_used(window: Window) -> None:
    panel = window.open_side_panel("View")
    window.write(window.field("Focal Length", panel), "85")
    window.wait_for("bpy.context.space_data.lens == 85")
    window.click_text("Render Region", panel)
    window.wait_for("bpy.context.space_data.use_render_border")
    assert window.shows("Passepartout", panel), "what is greyed out can be read too"
    window.choose("XYZ Euler", "Quaternion", box=panel)
    window.wait_for("bpy.context.scene.cursor.rotation_mode == 'QUATERNION'")
    window.screenshot("changed")
    window.open_side_panel("Item")
    window.wait_for_text("Dimensions:", panel)
    window.wait_for_no_text("Focal Length", panel)


def test_panels_are_opened_and_scrolled_to(window: Window) -> None:
    panel = window.open_side_panel("View")
    window.open_panel("Collections", "Local Collections", panel)
    window.open_panel("Annotations", "New", panel)
    window.screenshot("open")
    window.scroll_to("Focal Length", panel)
    assert not window.shows("Annotations", panel), "there is something to scroll"
    window.screenshot("top")
    window.open_panel("Annotations", "New", panel)
    window.open_panel("Collections", "Local Collections", panel)
    with pytest.raises(NotSeen, match='"Abracadabra" is nowhere'):
        window.scroll_to("Abracadabra", panel)


def test_text_is_typed_into_a_field(window: Window) -> None:
    window.key("F2")
    window.wait_for_text("Object Name")
    window.key("A", ctrl=True)
    window.type("Bus 7 | [a]-b/c.d:e,f#2_G")
    window.screenshot("typed")
    window.key("RET")
    window.wait_for("bpy.context.object.name == 'Bus 7 | [a]-b/c.d:e,f#2_G'")


def test_the_mouse_drags_the_side_panel_wider(window: Window) -> None:
    window.open_side_panel("Item")
    panel = window.region("UI")
    edge = panel.left + MARGIN
    window.drag((edge, panel.center[1]), (edge - 100, panel.center[1]))
    window.screenshot("wider")
    assert window.region("UI").width == pytest.approx(panel.width + 100, abs=5)


def test_a_tooltip_is_read(window: Window) -> None:
    panel = window.open_side_panel("View")
    window.tooltip(window.field("Focal Length", panel), "Viewport lens angle")


def test_what_does_not_come_is_reported_with_a_screenshot(window: Window) -> None:
    with pytest.raises(NotSeen, match="1 > 2 is still False") as failure:
        window.wait_for("1 > 2", timeout_s=0.5)
    assert Path(str(failure.value).rpartition(" ")[2]).is_file()
    with pytest.raises(NotSeen, match='"Abracadabra" cannot be read'):
        window.wait_for_text("Abracadabra", window.region("HEADER"), timeout_s=0.5)


def test_an_error_in_blender_reaches_the_test(window: Window) -> None:
    with pytest.raises(BlenderError, match="ZeroDivisionError"):
        window.value("1 / 0")
    with pytest.raises(BlenderError, match="no answer that JSON can hold"):
        window.value("bpy.context.object")
    assert window.value("bpy.context.object.name") == "Cube"
