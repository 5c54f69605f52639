"""The add-on as a whole, enabled in Blender, with a real server: what an artist presses, and what may come between."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import msgspec
import numpy as np
import pytest
from helpers.server import end_server, start_server

from blender_addon import apply, notes, results, runtime, session
from blender_addon._shared import client, errors, keys, messages
from compute_server import security

PATIENCE_S = 120.0
TICKET = session.Ticket(
    job_id="old",
    address="tcp://127.0.0.1:9",
    file="",
    scene="Scene",
    object="Cube",
    uv_map="",
    settings=messages.Settings(target="cars"),
    collect_s=0.0,
    own_rig=False,
    submitted="2026-01-01T00:00:00+00:00",
)


@pytest.fixture(autouse=True)
def folder(context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes of jobs go to a folder of the test's own."""
    del context
    monkeypatch.setattr(notes, "folder", lambda: tmp_path / "jobs")
    return tmp_path


def enable() -> set[str]:
    return bpy.ops.preferences.addon_enable(module="blender_addon")


def disable() -> set[str]:
    return bpy.ops.preferences.addon_disable(module="blender_addon")


@pytest.fixture
def addon() -> Iterator[Any]:
    """The add-on, enabled; its preferences."""
    assert enable() == {"FINISHED"}
    yield bpy.context.preferences.addons["blender_addon"].preferences
    disable()


@pytest.fixture
def ready(addon: Any, server_address: str) -> Any:
    """A cube, a target, few steps and a server's address: the settings."""
    addon.address = server_address
    addon.preview_rate = 2.0
    return set_up()


def set_up() -> Any:
    bpy.ops.mesh.primitive_cube_add()
    chosen = bpy.context.scene.assistive
    chosen.target, chosen.size = "golf ball", "256"
    chosen.steps, chosen.views, chosen.samples, chosen.held_out_views, chosen.survey = 3, 2, "1", 2, 0
    chosen.check_after = False  # those that are about it switch it on
    item = chosen.classifiers.add()
    item.name = "efficientnet_lite0"
    return chosen


def pump(condition: Callable[[], bool]) -> None:
    """Tick, as Blender's timer does with a window, until `condition` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, runtime.current().state
        runtime.current().tick()
        time.sleep(0.02)


def run() -> session.Run | None:
    return runtime.state().run


def hand_in() -> str | None:
    """What the panel's button does; in background its `invoke` would wait for the end."""
    from blender_addon.operators import job

    return job.hand_in(bpy.context)


def steps_done() -> int:
    current = run()
    return current.step if current is not None else 0


# --- registering ------------------------------------------------------------------------------------------------------


def test_enabling_starts_nothing_and_disabling_leaves_nothing() -> None:
    handlers = [len(getattr(bpy.app.handlers, name)) for name in ("load_post", "save_post", "undo_post", "redo_post")]
    threads = threading.active_count()
    assert enable() == {"FINISHED"}
    assert threading.active_count() == threads
    assert runtime.state() == session.State()
    assert hasattr(bpy.types, "ASSISTIVE_PT_run")
    disable()
    assert not hasattr(bpy.types.Scene, "assistive")
    assert not [name for name in dir(bpy.types) if name.startswith("ASSISTIVE")]
    now = [len(getattr(bpy.app.handlers, name)) for name in ("load_post", "save_post", "undo_post", "redo_post")]
    assert now == handlers
    assert threading.active_count() == threads


def test_disabling_ends_the_connection_and_leaves_the_job_to_its_server(
    ready: Any, server_address: str, folder: Path
) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "mine.blend"))
    bpy.context.scene.assistive.steps = 100_000
    del ready
    hand_in()
    pump(lambda: steps_done() > 0)
    disable()
    assert "assistive connection" not in [thread.name for thread in threading.enumerate()]
    with client.Client(server_address) as other:
        assert other.cancel(notes.read()[0].job_id).state == "running"


