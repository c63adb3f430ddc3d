"""The operator's pages about homes: fleet, map, one home, health, and the trail."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from vpp.entrypoints.http.county_map import county_map
from vpp.entrypoints.http.live import PROOF_WORDS
from vpp.entrypoints.http.pages_operator import csv_file, csv_lines, latest_first, with_local
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, HomeReader, TrailReader, Watcher, trail_entry
from vpp.entrypoints.operations import board, counties, events, health, sites, tracing, traffic, trail
from vpp.entrypoints.operations.desk import Desk, OperationRefused

PAGE_SITES = 50
PAGE_ENTRIES = 200
EVENTS_SHOWN, EVENTS_IN_FILE = 10, 100
WHY_COLUMNS = (
    "event_id", "test", "starts_at", "starts_at_local", "reason", "sentence", "setpoint_w", "commands",
    "acknowledged", "refused",
)  # fmt: skip
FLEET_COLUMNS = (
    "site_id", "program_id", "county", "feeder", "charge_pct", "power_w", "setpoint_w", "event_id", "test",
    "sampled_at", "sampled_at_local", "age_s", "online", "proof", "reason",
)  # fmt: skip

router = APIRouter(prefix="/operator")


@router.get("/fleet")
async def fleet_page(
    request: Request,
    visitor: Watcher,
    desk: AtDesk,
    search: str = "",
    reason: str = "",
    county: str = "",
    event: str = "",
    proof: str = "",
    offset: int = 0,
) -> Response:
    """Show homes as they are now, found by a part of their name, county or feeder."""
    found = await board.list_fleet(
        desk, search=search, reason=reason, county=county, event=event, proof=proof, offset=offset,
        limit=PAGE_SITES,
    )  # fmt: skip
    asked: dict[str, Any] = {
        "search": search,
        "reason": reason,
        "county": county,
        "event": event,
        "proof": proof,
    }
    outline = await events.outline_event(desk, event_id=event) if event else {"name": "", "test": False}
    return show(
        request, "operator_fleet.html", visitor=visitor, found=found, event_name=outline["name"],
        test=outline["test"], page=PAGE_SITES, proofs=PROOF_WORDS, **asked,
        same={name: word for name, word in asked.items() if word},
    )  # fmt: skip


@router.get("/fleet.csv")
async def fleet_file(
    _visitor: Watcher, desk: AtDesk, search: str = "", reason: str = "", county: str = "", event: str = "",
    proof: str = "",
) -> Response:  # fmt: skip
    """Return the same homes as a file, sent while it is made."""
    parts = await board.every_site(
        desk, search=search, reason=reason, county=county, event=event, proof=proof
    )

    async def lines() -> AsyncIterator[bytes]:
        yield csv_lines([dict(zip(FLEET_COLUMNS, FLEET_COLUMNS, strict=True))], FLEET_COLUMNS)
        async for part in parts:
            local = (
                with_local(site, desk.time_zone(str(site["program_id"])), ("sampled_at",)) for site in part
            )
            yield csv_lines(local, FLEET_COLUMNS)

    headers = {"Content-Disposition": 'attachment; filename="fleet.csv"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/sites/{site_id}")
async def site_page(
    request: Request, visitor: HomeReader, desk: AtDesk, site_id: str, reason: str = ""
) -> Response:
    """Show one home with its owner, for a reason that the owner will see."""
    enrollment = await desk.enrollment(site_id)
    if len(reason.strip()) < 3:
        return show(request, "operator_site_reason.html", visitor=visitor, site_id=site_id)
    owner_id = enrollment.owner_id
    entry = trail_entry(desk, visitor, f"read home {site_id}", f"owner:{owner_id}", reason.strip())
    homes = await desk.store.read_homes(owner_id, entry)  # one transaction with the entry the owner sees
    facts, now = sites.site_facts(next(home for home in homes if home.site_id == site_id)), None
    if desk.live is not None:
        row = board.site_row(desk.live, site_id)
        moment = desk.clock.now()
        now = board.site_now(desk.live, row, board.site_reason(desk.live, row, moment), moment)
    return show(
        request, "operator_site.html", visitor=visitor, site=facts, now=now,
        why=await _why(desk, site_id, EVENTS_SHOWN), reason=reason.strip(),
    )  # fmt: skip


@router.get("/sites/{site_id}/why.csv")
async def why_file(visitor: HomeReader, desk: AtDesk, site_id: str, reason: str = "") -> Response:
    """Return why a home was in or out, event by event, for a reason that the owner will see."""
    enrollment = await desk.enrollment(site_id)
    if len(reason.strip()) < 3:
        raise OperationRefused("Say why you read this home; its owner will see it.")
    subject = f"owner:{enrollment.owner_id}"
    await desk.store.leave_trail(
        [trail_entry(desk, visitor, f"read home {site_id}", subject, reason.strip())]
    )
    rows = [
        with_local(each | {"refused": " ".join(each["refused"])}, each["time_zone"], ("starts_at",))
        for each in await _why(desk, site_id, EVENTS_IN_FILE)
    ]
    return csv_file("why.csv", WHY_COLUMNS, rows)


async def _why(desk: Desk, site_id: str, most: int) -> list[Any]:
    """Return why a home was in or out of the newest events, with when each began."""
    return [
        {"starts_at": event["starts_at"], "time_zone": event["time_zone"]}
        | await sites.why_site(desk, site_id=site_id, event_id=str(event["event_id"]))
        for event in (await latest_first(desk))[:most]
    ]


@router.get("/events/{event_id}/sites/{site_id}")
async def trace_page(
    request: Request, visitor: Watcher, desk: AtDesk, event_id: str, site_id: str
) -> Response:
    """Show every command's life at one home, from the signal to the meter."""
    found: Any = await tracing.trace_site(desk, site_id=site_id, event_id=event_id)
    found["steps"] = tracing.without_repeats(found["steps"])
    event = await events.outline_event(desk, event_id=event_id)
    return show(request, "operator_trace.html", visitor=visitor, event=event, found=found)


