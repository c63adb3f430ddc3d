"""What the owner's pages share: the owner's language, the page around it, and refusals in that language."""

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from vpp.domain.notice import Contact
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import Visitor
from vpp.entrypoints.language import Language, preferred
from vpp.entrypoints.operations import owner
from vpp.entrypoints.operations.desk import Desk


async def language_of(request: Request, visitor: Visitor, desk: Desk) -> Language:
    """Return the language an owner chose, or the one that the browser asks for."""
    return _language(request, await desk.store.contact(visitor.own_id))


def _language(request: Request, contact: Contact | None) -> Language:
    return Language(contact.language if contact else preferred(request.headers.get("accept-language", "")))


async def show_own(
    request: Request,
    visitor: Visitor,
    desk: Desk,
    template: str,
    status: HTTPStatus = HTTPStatus.OK,
    **values: Any,
) -> Response:
    """Return one of the owner's pages in the owner's language, each home called as the owner calls it."""
    contact = await desk.store.contact(visitor.own_id)
    t = _language(request, contact)
    zone = await zone_of(desk, visitor.own_id)
    saved = request.query_params.get("saved", "")
    names = contact.home_names if contact else {}

    def called(site_id: str) -> str:
        return names.get(site_id, site_id)

    return show(
        request, template, status, visitor=visitor, t=t, zone=zone, saved=saved, called=called, **values
    )


async def zone_of(desk: Desk, owner_id: str) -> str:
    """Return the name of the zone of an owner's first home."""
    homes = await owner.homes_of(desk, owner_id)
    return desk.time_zone(homes[0].program_id) if homes else "UTC"


async def no_such(request: Request, visitor: Visitor, desk: Desk, key: str) -> Response:
    """Return a 404 in the owner's language: whether somebody else has it is not said."""
    t = await language_of(request, visitor, desk)
    return await show_own(
        request, visitor, desk, "owner_message.html", HTTPStatus.NOT_FOUND, detail=t(f"fault.{key}")
    )