@pytest.mark.parametrize("name", ["Draft", "Standard", "Thorough"])
def test_presets_of_the_panel_are_those_of_the_command(addon: Any, name: str) -> None:
    del addon
    from blender_addon import optimise_presets, request
    from blender_addon._shared import presets

    chosen = bpy.context.scene.assistive
    chosen.target, chosen.steps, chosen.bounded, chosen.stepper = "cars", 7, True, "adam"
    (found,) = bpy.utils.preset_paths(optimise_presets.SUBDIR)  # where the menu looks for them
    bpy.ops.script.execute_preset(filepath=str(Path(found) / f"{name}.py"), menu_idname="ASSISTIVE_MT_presets")
    made = request.settings_of(chosen, 1.0)
    wanted = presets.settings("cars", name.lower(), held_out_models=("efficientnet_lite1",))
    assert made == wanted


# --- a job ------------------------------------------------------------------------------------------------------------


def test_a_script_runs_a_job_applies_it_and_finds_it_again_in_the_saved_file(ready: Any, folder: Path) -> None:
    obj = bpy.context.object
    assert bpy.ops.assistive.start() == {"FINISHED"}
    (item,) = ready.results
    assert (item.target, item.object, item.kind) == ("golf ball", obj, "UV")
    assert [row.model for row in results.figures(item)] == ["efficientnet_lite0"]
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}
    assert apply.applied_result(obj) == item.name
    texture, name = results.texture_of(item)[0].image, item.name
    path = str(folder / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    (again,) = bpy.context.scene.assistive.results
    assert again.name == name
    assert np.array_equal(results.texture_of(again)[0].image, texture)
    assert apply.applied_result(bpy.data.objects["Cube"]) == name


def test_vertex_colours_go_the_same_way(ready: Any) -> None:
    ready.texture = "vertex"
    assert bpy.ops.assistive.start() == {"FINISHED"}
    assert ready.results[0].kind == "VERTEX"
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}


def test_rigs_backgrounds_and_masks_of_the_panel_reach_the_job(ready: Any, folder: Path) -> None:
    from blender_addon import request

    image = bpy.data.images.new("sky", 8, 8)
    image.filepath_raw, image.file_format = str(folder / "sky.png"), "PNG"
    image.save()
    bpy.ops.assistive.create_camera_rig(azimuths=3, rings=1)
    bpy.ops.assistive.create_light_rig()
    ready.backgrounds, ready.background_folder, ready.camera_azimuth = "pictures", str(folder), 7.0
    group = bpy.context.object.vertex_groups.new(name="front")
    group.add([0, 1], 1.0, "REPLACE")
    ready.mask, ready.invert_mask = "front", True
    ready.initial, ready.color = "FLAT", (1.0, 0.0, 0.0)
    made = request.make(bpy.context, bpy.context.object, labels=(), models=(), preview_every_s=1.0, file="")
    rig = made.job.scene.rig
    assert (len(rig.cameras), len(rig.lights), rig.camera_jitter.azimuth) == (3, 6, 7.0)
    assert len({state.world for state in rig.lights}) > 1  # each collection has a surrounding of its own
    assert rig.backgrounds is not None
    assert len(rig.backgrounds) == 1
    assert made.job.settings.backgrounds == "pictures"
    assert made.job.scene.mesh.mask.tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert (made.job.scene.texture.image == (255, 0, 0)).all()


def test_cancel_leaves_the_scene_as_it_was_and_keeps_the_best_so_far(ready: Any) -> None:
    ready.steps = 100_000
    obj, blocks = bpy.context.object, len(bpy.data.materials)
    hand_in()
    pump(lambda: steps_done() > 1)
    assert bpy.ops.assistive.cancel() == {"FINISHED"}
    pump(lambda: not runtime.current().has_work())
    assert results.report_of(ready.results[0])["outcome"] == "cancelled"
    assert len(bpy.data.materials) == blocks
    assert not obj.material_slots


