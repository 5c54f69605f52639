# SPDX-License-Identifier: GPL-3.0-or-later
"""The session between this Blender, a compute server and a job, as a pure function: state × event → state, effects.

Nothing here touches Blender, a socket, a thread or a clock. `runtime` feeds it events and carries out what it asks for;
`connection` speaks to the server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from ._shared import messages
from .sphere import Placement

CURVE_POINTS = 512
"""More points than this are thinned out; no panel is wider."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What this side has to know of a job to do something with its result, also after a restart of Blender."""

    job_id: str
    address: str
    file: str
    scene: str
    object: str
    uv_map: str
    settings: messages.Settings
    collect_s: float
    own_rig: bool
    submitted: str
    left_out: tuple[str, ...] = ()
    placement: Placement | None = None


# --- state ------------------------------------------------------------------------------------------------------------

Status = Literal["waiting", "sending", "queued", "running", "measuring", "comparing", "cancelling"]
#: What a job does, by the phase that the server says it is in.
PHASES: Mapping[str, Status] = {
    "preparing": "running",
    "optimising": "running",
    "evaluating": "measuring",
    "comparing": "comparing",
}


@dataclass(frozen=True)
class Server:
    """The server as far as it is known. ``local`` marks one that this Blender has started and will end."""

    status: Literal["off", "connecting", "starting", "on", "silent"] = "off"
    address: str = ""
    local: bool = False
    version: str = ""
    device: str = ""
    labels: tuple[str, ...] = ()
    models: tuple[messages.ModelInfo, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Curve:
    """Mean and least confidence of the views of some steps; ``stride`` steps lie between two points."""

    steps: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    low: tuple[float, ...] = ()

    def with_point(self, step: int, confidence: tuple[float, ...]) -> Curve:
        """One more point at the end; every other one goes when they get too many."""
        if not confidence or (self.steps and step <= self.steps[-1]):
            return self
        keep = slice(None, None, 2) if len(self.steps) >= CURVE_POINTS else slice(None)
        return Curve(
            (*self.steps[keep], step),
            (*self.mean[keep], sum(confidence) / len(confidence)),
            (*self.low[keep], min(confidence)),
        )


@dataclass(frozen=True)
class Run:
    """A job on its way. ``job`` is None once the server has it, and for jobs of an earlier session."""

    ticket: Ticket
    job: messages.Job | None
    status: Status = "waiting"
    position: int = 0
    wait_s: float | None = None
    step: int = 0
    steps: int = 0
    eta_s: float = 0.0
    curve: Curve = field(default_factory=Curve)
    previewed: bool = False


@dataclass(frozen=True)
class State:
    """All there is to know. ``offers`` are jobs of the open file that an earlier session left to a server."""

    server: Server = field(default_factory=Server)
    run: Run | None = None
    offers: tuple[Ticket, ...] = ()


# --- events: what the artist asks for ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConnectAsked:
    """Use the server at `address`; start one here if nobody answers and `start` says so."""

    address: str
    start: bool


@dataclass(frozen=True)
class StopAsked:
    """Let go of the server; one that was started here ends."""


@dataclass(frozen=True)
class RunAsked:
    """Do `job`; on the way, connect to `address`, or start a server if there is none and `start` says so."""

    ticket: Ticket
    job: messages.Job
    address: str
    start: bool


@dataclass(frozen=True)
class FetchAsked:
    """Take up a job that an earlier session left to its server."""

    ticket: Ticket


@dataclass(frozen=True)
class DismissAsked:
    """Never offer this job again."""

    ticket: Ticket


@dataclass(frozen=True)
class CancelAsked:
    """End the job and keep the best so far."""


@dataclass(frozen=True)
class FileOpened:
    """Blender has another file open (or the same again); `offers` are the jobs it left to a server."""

    file: str
    offers: tuple[Ticket, ...]


@dataclass(frozen=True)
class FileSaved:
    """The open file is now called `file`."""

    file: str


# --- events: what the connection tells --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Starting:
    """Nobody answered, so a server is being started here."""


@dataclass(frozen=True)
class Connected:
    """A server has answered."""

    address: str
    welcome: messages.Welcome
    local: bool


@dataclass(frozen=True)
class Lost:
    """There is no server (any more), and why."""

    problem: str


@dataclass(frozen=True)
class Silent:
    """The server has not answered for some time; ZeroMQ goes on trying."""


@dataclass(frozen=True)
class Heard:
    """A server that was silent answers again, or tells of its device."""

    welcome: messages.Welcome


@dataclass(frozen=True)
class PreviewReady:
    """A new preview of this job can be fetched from the connection."""

    job_id: str


@dataclass(frozen=True)
class Finished:
    """The job has a result."""

    job_id: str
    result: messages.Result


@dataclass(frozen=True)
class SheetDrawn:
    """A contact sheet of a job that has finished, as a PNG file."""

    job_id: str
    sheet: bytes


@dataclass(frozen=True)
class Failed:
    """The job ended without a result, or was refused."""

    job_id: str
    problem: str


Event = (
    ConnectAsked
    | StopAsked
    | RunAsked
    | FetchAsked
    | DismissAsked
    | CancelAsked
    | FileOpened
    | FileSaved
    | Starting
    | Connected
    | Lost
    | Silent
    | Heard
    | PreviewReady
    | Finished
    | SheetDrawn
    | Failed
    | messages.Targets
    | messages.Models
    | messages.Accepted
    | messages.Progress
)


# --- effects ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Connect:
    """Open a connection (after closing any other); start a server if nobody answers and `start` says so."""

    address: str
    start: bool


@dataclass(frozen=True)
class Disconnect:
    """Close the connection, end a server that was started here."""


@dataclass(frozen=True)
class Submit:
    """Hand the job in."""

    job: messages.Job


@dataclass(frozen=True)
class Watch:
    """Ask for the events of a job that the server has."""

    job_id: str


@dataclass(frozen=True)
class Cancel:
    """Ask the server to end a job."""

    job_id: str


@dataclass(frozen=True)
class Remember:
    """Note down that a server has this job; `durable` notes outlive this Blender, as the server does."""

    ticket: Ticket
    durable: bool


@dataclass(frozen=True)
class Forget:
    """Drop that note."""

    job_id: str


@dataclass(frozen=True)
class ShowPreview:
    """Show the newest preview of the job on its object."""

    ticket: Ticket


@dataclass(frozen=True)
class HidePreview:
    """Show no preview any more."""


@dataclass(frozen=True)
class KeepResult:
    """Put the result into the list of the job's scene."""

    ticket: Ticket
    result: messages.Result


@dataclass(frozen=True)
class KeepSheet:
    """Put a contact sheet to the result of this job."""

    job_id: str
    sheet: bytes


@dataclass(frozen=True)
class KeepPreview:
    """The last preview is all that is left of the job: put it into the list."""

    ticket: Ticket


@dataclass(frozen=True)
class Report:
    """Tell the artist."""

    level: Literal["INFO", "WARNING", "ERROR"]
    text: str


Network = Connect | Disconnect | Submit | Watch | Cancel
Effect = Network | Remember | Forget | ShowPreview | HidePreview | KeepResult | KeepSheet | KeepPreview | Report
Step = tuple[State, tuple[Effect, ...]]


def transition(state: State, event: Event) -> Step:
    """What `event` makes of `state`, and what is to be done about it. Total: any event may come in any state."""
    return HANDLERS[type(event)](state, event)


# --- the artist -------------------------------------------------------------------------------------------------------


def _connect_asked(state: State, event: ConnectAsked) -> Step:
    if state.run is not None and state.run.status != "waiting":
        return state, (Report("ERROR", "A job is running; cancel it before you change the server."),)
    return _connecting(state, event.address, start=event.start)


def _connecting(state: State, address: str, *, start: bool) -> Step:
    return replace(state, server=Server("connecting", address)), (Connect(address, start),)


def _stop_asked(state: State, _event: StopAsked) -> Step:
    stopped = replace(state, server=Server())
    if state.run is None:
        return stopped, (Disconnect(),)
    ended, effects = _without_server(stopped, state.server, "The server was stopped.")
    return ended, (Disconnect(), *effects)


def _run_asked(state: State, event: RunAsked) -> Step:
    if state.run is not None:
        return state, (Report("ERROR", "A job is running already; cancel it first."),)
    return _take_up(state, Run(event.ticket, event.job), event.address, start=event.start)


def _fetch_asked(state: State, event: FetchAsked) -> Step:
    if state.run is not None:
        return state, (Report("ERROR", "A job is running already; cancel it first."),)
    if state.server.status != "off" and state.server.address != event.ticket.address:
        return state, (Report("ERROR", f"The job is at {event.ticket.address}; disconnect from this server first."),)
    return _take_up(state, Run(event.ticket, None), event.ticket.address, start=False)


def _take_up(state: State, run: Run, address: str, *, start: bool) -> Step:
    waiting = replace(state, run=run, offers=_without(state.offers, run.ticket))
    if state.server.status == "off":
        return _connecting(waiting, address, start=start)
    if state.server.status == "on":
        return _hand_in(waiting)
    return waiting, ()


def _without(offers: tuple[Ticket, ...], ticket: Ticket) -> tuple[Ticket, ...]:
    return tuple(offer for offer in offers if offer.job_id != ticket.job_id)


def _hand_in(state: State) -> Step:
    """Tell a server that has just answered what it is to do for the current run. Twice does no harm."""
    run = state.run
    if run is None:
        return state, ()
    ticket = msgspec.structs.replace(run.ticket, address=state.server.address)
    if run.status == "cancelling":
        return replace(state, run=replace(run, ticket=ticket)), (Watch(ticket.job_id), Cancel(ticket.job_id))
    status = "sending" if run.status == "waiting" else run.status
    sent = replace(state, run=replace(run, ticket=ticket, status=status))
    # Noted down before the server has it: whatever happens from here on, the job is not lost sight of.
    noted = Remember(ticket, durable=not state.server.local)
    return sent, (noted, Submit(run.job)) if run.job is not None else (noted, Watch(ticket.job_id))


def _dismiss_asked(state: State, event: DismissAsked) -> Step:
    return replace(state, offers=_without(state.offers, event.ticket)), (Forget(event.ticket.job_id),)


def _cancel_asked(state: State, _event: CancelAsked) -> Step:
    run = state.run
    if run is None:
        return state, ()
    if run.status == "waiting":
        offers = state.offers if run.job is not None else (*state.offers, run.ticket)
        return replace(state, run=None, offers=offers), (HidePreview(),)
    return replace(state, run=replace(run, status="cancelling")), (Cancel(run.ticket.job_id),)


def _file_opened(state: State, event: FileOpened) -> Step:
    run = state.run
    if run is not None and run.ticket.file == event.file:
        return replace(state, offers=_without(event.offers, run.ticket)), (HidePreview(),)
    # A job that a server has goes on there; it has been noted down, and is offered when its file is opened again.
    here = replace(state, run=None, offers=event.offers)
    if run is not None and run.status == "waiting" and run.job is not None:
        return here, (HidePreview(), Report("WARNING", "The job of the last file had not begun; it was dropped."))
    return here, (HidePreview(),)


def _file_saved(state: State, event: FileSaved) -> Step:
    def moved(ticket: Ticket) -> Ticket:
        return msgspec.structs.replace(ticket, file=event.file)

    run = replace(state.run, ticket=moved(state.run.ticket)) if state.run is not None else None
    return replace(state, run=run, offers=tuple(map(moved, state.offers))), ()


# --- the connection ---------------------------------------------------------------------------------------------------


def _starting(state: State, _event: Starting) -> Step:
    return replace(state, server=replace(state.server, status="starting")), ()


def _connected(state: State, event: Connected) -> Step:
    server = Server("on", event.address, event.local, event.welcome.version, event.welcome.device)
    return _hand_in(replace(state, server=server))


def _lost(state: State, event: Lost) -> Step:
    off = replace(state, server=Server(problem=event.problem, address=state.server.address))
    if state.run is None:
        return off, (Report("ERROR", event.problem),)
    return _without_server(off, state.server, event.problem)


def _without_server(state: State, server: Server, problem: str) -> Step:
    """What becomes of the run when `server` is gone: one elsewhere goes on with it, one of ours does not."""
    run = state.run
    assert run is not None
    handed_in = run.status != "waiting" and not server.local
    if handed_in or (run.job is None and run.status == "waiting"):
        note = Report("WARNING", f"{problem} The job may go on there; its result is offered below.")
        return replace(state, run=None, offers=(*state.offers, run.ticket)), (HidePreview(), note)
    return _end(state, Report("ERROR", problem))


def _end(state: State, *effects: Effect) -> Step:
    """The run is over without a result; the last preview, if there was one, is kept."""
    run = state.run
    assert run is not None
    kept = (KeepPreview(run.ticket),) if run.previewed else ()
    return replace(state, run=None), (*kept, HidePreview(), Forget(run.ticket.job_id), *effects)


def _silent(state: State, _event: Silent) -> Step:
    return replace(state, server=replace(state.server, status="silent")), ()


def _heard(state: State, event: Heard) -> Step:
    server = replace(state.server, status="on", device=event.welcome.device, version=event.welcome.version)
    back = replace(state, server=server)
    if state.server.status == "silent" or (state.run is not None and state.run.status == "waiting"):
        return _hand_in(back)  # handing in twice does no harm, watching neither
    return back, ()


def _targets(state: State, event: messages.Targets) -> Step:
    return replace(state, server=replace(state.server, labels=event.labels)), ()


def _models(state: State, event: messages.Models) -> Step:
    return replace(state, server=replace(state.server, models=event.models)), ()


def _accepted(state: State, event: messages.Accepted) -> Step:
    run = _concerned(state, event.job_id)
    if run is None or run.status == "cancelling":
        return state, ()
    known = replace(run, job=None, position=event.position, wait_s=event.wait_s, status=_status(run, event))
    return replace(state, run=known), ()


def _status(run: Run, accepted: messages.Accepted) -> Any:
    if accepted.state == "queued":
        return "queued"
    return run.status if run.status in ("measuring", "comparing") else "running"


def _concerned(state: State, job_id: str) -> Run | None:
    """The current run, if this is its job; what comes of others is no longer wanted."""
    return state.run if state.run is not None and state.run.ticket.job_id == job_id else None


def _progress(state: State, event: messages.Progress) -> Step:
    run = _concerned(state, event.job_id)
    if run is None:
        return state, ()
    status = run.status if run.status == "cancelling" else PHASES[event.phase]
    moved = replace(
        run,
        status=status,
        step=event.step,
        steps=event.steps,
        eta_s=event.eta_s,
        curve=run.curve.with_point(event.step, event.confidence),
    )
    return replace(state, run=moved), ()


def _preview_ready(state: State, event: PreviewReady) -> Step:
    run = _concerned(state, event.job_id)
    if run is None:
        return state, ()
    return replace(state, run=replace(run, previewed=True)), (ShowPreview(run.ticket),)


def _finished(state: State, event: Finished) -> Step:
    run = _concerned(state, event.job_id)
    if run is None:
        return state, ()
    return replace(state, run=None), (KeepResult(run.ticket, event.result), HidePreview())


def _sheet_drawn(state: State, event: SheetDrawn) -> Step:
    return state, (KeepSheet(event.job_id, event.sheet),)


def _failed(state: State, event: Failed) -> Step:
    run = _concerned(state, event.job_id)
    if run is None:
        return state, ()
    if run.status == "cancelling":
        return _end(state, Report("INFO", "The job was cancelled."))
    return _end(state, Report("ERROR", event.problem))


HANDLERS: Mapping[type, Callable[[State, Any], Step]] = {
    ConnectAsked: _connect_asked,
    StopAsked: _stop_asked,
    RunAsked: _run_asked,
    FetchAsked: _fetch_asked,
    DismissAsked: _dismiss_asked,
    CancelAsked: _cancel_asked,
    FileOpened: _file_opened,
    FileSaved: _file_saved,
    Starting: _starting,
    Connected: _connected,
    Lost: _lost,
    Silent: _silent,
    Heard: _heard,
    PreviewReady: _preview_ready,
    Finished: _finished,
    SheetDrawn: _sheet_drawn,
    Failed: _failed,
    messages.Targets: _targets,
    messages.Models: _models,
    messages.Accepted: _accepted,
    messages.Progress: _progress,
}
