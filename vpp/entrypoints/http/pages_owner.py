"""The owner's pages: home now, what comes, every event with its money, reserve, opt-out, data.

The owner is the one of the session; no address and no form names another.
"""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from vpp.entrypoints.http.pages_operator import csv_file
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, HomeOwner, Visitor, leave_trail
from vpp.entrypoints.http.words import clock_time
from vpp.entrypoints.operations import fairness, owner, sites
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.money import show_statement

router = APIRouter(prefix="/owner")


@router.get("")
async def home_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show what comes, what the battery does now, what was earned, and the reserve."""
    return await _home(request, visitor, desk)


async def _home(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    *,
    fault: str | None = None,
    site: str = "",
    typed: str = "",
) -> Response:
    found = await owner.show_own_home(desk, owner_id=visitor.own_id)
    status = HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY
    saved = request.query_params.get("saved", "")
    return show(
        request, "owner_home.html", status, visitor=visitor, own=found, fault=fault, fault_site=site,
        typed=typed, saved=saved,
    )  # fmt: skip


@router.post("/sites/{site_id}/reserve")
async def change_reserve(
    request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm, site_id: str
) -> Response:
    """Set how much of the battery events leave untouched."""
    home = await owner.own_home(desk, visitor.own_id, site_id)
    reserve = form.get("reserve", "")
    try:
        await sites.change_reserve(desk, site_id=home.site_id, reserve=reserve, actor=visitor.actor)
    except OperationRefused as refused:
        return await _home(request, visitor, desk, fault=refused.detail, site=site_id, typed=reserve)
    await leave_trail(desk, visitor, f"reserve {reserve} %", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=reserve#reserve", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/opt-outs/{event_id}")
async def opt_out(
    visitor: HomeOwner, desk: AtDesk, _form: CheckedForm, site_id: str, event_id: str
) -> Response:
    """Keep a home out of one event; a running discharge stops within seconds."""
    home = await owner.own_home(desk, visitor.own_id, site_id)
    await sites.opt_out_site(desk, site_id=home.site_id, event_id=event_id, actor=visitor.actor)
    await leave_trail(desk, visitor, f"opt out of {event_id}", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=out", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/opt-ins/{event_id}")
async def opt_in(
    visitor: HomeOwner, desk: AtDesk, _form: CheckedForm, site_id: str, event_id: str
) -> Response:
    """Take an opt-out back."""
    home = await owner.own_home(desk, visitor.own_id, site_id)
    await sites.opt_in_site(desk, site_id=home.site_id, event_id=event_id)
    await leave_trail(desk, visitor, f"opt in to {event_id}", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=in", HTTPStatus.SEE_OTHER)


@router.get("/events")
async def events_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show every past event, also those with zero and why."""
    found = await owner.show_own_events(desk, owner_id=visitor.own_id)
    statement = await show_statement(desk, owner_id=visitor.own_id)
    seasons = await fairness.own_seasons(desk, owner_id=visitor.own_id)
    return show(
        request, "owner_events.html", visitor=visitor, events=found["events"], statement=statement,
        seasons=seasons,
    )  # fmt: skip


@router.get("/events.csv")
async def events_file(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return every past event as a file, with UTC and local times."""
    rows = (await owner.show_own_events(desk, owner_id=visitor.own_id))["events"]
    assert isinstance(rows, list)
    columns = (
        "event_id", "name", "site_id", "starts_at", "starts_at_local", "ends_at", "delivered_wh",
        "incremental_wh", "amount_usd", "state", "sentence",
    )  # fmt: skip
    return csv_file("events.csv", columns, [row | _local_start(row) for row in rows])


def _local_start(row: Json) -> Json:
    return {"starts_at_local": clock_time(str(row["starts_at"]), str(row["time_zone"])).striptags()}


@router.get("/events/{event_id}")
async def event_page(request: Request, visitor: HomeOwner, desk: AtDesk, event_id: str) -> Response:
    """Show one event hour by hour, so that the sum can be made by hand."""
    past = (await owner.show_own_events(desk, owner_id=visitor.own_id))["events"]
    statement = await show_statement(desk, owner_id=visitor.own_id)
    rows, lines = _of(past, event_id), _of(statement["events"], event_id)
    if not rows:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such event of yours.")
    return show(
        request, "owner_event.html", visitor=visitor, rows=rows, lines=lines, words=owner.OWNER_WORDS,
        what_counts=statement["what_counts"], chain_head=statement["chain_head"],
    )  # fmt: skip


def _of(rows: Any, event_id: str) -> list[Json]:
    assert isinstance(rows, list)
    return [row for row in rows if row["event_id"] == event_id]


@router.get("/events/{event_id}/hours.csv")
async def hours_file(visitor: HomeOwner, desk: AtDesk, event_id: str) -> Response:
    """Return one event's hours as a file."""
    lines = _of((await show_statement(desk, owner_id=visitor.own_id))["events"], event_id)
    if not lines:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such event of yours.")
    rows = [
        hour
        | {"site_id": line["site_id"], "rate_usd_per_kwh": line["rate_usd_per_kwh"]}
        | {"starts_at_local": clock_time(str(hour["starts_at"]), str(line["time_zone"])).striptags()}
        for line in lines
        for hour in _hours(line)
    ]
    columns = (
        "site_id", "starts_at", "starts_at_local", "fraction", "metered_wh", "baseline_wh", "incremental_wh",
        "quality", "rate_usd_per_kwh",
    )  # fmt: skip
    return csv_file("hours.csv", columns, rows)


def _hours(line: Json) -> list[Json]:
    hours = line["hours"]
    assert isinstance(hours, list)
    return hours


@router.get("/data")
async def data_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show consents, who looked, and the way to take everything along."""
    found = await owner.show_own_data(desk, owner_id=visitor.own_id)
    zone = desk.time_zone(str(_first_program(found)))
    return show(request, "owner_data.html", visitor=visitor, own=found, zone=zone)


def _first_program(found: Json) -> object:
    homes = found["homes"]
    assert isinstance(homes, list)
    return homes[0]["program_id"] if homes else ""


@router.get("/export.json")
async def export(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return everything that is stored about the owner."""
    found = await owner.export_owner(desk, owner_id=visitor.own_id)
    headers = {"Content-Disposition": 'attachment; filename="my-data.json"'}
    return JSONResponse(found, headers=headers)