def test_a_second_job_runs_after_the_first(ready: Any) -> None:
    assert bpy.ops.assistive.start() == {"FINISHED"}
    ready.target = "teapot"
    assert bpy.ops.assistive.start() == {"FINISHED"}
    assert [item.target for item in ready.results] == ["golf ball", "teapot"]


# --- what may come between --------------------------------------------------------------------------------------------


def test_a_renamed_object_gets_its_result(ready: Any) -> None:
    hand_in()
    bpy.context.object.name = "Die"
    pump(lambda: not runtime.current().has_work())
    assert ready.results[0].object == bpy.data.objects["Die"]


def test_a_result_that_an_undo_took_away_comes_back_to_its_renamed_object(ready: Any) -> None:
    assert bpy.ops.assistive.start() == {"FINISHED"}
    pump(lambda: ready.results[0].sheet is not None)
    obj = bpy.context.object
    obj.name = "Die"
    bpy.ops.mesh.primitive_cube_add()
    ready.results.clear()
    results.restore_all()
    assert ready.results[0].object == obj
    assert ready.results[0].sheet is not None


def test_the_result_of_an_object_that_was_deleted_is_kept(ready: Any) -> None:
    hand_in()
    bpy.data.objects.remove(bpy.context.object)
    pump(lambda: not runtime.current().has_work())
    (item,) = ready.results
    assert (item.object, item.object_name) == (None, "Cube")
    assert results.png_of(item).startswith(b"\x89PNG")
    assert not bpy.ops.assistive.apply_result.poll()


def test_a_result_waits_while_its_object_is_edited(ready: Any) -> None:
    hand_in()
    bpy.ops.object.mode_set(mode="EDIT")
    pump(lambda: not runtime.current().has_work())
    assert bpy.context.object.mode == "EDIT"
    assert len(ready.results) == 1
    assert not bpy.ops.assistive.apply_result.poll()
    bpy.ops.object.mode_set(mode="OBJECT")
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}


def test_a_job_left_behind_by_another_file_is_offered_with_its_own_and_fetched(ready: Any, folder: Path) -> None:
    del ready
    path = str(folder / "mine.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    hand_in()
    pump(lambda: run() is not None and run().job is None)  # type: ignore[union-attr]
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert run() is None
    assert not runtime.state().offers
    bpy.ops.wm.open_mainfile(filepath=path)
    (offer,) = runtime.state().offers
    assert (offer.object, offer.settings.target) == ("Cube", "golf ball")
    assert bpy.ops.assistive.fetch(job_id=offer.job_id) == {"FINISHED"}
    pump(lambda: not runtime.current().has_work())
    assert [item.name for item in bpy.context.scene.assistive.results] == [offer.job_id]
    assert bpy.ops.assistive.apply_result() == {"FINISHED"}


def test_a_job_that_ends_while_blender_is_closed_is_offered_when_its_file_is_opened_again(
    ready: Any, folder: Path, server_address: str
) -> None:
    del ready
    path = str(folder / "mine.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    hand_in()
    pump(lambda: run() is not None and run().job is None)  # type: ignore[union-attr]  # the server has it
    job_id = notes.read()[0].job_id
    disable()  # as when Blender ends
    with client.Client(server_address) as other:
        other.wait(job_id)
    enable()
    bpy.ops.wm.open_mainfile(filepath=path)
    assert [offer.job_id for offer in runtime.state().offers] == [job_id]
    bpy.ops.assistive.fetch(job_id=job_id)
    pump(lambda: not runtime.current().has_work())
    bpy.ops.wm.save_mainfile()
    assert not notes.read()  # it is in the file now
    bpy.ops.wm.open_mainfile(filepath=path)
    assert not runtime.state().offers


@pytest.mark.usefixtures("ready")
def test_a_file_without_a_name_is_never_taken_for_another() -> None:
    hand_in()
    pump(lambda: steps_done() > 0)
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True)
    assert run() is None
    assert not runtime.state().offers
    assert not notes.read()  # nobody could open it again


@pytest.mark.usefixtures("ready")
def test_a_job_follows_its_file_to_its_first_name_and_a_copy_changes_nothing(folder: Path) -> None:
    path = str(folder / "mine.blend")
    hand_in()
    pump(lambda: steps_done() > 0)
    bpy.ops.wm.save_as_mainfile(filepath=path)
    assert [note.file for note in notes.read()] == [path]
    pump(lambda: not runtime.current().has_work())
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "copy.blend"), copy=True)
    assert notes.read()  # the result is in the copy only
    bpy.ops.wm.save_mainfile()
    assert not notes.read()


