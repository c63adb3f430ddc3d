"""The part of the API for grid operators' servers: a signed signal in, its signed receipt out.

No login and no token: the signature of the enrolled source is the proof, which no page in a browser can make.
"""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import PlainTextResponse

from vpp.domain.grid_event import Operation, Receipt, ReceiptState
from vpp.entrypoints.http.at_desk import AtDesk
from vpp.entrypoints.http.problems import documented
from vpp.entrypoints.operations import signals
from vpp.wire.openadr import Ask, encode_notification, encode_receipt
from vpp.wire.signed import SigningKey, sign

router = APIRouter()

MEDIA_TYPE = "text/plain"
_SAID_AT = datetime(2026, 9, 9, 23, tzinfo=UTC)


def _example_signal() -> str:
    body = encode_notification(
        Operation.CREATE,
        event_id="ev-2026-09-09-1",
        program_id="elrp-a4-pge",
        name="EEA 2 CAISO Grid",
        created_at=_SAID_AT,
        modified_at=_SAID_AT,
        asks=(Ask(7_200, power_w=5_000_000, alert="EEA 2: energy deficiency"),),
        starts_at=_SAID_AT + timedelta(hours=2),
        targets=("PGE",),
    )
    return sign(body, SigningKey(bytes(32)), "caiso").decode()


def _example_receipt() -> str:
    receipt = Receipt(
        source="caiso",
        event_id="ev-2026-09-09-1",
        operation=Operation.CREATE,
        modified_at=_SAID_AT,
        state=ReceiptState.ACCEPTED,
        reason=None,
        at=_SAID_AT + timedelta(seconds=1),
    )
    return sign(encode_receipt(receipt), SigningKey(bytes(range(32))), "vpp-56475aa7").decode()


def _two_lines(example: str) -> dict[str, Any]:
    return {MEDIA_TYPE: {"schema": {"type": "string"}, "example": example}}


@router.post(
    "/sources/{name}/signals",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "The signed receipt", "content": _two_lines(_example_receipt())},
        **documented(HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "An OpenADR 3.1 notification on one line, one LF, its detached JWS (Ed25519)",
            "content": _two_lines(_example_signal()),
        }
    },
)
async def post_signal(
    desk: AtDesk,
    request: Request,
    name: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$", description="the source, as kid of the JWS")],
) -> PlainTextResponse:
    """Take a grid source's signal: what it would publish on grid/v1/NAME/event, at most 16,384 bytes.

    The same bytes, judged in the same order, and answered by the same signed receipt, which also goes out on
    grid/v1/NAME/receipt: accepted, duplicate, superseded or rejected with the reason. It is stored before it
    is judged; sent again it does nothing twice, so after 429, 503 or no answer send it again. No token: the
    signature of a source that was added with its key is the only proof. What nobody signed, or nobody can be
    told about, is a problem document and stored nowhere. GET /api/v1/traffic counts all of it by reason.
    """
    receipt = await signals.post_signal(desk, source=name, message=await request.body())
    return PlainTextResponse(receipt, media_type=MEDIA_TYPE)
