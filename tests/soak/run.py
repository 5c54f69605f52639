"""``make soak``: clients with small jobs, random cancels and broken connections, workers and servers that are killed.

Every job must end exactly once, every texture that is finished must be that of an undisturbed run, and the server's
memory and file descriptors must stay level. The last line sums up; the exit code is 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from helpers.jobs import small_job
from helpers.proxy import Proxy
from helpers.server import LastingServer, child_of

from compute_server.bench_scene import bench_scene
from shared import errors
from shared import messages as m
from shared.client import Client
from shared.scene import UvTexture

SILENCE_S = 240.0
#: What the front may have grown by in the end, and file descriptors that may be left of connections just closed.
GROWTH, LEFT_FILES = 64 << 20, 8


@dataclass(frozen=True)
class Plan:
    """How large it is to be, and how bad. Jobs differ by their seed, one of ``seeds``; of each there is one undisturbed
    run."""

    clients: int = 20
    jobs: int = 5
    seconds: float = 300.0
    worker_kill_s: float = 25.0
    server_kill_s: float = 35.0
    seeds: int = 4
    seed: int = 0


@dataclass
class Findings:
    """What was seen; broken promises are sentences."""

    ends: dict[str, list[str]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def saw(self, ended: m.Ended) -> str:
        """Note an end; gives it in one word, with what was made."""
        word = _in_a_word(ended)
        with self.lock:
            self.ends.setdefault(ended.job_id, []).append(word)
        return word

    def broke(self, promise: str) -> None:
        """A promise was broken."""
        with self.lock:
            self.broken.append(promise)

    def count(self, what: str) -> None:
        """Something was done to the server."""
        with self.lock:
            self.done[what] += 1


def _in_a_word(ended: m.Ended) -> str:
    if ended.error is not None:
        return f"error {ended.error.message}"
    assert ended.result is not None
    return f"{ended.result.outcome} {_digest(ended.result)}"


def _digest(result: m.Result) -> str:
    assert isinstance(result.texture, UvTexture)
    return hashlib.sha256(result.texture.image.tobytes()).hexdigest()[:16]


def job_of(name: str, seed: int) -> m.Job:
    """A job of a few steps."""
    settings = {"steps": 5, "views": 1, "held_out_views": 1, "check_views": 0, "alpha": 0.05, "octaves": 2}
    return small_job(name, bench_scene(64), seed=seed, **settings)


def soak(plan: Plan, home: Path) -> Findings:
    """Do as planned; what is promised is in the findings."""
    findings = Findings()
    with LastingServer(home, "--checkpoint-s", "0.5") as server:
        expected = _undisturbed(server.address, plan.seeds)
        stop = threading.Event()
        chaos = threading.Thread(target=_break_things, args=(server, plan, findings, stop))
        clients = [
            threading.Thread(target=_guarded, args=(findings, _client, server.address, plan, number, findings))
            for number in range(plan.clients)
        ]
        for thread in (chaos, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        stop.set()
        chaos.join()
        _check_level(server, findings)
        _check_ends(server.address, plan, expected, findings)
    return findings


def _guarded(findings: Findings, work: Callable[..., None], *arguments: object) -> None:
    try:
        work(*arguments)
    except Exception as error:  # the boundary: a thread of the test that fails is a broken promise, not silence
        findings.broke(f"A client failed with {type(error).__name__}: {error}")


def _undisturbed(address: str, seeds: int) -> dict[int, str]:
    with Client(address, timeout_s=60) as client:
        made = {}
        for seed in range(seeds):
            client.submit(job_of(f"undisturbed {seed}", seed))
            made[seed] = _digest(client.wait(f"undisturbed {seed}", silence_s=SILENCE_S))
    return made


def _client(address: str, plan: Plan, number: int, findings: Findings) -> None:
    """One client's jobs, all handed in at once, over a wire of its own."""
    rng = random.Random(plan.seed * 1000 + number)
    with Proxy(address) as proxy:
        jobs = [job_of(f"{number}-{index}", rng.randrange(plan.seeds)) for index in range(plan.jobs)]
        client = Client(proxy.address, timeout_s=SILENCE_S)
        for job in jobs:
            client.submit(job, priority=rng.choice((0, 0, 0, 1)))
        for job in jobs:
            client = _see_through(client, proxy, job.id, rng, findings)
        client.close()


