"""The operator's first pages: board, events, one event with its commands, and stop-all."""

import csv
import io
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.domain.access import TrailEntry
from vpp.domain.grid_event import GrantKind
from vpp.entrypoints.http.live import (
    board_html,
    board_page_values,
    boards_html,
    boards_page_values,
    fragment,
)
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import (
    Approver,
    AtDesk,
    CheckedForm,
    Dispatcher,
    Follower,
    Form,
    StopForm,
    Stopper,
    Visitor,
    Watcher,
    front_of,
)
from vpp.entrypoints.http.words import file_time
from vpp.entrypoints.operations import events, rails, sites, starting
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.granting import is_first_person
from vpp.ports import StoreUnavailable

PAGE_SITES = 50
CONFIRMED = HTTPStatus.SEE_OTHER
GRANTED = frozenset(GrantKind)
BOARDS = ""  # no event has an empty id

router = APIRouter(prefix="/operator")


@router.get("")
async def board_page(request: Request, visitor: Watcher, desk: AtDesk) -> Response:
    """Show every event that is on or comes, what needs somebody, and what the fleet could give."""
    values = await boards_page_values(desk, front_of(request).boards)
    return show(request, "operator_board.html", visitor=visitor, **values)


@router.get("/boards")
async def boards_fragment(request: Request, _visitor: Follower, desk: AtDesk) -> Response:
    """Return the moving part of the board's page, so that an event that begins appears by itself."""
    kept, known = front_of(request).boards, request.headers.get("if-none-match", "")
    return await fragment(kept, BOARDS, lambda: boards_html(desk, kept), known=known)


async def latest_first(desk: Desk) -> list[Json]:
    """Return all events, the latest beginning first."""
    listed = (await events.list_events(desk))["events"]
    assert isinstance(listed, list)
    return sorted(listed, key=lambda event: (str(event["starts_at"]), str(event["event_id"])), reverse=True)


@router.get("/events")
async def events_page(request: Request, visitor: Watcher, desk: AtDesk) -> Response:
    """Show every event."""
    programs = (await rails.list_programs(desk))["programs"]
    listed = await latest_first(desk)
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
    typed: Mapping[str, str] = MappingProxyType({}),
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    values: dict[str, Any] = {"event": await events.show_event(desk, event_id=event_id), "board": None}
    if desk.live is not None:
        values["board"] = await board_page_values(desk, event_id)
    values["story"] = _story(values["event"], await desk.store.trail(subject=f"event:{event_id}", limit=20))
    values["own"] = await is_first_person(desk, event_id, visitor.actor)
    values["words"] = {reason.value: sentence for reason, sentence in sites.REASON_WORDS.items()}
    return show(request, "operator_event.html", status, visitor=visitor, fault=fault, typed=typed, **values)


def _story(event: Any, trail: Sequence[TrailEntry]) -> list[tuple[str, str]]:
    """Return what happened to an event: (instant, words), the oldest first."""
    told = [
        (each["committed_at"], f"version {each['version']}, {each['operation'].lower()}, {each['status']}")
        for each in event["versions"]
    ]
    told += [(each["granted_at"], f"{each['kind']} by {each['actor']}") for each in event["grants"]]
    for each in event["receipts"]:
        why = f" ({each['reason']})" if each["reason"] else ""
        told.append((each["at"], f"answered {each['state']}{why}"))
    told += [
        (instant(each.at), f"{each.action} by {each.actor}{': ' if each.reason else ''}{each.reason}")
        for each in trail
        if each.action not in GRANTED  # which the grants above tell
    ]
    return sorted(told)


@router.get("/events/{event_id}/board")
async def board_fragment(request: Request, _visitor: Follower, desk: AtDesk, event_id: str) -> Response:
    """Return the moving part of the board, for a page that asks again and again."""
    kept, known = front_of(request).boards, request.headers.get("if-none-match", "")
    return await fragment(kept, event_id, lambda: board_html(desk, event_id), known=known)


