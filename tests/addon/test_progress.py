"""What the terminal shows of a job."""

from __future__ import annotations

import io

import pytest

from blender_addon import progress
from blender_addon._shared import messages


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def step(number: int, total: int = 200) -> messages.Progress:
    return messages.Progress(
        job_id="job", phase="optimising", step=number, steps=total, loss=1.5, confidence=(0.25, 0.75), eta_s=120.0
    )


def test_a_terminal_sees_one_line_that_is_drawn_over() -> None:
    terminal = Terminal()
    display = progress.Display(terminal)
    display.event(step(50))
    display.event(step(100))
    display.say("done")
    assert terminal.getvalue().count("\n") == 2
    last = terminal.getvalue().split("\r\x1b[K")[-1]
    assert last == ("[############            ] step 100/200 (50%)  loss 1.500  confidence 0.500  2 min left\ndone\n")


def test_a_log_gets_a_plain_line_now_and_then_and_the_last_step() -> None:
    log = io.StringIO()
    now = [0.0]
    display = progress.Display(log, clock=lambda: now[0])
    for number in range(1, 201):
        now[0] += 0.1
        display.event(step(number))
    lines = log.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("step 1/200 (0%)")
    assert lines[-1].startswith("step 200/200 (100%)")
    assert "\x1b" not in log.getvalue()


@pytest.mark.parametrize(("seconds", "said"), [(12.4, "12 s"), (300, "5 min"), (7200, "2.0 h")])
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


def test_a_job_without_steps_has_a_full_bar() -> None:
    assert "step 0/0 (100%)" in progress.describe(step(0, 0), with_bar=True)
