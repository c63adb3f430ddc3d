"""The owner's pages: home now, what comes, reserve, opt-out. Money and data stand in their own files.

The owner is the one of the session; no address and no form names another.
"""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from vpp.entrypoints.http.owner_desk import language_of, no_such, show_own
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, HomeOwner, Visitor, leave_trail
from vpp.entrypoints.operations import contacts, owner, owner_money, sites
from vpp.entrypoints.operations.desk import Desk, OperationRefused

router = APIRouter(prefix="/owner")


@router.get("")
async def home_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show what comes, what the battery does now, what was earned, and the reserve."""
    return await _home(request, visitor, desk)


async def _home(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    fault: str = "",
    site: str = "",
    typed: str = "",
) -> Response:
    found = owner_money.with_owed(await owner.show_own_home(desk, owner_id=visitor.own_id))
    return await show_own(
        request, visitor, desk, "owner_home.html", status, own=found, fault=fault, fault_site=site,
        typed=typed,
    )  # fmt: skip


@router.post("/language")
async def choose_language(visitor: HomeOwner, desk: AtDesk, form: CheckedForm) -> Response:
    """Speak the other language from now on, on every page and in every message."""
    await contacts.speak(desk, owner_id=visitor.own_id, language=form.get("language", ""))
    back = form.get("back", "")
    known = back == "/owner" or back.startswith("/owner/")
    return RedirectResponse(back if known else "/owner", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/reserve")
async def change_reserve(
    request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm, site_id: str
) -> Response:
    """Set how much of the battery events leave untouched."""
    home = await desk.store.enrollment(site_id)
    if home is None or home.owner_id != visitor.own_id:
        return await no_such(request, visitor, desk, "no_home")
    t, reserve = await language_of(request, visitor, desk), form.get("reserve", "")
    if home.withdrawn_at is not None:
        return await _home(request, visitor, desk, HTTPStatus.CONFLICT, fault=t("fault.gone"))
    try:
        await sites.change_reserve(desk, site_id=home.site_id, reserve=reserve, actor=visitor.actor)
    except OperationRefused:
        fault = t("fault.reserve", typed=reserve or "–")
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return await _home(request, visitor, desk, status, fault=fault, site=site_id, typed=reserve)
    await leave_trail(desk, visitor, f"reserve {reserve} %", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=reserve#reserve", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/opt-outs/{event_id}")
async def opt_out(
    request: Request, visitor: HomeOwner, desk: AtDesk, _form: CheckedForm, site_id: str, event_id: str
) -> Response:
    """Keep a home out of one event; a running discharge stops within seconds."""
    try:
        home = await owner.own_home(desk, visitor.own_id, site_id)
        await sites.opt_out_site(desk, site_id=home.site_id, event_id=event_id, actor=visitor.actor)
    except OperationRefused as refused:
        return await _too_late(request, visitor, desk, refused)
    await leave_trail(desk, visitor, f"opt out of {event_id}", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=out", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/opt-ins/{event_id}")
async def opt_in(
    request: Request, visitor: HomeOwner, desk: AtDesk, _form: CheckedForm, site_id: str, event_id: str
) -> Response:
    """Take an opt-out back."""
    try:
        home = await owner.own_home(desk, visitor.own_id, site_id)
        await sites.opt_in_site(desk, site_id=home.site_id, event_id=event_id)
    except OperationRefused as refused:
        return await _too_late(request, visitor, desk, refused)
    await leave_trail(desk, visitor, f"opt in to {event_id}", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=in", HTTPStatus.SEE_OTHER)


async def _too_late(request: Request, visitor: Visitor, desk: Desk, refused: OperationRefused) -> Response:
    """Tell a stale page what is true now; what is not the owner's is not there."""
    if refused.status is HTTPStatus.NOT_FOUND:
        return await no_such(request, visitor, desk, "no_home")
    if refused.status is not HTTPStatus.CONFLICT:
        raise HTTPException(refused.status, refused.detail)
    t = await language_of(request, visitor, desk)
    return await _home(request, visitor, desk, refused.status, fault=t("fault.too_late"))
