"""Who may connect: everyone that the owner has let in, and nobody else, whatever they try."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from helpers import intruders
from helpers.jobs import small_job
from helpers.server import running_server

from compute_server import cli, security
from compute_server.bench_scene import bench_scene
from compute_server.front import Front
from shared import errors, keys
from shared import messages as m
from shared.client import Client
from shared.home import VARIABLE, home
from shared.version import VERSION

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running_server() as (_, address):
        yield address


@pytest.fixture
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keys of this test alone."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("who", intruders.INTRUDERS)
def test_who_was_not_let_in_gets_no_message(who: str, address: str) -> None:
    got = intruders.INTRUDERS[who](address)
    assert got.messages == 0
    assert isinstance(intruders.let_in(address), m.Welcome)


def test_a_client_that_is_removed_is_disconnected_at_once(address: str) -> None:
    assert intruders.removed(address) == intruders.Got(0, 0, ended=True)


def test_the_page_names_every_intruder_that_is_tried() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [who for who in intruders.INTRUDERS if f"| {who} |" not in page] == []


def test_removing_one_client_leaves_the_others_connected(address: str) -> None:
    pairs = {name: keys.new_pair() for name in ("stays", "goes")}
    for name, pair in pairs.items():
        security.add_client(name, pair.public)
    server = keys.credentials(address).server
    with (
        Client(address, own=keys.Credentials(server, pairs["stays"])) as stays,
        Client(address, own=keys.Credentials(server, pairs["goes"])) as goes,
    ):
        assert (stays.hello().version, goes.hello().version) == (VERSION, VERSION)
        security.remove_client("goes")
        with pytest.raises(errors.ServerUnreachable):
            goes.hello(timeout_s=1)
        assert stays.hello().version == VERSION
    security.remove_client("stays")


def test_a_client_that_waits_is_let_in_once_it_is_added(address: str) -> None:
    pair = keys.new_pair()
    with Client(address, own=keys.Credentials(keys.credentials(address).server, pair)) as client:
        with pytest.raises(errors.ServerUnreachable):
            client.hello(timeout_s=0.5)
        security.add_client("late", pair.public)
        assert client.hello(timeout_s=30).version == VERSION
    security.remove_client("late")


def test_who_connects_twice_is_still_one_client_with_the_limits_of_one() -> None:
    other = keys.new_pair()
    security.add_client("other", other.public)
    with running_server("--max-jobs-per-client", "1") as (_, address):
        server = keys.credentials(address).server
        with (
            Client(address, timeout_s=60) as first,
            Client(address, timeout_s=60) as again,
            Client(address, own=keys.Credentials(server, other), timeout_s=60) as someone_else,
        ):
            first.submit(small_job("first", bench_scene(64), steps=100_000))
            with pytest.raises(errors.InvalidInput, match="1 of your jobs are waiting already"):
                again.submit(small_job("second", bench_scene(64)))
            assert someone_else.submit(small_job("third", bench_scene(64))).state == "queued"
            first.cancel("first")
    security.remove_client("other")


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:0", "tcp://*:0", "tcp://[::]:0"])
def test_a_server_that_others_can_reach_is_not_started_while_nobody_is_let_in(bind: str, own_home: Path) -> None:
    del own_home
    with pytest.raises(errors.InvalidInput, match="no client is let in yet"):
        Front(bind)


def test_a_server_that_others_can_reach_is_found_by_its_owner_too(own_home: Path) -> None:
    del own_home
    security.add_client("elsewhere", keys.new_pair().public)
    with running_server("--bind", "tcp://0.0.0.0:0") as (_, address):
        port = address.rpartition(":")[2]
        with Client(f"127.0.0.1:{port}") as client:
            assert client.hello(timeout_s=30).version == VERSION


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
def test_keys_are_readable_by_their_owner_only(address: str) -> None:
    Client(address).close()
    port = address.rpartition(":")[2]
    for name in (keys.SERVER_KEY, keys.CLIENT_KEY, f"{keys.RUNNING}/{port}.json"):
        assert stat.S_IMODE((home() / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((home() / keys.RUNNING).stat().st_mode) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="file modes are POSIX's")
def test_a_key_that_others_can_read_is_refused(own_home: Path) -> None:
    keys.own_pair(keys.SERVER_KEY)
    (own_home / keys.SERVER_KEY).chmod(0o644)
    with pytest.raises(errors.InvalidInput, match=r"server\.key can be read or changed by others\. chmod 600"):
        keys.own_pair(keys.SERVER_KEY)


def test_a_list_of_clients_that_cannot_be_read_lets_no_client_in(own_home: Path) -> None:
    pair = keys.new_pair()
    security.add_client("artist", pair.public)
    with running_server() as (_, address):
        server = keys.credentials(address).server
        with Client(address, own=keys.Credentials(server, pair)) as client, Client(address) as owner:
            client.hello(timeout_s=30)
            (own_home / security.CLIENTS).write_text("{")
            with pytest.raises(errors.ServerUnreachable):
                client.hello(timeout_s=1)
            assert owner.hello().version == VERSION


def test_the_worker_is_reached_by_keys_where_there_are_no_file_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * zmq.IPC_PATH_MAX_LEN)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with running_server() as (_, address), Client(address, timeout_s=120) as client:
        assert len(client.request(m.ListTargets(), m.Targets).labels) == 1000


def test_keys_are_shown_added_listed_and_removed(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    del own_home
    key = keys.new_pair().public
    assert cli.main(["keys", "show"]) == 0
    shown = capsys.readouterr().out.split()
    assert keys.fingerprint(shown[1]) in " ".join(shown)
    assert cli.main(["keys", "add", "artist", key]) == 0
    assert cli.main(["keys", "list"]) == 0
    assert f"{keys.fingerprint(key)}  artist" in capsys.readouterr().out
    assert cli.main(["keys", "remove", "artist"]) == 0
    assert cli.main(["keys", "list"]) == 0
    assert "artist\n" not in capsys.readouterr().out.partition("let in no longer")[2]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["add", "artist", "12ab"], "is no key"),
        (["add", "a/b", "0" * 64], "is no name for a client"),
        (["remove", "nobody"], "There is no client called 'nobody'"),
    ],
)
def test_a_wrong_key_or_name_is_a_sentence(
    command: list[str], sentence: str, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del own_home
    assert cli.main(["keys", *command]) == 2
    assert sentence in capsys.readouterr().err


def test_a_name_does_not_silently_change_its_key(own_home: Path) -> None:
    del own_home
    security.add_client("artist", keys.new_pair().public)
    with pytest.raises(errors.InvalidInput, match="another client called 'artist'"):
        security.add_client("artist", keys.new_pair().public)
