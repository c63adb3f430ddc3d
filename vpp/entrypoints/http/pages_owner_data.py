"""The owner's pages about data: consent, who looked, where to write to, a calendar, files, and leaving."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from markupsafe import Markup

from vpp.domain.notice import OWNER_KINDS
from vpp.entrypoints.http.owner_desk import language_of, no_such, show_own, zone_of
from vpp.entrypoints.http.pages_operator import csv_file, with_local
from vpp.entrypoints.http.security import COOKIE
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, HomeOwner, Visitor, leave_trail
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations import contacts, forgetting, own_data, own_files
from vpp.entrypoints.operations.desk import Desk, OperationRefused, instant

router = APIRouter(prefix="/owner")


@router.get("/data")
async def data_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Show consent and its history, who looked, what is written where, and the way to take all along."""
    return await _data(request, visitor, desk)


async def _data(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    fault: str = "",
    form: Mapping[str, str] | None = None,
    calendar_address: str = "",
    fault_site: str = "",
    typed_name: str = "",
) -> Response:
    contact = await contacts.show_contact(desk, owner_id=visitor.own_id)
    muted = contact["muted"] if form is None else _muted(form)
    return await show_own(
        request, visitor, desk, "owner_data.html", status,
        own=await own_data.show_own_data(desk, owner_id=visitor.own_id), contact=contact,
        names=await _event_names(desk, await language_of(request, visitor, desk)),
        kinds=[kind.value for kind in OWNER_KINDS], muted=muted, fault=fault,
        typed="" if form is None else form.get("address", ""), calendar_address=calendar_address,
        fault_site=fault_site, typed_name=typed_name,
    )  # fmt: skip


async def _event_names(desk: Desk, language: Language) -> Mapping[str, Markup]:
    """Return what an owner calls each event by its id: its name and when it begins."""
    asked = {
        history.latest.event_id: version
        for history in await desk.store.histories()
        for version in history.versions
        if version.interval is not None  # a cancel has none: then the last that asked something stands
    }
    return {
        event_id: Markup("{}, {}").format(
            version.name,
            language.moment(instant(version.interval.starts_at), desk.time_zone(version.program_id)),
        )
        for event_id, version in asked.items()
        if version.interval is not None
    }


def _muted(form: Mapping[str, str]) -> list[str]:
    """Return the kinds whose box is not ticked."""
    return [kind.value for kind in OWNER_KINDS if form.get(kind.value) != "yes"]


