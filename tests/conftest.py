"""What all tests need: keys of their own, so that they neither use nor change those of the person at work, and threads
that wait without spinning, as a worker's do (read when torch is first imported)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from shared.home import VARIABLE

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session", autouse=True)
def keys_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home for keys, in which all servers and clients of this run of the tests find each other."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ[VARIABLE]
    else:
        os.environ[VARIABLE] = before
