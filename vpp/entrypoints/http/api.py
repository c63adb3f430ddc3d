"""The loopback API: the operations under ``/api/v1``, with a bearer token, problem documents and size limits.

Knows HTTP and nothing of what an operation does. Errors are RFC 9457 documents; a body is at most 64 KiB,
an enrolment or meter file at most 64 MiB. Grid sources need no such token: they sign, or use OpenADR with a
token of their own.
"""

import os
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpp.entrypoints.http import api_grid, api_money, api_openadr, api_operator, api_owner
from vpp.entrypoints.http.at_desk import Actor, AtDesk, Body, Cursor, GrantBody, Limit, Reason, known_query
from vpp.entrypoints.http.commands import CommandsOnce
from vpp.entrypoints.http.description import describe
from vpp.entrypoints.http.metrics import Metrics, RequestTimes
from vpp.entrypoints.http.problems import USUAL, answer_problems, problem
from vpp.entrypoints.http.streaming import BoardFeed
from vpp.entrypoints.operations import events, metering, money, sites, sources, staff_reads
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.sources import OPENADR_PATH
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE

BODY_LIMIT = 64 * 1024
FILE_LIMIT = 64 * 1024 * 1024
FILE_PATHS = (
    "/api/v1/sites",
    "/api/v1/meter-readings",
    "/api/v1/ledger/payments",
    "/api/v1/wholesale-prices",
)

Readiness = Callable[[], Awaitable[Json]]


def create_api(desk: Callable[[], Desk], *, token: str, readiness: Readiness) -> FastAPI:
    """Return the application.

    Args:
        desk: Returns what operations work on; raises StoreUnavailable while the database is not there.
        token: What ``Authorization: Bearer`` must carry below ``/api``.
        readiness: Returns one key for each thing the service needs, true where it is there.
    """
    app = FastAPI(title="vpp", version="1", docs_url=None, redoc_url=None)
    app.state.desk = desk
    app.add_middleware(CommandsOnce, desk=desk, token=token)
    app.add_middleware(BodyLimit)
    app.state.boards = BoardFeed(desk)
    app.state.clients_share = api_openadr.ClientsShare()
    metrics = Metrics(desk, readiness)
    app.state.request_seconds = metrics.request_seconds
    app.add_middleware(RequestTimes, seconds=metrics.request_seconds)
    answer_problems(app)
    bearer = HTTPBearer(auto_error=False, description="the token of the state directory")

    def authorized(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        if shown is None or not _is_token(shown.credentials):
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "send the token of the state directory as Bearer",
                {"WWW-Authenticate": "Bearer"},
            )

    def _is_token(text: str) -> bool:
        return secrets.compare_digest(text.encode(), token.encode())

    @app.get("/health/live")
    async def live() -> Json:
        """Say that the process answers."""
        return {"status": "live", "pid": os.getpid()}

    @app.get("/health/ready")
    async def ready() -> JSONResponse:
        """Say whether database and broker can be reached; 503 while one cannot."""
        found = await readiness()
        status = HTTPStatus.OK if all(found.values()) else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(found, status)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def figures() -> PlainTextResponse:
        """Return figures for Prometheus; no home and no person is named."""
        text = await metrics.page(app.state.boards.followers)
        return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)

    for router in (_router, api_money.router, api_operator.router, api_owner.router):
        app.include_router(
            router,
            prefix="/api/v1",
            dependencies=[Depends(authorized), Depends(known_query)],
            responses=dict(USUAL),
        )
    app.include_router(
        api_grid.router, prefix="/api/v1", dependencies=[Depends(known_query)], responses=dict(USUAL)
    )
    app.include_router(
        api_openadr.router, prefix=OPENADR_PATH, dependencies=[Depends(known_query)], responses=dict(USUAL)
    )
    describe(app)
    return app


_router = APIRouter()


class SourceBody(Body):
    """A grid source: its key (base64url, None takes unsigned signals) and its limit in megawatts.

    ``client``: true makes a client secret for the OpenADR API, false ends it, null changes nothing.
    """

    key: str | None = None
    max_mw: str = "0"
    client: bool | None = None


class ReserveBody(Body):
    """A reserve in percent of the app scale, as text with at most one decimal."""

    reserve: str


@_router.get("/keys")
async def show_keys(desk: AtDesk) -> Json:
    return await sources.show_keys(desk)


