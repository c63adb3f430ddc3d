"""``/metrics`` for Prometheus: what an operator's alarm needs, in numbers, never a home or a person.

Everything is read when it is asked for; only request times are kept.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpp.entrypoints.operations import board, health, rails
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.events import list_events
from vpp.entrypoints.operations.live import Live
from vpp.ports import StoreUnavailable

OUTCOMES = ("received", "stored", "duplicate", "lost")
WATTS = ("asked", "planned", "measured", "estimated", "shortfall")
BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """The registry of one application."""

    def __init__(self, desk: Callable[[], Desk], readiness: Callable[[], Awaitable[Json]]) -> None:
        self._desk, self._readiness = desk, readiness
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._said = _Said()
        self._registry.register(self._said)
        self.request_seconds = Histogram(
            "vpp_request_seconds",
            "Time to the end of an answer",
            ("operation", "status"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    async def page(self, followers: int) -> bytes:
        """Return all figures as text; ``followers`` is how many boards are followed."""
        ready = GaugeMetricFamily("vpp_ready", "1 where what the service needs is there", labels=("part",))
        for part, there in (await self._readiness()).items():
            ready.add_metric((part,), float(bool(there)))
        followed = GaugeMetricFamily("vpp_boards_followed", "Boards followed as streams", value=followers)
        self._said.families = [ready, followed]
        try:
            desk = self._desk()
            if desk.live is not None:
                self._said.families += _traffic(desk.live)
                self._said.families += await _fleet(desk)
                self._said.families += await _links(desk)
                self._said.families += await _events(desk)
            self._said.families += await _seasons(desk)
        except StoreUnavailable:
            pass  # vpp_ready says so; what needs the database is absent, not zero
        return generate_latest(self._registry)


class _Said(Collector):
    """Gives what was last collected."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.families


def _traffic(live: Live) -> list[Metric]:
    traffic = cast("Mapping[str, Any]", live.controller.traffic())
    messages = CounterMetricFamily(
        "vpp_messages", "Messages by kind and what became of them", labels=("kind", "outcome")
    )
    for kind, counts in traffic["topics"].items():
        for outcome in OUTCOMES:
            messages.add_metric((kind, outcome), counts[outcome])
        messages.add_metric((kind, "refused"), sum(counts["refused"].values()))
    shed = CounterMetricFamily("vpp_shed_packets", "Packets given up: a queue was full", labels=("way",))
    for way, count in traffic["shed"].items():
        shed.add_metric((way,), count)
    pending = GaugeMetricFamily(
        "vpp_pending_facts", "Facts whose stage failed lately", value=len(traffic["pending"])
    )
    return [messages, shed, pending]


async def _fleet(desk: Desk) -> list[Metric]:
    found: Mapping[str, Any] = await board.list_fleet(desk, limit=1)
    sites = GaugeMetricFamily("vpp_sites", "Homes", labels=("state",))
    sites.add_metric(("enrolled",), found["enrolled"])
    sites.add_metric(("online",), found["online"])
    reasons = GaugeMetricFamily("vpp_sites_by_reason", "Homes by eligibility now", labels=("reason",))
    for reason, count in found["by_reason"].items():
        reasons.add_metric((reason,), count)
    spare = GaugeMetricFamily(
        "vpp_spare_watts", "What idle homes could hold for an hour", value=found["spare_w"]
    )
    return [sites, reasons, spare]


async def _links(desk: Desk) -> list[Metric]:
    found = cast("Mapping[str, Any]", await health.show_health(desk))
    answers = GaugeMetricFamily("vpp_answer_seconds", "To a command's acknowledgement", labels=("quantile",))
    if found["answers"]["count"]:
        for quantile in ("50", "99"):
            answers.add_metric((f"0.{quantile}",), found["answers"][f"p{quantile}_s"])
    clocks = GaugeMetricFamily("vpp_sites_clock_off", "Clocks off over 5 s", value=found["clocks"]["off"])
    gaps = GaugeMetricFamily("vpp_sites_reading_gaps", "Homes with a gap", value=found["gaps"]["sites"])
    days = GaugeMetricFamily("vpp_certificate_days", "Days that a certificate still holds", labels=("file",))
    for certificate in found["certificates"]:
        if certificate["days_left"] is not None:
            days.add_metric((certificate["file"],), certificate["days_left"])
    contested = GaugeMetricFamily(
        "vpp_sites_contested", "Homes with readings of a day that do not count", labels=("reason",)
    )
    for reason, homes in found["contested"].items():
        contested.add_metric((reason,), homes["sites"])
    return [answers, clocks, gaps, contested, days]


async def _events(desk: Desk) -> list[Metric]:
    """Return the figures of events that are on or wait, tests marked; a past event's series end."""
    listed = cast("list[Mapping[str, Any]]", (await list_events(desk))["events"])
    states = GaugeMetricFamily("vpp_events", "Events by state", labels=("state",))
    power = GaugeMetricFamily("vpp_event_watts", "Power of an event", labels=("event", "test", "figure"))
    homes = GaugeMetricFamily("vpp_event_sites", "Homes of an event", labels=("event", "test", "proof"))
    age = GaugeMetricFamily("vpp_event_newest_reading_seconds", "Age of the newest", labels=("event", "test"))
    blind = GaugeMetricFamily("vpp_event_blind", "1: most fell silent at once", labels=("event", "test"))
    counts: dict[str, int] = {"active": 0, "waiting_for_approval": 0, "waiting_for_force": 0}
    for event in listed:
        counts[event["state"]] = counts.get(event["state"], 0) + 1
        if event["state"] != "active":
            continue
        facts: Mapping[str, Any] = await board.show_board(desk, event_id=event["event_id"])
        name = (event["event_id"], str(bool(event["test"])).lower())
        for figure in WATTS:
            power.add_metric((*name, figure), facts[f"{figure}_w"])
        for proof, count in facts["proof"].items():
            homes.add_metric((*name, proof), count)
        if facts["newest_age_s"] is not None:
            age.add_metric(name, facts["newest_age_s"])
        blind.add_metric(name, float(facts["blind"]))
    for state, count in counts.items():
        states.add_metric((state,), count)
    return [states, power, homes, age, blind]


async def _seasons(desk: Desk) -> list[Metric]:
    used = GaugeMetricFamily(
        "vpp_season_seconds", "Used or scheduled of a season", labels=("program", "figure")
    )
    listed = cast("list[Mapping[str, Any]]", (await rails.list_programs(desk))["programs"])
    for program in listed:
        if program["terms"] is not None:
            for figure in ("used", "cap"):
                used.add_metric((program["program_id"], figure), program["terms"][f"season_{figure}_s"])
    return [used]


class RequestTimes:
    """Measure every answer by the name of its route; paths would name homes."""

    def __init__(self, app: ASGIApp, *, seconds: Histogram) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note how long its answer took; a stream is not timed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, left = time.perf_counter(), 0, False

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
            left = not status  # who left in mid-sentence is given no answer
        finally:
            operation = getattr(scope.get("endpoint"), "__name__", "none")
            if operation != "follow_board" and not left:
                taken_s = time.perf_counter() - began
                self._seconds.labels(operation, f"{(status or 500) // 100}xx").observe(taken_s)
