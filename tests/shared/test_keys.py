"""Servers elsewhere are trusted once, by their key; a secret is shown nowhere."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shared import keys
from shared.errors import InvalidInput, ServerUnreachable, UntrustedServer
from shared.home import VARIABLE

ELSEWHERE = "tcp://render.example.org:5765"


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_unknown_server_elsewhere_is_sent_nothing() -> None:
    with pytest.raises(UntrustedServer, match="keys show"):
        keys.credentials(ELSEWHERE)


def test_an_address_of_this_machine_without_a_server_is_said_to_be_empty() -> None:
    with pytest.raises(ServerUnreachable, match=r"No answer from tcp://127\.0\.0\.1:9"):
        keys.credentials("tcp://127.0.0.1:9")


def test_a_server_is_trusted_once() -> None:
    key = keys.new_pair().public
    keys.trust_first(ELSEWHERE, key)
    keys.trust_first(ELSEWHERE, key)
    assert keys.credentials(ELSEWHERE) == keys.Credentials(key, keys.own_pair())


def test_another_key_at_a_trusted_address_is_refused_with_both_fingerprints() -> None:
    first, second = keys.new_pair().public, keys.new_pair().public
    keys.trust_first(ELSEWHERE, first)
    with pytest.raises(UntrustedServer) as caught:
        keys.trust_first(ELSEWHERE, second)
    assert keys.fingerprint(first) in str(caught.value)
    assert keys.fingerprint(second) in str(caught.value)
    assert keys.credentials(ELSEWHERE).server == first


def test_a_server_here_is_found_for_as_long_as_it_runs_whatever_loopback_is_called() -> None:
    key = keys.new_pair().public
    with keys.announced("tcp://127.0.0.1:4711", key):
        assert keys.credentials("tcp://localhost:4711").server == key
    with pytest.raises(ServerUnreachable):
        keys.credentials("tcp://localhost:4711")


def test_a_key_can_be_pasted_with_spaces_and_capitals() -> None:
    key = keys.new_pair().public
    assert keys.parse_key(f" {key[:32].upper()}\n{key[32:]} ") == key
    with pytest.raises(InvalidInput, match="64 digits"):
        keys.parse_key(key[1:])


def test_many_who_start_at_once_agree_on_their_key() -> None:
    found: list[keys.KeyPair] = []
    threads = [threading.Thread(target=lambda: found.append(keys.own_pair())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({pair.public for pair in found}) == 1


def test_a_secret_is_not_printed() -> None:
    pair = keys.new_pair()
    assert pair.secret not in f"{pair!r} {keys.Credentials(pair.public, pair)!r}"


def test_a_key_file_that_is_damaged_is_named(own_home: Path) -> None:
    keys.own_pair()
    (own_home / keys.CLIENT_KEY).write_text("{}")
    with pytest.raises(InvalidInput, match=r"client\.key cannot be read"):
        keys.own_pair()
