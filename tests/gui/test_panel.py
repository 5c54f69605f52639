"""The panel in a real window, used as a person uses it: what it promises that needs a window, a mouse and a server."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matrix.run import FAILED, NOT_REACHED, OK, STEPS
from PIL import Image, ImageChops, ImageStat

from .conftest import EXTENSION, PICTURES, STEPS_VARIABLE, Launch
from .machine import SIZE
from .reading import Box
from .window import Window

TAB = "Assistive"
SETTINGS = "bpy.context.scene.assistive"
PREFERENCES = f"bpy.context.preferences.addons[{EXTENSION!r}].preferences"
RUNTIME = f"__import__('sys').modules['{EXTENSION}.runtime']"
RUN = f"{RUNTIME}.state().run"
STATUS = f"{RUNTIME}.state().server.status"
RESULTS = f"len({SETTINGS}.results)"
OUTCOMES = f"[__import__('json').loads(item.report)['outcome'] for item in {SETTINGS}.results]"
DONE = f"not {RUNTIME}.current().has_work()"
PREVIEWED = f"({RUN} and {RUN}.previewed)"
RENDERING = "bpy.app.is_job_running('RENDER')"
APPLIED = f"__import__('sys').modules['{EXTENSION}.apply'].applied_result"
BUS = "bpy.data.objects['School Bus']"
WEARS = f"({APPLIED}({BUS}) is not None)"
#: All that a job may not change. The images of results are the list's own.
SCENE = f"""{{
    "objects": sorted(obj.name for obj in bpy.data.objects),
    "materials": sorted(material.name for material in bpy.data.materials),
    "groups": sorted(group.name for group in bpy.data.node_groups),
    "images": sorted(image.name for image in bpy.data.images if image not in [
        kept for item in {SETTINGS}.results for kept in (item.image, item.sheet, item.importance)]),
    "slots": [(slot.link, slot.material.name) for slot in {BUS}.material_slots],
    "nodes": [node.name for slot in {BUS}.material_slots for node in slot.material.node_tree.nodes],
    "uv maps": [(layer.name, layer.active_render) for layer in {BUS}.data.uv_layers],
    "attributes": sorted(attribute.name for attribute in {BUS}.data.attributes),
    "mode": bpy.context.mode,
}}"""
#: Enough for a result, whatever it is worth.
SHORT = {"steps": 4, "views": 2, "samples": "1", "held_out_views": 4, "size": "256", "check_after": False}
LONG = {"steps": 150, "views": 4, "alpha": 0.03}
#: A texture that can be seen to be one. For the pictures of the guide: one that is recognised.
VISIBLE = {"steps": int(os.environ.get(STEPS_VARIABLE, "40")), "views": 4, "alpha": 0.03}
JOB_S = 240.0
#: A small picture, for ever. Not every Blender can denoise.
ENDLESS_RENDER = """
bpy.context.preferences.view.render_display_type = "NONE"
render, cycles = bpy.context.scene.render, bpy.context.scene.cycles
render.engine = "CYCLES"
render.resolution_x = render.resolution_y = 16
render.threads_mode, render.threads = "FIXED", 1
cycles.samples, cycles.use_adaptive_sampling, cycles.use_denoising = 1 << 24, False, False
"""
#: Half of the part of the viewport that is compared, in pixels around its middle, where the object is.
AROUND = (110, 40)
#: Where Blender shows what it is doing, and how far from its name is the cross that ends a render, in pixels.
BOTTOM = Box(0, SIZE[1] - 30, SIZE[0], 30)
CANCEL_RENDER = 181
#: How far "Apply" is above "Export PNG", in pixels.
APPLY_ABOVE = 90
#: Mean difference of two pictures, of 255, from which on they show something else.
DIFFERENT = 3.0
#: A row's head, as `tests/matrix/run.py` wants it.
ABOUT = """{
    "blender": bpy.app.version_string,
    "python": __import__("platform").python_version(),
    "numpy": __import__("numpy").__version__,
}"""
#: Leaves a function in Blender: the numbers of a process's descendants that are alive.
PROCESSES = """
import os
def parent(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            state, parent = file.read().rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state == "Z" else int(parent)
def alive():
    return {number: parent(number) for number in map(int, filter(str.isdigit, os.listdir("/proc")))}
def descendants(of):
    parents, found = alive(), [of]
    for number in found:
        found += [child for child, its_parent in parents.items() if its_parent == number]
    return found[1:]
bpy.app.driver_namespace.update(alive=alive, descendants=descendants)
"""
DESCENDANTS = "bpy.app.driver_namespace['descendants']"
ALIVE = "{number for number, parent in bpy.app.driver_namespace['alive']().items() if parent is not None}"
#: The server and its worker.
SERVED = f"len(found := {DESCENDANTS}(__import__('os').getpid())) > 1 and found"
CHILD = "bpy.app.driver_namespace['child']"
#: Another Blender, without a window, that starts a server and then looks after it until it is killed.
BACKGROUND_CODE = f"""
import threading
import bpy
{PREFERENCES}.address = "127.0.0.1:9"
bpy.ops.assistive.start_server()
while True:
    {RUNTIME}.current().tick()
    threading.Event().wait(0.05)
"""
BACKGROUND = f"[bpy.app.binary_path, '--background', '--python-expr', {BACKGROUND_CODE!r}]"


# --- what the tests do ------------------------------------------------------------------------------------------------


def with_bus(window: Window, server: str, **settings: Any) -> Box:
    """Add the sample bus, set the job up, connect, and give the place of the panel, opened."""
    window.run(f"{PREFERENCES}.address = {server!r}")
    window.run("bpy.data.objects.remove(bpy.data.objects['Cube'])")
    window.run("bpy.ops.assistive.add_sample(kind='school_bus')")
    window.run("bpy.ops.view3d.view_selected()")
    for name, value in {"target": "school bus", "mask": "mask", **SHORT, **settings}.items():
        window.run(f"{SETTINGS}.{name} = {value!r}")
    window.run("bpy.ops.ed.undo_push(message='Setup')")
    window.run("bpy.ops.assistive.connect()")
    window.wait_for(f"{STATUS} == 'on' and {RUNTIME}.state().server.labels")
    return window.open_side_panel(TAB)


def with_result(window: Window, server: str, **settings: Any) -> Box:
    """The same, with the result of a short job in the list."""
    panel = with_bus(window, server, **settings)
    start(window)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    return panel


def start(window: Window) -> None:
    """Start the job, by what the button does."""
    window.run("bpy.ops.assistive.start('INVOKE_DEFAULT')")
    assert window.value(f"{RUN} is not None")


def start_button(window: Window, panel: Box) -> tuple[int, int]:
    """Where it is: under "Start From" and above "Start Local"."""
    return window.wait_for_text("Start", panel, nth=1).center


def middle(window: Window) -> Image.Image:
    """The middle of the viewport, once it has come to rest: the object, if it was framed."""
    x, y = window.region("WINDOW").center
    return window.picture().crop((x - AROUND[0], y - AROUND[1], x + AROUND[0], y + AROUND[1]))


def difference(one: Image.Image, other: Image.Image) -> float:
    """How much two pictures differ, as the mean of all pixels and channels, of 255."""
    means = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(means) / len(means)


def wait_for_change(window: Window, before: Image.Image, tries: int = 60) -> None:
    """Return once the middle of the viewport is no longer as it was."""
    for _ in range(tries):
        if difference(before, middle(window)) > DIFFERENT:
            return
        window.wait_for("True")
    raise AssertionError(f"the viewport does not change; see {window.screenshot('unchanged')}")


def hover(window: Window) -> None:
    """Move the mouse to the viewport, where keys are the viewport's."""
    window.move(window.region("WINDOW").center)


def undo(window: Window) -> None:
    """Ctrl-Z."""
    hover(window)
    window.key("Z", ctrl=True)


def choose_from_search(window: Window, typed: str, found: str) -> None:
    """Type into the search that is open, and click what it has found below."""
    window.type(typed)
    window.click_text(found, nth=-1)


def nobody_listens_at() -> str:
    """HOST:PORT where nobody does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


# --- before a job -----------------------------------------------------------------------------------------------------


def test_an_empty_panel_says_why_nothing_can_be_started(window: Window) -> None:
    window.run("bpy.data.objects.remove(bpy.data.objects['Cube'])")
    panel = window.open_side_panel(TAB)
    window.wait_for_text("No results yet", panel)
    window.wait_for_text("No server", panel)
    window.screenshot("empty-panel")
    button = start_button(window, panel)
    window.tooltip(button, "the target.")
    window.click(button)
    assert window.value(f"{RUN} is None")


def test_target_and_mask_are_chosen_from_what_there_is(window: Window, server: str) -> None:
    panel = with_bus(window, server, target="", mask="")
    window.wait_for_text("Connected", panel)
    window.click(window.field("Target", panel, nth=-1))
    choose_from_search(window, "school b", "school bus")
    window.wait_for(f"{SETTINGS}.target == 'school bus'")
    window.click(window.field("Vertex Group", panel))
    choose_from_search(window, "mas", "mask")
    window.wait_for(f"{SETTINGS}.mask == 'mask'")
    window.wait_for_text("54% of the surface may change", panel)
    hover(window)
    window.screenshot("ready")
    assert window.value("bpy.ops.assistive.start.poll()")


def test_start_is_grey_for_a_camera_and_says_so(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    window.run("bpy.ops.object.select_all(action='DESELECT')")
    window.run("bpy.context.view_layer.objects.active = bpy.data.objects['Camera']")
    button = start_button(window, panel)
    window.tooltip(button, "Choose a mesh object first.")
    window.click(button)
    assert window.value(f"{RUN} is None")


def test_a_target_stays_as_it_was_typed(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    for typed in ("school bus|minibus", "817", "cars"):
        window.write(window.field("Target", panel, nth=-1), typed)
        assert window.value(f"{SETTINGS}.target") == typed


def test_a_misspelt_target_is_answered_with_the_nearest_label(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    window.write(window.field("Target", panel, nth=-1), "skool bus")
    window.click(start_button(window, panel))
    window.wait_for_text("Did you mean 'school bus'")
    window.screenshot("misspelt")
    assert window.value(f"[{RUN} is None, bpy.ops.assistive.start.poll()]") == [True, True]


def test_a_rig_is_made_by_a_button_and_taken_away_by_one_undo(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    for button, name in (("Create Camera Rig", "Assistive Cameras"), ("Create Light Rig", "Assistive Lights")):
        before = window.value(SCENE)
        window.click(window.open_panel("Views", button, panel).center)
        window.wait_for(f"bpy.data.collections.get({name!r}) is not None")
        assert window.value(f"len(bpy.data.collections[{name!r}].all_objects)") > 1
        window.screenshot(name)
        undo(window)
        window.wait_for(f"bpy.data.collections.get({name!r}) is None")
        assert window.value(SCENE) == before


def test_the_mask_is_painted_after_one_click_and_left_by_another(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    window.click_text("Paint Mask", panel)
    window.wait_for(f"{BUS}.mode == 'WEIGHT_PAINT' and {BUS}.vertex_groups.active.name == 'mask'")
    window.open_side_panel(TAB)
    window.click_text("Stop Painting", panel)
    window.wait_for(f"{BUS}.mode == 'OBJECT'")


def test_a_preset_and_a_classifier_are_chosen_from_lists(window: Window, server: str) -> None:
    panel = with_bus(window, server)
    for title in ("Mask", "Object & Target"):
        window.click_text(title, panel)
    window.open_panel("Optimise", "Presets", panel)
    window.choose("Presets", "Draft")
    window.wait_for(f"[{SETTINGS}.steps, {SETTINGS}.views] == [120, 6]")
    window.screenshot("preset")
    adds = "bpy.ops.assistive.add_classifier('INVOKE_DEFAULT')"
    window.run(adds)
    choose_from_search(window, "resnet18", "resnet18")
    names = f"[(item.name, item.role) for item in {SETTINGS}.classifiers]"
    window.wait_for(f"'resnet18' in [item.name for item in {SETTINGS}.classifiers]")
    assert window.value(names) == [
        ["efficientnet_lite0", "TRAIN"],
        ["efficientnet_lite1", "HELD_OUT"],
        ["resnet18", "TRAIN"],
    ]
    window.screenshot("classifiers")


# --- a job ------------------------------------------------------------------------------------------------------------


def test_a_job_is_seen_on_its_object_and_cancelling_leaves_everything_as_it_was(window: Window, server: str) -> None:
    panel = with_bus(window, server, **LONG)
    hover(window)
    scene, before = window.value(SCENE), middle(window)
    window.click(start_button(window, panel))
    window.wait_for(f"{PREVIEWED} and {RUN}.step > 0", JOB_S)
    wait_for_change(window, before)
    for text in ("Worst view", "Confidence", "Cancel"):
        window.wait_for_text(text, panel)
    window.wait_for(f"{RUN}.step > {VISIBLE['steps'] // 2}", JOB_S)
    hover(window)
    window.screenshot("running")
    window.choose("Add", "Mesh")
    window.wait_for_text("Monkey")
    window.key("ESC")
    hover(window)
    distance = window.value("bpy.context.space_data.region_3d.view_distance")
    window.scroll(window.region("WINDOW"), -1)
    window.wait_for(f"bpy.context.space_data.region_3d.view_distance != {distance!r}")
    window.run(f"bpy.context.space_data.region_3d.view_distance = {distance!r}")
    window.click_text("Cancel", panel)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    hover(window)
    assert difference(before, middle(window)) == 0.0, "the preview is still there"
    assert window.value(SCENE) == scene
    assert window.value(OUTCOMES) == ["cancelled"]
    window.screenshot("cancelled")


def test_a_result_is_applied_mixed_undone_done_again_and_taken_off(window: Window, server: str) -> None:
    panel = with_result(window, server, **VISIBLE)
    original = window.value(SCENE)
    window.click_text("Mask", panel)
    window.run("bpy.context.space_data.shading.type = 'MATERIAL'")
    hover(window)
    plain = middle(window)
    window.click(window.scroll_to("Apply", panel).center)
    window.wait_for(WEARS)
    wait_for_change(window, plain)
    hover(window)
    window.screenshot("result-applied")

    mix = f"__import__('sys').modules['{EXTENSION}.apply'].mix_socket({BUS}).default_value"
    assert window.value(mix) == 1.0
    slider = window.scroll_to("Restore Original", panel).center
    slider = (slider[0], window.wait_for_text("Original", panel).center[1])
    window.drag(slider, (slider[0] - panel.width // 4, slider[1]))
    window.wait_for(f"0.0 < {mix} < 0.99")

    undo(window)
    window.wait_for(f"{mix} == 1.0")
    undo(window)
    window.wait_for(f"not {WEARS}")
    assert window.value(SCENE) == original
    window.key("Z", ctrl=True, shift=True)
    window.wait_for(WEARS)
    undo(window)
    window.wait_for(f"not {WEARS}")
    window.click(window.scroll_to("Apply", panel).center)
    window.wait_for(WEARS)
    window.click(window.scroll_to("Restore Original", panel).center)
    window.wait_for(f"not {WEARS}")
    assert window.value(SCENE) == original
    assert window.value(RESULTS) == 1


def test_undoing_something_else_leaves_the_result_in_the_list(window: Window, server: str) -> None:
    with_bus(window, server)
    window.run("bpy.ops.transform.translate(value=(1.0, 0.0, 0.0))")
    window.run("bpy.ops.ed.undo_push(message='Move')")
    start(window)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    for _ in range(2):
        undo(window)
    window.wait_for(f"{BUS}.location.x == 0.0")
    assert window.value(RESULTS) == 1
    window.run("bpy.ops.assistive.apply_result()")
    assert window.value(WEARS)


def test_a_result_is_there_after_blender_was_closed_and_the_file_opened_again(
    launch: Launch, server: str, tmp_path: Path
) -> None:
    file = tmp_path / "bus.blend"
    with launch() as window:
        with_result(window, server)
        window.run(f"bpy.ops.wm.save_as_mainfile(filepath={str(file)!r})")
    with launch(file) as window:
        panel = window.open_side_panel(TAB)
        assert window.value(f"[item.target for item in {SETTINGS}.results]") == ["school bus"]
        assert window.value(f"tuple({SETTINGS}.results[0].image.preview.image_size)") > [0, 0]
        window.scroll_to("Apply", panel)
        window.screenshot("opened")
        window.click_text("Apply", panel)
        window.wait_for(WEARS)


def test_a_result_that_comes_during_a_render_is_listed_after_it(window: Window, server: str) -> None:
    with_bus(window, server)
    window.run(ENDLESS_RENDER)
    start(window)
    window.run("bpy.ops.render.render('INVOKE_DEFAULT')")
    window.wait_for(RENDERING)
    window.wait_for(f"{RUN} is None", JOB_S)
    assert window.value(f"[{RENDERING}, {RESULTS}]") == [True, 0]
    render = window.wait_for_text("Render", BOTTOM)
    window.click((render.right + CANCEL_RENDER, render.center[1]))
    window.wait_for(f"not {RENDERING}")
    window.wait_for(f"{RESULTS} == 1")


def test_a_job_goes_on_while_its_object_is_edited(window: Window, server: str) -> None:
    panel = with_bus(window, server, steps=30)
    # So that nothing has to be scrolled: after a turn of the wheel Blender shows no tooltips for simulated moves.
    for section in ("Mask", "Object & Target"):
        window.click(window.scroll_to(section, panel).center)
    hover(window)
    window.key("TAB")
    window.wait_for("bpy.context.mode == 'EDIT_MESH'")
    edited = middle(window)
    window.key("TAB")
    plain = middle(window)
    start(window)
    window.wait_for(PREVIEWED, JOB_S)
    wait_for_change(window, plain)
    window.key("TAB")
    window.wait_for(f"bpy.context.mode == 'EDIT_MESH' and {RUN} is not None")
    assert difference(edited, middle(window)) < DIFFERENT, "the preview hides what is edited"
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    window.open_side_panel(TAB)
    window.wait_for_text("Assistive texture ready")  # which moves all that is below
    below = window.scroll_to("Export PNG", panel).center  # a grey "Apply" is hard to read
    window.tooltip((below[0], below[1] - APPLY_ABOVE), "Leave Edit Mode of 'School Bus' first")
    hover(window)
    window.key("TAB")
    window.wait_for("bpy.context.mode == 'OBJECT'")
    window.click(window.scroll_to("Apply", panel).center)
    window.wait_for(WEARS)


def test_a_result_is_checked_by_a_blender_in_the_background_while_this_one_is_free(window: Window, server: str) -> None:
    panel = with_bus(window, server, check_after=True, check_samples=512)
    start(window)
    window.wait_for(f"{RESULTS} == 1 and {RUNTIME}.current().checking()", JOB_S)
    window.wait_for(f"'rendering' in ({RUNTIME}.current().checking() or '')", JOB_S)
    window.screenshot("checking")
    window.run("bpy.ops.object.select_all(action='DESELECT')")  # this Blender is free
    window.wait_for(DONE, JOB_S)
    check = window.value(f"__import__('json').loads({SETTINGS}.results[0].report)['check']")
    assert len(check["views"]) == 4
    assert check["mean_error"] < 0.05
    window.scroll_to("In Blender", panel)
    window.screenshot("checked")


def test_a_job_follows_its_object_to_another_name_and_outlives_it(window: Window, server: str) -> None:
    with_bus(window, server, steps=12)
    start(window)
    window.wait_for(PREVIEWED, JOB_S)
    window.run(f"{BUS}.name = 'Omnibus'")
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    assert window.value(f"{SETTINGS}.results[0].object.name") == "Omnibus"
    start(window)
    window.wait_for(PREVIEWED, JOB_S)
    hover(window)
    window.key("DEL")
    window.wait_for("'Omnibus' not in bpy.context.scene.objects")
    window.wait_for(f"{RESULTS} == 2 and {DONE}", JOB_S)
    assert not window.value("bpy.ops.assistive.apply_result.poll()")
    window.screenshot("deleted")


def test_a_job_whose_file_was_closed_is_offered_when_that_is_opened_again(
    window: Window, server: str, tmp_path: Path
) -> None:
    panel = with_bus(window, server, steps=12)
    window.run(f"bpy.ops.wm.save_as_mainfile(filepath={str(tmp_path / 'other.blend')!r}, copy=True)")
    window.run(f"bpy.ops.wm.save_as_mainfile(filepath={str(tmp_path / 'bus.blend')!r})")
    start(window)
    window.wait_for(PREVIEWED, JOB_S)
    window.run(f"bpy.ops.wm.open_mainfile(filepath={str(tmp_path / 'other.blend')!r})")
    window.wait_for(f"{RUN} is None")
    assert not window.shows("Fetch Result", panel)
    window.run(f"bpy.ops.wm.open_mainfile(filepath={str(tmp_path / 'bus.blend')!r})")
    window.open_side_panel(TAB)
    window.wait_for_text("Fetch Result", panel)
    window.screenshot("offered")
    window.click_text("Fetch Result", panel)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)
    window.wait_for_no_text("Fetch Result", panel)


# --- the server -------------------------------------------------------------------------------------------------------


def test_without_a_server_the_panel_says_why_and_start_can_be_pressed_again(window: Window) -> None:
    panel = with_bus_and_no_server(window, nobody_listens_at())
    window.click(start_button(window, panel))
    window.wait_for(f"{RUN} is None and {RUNTIME}.current().message is not None", JOB_S)
    hover(window)
    window.screenshot("server-down")
    window.wait_for_text("there is no program", panel)
    assert window.value("bpy.ops.assistive.start.poll()")
    window.run(f"{RUNTIME}.current().message = None")
    window.click(start_button(window, panel))  # which tries again, and says the same again
    window.wait_for(f"{RUN} is None and {RUNTIME}.current().message is not None", JOB_S)
    window.wait_for_text("there is no program", panel)


def with_bus_and_no_server(window: Window, address: str) -> Box:
    """A scene that is ready, an address, and a command that starts nothing."""
    window.run("bpy.data.objects.remove(bpy.data.objects['Cube'])")
    window.run("bpy.ops.assistive.add_sample(kind='school_bus')")
    window.run("bpy.ops.view3d.view_selected()")
    window.run(f"{SETTINGS}.target = 'school bus'")
    window.run(f"{PREFERENCES}.address = {address!r}")
    window.run(f"{PREFERENCES}.command = '/nowhere/assistive-server'")
    return window.open_side_panel(TAB)


def test_an_address_that_is_none_is_reported(window: Window) -> None:
    panel = with_bus_and_no_server(window, "127.0.0.1:5765")
    window.write(window.field("Address", panel), "http://127.0.0.1:8000")
    window.click_text("Connect", panel)
    window.wait_for_text("starts with http://. Use tcp://HOST:PORT.")
    window.screenshot("wrong-address")
    assert window.value(f"{STATUS} == 'off' and bpy.ops.assistive.connect.poll()")


def test_the_own_key_is_copied_and_the_key_of_a_server_elsewhere_is_asked_for(launch: Launch) -> None:
    with launch() as window:
        panel = with_bus_and_no_server(window, "192.0.2.1:5555")
        window.click(window.scroll_to("Copy My Key", panel).center)
        window.wait_for("len(bpy.context.window_manager.clipboard) == 64")
        window.click(window.scroll_to("Trust", panel).center)
        window.wait_for_text("Its Key")
        window.screenshot("trust")
        window.key("ESC")
        assert window.value(f"{RUNTIME}.state().server.status") == "off"


def test_a_server_that_was_started_here_ends_with_its_button_and_with_blender(launch: Launch) -> None:
    with launch() as window:
        panel = with_bus_and_no_server(window, nobody_listens_at())
        window.run(f"{PREFERENCES}.command = ''")
        window.run(PROCESSES)
        window.click_text("Start Local", panel)
        window.wait_for_text("Connected", panel, timeout_s=JOB_S)
        window.wait_for_text("started here", panel)
        window.screenshot("started")
        started = window.wait_for(SERVED)
        window.click_text("Stop", panel)
        window.wait_for_text("No server", panel)
        window.wait_for(f"not {ALIVE}.intersection({started})")
        window.click_text("Start Local", panel)
        window.wait_for_text("Connected", panel, timeout_s=JOB_S)
        log = Path(window.value(f"str({RUNTIME}.current()._connection._server._log)"))
        assert log.is_file()
    assert not log.exists(), "the server was not ended, whose last deed here is to delete this"


def test_a_server_ends_when_its_blender_is_killed(window: Window) -> None:
    window.run(PROCESSES)
    window.run(f"{CHILD} = __import__('subprocess').Popen({BACKGROUND})")
    started = window.wait_for(f"len(found := {DESCENDANTS}({CHILD}.pid)) > 1 and found", JOB_S)
    window.run(f"{CHILD}.kill()")
    window.wait_for(f"{CHILD}.poll() is not None and not {ALIVE}.intersection({started})")


# --- the whole way, for the matrix ------------------------------------------------------------------------------------


def test_the_extension_goes_the_whole_way_and_the_matrix_gets_its_row(
    launch: Launch, server: str, tmp_path: Path
) -> None:
    row: dict[str, Any] = {"window": True, "steps": dict.fromkeys(STEPS, NOT_REACHED)}
    try:
        with launch() as window:
            row |= window.value(ABOUT)
            for name, step in LIFE.items():
                row["steps"][name] = f"{FAILED} in the window"
                step(window, server, tmp_path / "bus.blend")
                row["steps"][name] = OK
            row["steps"]["exit"] = f"{FAILED} at the end"
        row["steps"]["exit"] = OK
    finally:
        if "blender" in row:
            (PICTURES / f"row-{row['blender']}.json").write_text(json.dumps(row), encoding="utf-8")


def _install(window: Window, _server: str, _file: Path) -> None:
    assert Path(window.value(f"__import__('sys').modules[{EXTENSION!r}].__file__")).parts[-3:-1] == (
        "user_default",
        "assistive_signals",
    )


def _register(window: Window, server: str, _file: Path) -> None:
    with_bus(window, server)


def _job(window: Window, _server: str, _file: Path) -> None:
    start(window)
    window.wait_for(f"{RESULTS} == 1 and {DONE}", JOB_S)


def _apply(window: Window, _server: str, _file: Path) -> None:
    panel = window.region("UI")
    window.click(window.scroll_to("Apply", panel).center)
    window.wait_for(WEARS)


def _undo(window: Window, _server: str, _file: Path) -> None:
    undo(window)
    window.wait_for(f"not {WEARS}")
    window.key("Z", ctrl=True, shift=True)
    window.wait_for(WEARS)


def _reload(window: Window, _server: str, file: Path) -> None:
    window.run(f"bpy.ops.wm.save_as_mainfile(filepath={str(file)!r})")
    window.run(f"bpy.ops.wm.open_mainfile(filepath={str(file)!r})")
    assert window.value(f"[{WEARS}, {RESULTS}]") == [True, 1]
    window.run("bpy.ops.assistive.restore_original()")
    assert not window.value(WEARS)


def _unregister(window: Window, _server: str, _file: Path) -> None:
    window.run(f"bpy.ops.preferences.addon_disable(module={EXTENSION!r})")
    assert not window.value("[name for name in dir(bpy.types) if name.startswith('ASSISTIVE')]")
    assert not window.value("hasattr(bpy.types.Scene, 'assistive')")


LIFE: dict[str, Callable[[Window, str, Path], None]] = {
    "install": _install,
    "register": _register,
    "job": _job,
    "apply": _apply,
    "undo": _undo,
    "reload": _reload,
    "unregister": _unregister,
}