def test_what_goes_wrong_in_a_tick_is_said_and_the_next_one_comes(addon: Any, folder: Path) -> None:
    del addon
    (folder / "jobs").write_text("a file where a folder should be")
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "mine.blend"))
    current = runtime.current()
    current._attempt(lambda: notes.write(TICKET))
    assert current.message is not None
    assert current.message.level == "ERROR"
    current.tick()


def test_an_offer_can_be_dismissed(addon: Any, folder: Path) -> None:
    del addon
    path = str(folder / "mine.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    hidden = msgspec.structs.replace(TICKET, file=path)
    notes.write(hidden)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert runtime.state().offers == (hidden,)
    bpy.ops.assistive.dismiss(job_id="old")
    assert not runtime.state().offers
    assert not notes.read()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_start_is_grey_without_target_or_object(ready: Any) -> None:
    ready.target = " "
    assert not bpy.ops.assistive.start.poll()
    ready.target = "teapot"
    assert bpy.ops.assistive.start.poll()
    bpy.data.objects.remove(bpy.context.object)
    assert not bpy.ops.assistive.start.poll()


def test_the_classifier_that_was_asked_for_is_added_to_the_default_ones(addon: Any) -> None:
    del addon
    chosen = bpy.context.scene.assistive
    runtime.current().state = session.State(
        server=session.Server(
            models=tuple(
                messages.ModelInfo(name=name, size=224, available=True, license="", source="", weights="")
                for name in ("efficientnet_lite0", "efficientnet_lite1", "resnet18", "resnet34", "resnet50")
            )
        )
    )
    assert bpy.ops.assistive.add_classifier(name="resnet18") == {"FINISHED"}
    assert [item.name for item in chosen.classifiers] == ["efficientnet_lite0", "efficientnet_lite1", "resnet18"]


def test_a_misspelt_target_is_refused_with_the_nearest_labels(ready: Any) -> None:
    ready.target = "golf bal"
    with pytest.raises(RuntimeError, match="golf ball"):
        bpy.ops.assistive.start()
    assert run() is None
    assert bpy.ops.assistive.start.poll()  # the button is not dead


def test_a_classifier_that_the_server_does_not_know_is_refused(ready: Any) -> None:
    ready.classifiers[0].name = "efficientnet_lite9"
    with pytest.raises(RuntimeError, match="efficientnet_lite0"):
        bpy.ops.assistive.start()
    assert bpy.ops.assistive.start.poll()


@pytest.mark.usefixtures("ready")
def test_a_uv_map_that_overlaps_is_pointed_out() -> None:
    assert hand_in() is None
    pump(lambda: not runtime.current().has_work())
    for corner in bpy.context.object.data.uv_layers[0].uv:
        corner.vector.x %= 0.5
    assert "more than one face of 'Cube'" in str(hand_in())
    pump(lambda: not runtime.current().has_work())


@pytest.mark.usefixtures("ready")
def test_coverage_follows_the_mask() -> None:
    from blender_addon import coverage

    obj = bpy.context.object
    group = obj.vertex_groups.new(name="front")
    assert coverage.share(obj, "front", invert=False) is None  # not yet measured
    coverage.measure()
    assert coverage.share(obj, "front", invert=False) == 0
    group.add(range(8), 1.0, "REPLACE")
    obj.data.update()
    bpy.context.view_layer.update()
    coverage.measure()
    assert coverage.share(obj, "front", invert=False) == pytest.approx(1)


def test_an_empty_mask_is_refused_before_anything_is_added(ready: Any) -> None:
    bpy.context.object.data.uv_layers.remove(bpy.context.object.data.uv_layers[0])
    bpy.context.object.vertex_groups.new(name="empty")
    ready.mask = "empty"
    with pytest.raises(RuntimeError, match="'empty' has no weight"):
        bpy.ops.assistive.start()
    assert not bpy.context.object.data.uv_layers


def test_a_server_that_is_down_and_cannot_be_started_is_said_to_be_so(
    addon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up()
    monkeypatch.delenv("ASSISTIVE_SERVER", raising=False)
    addon.address, addon.command = "127.0.0.1:9", "/nowhere/assistive-server"
    with pytest.raises(RuntimeError, match="cannot be started"):
        bpy.ops.assistive.start()
    assert runtime.state().server.status == "off"
    assert "/nowhere/assistive-server" in runtime.state().server.problem
    assert bpy.ops.assistive.start.poll()


@pytest.mark.parametrize(
    ("text", "told"), [("http://box:80", "http://"), ("box:port", "no valid port"), ("", "no host")]
)
def test_what_is_wrong_with_an_address_is_said(addon: Any, text: str, told: str) -> None:
    addon.address = text
    with pytest.raises(RuntimeError, match=told):
        bpy.ops.assistive.connect()


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.3.2.1:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://LocalHost:1", True),
        ("ipc:///tmp/x", True),
        ("tcp://127.0.0.1.example.org:1", False),
        ("tcp://127.example.org:1", False),
        ("tcp://10.0.0.1:1", False),
    ],
)
def test_an_address_on_this_machine_is_known_as_such(address: str, local: bool) -> None:
    assert keys.is_local(address) == local


