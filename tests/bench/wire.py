"""``make wire``: a large scene from a client to decoded, checked arrays in another process, beside plain memory through
a socket of the same machine in the same run. Ends with 1 when the wire reaches less than half of that.

The plain rate is measured twice: into memory that is new for each message, as any receiver of messages needs it (this
is what the wire is compared with), and into one buffer again and again, which is told too.
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection

import msgspec
import numpy as np
import zmq

from compute_server.bench_scene import bench_scene
from shared import messages as m
from shared.scene import Mesh, UvTexture
from shared.wire import byte_count, join, pack, split, unpack

TRIANGLES, TEXTURE, REPEATS = 1_000_000, 4096, 7
BAR = 0.5


def large_job() -> m.Job:
    """A grid of a million triangles with a texture of 4096²."""
    side = int(np.sqrt(TRIANGLES / 2))
    rng = np.random.default_rng(0)
    row, column = np.divmod(np.arange(side * side), side)
    corner = row * (side + 1) + column
    lower, upper = [corner, corner + 1, corner + side + 1], [corner + 1, corner + side + 2, corner + side + 1]
    triangles = np.concatenate([np.stack(lower, axis=1), np.stack(upper, axis=1)]).astype(np.int32)
    points = (side + 1) ** 2
    mesh = Mesh(
        name="grid",
        positions=rng.random((points, 3), np.float32),
        triangles=triangles,
        normals=rng.random((len(triangles), 3, 3), np.float32),
        uv=rng.random((len(triangles), 3, 2), np.float32),
        mask=np.ones(points, np.float32),
    )
    image = rng.integers(0, 256, (TEXTURE, TEXTURE, 3), np.uint8)
    scene = msgspec.structs.replace(bench_scene(16), mesh=mesh, texture=UvTexture(image))
    return m.Job(id="large", scene=scene, settings=m.Settings(target="golf ball"))


def _receive_plain(pipe: Connection, size: int, new: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        peer, _ = listener.accept()
        buffer = np.ones(size, np.uint8)
        with peer:
            for _ in range(REPEATS):
                buffer = np.empty(size, np.uint8) if new else buffer
                view = buffer.data
                while view:
                    view = view[peer.recv_into(view) :]
                peer.sendall(b"!")


def plain_seconds(size: int, *, new: bool) -> float:
    """Median time of `size` bytes through a socket into memory of another process."""
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_receive_plain, args=(theirs, size, new))
    process.start()
    data, times = np.ones(size, np.uint8).data, []
    with socket.create_connection(("127.0.0.1", pipe.recv())) as peer:
        for _ in range(REPEATS):
            began = time.perf_counter()
            peer.sendall(data)
            peer.recv(1)
            times.append(time.perf_counter() - began)
    process.join()
    return statistics.median(times)


def _receive_wire(pipe: Connection) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        pipe.send(router.bind_to_random_port("tcp://127.0.0.1"))
        for _ in range(REPEATS):
            client, *parts = router.recv_multipart(copy=False)
            message = unpack(join([part.buffer for part in parts])).message
            assert isinstance(message, m.Submit)
            triangles = message.job.scene.mesh.triangles
            assert not triangles.flags.owndata, "the array was copied after its pieces were put together"
            router.send_multipart([client.bytes, b"!"])


def wire_seconds(job: m.Job) -> float:
    """Median time from a job in one process to its decoded and validated arrays in another."""
    pipe, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_receive_wire, args=(theirs,))
    process.start()
    times = []
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.connect(f"tcp://127.0.0.1:{pipe.recv()}")
        for _ in range(REPEATS):
            began = time.perf_counter()
            dealer.send_multipart(split(pack(m.Submit(job))), copy=False)
            dealer.recv()
            times.append(time.perf_counter() - began)
    process.join()
    return statistics.median(times)


def main() -> int:
    """Measure both in turn, print, and say by the exit code whether the bar is met."""
    job = large_job()
    size = byte_count(pack(m.Submit(job)))
    plain, wire, reused = plain_seconds(size, new=True), wire_seconds(job), plain_seconds(size, new=False)
    share = plain / wire
    print(
        f"{TRIANGLES} triangles, {TEXTURE}² texels, {size / 1e6:.0f} MB:"
        f" {size / wire / 1e9:.2f} GB/s to checked arrays,"
        f" {size / plain / 1e9:.2f} GB/s plain through a socket ({size / reused / 1e9:.2f} into memory used before):"
        f" {share:.0%} (bar {BAR:.0%})"
    )
    return 0 if share >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
