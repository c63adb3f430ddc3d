"""What a page says when something went wrong: in the visitor's language, and where to go from there.

Staff read the exact sentence. Owners, and whoever is not logged in, read it in English or Spanish.
"""

from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import URL
from starlette.exceptions import HTTPException
from starlette.types import Scope

from vpp.domain.access import Role
from vpp.entrypoints.http.owner_desk import language_of
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import NotLoggedIn, ToldFault, Visitor, desk_of, visitor_or_dispatcher
from vpp.entrypoints.language import Language, preferred
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.money import UNSUMMED
from vpp.ports import ConflictingFact, StoreUnavailable

ENGLISH = Language("en")
BY_STATUS = {
    HTTPStatus.NOT_FOUND: "page.nothing_here",
    HTTPStatus.CONFLICT: "page.changed_meanwhile",
    HTTPStatus.UNPROCESSABLE_ENTITY: "page.unreadable",
    HTTPStatus.SERVICE_UNAVAILABLE: "page.store_down",
}


def tell_faults(pages: FastAPI) -> None:
    """Let every failure be answered by a page that says what holds now."""
    pages.add_exception_handler(NotLoggedIn, _to_login)
    pages.add_exception_handler(HTTPException, _http_fault)
    pages.add_exception_handler(OperationRefused, _refused)
    pages.add_exception_handler(ConflictingFact, _conflict)
    pages.add_exception_handler(StoreUnavailable, _store_down)
    for altered in UNSUMMED:
        pages.add_exception_handler(altered, _books_altered)
    pages.add_exception_handler(RequestValidationError, _unreadable)
    pages.add_exception_handler(Exception, _unforeseen)


async def too_long(scope: Scope, limit: int) -> Response:
    """Return what is said of a form above the limit in bytes; nobody read it."""
    detail = f"A form here has at most {limit:,} bytes; this one changed nothing."
    return await _message(Request(scope), HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, "page.too_long")


def other_host(request: Request) -> Response:
    """Return what is said where another host name was asked for; nobody's login is looked at."""
    t = Language(preferred(request.headers.get("accept-language", "")))
    host, port = request.scope.get("server") or ("", None)
    address = f"http://{host}{f':{port}' if port else ''}/" if host else "/"
    detail = t("page.other_host")
    return show(request, "message.html", HTTPStatus.MISDIRECTED_REQUEST, t=t, detail=detail, back=address)


async def _to_login(request: Request, _failure: Exception) -> Response:
    if request.headers.get("x-fragment"):
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    shown = request.url
    if request.method != "GET":
        # Back to the page with the form; its script has kept what was typed.
        shown = URL(request.headers.get("referer", "/")).include_query_params(again="yes")
    back = f"{shown.path}?{shown.query}" if shown.query else shown.path
    return RedirectResponse(f"/login?next={quote(back, safe='')}", HTTPStatus.SEE_OTHER)


async def _http_fault(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)
    status = HTTPStatus(failure.status_code)
    if isinstance(failure, ToldFault):
        return await _message(request, status, failure.detail, failure.key)
    key = BY_STATUS.get(status, "page.other")
    return await _message(
        request, status, str(ENGLISH(key)) if failure.detail == status.phrase else failure.detail, key
    )


async def _refused(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, OperationRefused)
    return await _message(
        request, failure.status, failure.detail, BY_STATUS.get(failure.status, "page.other")
    )


async def _conflict(request: Request, failure: Exception) -> Response:
    detail = f"{failure}. Something else changed it; look again."
    return await _message(request, HTTPStatus.CONFLICT, detail, "page.changed_meanwhile")


async def _unreadable(request: Request, failure: Exception) -> Response:
    assert isinstance(failure, RequestValidationError)
    faults = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in failure.errors())
    detail = f"This address cannot be read: {faults}."
    return await _message(request, HTTPStatus.UNPROCESSABLE_ENTITY, detail, "page.unreadable")


async def _store_down(request: Request, failure: Exception) -> Response:
    detail = f"{failure}. Running homes keep to their leases."
    return await _message(request, HTTPStatus.SERVICE_UNAVAILABLE, detail, "page.store_down")


async def _books_altered(request: Request, failure: Exception) -> Response:
    detail = f"{failure}. No amount is shown and none is booked until that is put right; vpp ledger verify"
    return await _message(request, HTTPStatus.CONFLICT, detail, "page.books_altered")


async def _unforeseen(request: Request, _failure: Exception) -> Response:
    detail = str(ENGLISH("page.unforeseen"))
    return await _message(request, HTTPStatus.INTERNAL_SERVER_ERROR, detail, "page.unforeseen")


async def _message(request: Request, status: HTTPStatus, detail: str, key: str) -> Response:
    """Return the page: ``detail`` for staff, the sentence under ``key`` for everybody else."""
    visitor, t = await _reader(request)
    if visitor is not None and visitor.role is not Role.OWNER:
        return show(request, "operator_message.html", status, visitor=visitor, detail=detail)
    return show(
        request, "owner_message.html" if visitor else "message.html", status, visitor=visitor, t=t,
        detail=t(key),
    )  # fmt: skip


async def _reader(request: Request) -> tuple[Visitor | None, Language]:
    """Return who reads, and in which language; nobody where the database does not say."""
    try:
        visitor = getattr(request.state, "visitor", None)
        if visitor is None:
            visitor = await visitor_or_dispatcher(request)  # whose page keeps the button that stops
        if visitor is not None and visitor.role is Role.OWNER:
            return visitor, await language_of(request, visitor, desk_of(request))
        if visitor is not None:
            return visitor, ENGLISH
    except StoreUnavailable:
        pass
    return None, Language(preferred(request.headers.get("accept-language", "")))
