"""A local server is found, started, and gone when it is no longer needed, whatever happens."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path

import pytest

from blender_addon import local_server
from blender_addon._shared import errors
from blender_addon.local_server import LocalServer

ANNOUNCE = "import sys; print('assistive-server listening on tcp://127.0.0.1:4711', flush=True); "
WAIT_FOR_EOF = "sys.stdin.read()"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="looks at processes in the POSIX way")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def process_id(server: LocalServer) -> int:
    assert server._process is not None
    return server._process.pid


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_address_is_what_the_server_announces() -> None:
    noise = "print('a warning of some library', flush=True); "
    with LocalServer(command=python(noise + ANNOUNCE + WAIT_FOR_EOF)) as server:
        assert server.address == "tcp://127.0.0.1:4711"
        pid = process_id(server)
    assert not is_running(pid)


def test_the_server_is_asked_to_bind_a_free_local_port_and_to_end_with_us(tmp_path: Path) -> None:
    path = tmp_path / "arguments"
    note = f"open({str(path)!r}, 'w').write(' '.join(sys.argv[1:])); "
    with LocalServer(device="cpu", command=python("import sys; " + note + ANNOUNCE + WAIT_FOR_EOF)):
        assert path.read_text() == "serve --bind tcp://127.0.0.1:0 --device cpu --exit-with-parent"


def test_a_server_that_dies_at_its_start_is_reported_with_its_last_words() -> None:
    with pytest.raises(errors.ServerUnreachable, match="ended with code 1 at its start") as caught:
        LocalServer(command=python("raise SystemExit('no torch here')")).__enter__()
    assert "no torch here" in caught.value.hint


def test_a_silent_server_is_given_up_and_ended() -> None:
    server = LocalServer(command=python("import time; time.sleep(60)"), start_s=0.3)
    began = time.monotonic()
    with pytest.raises(errors.ServerUnreachable, match=r"said nothing for 0\.3 s"):
        server.__enter__()
    assert time.monotonic() - began < 5
    assert server._process is None


def test_a_server_that_will_not_end_is_killed() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    with LocalServer(command=python(stubborn + ANNOUNCE + "time.sleep(60)"), grace_s=0.3) as server:
        pid = process_id(server)
    assert not is_running(pid)


def test_the_server_ends_when_the_block_fails() -> None:
    pids: list[int] = []

    def failing_block() -> None:
        with LocalServer(command=python(ANNOUNCE + WAIT_FOR_EOF)) as server:
            pids.append(process_id(server))
            raise KeyError

    with pytest.raises(KeyError):
        failing_block()
    assert not is_running(pids[0])


def test_a_server_that_dies_during_the_job_is_noticed() -> None:
    with LocalServer(command=python(ANNOUNCE + "sys.exit('out of memory')")) as server:
        assert server._process is not None
        server._process.wait(10)
        with pytest.raises(errors.ServerUnreachable, match="ended with code") as caught:
            server.check_alive()
    assert "out of memory" in caught.value.hint


def test_a_talkative_server_does_not_block() -> None:
    chatter = "sys.stdout.write('x' * 1_000_000); print(); print('done', file=sys.stderr); "
    with LocalServer(command=python(ANNOUNCE + chatter + WAIT_FOR_EOF)) as server:
        deadline = time.monotonic() + 10
        while "done" not in server.last_words():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_log_is_left_behind() -> None:
    with LocalServer(command=python(ANNOUNCE + WAIT_FOR_EOF)) as server:
        log = server._log
        assert log is not None
        assert log.exists()
    assert not log.exists()


def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(errors.ServerUnreachable, match="cannot be started") as caught:
        LocalServer(command=["/nowhere/assistive-server"]).__enter__()
    assert "/nowhere/assistive-server" in caught.value.message


def test_the_environment_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local_server.VARIABLE, shlex.join(["ssh", "gpu box", "assistive-server"]))
    assert local_server.server_command() == ["ssh", "gpu box", "assistive-server"]


def test_this_python_serves_when_the_server_is_installed_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(local_server.VARIABLE, raising=False)
    monkeypatch.setattr(local_server, "_inside_blender", lambda: False)
    assert local_server.server_command() == [sys.executable, "-m", "compute_server.cli"]


def test_inside_blender_only_the_path_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(local_server.VARIABLE, raising=False)
    monkeypatch.setattr(local_server, "_inside_blender", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ServerUnreachable, match="No compute server is installed"):
        local_server.server_command()
    (tmp_path / "assistive-server").write_text("#!/bin/sh\n")
    (tmp_path / "assistive-server").chmod(0o755)
    assert local_server.server_command() == [str(tmp_path / "assistive-server")]