def _see_through(client: Client, proxy: Proxy, job_id: str, rng: random.Random, findings: Findings) -> Client:
    """Wait for a job's end while all sorts of things happen; the client that is there in the end."""
    cancels = rng.random() < 0.15
    while True:
        for event in client.events(job_id, silence_s=SILENCE_S, tick_s=0.5):
            if isinstance(event, m.Ended):
                findings.saw(event)
                return client
            if rng.random() < 0.05:
                findings.count("cuts")
                proxy.cut()
            if cancels and rng.random() < 0.2:
                cancels = False
                findings.count("cancels")
                client.cancel(job_id)
            if rng.random() < 0.03:
                break
        findings.count("clients that left and came back")
        client.close()
        client = Client(proxy.address, timeout_s=SILENCE_S)


def _break_things(server: LastingServer, plan: Plan, findings: Findings, stop: threading.Event) -> None:
    rng = random.Random(plan.seed)
    until = time.monotonic() + plan.seconds
    next_worker = time.monotonic() + plan.worker_kill_s
    next_server = time.monotonic() + plan.server_kill_s
    while not stop.wait(0.2) and time.monotonic() < until:
        now = time.monotonic()
        if now > next_worker:
            next_worker = now + plan.worker_kill_s * rng.uniform(0.7, 1.3)
            findings.count("workers killed")
            os.kill(child_of(server.process.pid), signal.SIGKILL)
        if now > next_server:
            next_server = now + plan.server_kill_s * rng.uniform(0.7, 1.3)
            findings.count("servers killed")
            server.kill()
            time.sleep(rng.uniform(0, 2))
            server.start()


def _check_level(server: LastingServer, findings: Findings) -> None:
    """Hundreds of connections and requests to one server, all gone again: it is as it was."""
    with Client(server.address, timeout_s=60) as client:
        client.hello()
        before = _held(server.process.pid)
        for _ in range(100):
            with Client(server.address, timeout_s=60) as other:
                other.hello()
                other.request(m.Watch("undisturbed 0"), m.Accepted)
                other.poll(0.5)
        deadline = time.monotonic() + 10
        while _held(server.process.pid)[1] > before[1] + LEFT_FILES and time.monotonic() < deadline:
            time.sleep(0.1)
        after = _held(server.process.pid)
    if after[0] > before[0] + GROWTH:
        findings.broke(f"The front grew from {before[0] >> 20} to {after[0] >> 20} MiB.")
    if after[1] > before[1] + LEFT_FILES:
        findings.broke(f"The front holds {after[1]} files open, {before[1]} before.")


def _held(pid: int) -> tuple[int, int]:
    """Bytes of memory and open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _check_ends(address: str, plan: Plan, expected: dict[int, str], findings: Findings) -> None:
    """Every job has one end, the same for whoever asks, and what is finished is what it would have been."""
    with Client(address, timeout_s=60) as client:
        for number in range(plan.clients):
            rng = random.Random(plan.seed * 1000 + number)
            for index in range(plan.jobs):
                job_id, seed = f"{number}-{index}", rng.randrange(plan.seeds)
                try:
                    client.request(m.Watch(job_id), m.Accepted)
                    for event in client.events(job_id, silence_s=30):
                        if isinstance(event, m.Ended):
                            findings.saw(event)
                except errors.AssistiveError as error:
                    findings.broke(f"{job_id} is not there: {error}")
                _check_end(job_id, findings.ends.get(job_id, []), expected[seed], findings)


def _check_end(job_id: str, ends: list[str], expected: str, findings: Findings) -> None:
    if len(set(ends)) != 1:
        findings.broke(f"{job_id} ended as {ends}.")
        return
    how, what = ends[0].split(" ", 1)
    findings.count(f"jobs {how}")
    if how == "finished" and what != expected:
        findings.broke(f"{job_id} made another texture than an undisturbed run.")
    if how == "error" and "cancelled before it began" not in what and "ended unexpectedly" not in what:
        findings.broke(f"{job_id} failed: {what}")


def main() -> int:
    """Run, print, and say by the exit code whether all was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (("clients", int), ("jobs", int), ("seconds", float), ("seeds", int), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Plan, name))
    plan = Plan(**vars(parser.parse_args()))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ["ASSISTIVE_HOME"] = home
        findings = soak(plan, Path(home) / "jobs")
    for promise in findings.broken:
        print("BROKEN:", promise)
    told = ", ".join(f"{count} {what}" for what, count in sorted(findings.done.items()))
    verdict = f"{len(findings.broken)} promises broken" if findings.broken else "every promise kept"
    print(f"soak: {plan.clients} clients × {plan.jobs} jobs in {time.monotonic() - began:.0f} s; {told}; {verdict}")
    return 1 if findings.broken else 0


if __name__ == "__main__":
    sys.exit(main())