def test_other_machines_are_asked_only_with_blenders_permission() -> None:
    if bpy.app.online_access:
        pytest.skip("this Blender may go online")
    with pytest.raises(errors.InvalidInput, match="may not go online"):
        runtime.checked_address("render.example.org:5765")
    assert runtime.checked_address("localhost") == "tcp://localhost:5765"


# --- servers elsewhere ------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Somebody else's server, which lets this user in: its address and its key."""
    own = keys.own_pair().public
    with monkeypatch.context() as theirs:
        theirs.setenv("ASSISTIVE_HOME", str(tmp_path / "theirs"))
        security.add_client("artist", own)
        key = keys.own_pair(keys.SERVER_KEY).public
        process, address = start_server("--device", "cpu")
    yield address, key
    end_server(process)


def test_a_server_elsewhere_is_trusted_by_its_key_and_then_answers(addon: Any, elsewhere: tuple[str, str]) -> None:
    addon.address, key = elsewhere
    bpy.ops.assistive.connect()
    pump(lambda: runtime.state().server.status == "off" and bool(runtime.state().server.problem))
    assert bpy.ops.assistive.trust_server(key=key) == {"FINISHED"}
    pump(lambda: runtime.state().server.status == "on")
    assert keys.known_servers()[elsewhere[0]] == key


def test_a_server_with_another_key_than_the_trusted_one_is_not_spoken_to(
    addon: Any, elsewhere: tuple[str, str]
) -> None:
    addon.address, _ = elsewhere
    wrong = keys.new_pair().public
    assert bpy.ops.assistive.trust_server(key=wrong) == {"FINISHED"}
    pump(lambda: runtime.state().server.status == "off" and bool(runtime.state().server.problem))
    assert f"key has to be {keys.fingerprint(wrong)}" in runtime.state().server.problem


def test_what_is_no_key_is_refused_and_nothing_is_trusted(addon: Any, elsewhere: tuple[str, str]) -> None:
    addon.address, _ = elsewhere
    with pytest.raises(RuntimeError, match="is no key"):
        bpy.ops.assistive.trust_server(key="12 ab")
    assert elsewhere[0] not in keys.known_servers()
    assert runtime.state().server.status == "off"


