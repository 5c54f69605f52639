"""The line: fair between clients, and what it says of places and times is what then happens."""

from __future__ import annotations

from compute_server.waiting import RESUMED, Line, Pace, Waiter


def line(*waiters: tuple[str, str, int]) -> Line:
    made = Line()
    for job_id, client, priority in waiters:
        made.add(Waiter(job_id, client, priority, work=10))
    return made


def taken(line: Line) -> str:
    return "".join(line.take().job_id for _ in range(len(line)))


def test_clients_take_turns_and_each_is_served_in_its_order() -> None:
    assert taken(line(*((name, "a", 0) for name in "ABCD"), ("x", "b", 0), ("y", "b", 0))) == "AxByCD"


def test_priority_comes_first_and_what_was_running_before_all() -> None:
    waiting = line(("A", "a", 0), ("B", "b", 5), ("C", "a", -1), ("D", "c", RESUMED))
    assert taken(waiting) == "DBAC"


def test_who_comes_later_does_not_wait_for_all_of_another() -> None:
    waiting = line(*((name, "a", 0) for name in "ABCDEF"))
    assert [waiting.take().job_id for _ in range(2)] == ["A", "B"]
    waiting.add(Waiter("x", "b", 0, 10))
    assert taken(waiting).index("x") == 0


def test_places_are_those_in_which_jobs_are_taken() -> None:
    waiting = line(("A", "a", 0), ("B", "a", 0), ("x", "b", 0), ("C", "a", 1))
    order = [waiter.job_id for waiter in waiting.in_order()]
    assert [len(waiting.before(job_id)) for job_id in order] == [0, 1, 2, 3]
    assert taken(waiting) == "".join(order)


def test_a_job_that_is_taken_out_is_gone() -> None:
    waiting = line(("A", "a", 0), ("B", "a", 0))
    waiting.remove("A")
    assert "A" not in waiting
    assert taken(waiting) == "B"


def test_times_are_learnt_from_jobs_that_ran() -> None:
    pace = Pace()
    assert pace.of(100) is None
    pace.learn(20.0, 10)
    assert pace.of(100) == 200.0
    pace.learn(10.0, 10)
    assert 150.0 < (pace.of(100) or 0) < 200.0
