"""The relay's metrics, for Prometheus (docs/operations.md lists them).

What is counted is counted where it happens, in plain numbers; this reads them when it is asked.
No name, token or address is in a label: their number has no bound, and who shares is nobody's
business who watches a machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from relay.operation.counts import Counts
from relay.operation.private_http import Page
from relay.operation.sources import Sources

# Seconds: a loop that is late by 1 ms is idle, by 50 ms busy, by 1 s overloaded.
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class RelayCollector(Collector):
    """Reads the counts of a relay."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        accounting = sources.registry.accounting
        self._counts = accounting.add(Counts(accounting))

    def describe(self) -> list[Metric]:
        """See prometheus_client: nothing has to be asked for when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        build = GaugeMetricFamily("vrelay_build_info", "The version that runs.", labels=["version"])
        build.add_metric([version("vshare")], 1)
        yield build
        yield from self._shares()
        yield from self._flows()
        yield from self._connections()
        yield from self._certificate()
        if self._sources.history is not None:
            left_out = self._sources.history.left_out
            yield _counter("history_rows_dropped", "Rows that the disk was too slow for.", left_out)
        yield _gauge("draining", "1 while it takes nobody new, else 0.", self._sources.is_leaving())
        cluster = self._sources.cluster
        if cluster is not None:
            hears = cluster.member.has_store
            yield _gauge("cluster_redis_up", "1 while Redis answers this node, else 0.", hears)
            text = "Relays of the cluster that this one knows, itself among them."
            yield _gauge("cluster_nodes", text, 1 + len(cluster.member.directory.others()))

    def _shares(self) -> Iterator[Metric]:
        registry, control = self._sources.registry, self._sources.control
        shares = registry.shares()
        parked = [len(share.lot) for share in shares]
        yield _gauge("shares", "Shares that are connected.", len(shares))
        yield _gauge("shares_max", "Shares that it takes at most.", registry.max_shares)
        yield _gauge("parked_connections", "Connections that shares keep ready.", sum(parked))
        yield _gauge("lots_empty", "Shares without one: their next guest waits.", parked.count(0))
        on_disk = self._sources.names.is_on_disk
        yield _gauge("names_on_disk", "1 while the name book can be written, else 0.", on_disk)
        registered = self._counts.registered
        yield _counter("registrations", "Shares that were registered.", registered)
        yield _counts(
            "registrations_refused", "Registrations that were refused.", "reason", control.refused
        )
        yield _counts("shares_ended", "Sessions of shares that ended.", "how", self._counts.ended)

    def _flows(self) -> Iterator[Metric]:
        counts = self._counts
        visits = GaugeMetricFamily(
            "vrelay_streams",
            "Connections of visitors to shares that last, by how they came.",
            labels=["kind"],
        )
        for kind, count in sorted(counts.open().items()):
            visits.add_metric([kind], count)
        yield visits
        yield _counts("streams_opened", "Those that have begun.", "kind", counts.visits)
        text = "What visitors received from shares (out) and sent to them (in)."
        moved = CounterMetricFamily("vrelay_stream_bytes", text, labels=["kind", "direction"])
        for direction, sums in zip(("out", "in"), counts.bytes(), strict=True):
            for kind, count in sorted(sums.items()):
                moved.add_metric([kind, direction], count)
        yield moved
        text = "Requests to shares that passed the gateway."
        yield _counts("http_requests", text, "status", counts.requests)
        seconds = counts.request_seconds
        yield HistogramMetricFamily(
            "vrelay_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            buckets=seconds.cumulative(),
            sum_value=seconds.sum,
        )

    def _connections(self) -> Iterator[Metric]:
        admission = self._sources.admission
        budget, joins = admission.budget, admission.joins
        yield _gauge("connections", "Connections to the public ports.", admission.connections)
        yield _gauge("connections_max", "As many are taken at most.", budget.connections)
        yield _gauge(
            "connections_undecided", "Those whose first bytes are awaited.", admission.undecided
        )
        turned_away: dict[str, int] = {}
        for front in self._sources.fronts:
            for reason, count in front.turned_away.items():
                turned_away[reason] = turned_away.get(reason, 0) + count
        yield _counts(
            "connections_turned_away", "Closed as they were accepted.", "reason", turned_away
        )
        yield _gauge("handshakes", "TLS handshakes with shares under way.", admission.handshakes)
        yield _counts(
            "handshakes_failed",
            "Handshakes with shares, or what only looks like it, that came to nothing.",
            "reason",
            admission.handshakes_failed,
        )
        yield _counts("visitors_refused", "Told no, by why.", "reason", admission.refused)
        yield _counts("joins", "Tries to join by a code, whatever came of it.", "outcome", joins)

    def _certificate(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "vrelay_certificate_expiry_timestamp_seconds",
            "When the certificate ends that new connections are shown.",
            self._sources.shown.current.ends.timestamp(),
        )
        if self._sources.acme is not None:
            outcomes = self._sources.acme.outcomes
            yield _counts("acme_requests", "Certificates asked for.", "outcome", outcomes)


class Metrics:
    """All metrics of a relay, as a page."""

    def __init__(self, sources: Sources) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(RelayCollector(sources))
        ProcessCollector(registry=self.registry)
        self.lag = Histogram(
            "vrelay_event_loop_lag_seconds",
            "How late the relay's loop is, looked at once a second.",
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )

    async def page(self) -> Page:
        """What Prometheus reads."""
        return Page(HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vrelay_{name}", text, value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"vrelay_{name}", text, value)


def _counts(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"vrelay_{name}", text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