# --- the Blender in the background ------------------------------------------------------------------------------------


def test_after_a_job_its_result_is_checked_by_a_blender_in_the_background(ready: Any) -> None:
    ready.check_after, ready.check_samples = True, 1
    assert bpy.ops.assistive.start() == {"FINISHED"}
    item = ready.results[0]
    report = results.report_of(item)
    check = report["check"]
    assert check["model"] == "efficientnet_lite0"
    assert len(check["views"]) == 2
    assert report["models"]["efficientnet_lite0"]["blender"]["views"] == 2
    width, height = item.check.preview.image_size
    assert width == height > 100, "server, Blender, difference, before"
    assert results.packed_file(item.check).startswith(b"\x89PNG")
    assert [slot.material for slot in bpy.context.object.material_slots] == [], "the artist's object is as it was"


def test_an_object_is_checked_as_it_is_whenever_that_is_asked_for(ready: Any) -> None:
    ready.check_samples = 1
    assert bpy.ops.assistive.check() == {"FINISHED"}
    report = results.report_of(ready.results[0])
    assert report["steps"] == 0
    views = report["check"]["views"]
    assert [view["before"] for view in views] == [view["after"] for view in views]
    assert runtime.current().message == session.Report("INFO", "Measured as it is. golf ball: 0.00 → 0.00")
    assert ready.steps == 3, "the panel's own number stays"


def test_blender_stays_free_while_the_check_runs_and_it_can_be_stopped(ready: Any) -> None:
    ready.check_after, ready.check_samples = True, 4096
    hand_in()
    pump(lambda: runtime.current().checking() is not None)
    assert len(ready.results) == 1
    assert bpy.ops.assistive.start.poll(), "another job may begin"
    assert bpy.ops.assistive.stop_check() == {"FINISHED"}
    assert not runtime.current().has_work()
    assert results.report_of(ready.results[0])["check"] is None
    assert not bpy.ops.assistive.stop_check.poll()


def test_a_check_that_fails_costs_the_check_only_and_says_why(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ready.check_after = True
    monkeypatch.setattr("blender_addon.background._blender", lambda _file: [sys.executable, "-c", "raise OSError(7)"])
    hand_in()
    pump(lambda: not runtime.current().has_work())
    assert len(ready.results) == 1
    message = runtime.current().message
    assert message is not None
    assert message.text == "The result is not checked. The Blender in the background failed: OSError: 7"


def test_a_cancelled_job_is_not_checked(ready: Any) -> None:
    ready.check_after, ready.steps = True, 100_000
    hand_in()
    pump(lambda: steps_done() > 0)
    bpy.ops.assistive.cancel()
    pump(lambda: not runtime.current().has_work())
    assert len(ready.results) == 1
    assert results.report_of(ready.results[0])["check"] is None


def test_a_job_from_the_panel_can_see_blenders_pictures(ready: Any) -> None:
    ready.blender_every, ready.check_samples = 2, 1
    assert bpy.ops.assistive.start() == {"FINISHED"}
    report = results.report_of(ready.results[0])
    assert report["straight_through"]["answered"] == report["straight_through"]["asked"] == 2
    assert report["check"] is None


def test_a_check_survives_undo_and_goes_with_its_result(ready: Any) -> None:
    ready.check_after, ready.check_samples = True, 1
    assert bpy.ops.assistive.start() == {"FINISHED"}
    ready.results.clear()  # as an undo to an earlier state of the file does
    results.restore_all()
    item = ready.results[0]
    assert results.report_of(item)["check"] is not None
    name = item.check.name
    results.remove(bpy.context.scene, 0)
    assert name not in bpy.data.images


def test_opening_another_file_ends_the_check(ready: Any) -> None:
    ready.check_after, ready.check_samples = True, 4096
    hand_in()
    pump(lambda: runtime.current().checking() is not None)
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    assert runtime.current().checking() is None
