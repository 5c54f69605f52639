"""The session is a pure function: every event has a defined outcome in every state."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from helpers.jobs import small_job

from blender_addon import session as s
from blender_addon._shared import messages as m

ADDRESS = "tcp://127.0.0.1:5765"
WELCOME = m.Welcome(version="0.1.0", device="cpu", jobs_running=0, jobs_queued=0)
JOB = small_job("job")
TICKET = s.Ticket(
    job_id="job",
    address="",
    file="/a.blend",
    scene="Scene",
    object="Cube",
    uv_map="UVMap",
    settings=JOB.settings,
    collect_s=0.1,
    own_rig=False,
    submitted="2026-01-01T00:00:00+00:00",
)
AT_SERVER = msgspec.structs.replace(TICKET, address=ADDRESS)


def after(*events: Any, state: s.State | None = None) -> tuple[s.State, list[s.Effect]]:
    """The state after `events`, and all effects on the way."""
    state, effects = state or s.State(), []
    for event in events:
        state, more = s.transition(state, event)
        effects += more
    return state, effects


def kinds(effects: list[s.Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]


def progress(step: int, confidence: tuple[float, ...] = (0.5,), phase: Any = "optimising") -> m.Progress:
    return m.Progress(job_id="job", phase=phase, step=step, steps=9, loss=1.0, confidence=confidence, eta_s=3.0)


def accepted(state: Any = "running", position: int = 0) -> m.Accepted:
    return m.Accepted(job_id="job", state=state, position=position)


RESULT = m.Result(
    outcome="finished",
    steps=9,
    target=None,  # type: ignore[arg-type]  # the session hands results on without a look
    texture=JOB.scene.texture,
    texture_png=None,
    mask_coverage=1.0,
    max_change_outside=0,
    models={},
    check_views=(),
    pictures_before=None,  # type: ignore[arg-type]
    pictures_after=None,  # type: ignore[arg-type]
    timing=None,  # type: ignore[arg-type]
    versions={},
    device="cpu",
)
CONNECTED = s.Connected(ADDRESS, WELCOME, local=False)
STARTED_HERE = s.Connected("tcp://127.0.0.1:40000", WELCOME, local=True)
ASKED = s.RunAsked(TICKET, JOB, ADDRESS, start=True)
EVENTS: list[Any] = [
    s.ConnectAsked(ADDRESS, start=True),
    s.ConnectAsked("tcp://elsewhere:1", start=False),
    s.StopAsked(),
    ASKED,
    s.FetchAsked(AT_SERVER),
    s.DismissAsked(AT_SERVER),
    s.CancelAsked(),
    s.FileOpened("/a.blend", (AT_SERVER,)),
    s.FileOpened("/b.blend", ()),
    s.FileSaved("/c.blend"),
    s.Starting(),
    CONNECTED,
    STARTED_HERE,
    s.Lost("The cable is cut."),
    s.Silent(),
    s.Heard(WELCOME),
    s.PreviewReady("job"),
    s.PreviewReady("other"),
    s.Finished("job", RESULT),
    s.Finished("other", RESULT),
    s.SheetDrawn("job", b"PNG"),
    s.Failed("job", "NaN."),
    s.Failed("other", "NaN."),
    m.Targets(("tench",)),
    m.Models(()),
    accepted(),
    accepted("queued", 2),
    progress(1),
    progress(9, phase="evaluating"),
]


def test_any_three_events_after_one_another_have_an_outcome_that_is_sound() -> None:
    for events in itertools.product(EVENTS, repeat=3):
        state, effects = after(*events)
        assert all(isinstance(effect, s.Effect) for effect in effects)
        run = state.run
        if run is not None:
            assert state.server.status != "off", events  # nobody waits for a server that nobody looks for
            assert run.ticket.job_id not in [ticket.job_id for ticket in state.offers], events
        assert len({ticket.job_id for ticket in state.offers}) == len(state.offers), events


def test_start_without_a_server_starts_one_and_hands_the_job_in_once_it_answers() -> None:
    state, effects = after(ASKED)
    assert effects == [s.Connect(ADDRESS, start=True)]
    assert state.run is not None
    assert state.run.status == "waiting"
    state, effects = after(s.Starting(), STARTED_HERE, state=state)
    assert kinds(effects) == ["Remember", "Submit"]
    assert state.run is not None
    assert (state.run.status, state.run.ticket.address) == ("sending", STARTED_HERE.address)


def test_start_with_a_server_hands_the_job_in_at_once() -> None:
    _, effects = after(CONNECTED, ASKED)
    assert effects == [s.Remember(AT_SERVER, durable=True), s.Submit(JOB)]


def test_no_server_is_started_for_an_address_elsewhere() -> None:
    _, effects = after(s.RunAsked(TICKET, JOB, "tcp://elsewhere:1", start=False))
    assert effects == [s.Connect("tcp://elsewhere:1", start=False)]


def test_a_second_job_is_refused_while_one_runs() -> None:
    _, effects = after(CONNECTED, ASKED, ASKED)
    assert kinds(effects) == ["Remember", "Submit", "Report"]


def test_a_job_is_noted_down_before_the_server_has_it_and_its_scene_is_let_go_after() -> None:
    state, effects = after(CONNECTED, ASKED, accepted("queued", 2), accepted())
    assert kinds(effects) == ["Remember", "Submit"]
    assert state.run is not None
    assert (state.run.job, state.run.status) == (None, "running")


def test_the_note_of_a_job_at_a_server_of_ours_ends_with_this_blender() -> None:
    _, effects = after(STARTED_HERE, ASKED, accepted())
    (note,) = [effect for effect in effects if isinstance(effect, s.Remember)]
    assert not note.durable


def test_progress_moves_the_run_and_its_curve() -> None:
    state, _ = after(CONNECTED, ASKED, accepted(), progress(1, (0.2, 0.4)), progress(2, (0.6, 0.8)))
    assert state.run is not None
    assert (state.run.step, state.run.steps, state.run.eta_s) == (2, 9, 3.0)
    assert state.run.curve.mean == pytest.approx((0.3, 0.7))
    assert state.run.curve.low == (0.2, 0.6)


def test_a_long_curve_is_thinned_out_but_keeps_its_ends() -> None:
    curve = s.Curve()
    for step in range(1, 5001):
        curve = curve.with_point(step, (0.5,))
    assert len(curve.steps) <= s.CURVE_POINTS
    assert (curve.steps[0], curve.steps[-1]) == (1, 5000)


def test_cancel_asks_the_server_and_the_best_so_far_is_kept() -> None:
    state, effects = after(CONNECTED, ASKED, accepted(), s.CancelAsked(), progress(3), s.Finished("job", RESULT))
    assert kinds(effects) == ["Remember", "Submit", "Cancel", "KeepResult", "HidePreview"]
    assert state.run is None


def test_cancel_before_the_server_answers_leaves_nothing_behind() -> None:
    state, effects = after(ASKED, s.CancelAsked(), CONNECTED)
    assert state.run is None
    assert kinds(effects) == ["Connect", "HidePreview"]


def test_a_cancel_that_was_lost_is_repeated_and_the_job_not_handed_in_again() -> None:
    state, _ = after(CONNECTED, ASKED, s.CancelAsked(), s.Silent())
    state, effects = after(s.Heard(WELCOME), state=state)
    assert effects == [s.Watch("job"), s.Cancel("job")]
    assert state.run is not None
    assert state.run.status == "cancelling"


def test_a_fetch_that_is_cancelled_is_offered_again() -> None:
    state, _ = after(s.FileOpened("/a.blend", (AT_SERVER,)), s.FetchAsked(AT_SERVER), s.CancelAsked())
    assert state.offers == (AT_SERVER,)


def test_a_job_that_was_dropped_before_it_began_is_spoken_of() -> None:
    _, effects = after(ASKED, s.FileOpened("/b.blend", ()))
    assert kinds(effects)[-1] == "Report"


def test_a_server_elsewhere_that_is_lost_keeps_its_job() -> None:
    state, effects = after(CONNECTED, ASKED, accepted(), s.Lost("It speaks another protocol now."))
    assert state.run is None
    assert [ticket.job_id for ticket in state.offers] == ["job"]
    assert "Forget" not in kinds(effects)


def test_a_contact_sheet_is_kept_whenever_it_comes() -> None:
    _, effects = after(s.SheetDrawn("job", b"PNG"))
    assert effects == [s.KeepSheet("job", b"PNG")]


def test_the_last_preview_of_a_job_that_fails_is_kept() -> None:
    _, effects = after(CONNECTED, ASKED, accepted(), s.PreviewReady("job"), s.Failed("job", "NaN."))
    assert kinds(effects)[-4:] == ["KeepPreview", "HidePreview", "Forget", "Report"]
    _, effects = after(CONNECTED, ASKED, accepted(), s.Failed("job", "NaN."))
    assert "KeepPreview" not in kinds(effects)


def test_a_server_that_dies_ends_its_job_with_its_words() -> None:
    state, effects = after(STARTED_HERE, ASKED, accepted(), s.PreviewReady("job"), s.Lost("It ended with code 1."))
    assert state.run is None
    assert (state.server.status, state.server.problem) == ("off", "It ended with code 1.")
    assert "KeepPreview" in kinds(effects)
    assert effects[-1] == s.Report("ERROR", "It ended with code 1.")


def test_a_server_that_comes_back_is_asked_for_the_job_again() -> None:
    state, _ = after(CONNECTED, ASKED, accepted(), s.Silent())
    assert state.server.status == "silent"
    state, effects = after(s.Heard(WELCOME), state=state)
    assert state.server.status == "on"
    assert effects[-1] == s.Watch("job")


def test_another_file_leaves_the_job_at_the_server_and_its_own_file_offers_it() -> None:
    state, effects = after(CONNECTED, ASKED, accepted(), s.FileOpened("/b.blend", ()))
    assert state.run is None
    assert kinds(effects)[-1] == "HidePreview"
    assert "Cancel" not in kinds(effects)
    state, _ = after(s.FileOpened("/a.blend", (AT_SERVER,)), state=state)
    assert state.offers == (AT_SERVER,)
    state, effects = after(s.FetchAsked(AT_SERVER), state=state)
    assert effects[-1] == s.Watch("job")
    assert state.offers == ()
    _, effects = after(accepted("done"), s.Finished("job", RESULT), state=state)
    assert "KeepResult" in kinds(effects)


def test_the_same_file_opened_again_keeps_its_job() -> None:
    state, effects = after(CONNECTED, ASKED, accepted(), s.FileOpened("/a.blend", (AT_SERVER,)))
    assert state.run is not None
    assert state.offers == ()
    assert kinds(effects)[-1] == "HidePreview"


def test_a_job_follows_its_file_to_a_new_name() -> None:
    left = msgspec.structs.replace(AT_SERVER, job_id="left")
    state, _ = after(s.FileOpened("/a.blend", (left,)), CONNECTED, ASKED, accepted(), s.FileSaved("/c.blend"))
    assert state.run is not None
    assert state.run.ticket.file == "/c.blend"
    assert [ticket.file for ticket in state.offers] == ["/c.blend"]


def test_fetching_from_a_server_that_is_down_offers_the_job_again() -> None:
    state, effects = after(s.FileOpened("/a.blend", (AT_SERVER,)), s.FetchAsked(AT_SERVER))
    assert effects[-1] == s.Connect(ADDRESS, start=False)
    state, effects = after(s.Lost("No answer."), state=state)
    assert state.offers == (AT_SERVER,)
    assert state.run is None
    assert "Forget" not in kinds(effects)


def test_disconnecting_leaves_the_job_at_a_server_elsewhere_and_ends_it_at_one_of_ours() -> None:
    state, effects = after(CONNECTED, ASKED, accepted(), s.StopAsked())
    assert [ticket.job_id for ticket in state.offers] == ["job"]
    assert "Forget" not in kinds(effects)
    state, effects = after(STARTED_HERE, ASKED, accepted(), s.PreviewReady("job"), s.StopAsked())
    assert state.offers == ()
    assert {"KeepPreview", "Forget", "Disconnect"} <= set(kinds(effects))


def test_the_server_cannot_be_changed_under_a_running_job() -> None:
    _, effects = after(CONNECTED, ASKED, accepted(), s.ConnectAsked("tcp://elsewhere:1", start=False))
    assert kinds(effects)[-1] == "Report"
    assert "Connect" not in kinds(effects)