@router.post("/events/{event_id}/cancel")
async def cancel(
    request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Cancel an event whose id was typed."""
    return await _act(request, visitor, desk, event_id, form, to="cancel", operation=events.cancel_event)


@router.post("/events/{event_id}/force")
async def force(
    request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Dispatch an event that lies outside its program, once its id was typed."""
    return await _act(request, visitor, desk, event_id, form, to="force", operation=events.force_event)


@router.post("/events/{event_id}/approve")
async def approve(
    request: Request, visitor: Approver, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Be the second person of an event above its source's limit, once its id was typed."""
    return await _act(request, visitor, desk, event_id, form, to="approve", operation=starting.approve_event)


async def _act(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    event_id: str,
    form: Form,
    *,
    to: str,
    operation: Callable[..., Awaitable[Json]],
) -> Response:
    """Do what was confirmed, and show the event again; where it was refused, with the sentence why."""
    refusal = await _unconfirmed(request, visitor, desk, event_id, form, to=to)
    if refusal is not None:
        return refusal
    try:
        await operation(desk, event_id=event_id, actor=visitor.actor)
    except OperationRefused as refused:
        return await _event_page(
            request, visitor, desk, event_id, fault=refused.detail, status=refused.status
        )
    return RedirectResponse(f"/operator/events/{event_id}", CONFIRMED)


async def _unconfirmed(
    request: Request, visitor: Visitor, desk: Desk, event_id: str, form: Form, *, to: str
) -> Response | None:
    """Return the page again where the event is over or its id was not typed; None where all is well."""
    typed = form.get("typed", "")
    event = await events.outline_event(desk, event_id=event_id)
    if event["state"] in ("cancelled", "ended"):
        return await _event_page(
            request, visitor, desk, event_id, status=HTTPStatus.CONFLICT,
            fault=f"This event is {event['state']} already; your page was older. Nothing was changed.",
        )  # fmt: skip
    if typed != event_id:
        return await _event_page(
            request, visitor, desk, event_id, typed={to: typed}, status=HTTPStatus.UNPROCESSABLE_ENTITY,
            fault=f"Type {event_id} to {to} this event. Nothing was changed.",
        )  # fmt: skip
    return None


@router.post("/stop-all")
async def stop_all(request: Request, visitor: Stopper, desk: AtDesk, form: StopForm) -> Response:
    """Release every home, after the word was typed; also while the database is down."""
    if form.get("typed", "").lower() != "stop":
        fault = "Type STOP to release every home. Nothing was changed."
        try:
            template, values = "operator_board.html", await boards_page_values(desk, front_of(request).boards)
        except StoreUnavailable:
            template, values = "operator_message.html", {"detail": fault}
        return show(
            request, template, HTTPStatus.UNPROCESSABLE_ENTITY, visitor=visitor, stop_fault=fault,
            stop_typed=form.get("typed", ""), **values,
        )  # fmt: skip
    stopped = await starting.stop_all(desk, actor=visitor.actor)
    return show(request, "operator_stopped.html", visitor=visitor, stopped=stopped)


def csv_file(name: str, columns: tuple[str, ...], rows: list[Json]) -> Response:
    """Return rows as RFC 4180 text; a cell that a spreadsheet would run gets a quote before it."""
    text = csv_lines([dict(zip(columns, columns, strict=True)), *rows], columns)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type="text/csv; charset=utf-8", headers=headers)


def with_local(row: Json, zone: str, names: Iterable[str]) -> Json:
    """Return the row with each time beside it as the place has it, year and second included."""
    times = {name: None if row[name] is None else str(row[name]) for name in names}
    return row | {f"{name}_local": at and file_time(at, zone) for name, at in times.items()}


def csv_lines(rows: Iterable[Mapping[str, object]], columns: tuple[str, ...]) -> bytes:
    """Return a part of such a file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    for row in rows:
        writer.writerow([_cell(row[column]) for column in columns])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if value is None:
        return ""
    runs = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    number = isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", value)
    return f"'{value}" if runs and not number else value
