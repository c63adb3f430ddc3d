"""The operator's pages: board, events, one event with its commands, new event, fleet, one home, trail."""

import csv
import io
import re
import secrets
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.domain.dispatch_plan import Reason
from vpp.domain.program import Program
from vpp.entrypoints.http.live import board_page_values, fragment
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import (
    Approver,
    AtDesk,
    CheckedForm,
    Dispatcher,
    Form,
    HomeReader,
    TrailReader,
    Visitor,
    Watcher,
    front_of,
    leave_trail,
)
from vpp.entrypoints.operations import board, events, rails, sites, starting
from vpp.entrypoints.operations import preview as previewing
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused

PAGE_SITES = 50
CONFIRMED = HTTPStatus.SEE_OTHER

router = APIRouter(prefix="/operator")


@router.get("")
async def board_page(request: Request, visitor: Watcher, desk: AtDesk) -> Response:
    """Show the board of every event that is on or comes, and what the fleet could give."""
    listed = await _listed(desk)
    open_states = ("active", "scheduled", "waiting_for_force", "waiting_for_approval")
    current = [event for event in listed if event["state"] in open_states]
    boards = [await board_page_values(desk, str(event["event_id"])) for event in current] if desk.live else []
    past = [event for event in listed if event["state"] in ("ended", "cancelled")][:5]
    fleet = await board.list_fleet(desk, limit=1) if desk.live else None
    return show(request, "operator_board.html", visitor=visitor, boards=boards, past=past, fleet=fleet)


async def _listed(desk: Desk) -> list[Json]:
    """Return all events, the latest beginning first."""
    listed = (await events.list_events(desk))["events"]
    assert isinstance(listed, list)
    return sorted(listed, key=lambda event: (str(event["starts_at"]), str(event["event_id"])), reverse=True)


@router.get("/events")
async def events_page(request: Request, visitor: Watcher, desk: AtDesk) -> Response:
    """Show every event."""
    programs = (await rails.list_programs(desk))["programs"]
    listed = await _listed(desk)
    return show(request, "operator_events.html", visitor=visitor, events=listed, programs=programs)


@router.get("/events/{event_id}")
async def event_page(request: Request, visitor: Watcher, desk: AtDesk, event_id: str) -> Response:
    """Show one event: board, reasons, versions, commands, settlement."""
    return await _event_page(request, visitor, desk, event_id)


