"""The operators' page of alarms: what needs somebody, and the button that says that somebody is there."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, Dispatcher, Watcher, leave_trail
from vpp.entrypoints.operations import alarms

PAGE_ALARMS = 100

router = APIRouter(prefix="/operator/alarms")


@router.get("")
async def alarms_page(request: Request, visitor: Watcher, desk: AtDesk, cursor: str = "") -> Response:
    """Show alarms, the newest first; those that nobody answered say so."""
    found = await alarms.list_alarms(desk, cursor=cursor, limit=PAGE_ALARMS)
    return show(
        request,
        "operator_alarms.html",
        visitor=visitor,
        alarms=found["alarms"],
        zone=desk.staff_zone,
        cursor=cursor,
        next=found["next_cursor"],
    )


@router.post("/answer")
async def answer(visitor: Dispatcher, desk: AtDesk, form: CheckedForm) -> Response:
    """Say that the visitor takes care of an alarm; nobody is told of it any more."""
    alarm = await alarms.answer_alarm(desk, key=form.get("key", ""), actor=visitor.actor)
    await leave_trail(desk, visitor, "answer alarm", f"alarm:{alarm['key']}")
    return RedirectResponse("/operator/alarms", HTTPStatus.SEE_OTHER)