@router.get("/reads.csv")
async def reads_file(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return who looked at the owner's data, the newest first."""
    own: Any = await own_data.show_own_data(desk, owner_id=visitor.own_id)
    zone = await zone_of(desk, visitor.own_id)
    columns = ("at", "at_local", "actor", "action", "reason")
    return csv_file("reads.csv", columns, [with_local(read, zone, ("at",)) for read in own["reads"]])


@router.post("/contact")
async def keep_contact(request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm) -> Response:
    """Keep where the owner is written to and about what; an empty address forgets the old one."""
    address = form.get("address", "")
    try:
        contacts.require_public_address(address)
        await contacts.keep_contact(desk, owner_id=visitor.own_id, address=address, muted=_muted(form))
    except OperationRefused:
        t = await language_of(request, visitor, desk)
        fault = t("fault.address", typed=address)
        return await _data(request, visitor, desk, HTTPStatus.UNPROCESSABLE_ENTITY, fault=fault, form=form)
    return RedirectResponse("/owner/data?saved=contact#contact", HTTPStatus.SEE_OTHER)


@router.post("/sites/{site_id}/name")
async def name_home(
    request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm, site_id: str
) -> Response:
    """Call one home by the owner's own word on every page; an empty one brings the id back."""
    name = form.get("name", "")
    try:
        await contacts.name_home(desk, owner_id=visitor.own_id, site_id=site_id, name=name)
    except OperationRefused as refused:
        if refused.status is HTTPStatus.NOT_FOUND:
            return await no_such(request, visitor, desk, "no_home")
        return await _data(
            request, visitor, desk, HTTPStatus.UNPROCESSABLE_ENTITY, fault_site=site_id, typed_name=name
        )
    return RedirectResponse("/owner/data?saved=name#homes", HTTPStatus.SEE_OTHER)


@router.post("/calendar")
async def open_calendar(request: Request, visitor: HomeOwner, desk: AtDesk, _form: CheckedForm) -> Response:
    """Make a calendar address and show it, once."""
    made = await own_data.open_calendar(desk, owner_id=visitor.own_id)
    await leave_trail(desk, visitor, "open calendar", f"owner:{visitor.own_id}")
    address = f"{request.url.scheme}://{request.headers['host']}{made['path']}"
    return await _data(request, visitor, desk, calendar_address=address)


@router.post("/calendar/end")
async def close_calendar(visitor: HomeOwner, desk: AtDesk, _form: CheckedForm) -> Response:
    """Make the calendar address void."""
    await own_data.close_calendar(desk, owner_id=visitor.own_id)
    await leave_trail(desk, visitor, "close calendar", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner/data?saved=calendar_ended#calendar", HTTPStatus.SEE_OTHER)


@router.get("/sites/{site_id}/leaving")
async def leaving_page(request: Request, visitor: HomeOwner, desk: AtDesk, site_id: str) -> Response:
    """Say what leaving means before it is done."""
    return await _leaving(request, visitor, desk, site_id)


@router.post("/sites/{site_id}/leaving")
async def leave(
    request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm, site_id: str
) -> Response:
    """Leave the program with one home, once the word is typed."""
    t, typed = await language_of(request, visitor, desk), form.get("typed", "")
    word = str(t("leave.word"))
    if typed.upper() != word:
        return await _leaving(request, visitor, desk, site_id, fault=t("fault.leave", word=word), typed=typed)
    try:
        await own_data.leave_program(desk, owner_id=visitor.own_id, site_id=site_id, actor=visitor.actor)
    except OperationRefused:
        return await no_such(request, visitor, desk, "no_home")
    await leave_trail(desk, visitor, f"leave the program with {site_id}", f"owner:{visitor.own_id}")
    return RedirectResponse("/owner?saved=left", HTTPStatus.SEE_OTHER)


async def _leaving(
    request: Request, visitor: Visitor, desk: Desk, site_id: str, *, fault: str = "", typed: str = ""
) -> Response:
    home = await desk.store.enrollment(site_id)
    if home is None or home.owner_id != visitor.own_id:
        return await no_such(request, visitor, desk, "no_home")
    status = HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK
    return await show_own(
        request, visitor, desk, "owner_leaving.html", status, site_id=site_id, fault=fault, typed=typed
    )


@router.get("/forgetting")
async def forgetting_page(request: Request, visitor: HomeOwner, desk: AtDesk) -> Response:
    """Say what is destroyed and what stays, before it is done."""
    return await _forgetting(request, visitor, desk)


@router.post("/forgetting")
async def forget(request: Request, visitor: HomeOwner, desk: AtDesk, form: CheckedForm) -> Response:
    """Destroy what names the owner once the word is typed, and show the certificate; the login ends."""
    t, typed = await language_of(request, visitor, desk), form.get("typed", "")
    word = str(t("forget.word"))
    if typed.upper() != word:
        return await _forgetting(request, visitor, desk, fault=t("fault.forget", word=word), typed=typed)
    zone = await zone_of(desk, visitor.own_id)
    try:
        done = await forgetting.forget_owner(desk, owner_id=visitor.own_id, actor=visitor.actor)
    except OperationRefused as refused:
        if refused.status is not HTTPStatus.CONFLICT:
            raise
        return await _forgetting(request, visitor, desk)
    response = show(request, "owner_forgotten.html", t=t, done=done, zone=zone)
    response.delete_cookie(COOKIE, path="/")
    return response


async def _forgetting(
    request: Request, visitor: Visitor, desk: Desk, *, fault: str = "", typed: str = ""
) -> Response:
    hindrance = await forgetting.why_not_yet(desk, owner_id=visitor.own_id)
    status = HTTPStatus.UNPROCESSABLE_ENTITY if fault else HTTPStatus.OK
    return await show_own(
        request, visitor, desk, "owner_forgetting.html", status, hindrance=hindrance, fault=fault,
        typed=typed, stays=forgetting.STAYS,
    )  # fmt: skip


@router.get("/export.json")
async def export(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return everything that is stored about the owner."""
    found = await own_data.export_owner(desk, owner_id=visitor.own_id)
    return JSONResponse(found, headers=_attached("my-data.json"))


@router.get("/export.zip")
async def export_tables(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return everything that is stored about the owner as tables."""
    content = await own_files.own_tables(desk, owner_id=visitor.own_id)
    return Response(content, media_type="application/zip", headers=_attached("my-data.zip"))


@router.get("/green-button.xml")
async def green_button(visitor: HomeOwner, desk: AtDesk) -> Response:
    """Return the battery's energy by the hour as Green Button."""
    content = await own_files.green_button(desk, owner_id=visitor.own_id)
    return Response(content, media_type="application/atom+xml", headers=_attached("green-button.xml"))


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


calendar_router = APIRouter()


@calendar_router.get("/calendar/{secret}.ics")
async def calendar_file(desk: AtDesk, secret: str) -> Response:
    """Return an owner's calendar to whoever holds its address; there is no login."""
    content = await own_files.calendar_by_secret(desk, secret=secret)
    return Response(content, media_type="text/calendar; charset=utf-8")