async def _event_page(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    event_id: str,
    *,
    fault: str | None = None,
    typed: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    values: dict[str, Any] = {"event": await events.show_event(desk, event_id=event_id), "board": None}
    if desk.live is not None:
        values["board"] = await board_page_values(desk, event_id)
    values["trail"] = await desk.store.trail(subject=f"event:{event_id}", limit=20)
    values["words"] = {reason.value: sentence for reason, sentence in sites.REASON_WORDS.items()}
    return show(request, "operator_event.html", status, visitor=visitor, fault=fault, typed=typed, **values)


@router.get("/events/{event_id}/board")
async def board_fragment(request: Request, _visitor: Watcher, desk: AtDesk, event_id: str) -> Response:
    """Return the moving part of the board, for a page that asks again every second."""
    return await fragment(desk, front_of(request).boards, event_id)


@router.post("/events/{event_id}/cancel")
async def cancel(
    request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Cancel an event whose id was typed."""
    typed = form.get("typed", "")
    if typed != event_id:
        return await _event_page(
            request, visitor, desk, event_id, typed=typed, status=HTTPStatus.UNPROCESSABLE_ENTITY,
            fault=f"Type {event_id} to cancel this event. Nothing was changed.",
        )  # fmt: skip
    await leave_trail(desk, visitor, "cancel", f"event:{event_id}")
    await events.cancel_event(desk, event_id=event_id, actor=visitor.actor)
    return RedirectResponse(f"/operator/events/{event_id}", CONFIRMED)


@router.post("/events/{event_id}/force")
async def force(visitor: Dispatcher, desk: AtDesk, _form: CheckedForm, event_id: str) -> Response:
    """Dispatch an event that lies outside its program."""
    await leave_trail(desk, visitor, "force", f"event:{event_id}")
    await events.force_event(desk, event_id=event_id, actor=visitor.actor)
    return RedirectResponse(f"/operator/events/{event_id}", CONFIRMED)


@router.post("/events/{event_id}/approve")
async def approve(visitor: Approver, desk: AtDesk, _form: CheckedForm, event_id: str) -> Response:
    """Be the second person of an event above its source's limit."""
    await leave_trail(desk, visitor, "approve", f"event:{event_id}")
    await starting.approve_event(desk, event_id=event_id, actor=visitor.actor)
    return RedirectResponse(f"/operator/events/{event_id}", CONFIRMED)


@router.post("/stop-all")
async def stop_all(request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm) -> Response:
    """Release every home, after the word was typed."""
    if form.get("typed", "").lower() != "stop":
        detail = "Type STOP to release every home. Nothing was changed."
        unprocessable = HTTPStatus.UNPROCESSABLE_ENTITY
        return show(request, "message.html", unprocessable, visitor=visitor, detail=detail)
    await leave_trail(desk, visitor, "stop all", "fleet")
    stopped = await starting.stop_all(desk, actor=visitor.actor)
    return show(request, "operator_stopped.html", visitor=visitor, stopped=stopped)


@router.get("/new-event")
async def new_event_page(request: Request, visitor: Dispatcher, desk: AtDesk) -> Response:
    """Show the form of a new event."""
    fields = {"event_id": f"console-{secrets.token_hex(4)}"}
    return _new_event(request, visitor, desk, fields, fault=None)


FIELDS = ("event_id", "program_id", "power_mw", "starts_at", "minutes", "targets", "name", "test")


def _fields(form: Form) -> dict[str, str]:
    """Return the fields of a new event as they were typed, and no other."""
    return {name: form.get(name, "60" if name == "minutes" else "") for name in FIELDS}


def _new_event(request: Request, visitor: Visitor, desk: Desk, fields: Form, fault: str | None) -> Response:
    status = HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return show(
        request, "operator_new_event.html", status, visitor=visitor, fields=_fields(fields), fault=fault,
        programs=_programs(desk),
    )  # fmt: skip


def _programs(desk: Desk) -> list[tuple[Program, int]]:
    """Return every program with its number of homes, the largest first."""
    sizes = desk.live.program_sizes() if desk.live is not None else {}
    programs = [(program, sizes.get(program.program_id, 0)) for program in desk.programs.values()]
    return sorted(programs, key=lambda each: (-each[1], each[0].program_id))


@router.post("/new-event")
async def preview(request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm) -> Response:
    """Show what the event would get; with the power typed again, start it."""
    fields = _fields(form)
    try:
        wish = _wish(fields)
        found = await previewing.preview_event(desk, **wish)
        if form.get("step") != "start":
            return _preview(request, visitor, fields, found, fault=None)
        if form.get("typed", "").removesuffix("MW").strip() != fields["power_mw"]:
            fault = f"Type {fields['power_mw']} to start. Nothing was started."
            return _preview(request, visitor, fields, found, fault=fault)
        await starting.start_event(
            desk,
            event_id=fields["event_id"],
            name=fields["name"],
            test=fields["test"] == "yes",
            actor=visitor.actor,
            **wish,
        )
    except OperationRefused as refused:
        return _new_event(request, visitor, desk, fields, fault=refused.detail)
    return RedirectResponse(f"/operator/events/{fields['event_id']}", CONFIRMED)


def _wish(form: Form) -> dict[str, Any]:
    minutes = form.get("minutes", "")
    if not re.fullmatch(r"\d{1,4}", minutes):
        raise OperationRefused(f"a length of {minutes[:20]!r} is not a number of minutes")
    return {
        "program_id": form.get("program_id", ""),
        "power_mw": form.get("power_mw", ""),
        "starts_at": form.get("starts_at", ""),
        "minutes": int(minutes),
        "targets": form.get("targets", "").split(","),
    }


def _preview(request: Request, visitor: Visitor, form: Form, found: Json, fault: str | None) -> Response:
    status = HTTPStatus.OK if fault is None else HTTPStatus.UNPROCESSABLE_ENTITY
    return show(
        request, "operator_preview.html", status, visitor=visitor, fields=form, preview=found, fault=fault,
        words={reason.value: sentence for reason, sentence in sites.REASON_WORDS.items()},
    )  # fmt: skip


@router.get("/fleet")
async def fleet_page(
    request: Request,
    visitor: Watcher,
    desk: AtDesk,
    search: str = "",
    reason: str = "",
    county: str = "",
    offset: int = 0,
) -> Response:
    """Show homes as they are now, found by a part of their name, county or feeder."""
    found = await board.list_fleet(
        desk, search=search, reason=reason, county=county, offset=offset, limit=PAGE_SITES
    )
    return show(
        request, "operator_fleet.html", visitor=visitor, found=found, search=search, reason=reason,
        county=county, page=PAGE_SITES, words={each.value: sites.REASON_WORDS[each] for each in Reason},
    )  # fmt: skip


@router.get("/fleet.csv")
async def fleet_file(_visitor: Watcher, desk: AtDesk, search: str = "", reason: str = "") -> Response:
    """Return the same homes as a file."""
    rows: list[Json] = []
    while True:
        found = await board.list_fleet(desk, search=search, reason=reason, offset=len(rows), limit=200)
        part = found["sites"]
        assert isinstance(part, list)
        rows += part
        if not part:
            break
    columns = (
        "site_id", "program_id", "county", "feeder", "charge_pct", "power_w", "setpoint_w", "age_s", "reason",
    )  # fmt: skip
    return csv_file("fleet.csv", columns, rows)


def csv_file(name: str, columns: tuple[str, ...], rows: list[Json]) -> Response:
    """Return rows as RFC 4180 text; a cell that a spreadsheet would run gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _cell(value: object) -> object:
    if value is None:
        return ""
    runs = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    number = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
    return f"'{value}" if runs and not number else value


@router.get("/sites/{site_id}")
async def site_page(
    request: Request, visitor: HomeReader, desk: AtDesk, site_id: str, reason: str = ""
) -> Response:
    """Show one home with its owner, for a reason that the owner will see."""
    enrollment = await desk.enrollment(site_id)
    if len(reason.strip()) < 3:
        return show(request, "operator_site_reason.html", visitor=visitor, site_id=site_id)
    await leave_trail(desk, visitor, f"read home {site_id}", f"owner:{enrollment.owner_id}", reason.strip())
    facts, now = sites.site_facts(enrollment), None
    if desk.live is not None:
        row = board.site_row(desk.live, site_id)
        moment = desk.clock.now()
        now = board.site_now(desk.live, row, board.site_reason(desk.live, row, moment), moment)
    why = [
        await sites.why_site(desk, site_id=site_id, event_id=str(event["event_id"]))
        for event in (await _listed(desk))[:10]
    ]
    return show(request, "operator_site.html", visitor=visitor, site=facts, now=now, why=why)


@router.get("/trail")
async def trail_page(request: Request, visitor: TrailReader, desk: AtDesk) -> Response:
    """Show who did and read what, the newest first."""
    return show(request, "operator_trail.html", visitor=visitor, trail=await desk.store.trail(limit=200))
