"""``/openadr/3.1``: the paths of OpenADR 3.1.0 that a grid operator's business logic uses of a VTN.

Knows HTTP and OAuth 2 client credentials; what an event means is ``operations/vtn.py``. There are no VENs
here: homes hear of an event from the controller, so lists of VENs, resources and subscriptions are empty.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse
from fastapi.security import OAuth2
from starlette.exceptions import HTTPException

from vpp.domain.grid_event import GridSource
from vpp.entrypoints.http.at_desk import AtDesk
from vpp.entrypoints.http.problems import documented
from vpp.entrypoints.operations import vtn
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.entrypoints.operations.sources import OPENADR_PATH

router = APIRouter()

CLIENT_MOST = 20  # two turns of the controller
REASON_MOST = 300

_SCOPES = {"read_all": "read programs, own events, their reports", "write_events": "write own events"}
_oauth = OAuth2(
    flows={"clientCredentials": {"tokenUrl": f"{OPENADR_PATH}/auth/token", "scopes": _SCOPES}},
    description="client id: the source's name; client secret: of vpp source add NAME --client",
    auto_error=False,
)


async def _client(desk: AtDesk, shown: Annotated[str | None, Depends(_oauth)]) -> GridSource:
    scheme, _, token = (shown or "").partition(" ")
    try:
        return await vtn.client_of(desk, token if scheme.lower() == "bearer" else "")
    except OperationRefused as refused:
        if refused.status is not HTTPStatus.UNAUTHORIZED:
            raise
        raise HTTPException(refused.status, refused.detail, {"WWW-Authenticate": "Bearer"}) from refused


class ClientsShare:
    """How many new events of one client are under way: a flood of one takes no place and no time of others.

    One is refused before anything of the client is read. What changes or cancels an event is not counted.
    """

    def __init__(self) -> None:
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count one more of a client, for as long as the context lasts. Raises OperationRefused: 429."""
        if self._under_way[name] >= CLIENT_MOST:
            detail = f"{CLIENT_MOST} new events of {name} wait for an answer; send it again in a second"
            raise OperationRefused(detail, HTTPStatus.TOO_MANY_REQUESTS)
        self._under_way[name] += 1
        try:
            yield
        finally:
            self._under_way[name] -= 1


def _share(request: Request) -> ClientsShare:
    share = request.app.state.clients_share
    assert isinstance(share, ClientsShare)
    return share