@_router.get("/sources")
async def list_sources(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await sources.list_sources(desk, cursor=cursor, limit=limit)


@_router.put("/sources/{name}")
async def add_source(desk: AtDesk, actor: Actor, name: str, body: SourceBody) -> Json:
    return await sources.add_source(
        desk, name=name, key=body.key, max_mw=body.max_mw, client=body.client, actor=actor
    )


@_router.post("/sources/{name}/approve")
async def approve_source(desk: AtDesk, actor: Actor, name: str, body: GrantBody | None = None) -> Json:
    """Be the second person of a source's higher limit."""
    proof = (body or GrantBody()).model_dump()
    return await sources.approve_source(desk, name=name, actor=actor, claimed=True, **proof)


@_router.get("/sites")
async def list_sites(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await sites.list_sites(desk, cursor=cursor, limit=limit)


@_router.post("/sites")
async def enroll_sites(desk: AtDesk, request: Request, file_name: str = "the file") -> Json:
    return await sites.enroll_sites(desk, content=await request.body(), file_name=file_name)


@_router.get("/sites/{site_id}")
async def show_site(desk: AtDesk, actor: Actor, site_id: str, reason: Reason = ON_THE_COMMAND_LINE) -> Json:
    return await staff_reads.read_site(desk, site_id=site_id, actor=actor, reason=reason)


@_router.put("/sites/{site_id}/reserve")
async def change_reserve(desk: AtDesk, actor: Actor, site_id: str, body: ReserveBody) -> Json:
    return await sites.change_reserve(desk, site_id=site_id, reserve=body.reserve, actor=actor)


@_router.get("/events")
async def list_events(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await events.list_events(desk, cursor=cursor, limit=limit)


@_router.get("/events/{event_id}")
async def show_event(desk: AtDesk, event_id: str) -> Json:
    return await events.show_event(desk, event_id=event_id)


@_router.post("/events/{event_id}/force")
async def force_event(desk: AtDesk, actor: Actor, event_id: str, body: GrantBody | None = None) -> Json:
    proof = (body or GrantBody()).model_dump()
    return await events.force_event(desk, event_id=event_id, actor=actor, claimed=True, **proof)


@_router.post("/events/{event_id}/cancel")
async def cancel_event(desk: AtDesk, actor: Actor, event_id: str) -> Json:
    return await events.cancel_event(desk, event_id=event_id, actor=actor)


@_router.get("/events/{event_id}/sites/{site_id}")
async def why_site(desk: AtDesk, event_id: str, site_id: str) -> Json:
    return await sites.why_site(desk, site_id=site_id, event_id=event_id)


@_router.put("/events/{event_id}/opt-outs/{site_id}")
async def opt_out_site(desk: AtDesk, actor: Actor, event_id: str, site_id: str) -> Json:
    return await sites.opt_out_site(desk, site_id=site_id, event_id=event_id, actor=actor)


@_router.delete("/events/{event_id}/opt-outs/{site_id}")
async def opt_in_site(desk: AtDesk, event_id: str, site_id: str) -> Json:
    return await sites.opt_in_site(desk, site_id=site_id, event_id=event_id)


@_router.post("/events/{event_id}/settlement")
async def settle_event(desk: AtDesk, event_id: str) -> Json:
    return await money.settle_event(desk, event_id=event_id)


@_router.post("/settlements")
async def settle_ended(desk: AtDesk) -> Json:
    return await money.settle_ended(desk)


@_router.post("/meter-readings")
async def import_readings(desk: AtDesk, request: Request, file_name: str = "the file") -> Json:
    return await metering.import_readings(desk, content=await request.body(), file_name=file_name)


@_router.get("/owners/{owner_id}/statement")
async def show_statement(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await staff_reads.read_statement(desk, owner_id=owner_id, actor=actor, reason=reason)


@_router.get("/ledger/verification")
async def verify_ledger(desk: AtDesk, head: str = "") -> Json:
    return await money.verify_ledger(desk, head=head)


class BodyLimit:
    """Refuse a body above the path's limit, declared or not; one that was cut off on its way asks nothing."""

    def __init__(
        self, app: ASGIApp, *, refuse: Callable[[Scope, int], Awaitable[ASGIApp]] | None = None
    ) -> None:
        self._app, self._refuse = app, refuse or _too_long

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take in the whole body up to the limit, then pass the request on; answer 413 above it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = FILE_LIMIT if scope["path"] in FILE_PATHS else BODY_LIMIT
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        try:
            body = await _read_body(receive, limit) if declared.isdigit() and int(declared) <= limit else None
        except ClientDisconnect:
            return  # half a table would be read as a whole one, and nobody is there to be answered
        if body is None:
            refusal = await self._refuse(scope, limit)
            await refusal(scope, receive, send)
            return
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return pending.pop() if pending else await receive()

        await self._app(scope, replay, send)


async def _too_long(_scope: Scope, limit: int) -> ASGIApp:
    return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body here has at most {limit} bytes")


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Return the body, or None where it is longer than the limit.

    Raises:
        ClientDisconnect: The sender left before its end.
    """
    parts: list[bytes] = []
    seen = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        seen += len(parts[-1])
        if seen > limit:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)
