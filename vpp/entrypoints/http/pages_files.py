"""The operator's tables as files: RFC 4180, units in the header, UTC beside local time."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from vpp.entrypoints.http.pages_dispatch import wish_of
from vpp.entrypoints.http.pages_operator import csv_file, latest_first, with_local
from vpp.entrypoints.http.visitor import AtDesk, Dispatcher, TrailReader, Watcher
from vpp.entrypoints.operations import (
    alarms,
    counties,
    evening,
    events,
    otherwise,
    rails,
    reports,
    tracing,
    traffic,
    trail,
)
from vpp.entrypoints.operations import preview as previewing
from vpp.entrypoints.operations.desk import Json, OperationRefused

EVENTS = (
    "event_id", "name", "state", "test", "source", "program_id", "starts_at", "starts_at_local", "ends_at",
    "ends_at_local", "power_w", "targets", "out_of_program", "forced",
)  # fmt: skip
COUNTIES = ("name", "sites", "online", "ready", "spare_w", "delivered_w", "estimated_w")
ALARMS = (
    "key", "kind", "subject", "raised_at", "raised_at_local", "answered_by", "answered_at",
    "answered_at_local", "cleared_at", "cleared_at_local",
)  # fmt: skip
TRAIL = ("at", "at_local", "actor", "action", "subject", "reason", "request_id")
COURSE = (
    "at", "at_local", "requested_w", "planned_w", "measured_w", "estimated_w", "shortfall_w", "sites",
    "commands", "revision",
)  # fmt: skip
TRACE = (
    "at", "at_local", "what", "power_w", "sequence", "starts_at", "starts_at_local", "expires_at",
    "expires_at_local", "detail",
)  # fmt: skip
PLACES = ("utility", "county", "feeder")
FIRM = ("name", "sites", "p90_w", "p50_w", "p10_w", "planned_w", "cost_usd")
REASONS = ("reason", "sites")
OTHERWISE = (
    "at", "at_local", "asked_w", "planned_w", "other_planned_w", "shortfall_w", "other_shortfall_w", "sites",
    "other_sites", "level_pct", "other_level_pct",
)  # fmt: skip
TERMS = (
    "window_opens", "window_closes", "event_min_s", "event_max_s", "season_cap_s", "season_used_s",
    "season_scheduled_s", "season_left_s", "season_minimum_s", "season_first", "season_last",
    "season_starts_on", "season_over", "rate_usd_per_kwh", "also_enrolled", "ends_others", "pays",
)  # fmt: skip
PROGRAMS = ("program_id", "name", "utility", "time_zone", "currency", "nominated_w", *TERMS)
MESSAGES = ("kind", "received", "stored", "duplicate", "lost", "refused", "refused_why")
TRAIL_MOST = 100_000

router = APIRouter(prefix="/operator")


@router.get("/events.csv")
async def events_file(_visitor: Watcher, desk: AtDesk) -> Response:
    """Return every event, the latest beginning first; ``power_w`` of each step, ``all`` without a bound."""
    rows = [_event_row(event) for event in await latest_first(desk)]
    return csv_file("events.csv", EVENTS, rows)


def _event_row(event: Any) -> Json:
    powers = ("all" if step["power_w"] is None else str(step["power_w"]) for step in event["steps"])
    row = event | {
        "power_w": " ".join(powers),
        "targets": " ".join(event["targets"]),
        "out_of_program": " ".join(event["out_of_program"]),
    }
    return with_local(row, event["time_zone"], ("starts_at", "ends_at"))


@router.get("/events/{event_id}/hours.csv")
async def hours_file(_visitor: Watcher, desk: AtDesk, event_id: str) -> Response:
    """Return what a settled event delivered in each clock hour over all homes, with quality flags."""
    report = await reports.report_event(desk, event_id=event_id)
    headers = {"Content-Disposition": 'attachment; filename="hours.csv"'}
    return Response(str(report["hours_csv"]), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/events/{event_id}/reasons.csv")
async def reasons_file(_visitor: Watcher, desk: AtDesk, event_id: str) -> Response:
    """Return how many homes are in or out of an event's newest plan, by reason."""
    plan: Any = (await events.show_event(desk, event_id=event_id))["plan"]
    counts = plan["reasons"].items() if plan else ()
    return csv_file("reasons.csv", REASONS, [{"reason": reason, "sites": sites} for reason, sites in counts])


