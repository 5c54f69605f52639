"""The server's figures for Prometheus, on a port of this machine. Read only, and only numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from shared.errors import AddressInUse

from .figures import Figures


class _Collector:
    def __init__(self, figures: Callable[[], Figures]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus' library for each request."""
        now = self._figures()
        for name, text, value in (
            ("running", "Jobs that run now.", now.running),
            ("waiting", "Jobs that wait.", now.waiting),
            ("clients_behind", "Clients that something could not be sent to yet.", now.clients_behind),
            ("worker_silent_seconds", "How long a worker that is at work has given no sign of life.", now.silent_s),
        ):
            yield GaugeMetricFamily(f"assistive_{name}", text, value=value)
        ended = CounterMetricFamily("assistive_jobs", "Jobs that have ended.", labels=["state"])
        for state, count in now.ended.items():
            ended.add_metric([state], count)
        yield ended
        yield CounterMetricFamily("assistive_workers_lost", "Workers that died or hung.", value=now.workers_lost)


def serve(port: int, figures: Callable[[], Figures]) -> int:
    """Answer on this port of 127.0.0.1 in a thread (0: any free one); the port."""
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    try:
        server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise AddressInUse(f"The port {port} for metrics is taken by another program.") from error
    return int(server.server_port)
