"""A network that can be made bad: a TCP proxy on this machine that cuts, delays or holds back what goes through it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from shared import keys

CHUNK = 1 << 16


class Proxy:
    """Forwards connections to `address` (``tcp://127.0.0.1:PORT``), as a context manager.

    ``delay_s`` is waited before each piece of up to 64 KiB that is passed on; while ``stalled``, nothing is, and nobody
    is told. ``passed`` counts the bytes that went to the server.
    """

    def __init__(self, address: str) -> None:
        self._target = ("127.0.0.1", int(address.rpartition(":")[2]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        self.delay_s = 0.0
        self.stalled = False
        self.passed = 0
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._announced = keys.announced(self.address, keys.credentials(address).server)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        self._announced.__enter__()  # whoever knows the server knows it here, too
        return self

    def __exit__(self, *_error: object) -> None:
        self._announced.__exit__(None, None, None)
        self._closed = True
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break every connection, in the middle of whatever it carries."""
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:  # the server is just not there; the client will try again
                client.close()
                continue
            self._pairs.append((client, server))
            threading.Thread(target=self._forward, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                if self.stalled:
                    time.sleep(0.01)
                    continue
                if not select.select([source], [], [], 0.05)[0]:
                    continue
                data = source.recv(CHUNK)
                if not data:
                    break
                time.sleep(self.delay_s)
                sink.sendall(data)
                self.passed += len(data) * counted
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.close()
