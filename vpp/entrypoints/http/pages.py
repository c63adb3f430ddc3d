"""The pages as one application: routes, static files, and the door before the API."""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from vpp.entrypoints.http import (
    login,
    pages_alarms,
    pages_burden,
    pages_dispatch,
    pages_files,
    pages_fleet,
    pages_operator,
    pages_owner,
    pages_owner_data,
    pages_owner_money,
    pages_questions,
)
from vpp.entrypoints.http.api import BodyLimit
from vpp.entrypoints.http.description import SIGNALS, TOPICS, listed
from vpp.entrypoints.http.metrics import RequestTimes
from vpp.entrypoints.http.pages_faults import other_host, tell_faults, too_long
from vpp.entrypoints.http.problems import MEANS, problem
from vpp.entrypoints.http.security import CookieSigner, SecurityHeaders
from vpp.entrypoints.http.showing import STATIC, show
from vpp.entrypoints.http.visitor import Front
from vpp.entrypoints.operations.desk import Desk

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
ROUTERS = (
    login.router,
    pages_alarms.router,
    pages_burden.router,
    pages_dispatch.router,
    pages_files.router,
    pages_fleet.router,
    pages_operator.router,
    pages_questions.router,
    pages_owner.router,
    pages_owner_money.router,
    pages_owner_data.router,
    pages_owner_data.calendar_router,
)
_OF_API = re.compile(r"/(api|openadr|health|metrics|openapi\.json)(/|$)")


class FrontDoor:
    """Give each request to the API or to the pages, by its path."""

    def __init__(self, api: ASGIApp, pages: ASGIApp) -> None:
        self._api, self._pages = api, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        of_api = _OF_API.match(scope.get("path", ""))
        await (self._api if of_api else self._pages)(scope, receive, send)


def open_front_door(
    api: FastAPI,
    desk: Callable[[], Desk],
    *,
    cookie_key: bytes,
    secure: bool = False,
    hosts: tuple[str, ...] = LOCAL_HOSTS,
) -> ASGIApp:
    """Return API and pages as one application.

    Args:
        api: The API.
        desk: Returns what operations work on; raises StoreUnavailable while the database is not there.
        cookie_key: Signs cookies and form tokens.
        secure: Marks cookies for https only.
        hosts: Host names that are answered for.
    """
    pages = create_pages(Front(desk, CookieSigner(cookie_key), secure=secure), api.openapi)
    pages.add_middleware(RequestTimes, seconds=api.state.request_seconds)
    return SecurityHeaders(FrontDoor(api, pages), hosts=hosts, refuse=_other_host)


def _other_host(scope: Scope) -> ASGIApp:
    """Return the answer to a request for another host, in the form of what was asked."""
    if _OF_API.match(scope.get("path", "")):
        detail = "This service does not answer for that host name."
        return problem(HTTPStatus.MISDIRECTED_REQUEST, detail)
    return other_host(Request(scope))


def create_pages(front: Front, api_document: Callable[[], dict[str, Any]]) -> FastAPI:
    """Return the application of all pages; ``api_document`` gives what ``/docs`` shows."""
    pages = FastAPI(title="vpp pages", docs_url=None, redoc_url=None, openapi_url=None)
    pages.state.front = front
    pages.add_middleware(BodyLimit, refuse=too_long)
    tell_faults(pages)
    for router in ROUTERS:
        pages.include_router(router)

    @pages.get("/docs")
    async def api_page(request: Request) -> Response:
        """Show every operation of the API."""
        operations = listed(api_document())
        return show(request, "docs.html", operations=operations, signals=SIGNALS, topics=TOPICS, errors=MEANS)

    pages.mount("/static", StaticFiles(directory=STATIC))
    return pages