@router.get("/events/{event_id}/otherwise.csv")
async def otherwise_file(_visitor: Watcher, desk: AtDesk, event_id: str, floor: str) -> Response:
    """Return an event's plans beside those with another reserve floor."""
    found: Any = await otherwise.replay_otherwise(desk, event_id=event_id, floor=floor[:10])
    rows = [with_local(each, found["time_zone"], ("at",)) for each in found["plans"]]
    return csv_file("otherwise.csv", OTHERWISE, rows)


@router.get("/events/{event_id}/course.csv")
async def course_file(_visitor: Watcher, desk: AtDesk, event_id: str) -> Response:
    """Return how an event went, tick by tick."""
    zone = str((await events.outline_event(desk, event_id=event_id))["time_zone"])
    found: Any = await evening.show_evening(desk, event_id=event_id)
    rows = [with_local(frame, zone, ("at",)) for frame in found["frames"]]
    return csv_file("course.csv", COURSE, rows)


@router.get("/events/{event_id}/sites/{site_id}/trace.csv")
async def trace_file(_visitor: Watcher, desk: AtDesk, event_id: str, site_id: str) -> Response:
    """Return every command's life at one home, from the signal to the meter."""
    found: Any = await tracing.trace_site(desk, site_id=site_id, event_id=event_id)
    zone, times = found["time_zone"], ("at", "starts_at", "expires_at")
    return csv_file("trace.csv", TRACE, [with_local(step, zone, times) for step in found["steps"]])


@router.get("/counties.csv")
async def counties_file(_visitor: Watcher, desk: AtDesk) -> Response:
    """Return what could be had and what is delivered, by county."""
    found: Any = await counties.list_counties(desk)
    return csv_file("counties.csv", COUNTIES, found["counties"])


@router.get("/preview.csv")
async def preview_file(request: Request, _visitor: Dispatcher, desk: AtDesk, by: str = "county") -> Response:
    """Return what an event would get now, by utility, county, feeder, or reason; asked as the form is."""
    if by not in (*PLACES, "reason"):
        raise OperationRefused(f"A preview comes by {', '.join(PLACES)} or reason.")
    wish, test = wish_of(request.query_params), request.query_params.get("test") == "yes"
    found: Any = await previewing.preview_event(desk, **wish, test=test)
    if by == "reason":
        counts = [{"reason": reason, "sites": sites} for reason, sites in found["reasons"].items()]
        return csv_file("preview-by-reason.csv", REASONS, counts)
    return csv_file(f"preview-by-{by}.csv", FIRM, found[f"firm_by_{by}"])


@router.get("/programs.csv")
async def programs_file(_visitor: Watcher, desk: AtDesk) -> Response:
    """Return what each program allows and has used; without terms in force today their cells are empty."""
    found: Any = await rails.list_programs(desk)
    return csv_file("programs.csv", PROGRAMS, [_program_row(each) for each in found["programs"]])


def _program_row(program: Any) -> Json:
    lists = ("also_enrolled", "ends_others")
    terms: Any = program["terms"] or {**dict.fromkeys(TERMS), **dict.fromkeys(lists, ())}
    row: Json = program | terms | {name: " ".join(terms[name]) for name in lists}
    return row


@router.get("/messages.csv")
async def messages_file(_visitor: Watcher, desk: AtDesk) -> Response:
    """Return what became of messages since the start, by kind."""
    found: Any = await traffic.show_traffic(desk)
    rows = [
        {"kind": kind, **counts}
        | {
            "refused": sum(counts["refused"].values()),
            "refused_why": " ".join(f"{why}:{count}" for why, count in counts["refused"].items()),
        }
        for kind, counts in found["topics"].items()
    ]
    return csv_file("messages.csv", MESSAGES, rows)


@router.get("/alarms.csv")
async def alarms_file(_visitor: Watcher, desk: AtDesk) -> Response:
    """Return alarms, the newest first."""
    found: Any = await alarms.list_alarms(desk)
    zone = desk.staff_zone
    times = ("raised_at", "answered_at", "cleared_at")
    return csv_file("alarms.csv", ALARMS, [with_local(each, zone, times) for each in found["alarms"]])


@router.get("/trail.csv")
async def trail_file(_visitor: TrailReader, desk: AtDesk, subject: str = "") -> Response:
    """Return the trail, the newest first, at most 100,000 entries."""
    found: Any = await trail.list_trail(desk, subject=subject, limit=TRAIL_MOST)
    zone = desk.staff_zone
    return csv_file("trail.csv", TRAIL, [with_local(each, zone, ("at",)) for each in found["entries"]])
