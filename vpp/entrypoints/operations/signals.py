"""A grid source's signal that comes over HTTP: the same message, the same judgement, the same receipt."""

from http import HTTPStatus

from vpp.adapters.openadr import BAD_SIGNATURE, SOURCE_WITHOUT_KEY, UNKNOWN_KEY, posted_topic, signed_receipt
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.runner import TOO_MANY_WAIT
from vpp.stages.intake import UNKNOWN_SOURCE
from vpp.wire.strict_json import GRID_MESSAGE_BYTES

ANSWER_WITHIN_S = 10.0


async def post_signal(desk: Desk, *, source: str, message: bytes) -> bytes:
    """Take a grid source's signed message as its topic would bring it; return the signed receipt.

    Args:
        source: Who signals; its signature is the only proof.
        message: The notification on one line, and its detached JWS on the next.

    Returns:
        The receipt, byte for byte as it also goes out on ``grid/v1/{source}/receipt``.

    Raises:
        OperationRefused: Nothing was stored, as far as is known: 403 not signed by the source, 404 no such
            source, 413 too long, 422 not to be read so far that a receipt could name it, 429 too many wait,
            503 no answer in time; in any doubt the same message may come again.
    """
    answer = await desk.running.controller.take_signal(
        posted_topic(source), message, within_s=ANSWER_WITHIN_S
    )
    if answer is None:
        raise OperationRefused(
            f"no receipt within {ANSWER_WITHIN_S:g} s; send the same message again, which does no harm",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )
    if isinstance(answer, str):
        raise _refusal(source, message, answer)
    return signed_receipt(answer, desk.keys)


def _refusal(source: str, message: bytes, reason: str) -> OperationRefused:
    """Return why a message was not even kept; ``vpp fleet traffic`` counts the same reasons."""
    if reason == UNKNOWN_SOURCE:
        detail, status = f"source {source} was never added; vpp source add {source}", HTTPStatus.NOT_FOUND
    elif reason == SOURCE_WITHOUT_KEY:
        detail = f"source {source} has no key, so over HTTP nobody could know who speaks; add it with --key"
        status = HTTPStatus.FORBIDDEN
    elif reason == UNKNOWN_KEY:
        detail, status = f"the kid of the signature is not {source}", HTTPStatus.FORBIDDEN
    elif reason == BAD_SIGNATURE:
        detail = f"no signature of source {source} over these bytes: the body, one LF, its detached JWS"
        status = HTTPStatus.FORBIDDEN
    elif reason == TOO_MANY_WAIT:
        detail, status = (
            "too many wait for a receipt; send it again in a second",
            HTTPStatus.TOO_MANY_REQUESTS,
        )
    elif len(message) > GRID_MESSAGE_BYTES:
        detail, status = f"the message is {reason}", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    else:
        detail, status = f"the message cannot be read: {reason}", HTTPStatus.UNPROCESSABLE_ENTITY
    return OperationRefused(detail, status, [reason])