Client = Annotated[GridSource, Depends(_client)]
Share = Annotated[ClientsShare, Depends(_share)]
ObjectId = Annotated[str, Path(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
ProgramId = Annotated[str, Query(alias="programID", max_length=128, description="only of this program")]
EventId = Annotated[str, Query(alias="eventID", max_length=128, description="only of this event")]
Targets = Annotated[list[str] | None, Query(max_length=128, description="only with all of these targets")]
Skip = Annotated[int, Query(ge=0, le=2**31 - 1, description="pass so many over")]
Limit = Annotated[int, Query(ge=0, le=vtn.PAGE_MOST, description="how many at most")]

_EVENT: dict[str, Any] = {
    "programID": "elrp-a4-pge",
    "eventName": "EEA 2 CAISO Grid",
    "priority": 0,
    "targets": ["PGE"],
    "intervalPeriod": {"start": "2026-09-10T01:00:00Z", "duration": "PT2H", "randomizeStart": "PT0S"},
    "payloadDescriptors": [
        {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"}
    ],
    "intervals": [
        {
            "id": 0,
            "payloads": [
                {"type": "ALERT_GRID_EMERGENCY", "values": ["EEA 2: energy deficiency"]},
                {"type": "SIMPLE", "values": [3]},
                {"type": "CONTROL_SETPOINT", "values": [-5000]},
            ],
        }
    ],
}
_EVENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An OpenADR 3.1 event: discharge is a negative CONTROL_SETPOINT in KW",
        "content": {"application/json": {"schema": {"type": "object", "example": _EVENT}}},
    }
}
_HEADERS = {
    "X-VPP-State": {
        "description": "scheduled, active, ended, cancelled, or waiting_for_force (out of its program) and "
        "waiting_for_approval (above the source's limit): a person here has to let it",
        "schema": {"type": "string"},
    },
    "X-VPP-Reason": {"description": "what the client should know of it", "schema": {"type": "string"}},
}
_TOLD: dict[str, Any] = {"description": "The event as it stands", "headers": _HEADERS}
_ANSWERS = documented(HTTPStatus.TOO_MANY_REQUESTS)


@router.get("/auth/server")
async def auth_server(request: Request) -> dict[str, str]:
    """Say where access tokens are given."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    host = request.headers.get("x-forwarded-host", request.headers.get("host", ""))
    return {"tokenURL": f"{scheme}://{host}{OPENADR_PATH}/auth/token"}


@router.post(
    "/auth/token",
    responses={400: {"description": "error, as RFC 6749 has it"}, 401: {"description": "invalid_client"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/x-www-form-urlencoded": {
                    "schema": {
                        "type": "object",
                        "required": ["grant_type"],
                        "properties": {
                            "grant_type": {"type": "string", "enum": ["client_credentials"]},
                            "client_id": {"type": "string"},
                            "client_secret": {"type": "string"},
                            "scope": {"type": "string"},
                        },
                    }
                }
            },
        }
    },
)
async def give_token(desk: AtDesk, request: Request) -> JSONResponse:
    """Give an access token for client id and secret, in the form or by HTTP Basic; it holds for an hour."""
    try:
        fields = dict(parse_qsl((await request.body()).decode("ascii"), strict_parsing=True))
    except ValueError:
        fields = {}
    if fields.get("grant_type") != "client_credentials":
        wrong = "unsupported_grant_type" if "grant_type" in fields else "invalid_request"
        return JSONResponse({"error": wrong}, HTTPStatus.BAD_REQUEST)
    client_id, secret = _basic(request) or (fields.get("client_id", ""), fields.get("client_secret", ""))
    try:
        return JSONResponse(await vtn.give_token(desk, client_id=client_id, client_secret=secret))
    except vtn.NoSuchClient:
        headers = {"WWW-Authenticate": "Basic"}
        return JSONResponse({"error": "invalid_client"}, HTTPStatus.UNAUTHORIZED, headers)


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return unquote_plus(name), unquote_plus(secret)


@router.get("/programs")
async def list_programs(desk: AtDesk, _client: Client, skip: Skip = 0, limit: Limit = 50) -> list[Json]:
    """List the programs that an event may be for."""
    return vtn.list_programs(desk, skip=skip, limit=limit)


@router.get("/programs/{program_id}")
async def show_program(desk: AtDesk, _client: Client, program_id: ObjectId) -> Json:
    """Show one program."""
    return vtn.show_program(desk, program_id=program_id)


@router.get("/events")
async def list_events(
    desk: AtDesk,
    client: Client,
    program_id: ProgramId = "",
    targets: Targets = None,
    active: Annotated[bool | None, Query(description="true: not over; false: over")] = None,
    skip: Skip = 0,
    limit: Limit = 50,
) -> list[Json]:
    """List the client's own events, the oldest first; of another source's nothing is said."""
    return await vtn.list_events(
        desk,
        source=client,
        program_id=program_id,
        targets=targets or (),
        active=active,
        skip=skip,
        limit=limit,
    )


@router.post("/events", status_code=201, responses={201: _TOLD, **_ANSWERS}, openapi_extra=_EVENT_BODY)
async def create_event(desk: AtDesk, client: Client, share: Share, request: Request) -> JSONResponse:
    """Ask for an event, at most 16,384 bytes. Its homes are commanded at once, up to 120 s before it starts.

    The very same event of the same client is refused (409) while the first stands: a lost answer may be asked
    for again without a second event. What breaks a rule is 400, with the reason of its receipt.
    """
    with share.of(client.name):
        told = await vtn.create_event(desk, source=client, body=await request.body())
    return _answer(told, HTTPStatus.CREATED)


@router.get("/events/{event_id}", responses={200: _TOLD})
async def show_event(desk: AtDesk, client: Client, event_id: ObjectId) -> JSONResponse:
    """Show one of the client's own events."""
    return _answer(await vtn.show_event(desk, source=client, event_id=event_id))


@router.put("/events/{event_id}", responses={200: _TOLD, **_ANSWERS}, openapi_extra=_EVENT_BODY)
async def replace_event(desk: AtDesk, client: Client, request: Request, event_id: ObjectId) -> JSONResponse:
    """Put another version in an event's place: other power, times or targets; a duration PT0S cancels."""
    body = await request.body()
    return _answer(await vtn.replace_event(desk, source=client, event_id=event_id, body=body))


@router.delete("/events/{event_id}", responses={200: _TOLD, **_ANSWERS})
async def delete_event(desk: AtDesk, client: Client, event_id: ObjectId) -> JSONResponse:
    """Cancel an event for good: its homes are released at once."""
    return _answer(await vtn.delete_event(desk, source=client, event_id=event_id))


def _answer(told: vtn.ToldEvent, status: HTTPStatus = HTTPStatus.OK) -> JSONResponse:
    headers = {"X-VPP-State": told.state}
    if told.reason:
        # It may name what a client wrote, line ends too, and more of it than a proxy lets through.
        headers["X-VPP-Reason"] = json.dumps(told.reason[:REASON_MOST])[1:-1]
    return JSONResponse(told.event, status, headers)


@router.get("/reports")
async def list_reports(
    desk: AtDesk,
    client: Client,
    program_id: ProgramId = "",
    event_id: EventId = "",
    skip: Skip = 0,
    limit: Limit = 50,
) -> list[Json]:
    """List what the client's events delivered, over all homes, once they are settled."""
    return await vtn.list_reports(
        desk, source=client, program_id=program_id, event_id=event_id, skip=skip, limit=limit
    )


@router.get("/reports/{report_id}")
async def show_report(desk: AtDesk, client: Client, report_id: ObjectId) -> Json:
    """Show one report; its id is its event's."""
    return await vtn.show_report(desk, source=client, report_id=report_id)


@router.get("/notifiers")
async def list_notifiers(_client: Client) -> dict[str, bool]:
    """Say how a client is notified: not at all; what it told it has the answer to."""
    return {"WEBHOOK": False}


async def _none(_client: Client) -> list[Json]:
    """List nothing: homes are no VENs of this VTN."""
    return []


for _name in ("vens", "resources", "subscriptions"):
    router.add_api_route(f"/{_name}", _none, methods=["GET"], name=f"list_{_name}")