@router.get("/trail")
async def trail_page(
    request: Request, visitor: TrailReader, desk: AtDesk, subject: str = "", cursor: str = ""
) -> Response:
    """Show who did and read what, the newest first; with a subject, what is about that alone."""
    found = await trail.list_trail(desk, subject=subject, cursor=cursor, limit=PAGE_ENTRIES)
    return show(
        request, "operator_trail.html", visitor=visitor, trail=found["entries"], next=found["next_cursor"],
        subject=subject, cursor=cursor, zone=desk.staff_zone,
    )  # fmt: skip


@router.get("/map")
async def map_page(request: Request, visitor: Watcher, desk: AtDesk, figure: str = "spare_w") -> Response:
    """Show the counties, shaded by what idle homes could give or by what is delivered."""
    if figure not in ("spare_w", "delivered_w"):
        raise OperationRefused("The map shows spare_w or delivered_w.")
    found: Any = (await counties.list_counties(desk))["counties"]
    names = ("sites", "online", "spare_w", "delivered_w", "estimated_w")
    return show(
        request, "operator_map.html", visitor=visitor, counties=found, figure=figure,
        total={name: sum(county[name] for county in found) for name in names},
        drawing=county_map(found, figure),
    )  # fmt: skip


@router.get("/health")
async def health_page(request: Request, visitor: Watcher, desk: AtDesk) -> Response:
    """Show whether homes, messages and this service are well."""
    began = time.perf_counter()
    await desk.store.ready()
    database_ms = 1000 * (time.perf_counter() - began)
    found = await traffic.show_traffic(desk)
    return show(
        request, "operator_health.html", visitor=visitor, health=await health.show_health(desk),
        soon=health.CERTIFICATE_SOON_DAYS, traffic=found, failures=found["pending"], database_ms=database_ms,
        zone=desk.staff_zone,
        service={"database": True, "broker": desk.running.controller.connected},
    )  # fmt: skip
