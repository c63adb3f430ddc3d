"""The owner's pages about money: every event, every hour, every cent."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from vpp.entrypoints.http.owner_desk import language_of, no_such, show_own, zone_of
from vpp.entrypoints.http.pages_operator import csv_file, with_local
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, HomeOwner, Visitor, front_of
from vpp.entrypoints.operations import disputes, fairness, owner, owner_money, statement_rows
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.money import UNSUMMED, show_statement
from vpp.wire.table import decimal_cell

router = APIRouter(prefix="/owner")


@router.get("/events")
async def events_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show every past event, also those with zero and why; seasons, payouts, and the share of the burden."""
    found = await owner.show_own_events(desk, owner_id=visitor.own_id)
    seasons = await fairness.own_seasons(desk, owner_id=visitor.own_id)
    homes = await owner.homes_of(desk, visitor.own_id)
    try:
        statement = owner_money.with_owed(await show_statement(desk, owner_id=visitor.own_id))
        paid = (await owner_money.show_own_payouts(desk, owner_id=visitor.own_id))["payouts"]
    except UNSUMMED:
        statement, paid = {}, []
    return await show_own(
        request, visitor, desk, "owner_events.html", events=found["events"], statement=statement,
        seasons=seasons, payouts=paid, many=len(homes) > 1,
        periods=owner_money.periods_with_steps(statement) if statement else [],
    )  # fmt: skip


@router.get("/events.csv")
async def events_file(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return every past event as a file, with UTC and local times, and why in the owner's language."""
    t = await language_of(request, visitor, desk)
    rows = (await owner.show_own_events(desk, owner_id=visitor.own_id))["events"]
    assert isinstance(rows, list)
    columns = (
        "event_id", "name", "test", "site_id", "starts_at", "starts_at_local", "ends_at", "ends_at_local",
        "delivered_wh", "incremental_wh", "paid_wh", "amount_usd", "state", "sentence",
    )  # fmt: skip
    energies = ("incremental_wh", "paid_wh")
    cells = [
        row
        | {name: decimal_cell(str(row[name])) for name in energies}
        | {"sentence": row["why"] and str(t.word("why", row["why"]))}
        for row in rows
    ]
    times = ("starts_at", "ends_at")
    return csv_file("events.csv", columns, [with_local(row, row["time_zone"], times) for row in cells])


@router.get("/payouts.csv")
async def payouts_file(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return every payout to the owner, the newest first."""
    found: Any = (await owner_money.show_own_payouts(desk, owner_id=visitor.own_id))["payouts"]
    zone = await zone_of(desk, visitor.own_id)
    columns = ("run_id", "at", "at_local", "amount_usd", "state", "ended_at", "ended_at_local")
    return csv_file("payouts.csv", columns, [with_local(each, zone, ("at", "ended_at")) for each in found])


@router.get("/events/{event_id}")
async def event_page(request: Request, visitor: HomeOwner, desk: AtDesk, event_id: str) -> Response:
    """Show one event hour by hour, so that the sum can be made by hand, and what was asked about it."""
    return await _event(request, visitor, desk, event_id)


async def _event(
    request: Request, visitor: Visitor, desk: Desk, event_id: str, *, fault: str = "", typed: str = ""
) -> Response:
    try:
        found = await owner_money.show_own_event(desk, owner_id=visitor.own_id, event_id=event_id)
    except OperationRefused:
        return await no_such(request, visitor, desk, "no_event")
    asked = await disputes.own_disputes(desk, visitor.own_id)
    words = next((each["words"] for each in asked if each["period"] == event_id), [])
    status = HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK
    return await show_own(
        request, visitor, desk, "owner_event.html", status, rows=found["rows"], lines=found["lines"],
        counts=found["counts"], chain_head=found["chain_head"], words=words, fault=fault, typed=typed,
    )  # fmt: skip


@router.post("/events/{event_id}/question")
async def ask(
    request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Ask staff about an event's result; what was said stays on its page."""
    text = form.get("text", "").replace("\r\n", "\n")
    try:
        await disputes.ask_dispute(
            desk, owner_id=visitor.own_id, period=event_id, text=text, actor=visitor.actor
        )
    except OperationRefused as refused:
        if refused.status is HTTPStatus.NOT_FOUND:
            return await no_such(request, visitor, desk, "no_event")
        t = await language_of(request, visitor, desk)
        return await _event(request, visitor, desk, event_id, fault=t("fault.ask"), typed=text)
    front_of(request).questions.forget()
    return RedirectResponse(f"/owner/events/{event_id}?saved=asked#ask", HTTPStatus.SEE_OTHER)


@router.get("/events/{event_id}/hours.csv")
async def hours_file(visitor: HomeOwner, desk: AtDesk, event_id: str) -> Response:
    """Return one event's hours as a file."""
    try:
        lines = (await owner_money.show_own_event(desk, owner_id=visitor.own_id, event_id=event_id))["lines"]
    except OperationRefused as refused:
        raise HTTPException(refused.status, refused.detail) from refused
    assert isinstance(lines, list)
    if not lines:
        raise HTTPException(HTTPStatus.NOT_FOUND, "This event has no hours of yours.")
    rows = [
        row | with_local(hour, line["time_zone"], ("starts_at",))
        for line in lines
        for row, hour in zip(statement_rows.hour_rows(line), line["hours"], strict=False)
    ]
    starts_at, *of_an_hour = statement_rows.OF_AN_HOUR
    columns = (
        "site_id", starts_at, "starts_at_local", *of_an_hour, *statement_rows.OF_THE_MONEY, "exported_wh",
        *statement_rows.BEHIND, *statement_rows.OF_THE_EVENT,
    )  # fmt: skip
    cells = [
        {name: decimal_cell(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows
    ]
    return csv_file("hours.csv", columns, cells)
