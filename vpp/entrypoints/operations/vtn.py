"""The VTN that grid operators use: OpenADR 3.1 over HTTP, for sources with a client secret.

An event told here is judged as every signal is, by the same rules, and has the same receipt. A client sees
programs, its own events and their reports; it changes nothing but events.

Source: OpenADR 3.1.0, as its business logic (BL) uses a VTN. Its problems are RFC 9457 documents.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from http import HTTPStatus

from vpp.adapters.openadr import client_topic
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, GridSource, Operation, RawSignal, Receipt, ReceiptState
from vpp.domain.interval import whole_second
from vpp.domain.program import Program
from vpp.domain.verdict import is_final
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.events import authorized_now, event_state, next_instant
from vpp.entrypoints.operations.reports import report_event
from vpp.entrypoints.operations.signals import ANSWER_WITHIN_S
from vpp.entrypoints.operations.sources import sha256_of
from vpp.ports import Malformed
from vpp.runner import TOO_MANY_WAIT
from vpp.wire.client_token import ClientToken, encode_token, read_token, token_text
from vpp.wire.openadr import decode_notification, event_object, wrap_event
from vpp.wire.signed import VerifyingKey
from vpp.wire.strict_json import GRID_MESSAGE_BYTES, MalformedMessage, parse

TOKEN_FOR = timedelta(hours=1)
SCOPE = "read_all write_events"
PAGE_MOST = 50
_OURS = ("id", "objectType", "createdDateTime", "modificationDateTime")
"""What the VTN says of an event, whatever its client says."""


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event object as it stands, the state of the event, and what its client should know."""

    event: Json
    state: str
    reason: str | None = None


class NoSuchClient(Exception):
    """Nobody has this client id and secret."""


async def give_token(desk: Desk, *, client_id: str, client_secret: str) -> Json:
    """Return ``access_token, token_type, expires_in`` (seconds) and ``scope`` for a client's secret.

    Raises:
        NoSuchClient: The two do not belong together.
    """
    given = sha256_of(client_secret)
    source = await _source(desk, client_id)
    known = None if source is None else source.client_sha256
    if known is None or not hmac.compare_digest(known, given):
        raise NoSuchClient
    expires_at = whole_second(desk.clock.now()) + TOKEN_FOR
    token = token_text(desk.keys.sign(encode_token(ClientToken(client_id, known, expires_at))))
    seconds = int(TOKEN_FOR.total_seconds())
    return {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": SCOPE}


async def client_of(desk: Desk, token: str) -> GridSource:
    """Return the source whose access token this is.

    Raises:
        OperationRefused: 401: it was not given here, is over, or its secret has ended.
    """
    told = read_token(token, VerifyingKey(desk.keys.public_key))
    if told is not None and told.expires_at > desk.clock.now():
        source = await _source(desk, told.source)
        if source is not None and source.client_sha256 == told.secret_sha256:
            return source
    raise OperationRefused(
        "no access token that holds; POST /openadr/3.1/auth/token gives one for client id and secret",
        HTTPStatus.UNAUTHORIZED,
    )


async def _source(desk: Desk, name: str) -> GridSource | None:
    return next((each for each in await desk.store.sources() if each.name == name), None)


async def create_event(desk: Desk, *, source: GridSource, body: bytes) -> ToldEvent:
    """Take a new event from its client; the id is ours.

    Raises:
        OperationRefused: 400 what cannot be read or breaks a rule, 409 the very same event stands already,
            413 too long, 429 too many wait, 503 no answer in time: only then it may have been taken, and
            the same again is the same event.
    """
    asked, now = _read(body), whole_second(desk.clock.now())
    said = await desk.store.accepted_signals(source.name)
    for event_id, standing in _standing(said).items():
        if _asked(standing) == asked and ended_at(await desk.history(event_id)) > now:
            detail = f"the very same event stands already as {event_id}; PUT changes it"
            raise OperationRefused(detail, HTTPStatus.CONFLICT)
    event_id = _new_id(source, asked, taken={receipt.event_id for receipt, _ in said})
    event = _event(event_id, asked, created=instant(now), modified_at=now)
    return await _say(desk, source, Operation.CREATE, event)


def _new_id(source: GridSource, asked: Json, *, taken: Collection[str]) -> str:
    """Return the id of a new event: the same for the same until that was taken, and no stranger's guess.

    So an event asked for again, while nobody knows yet whether it was taken, is the same event.
    """
    secret = source.client_sha256 or b""
    for number in itertools.count():
        said = json.dumps([number, asked], sort_keys=True).encode()
        event_id = f"{source.name}-{hmac.new(secret, said, hashlib.sha256).hexdigest()[:16]}"
        if event_id not in taken:
            break
    return event_id


async def replace_event(desk: Desk, *, source: GridSource, event_id: str, body: bytes) -> ToldEvent:
    """Put another version of a client's event in the place of the one that stands. Raises as above; 404."""
    standing = await _own_event(desk, source, event_id)
    asked = _read(body)
    created = str(standing["createdDateTime"])  # as it came: its sender may have written any zone
    event = _event(event_id, asked, created=created, modified_at=await _next_instant(desk, event_id))
    return await _say(desk, source, Operation.UPDATE, event)


async def delete_event(desk: Desk, *, source: GridSource, event_id: str) -> ToldEvent:
    """Cancel a client's event for good; its homes are released at once. Raises OperationRefused: 404, 503."""
    standing = await _own_event(desk, source, event_id)
    modified_at = await _next_instant(desk, event_id)
    # No more than a cancel needs: what else stands, and how long it is, must not keep it from being taken.
    modified: Json = {"modificationDateTime": instant(modified_at)}
    named = {name: standing[name] for name in ("id", "objectType", "programID")}
    told = await _say(desk, source, Operation.DELETE, named | modified)
    return replace(told, event=standing | modified)


async def show_event(desk: Desk, *, source: GridSource, event_id: str) -> ToldEvent:
    """Return a client's event. Raises OperationRefused: 404 where it is not the client's or was deleted."""
    return await _told(desk, event_id, await _own_event(desk, source, event_id))


async def list_events(
    desk: Desk,
    *,
    source: GridSource,
    program_id: str = "",
    targets: Sequence[str] = (),
    active: bool | None = None,
    skip: int = 0,
    limit: int = PAGE_MOST,
) -> list[Json]:
    """Return a client's events that were not deleted, the oldest first.

    Args:
        desk: What operations work on.
        source: The client.
        program_id: Only those of this program; empty: of all.
        targets: Only those with all of these among their targets.
        active: True: only those that are not over; False: only those that are; None: both.
        skip: So many of them are passed over.
        limit: At most this many, 50 at the most.
    """
    wanted, now = {each.casefold() for each in targets}, desk.clock.now()
    found: list[Json] = []
    for event_id, event in (await _own_events(desk, source)).items():
        if program_id and event.get("programID") != program_id:
            continue
        if not wanted <= {str(each).casefold() for each in _list(event.get("targets"))}:
            continue
        if active is None or (ended_at(await desk.history(event_id)) > now) is active:
            found.append(event)
    return found[skip : skip + limit]


def list_programs(desk: Desk, *, skip: int = 0, limit: int = PAGE_MOST) -> list[Json]:
    """Return the programs that events may be for, as OpenADR has them, by id."""
    return [_program(desk.programs[each]) for each in sorted(desk.programs)[skip : skip + limit]]


def show_program(desk: Desk, *, program_id: str) -> Json:
    """Return one program. Raises OperationRefused: 404."""
    if program_id not in desk.programs:
        raise OperationRefused(f"program {program_id[:130]} is not here", HTTPStatus.NOT_FOUND)
    return _program(desk.programs[program_id])


async def list_reports(
    desk: Desk,
    *,
    source: GridSource,
    program_id: str = "",
    event_id: str = "",
    skip: int = 0,
    limit: int = PAGE_MOST,
) -> list[Json]:
    """Return what a client's events delivered, one report of each that is settled, the oldest first."""
    events = await _own_events(desk, source)
    settled = [
        each
        for each, event in events.items()
        if event_id in ("", each)
        and program_id in ("", event.get("programID"))
        and await desk.store.settlement_totals(each) is not None
    ]
    found = [await _report(desk, each) for each in settled[skip : skip + limit]]
    return [each for each in found if each is not None]


async def show_report(desk: Desk, *, source: GridSource, report_id: str) -> Json:
    """Return one report; its id is its event's. Raises OperationRefused: 404 where there is none yet."""
    await _own_event(desk, source, report_id)
    if await desk.store.settlement_totals(report_id) is not None:
        found = await _report(desk, report_id)
        if found is not None:
            return found
    raise OperationRefused(
        f"event {report_id} is not settled yet, so nothing is reported of it", HTTPStatus.NOT_FOUND
    )


async def _report(desk: Desk, event_id: str) -> Json | None:
    report = (await report_event(desk, event_id=event_id))["openadr_report"]
    totals = await desk.store.settlement_totals(event_id)
    if not isinstance(report, dict) or totals is None:
        return None
    at = instant(totals.settled_at)
    told: Json = {"id": event_id, "createdDateTime": at, "modificationDateTime": at}
    return told | report


def _program(program: Program) -> Json:
    first = program.editions[0]
    since = datetime.combine(first.effective_from, time(), program.zone)
    return {
        "id": program.program_id,
        "objectType": "PROGRAM",
        "createdDateTime": instant(since),
        "modificationDateTime": instant(
            datetime.combine(program.editions[-1].effective_from, time(), program.zone)
        ),
        "programName": program.name,
        "payloadDescriptors": [
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "CONTROL_SETPOINT", "units": "KW"},
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "SIMPLE"},
            {"objectType": "EVENT_PAYLOAD_DESCRIPTOR", "payloadType": "ALERT_GRID_EMERGENCY"},
        ],
        "targets": sorted({program.utility, *program.groups}),
    }


def _read(body: bytes) -> Json:
    """Return what a client asks, without what is the VTN's to say. Raises OperationRefused: 400, 413."""
    _require_short(body)
    try:
        parse(body, max_bytes=GRID_MESSAGE_BYTES)  # twice the same name, a number without end
    except MalformedMessage as malformed:
        raise OperationRefused(f"the event is {malformed.reason}", HTTPStatus.BAD_REQUEST) from malformed
    asked = json.loads(body)
    if asked.get("objectType", "EVENT") not in ("EVENT", "EVENT_REQUEST"):
        raise OperationRefused("objectType of the event is not EVENT", HTTPStatus.BAD_REQUEST)
    return _asked(asked)


def _require_short(message: bytes) -> None:
    if len(message) > GRID_MESSAGE_BYTES:
        detail = f"an event with its notification has at most {GRID_MESSAGE_BYTES:,} bytes"
        raise OperationRefused(detail, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _asked(event: Json) -> Json:
    return {name: value for name, value in event.items() if name not in _OURS}


def _event(event_id: str, asked: Json, *, created: str, modified_at: datetime) -> Json:
    ours = (event_id, "EVENT", created, instant(modified_at))
    return dict(zip(_OURS, ours, strict=True)) | asked


async def _next_instant(desk: Desk, event_id: str) -> datetime:
    now = desk.clock.now()
    return desk.running.date_word(event_id, next_instant(await desk.history(event_id), now), now)


async def _own_events(desk: Desk, source: GridSource) -> dict[str, Json]:
    return _standing(await desk.store.accepted_signals(source.name))


def _standing(said: Sequence[tuple[Receipt, RawSignal]]) -> dict[str, Json]:
    """Return a source's event objects that stand, by id, in the order in which they were first told."""
    found: dict[str, Json] = {}
    for receipt, raw in said:
        if receipt.operation is Operation.DELETE:
            found.pop(receipt.event_id, None)
        else:
            found[receipt.event_id] = event_object(raw.payload)
    return found


async def _own_event(desk: Desk, source: GridSource, event_id: str) -> Json:
    # Of this event alone: a cancel must not wait while a season of others is read.
    found = _standing(await desk.store.accepted_signals(source.name, event_id=event_id)).get(event_id)
    if found is None:
        raise OperationRefused(f"event {event_id[:130]} is not here", HTTPStatus.NOT_FOUND)
    return found


async def _say(desk: Desk, source: GridSource, operation: Operation, event: Json) -> ToldEvent:
    """Let the controller judge what a client says, in its turn among all signals."""
    message = wrap_event(operation, event)
    _require_short(message)
    signal = decode_notification(message, source=source.name)
    answer = await desk.running.controller.take_signal(
        client_topic(source.name),
        message,
        within_s=ANSWER_WITHIN_S,
        stops=not isinstance(signal, Malformed) and signal.cancels,
    )
    if answer is None:
        raise OperationRefused(
            f"no answer within {ANSWER_WITHIN_S:g} s; send the same again", HTTPStatus.SERVICE_UNAVAILABLE
        )
    if isinstance(answer, str):
        many = answer == TOO_MANY_WAIT
        detail = "too many wait for an answer; send it again in a second" if many else answer
        status = HTTPStatus.TOO_MANY_REQUESTS if many else HTTPStatus.BAD_REQUEST
        raise OperationRefused(detail, status)
    return await _judged(desk, answer, event)


async def _judged(desk: Desk, receipt: Receipt, event: Json) -> ToldEvent:
    if receipt.state is ReceiptState.REJECTED:
        raise OperationRefused(f"the event was rejected: {receipt.reason}", HTTPStatus.BAD_REQUEST)
    return await _told(desk, receipt.event_id, event, receipt.reason)


async def _told(desk: Desk, event_id: str, event: Json, reason: str | None = None) -> ToldEvent:
    history = await desk.history(event_id)
    return ToldEvent(event, await _state(desk, history), reason)


async def _state(desk: Desk, history: EventHistory) -> str:
    if is_final(history):
        return "cancelled"
    authorized = await authorized_now(desk)
    return event_state(history, desk.clock.now(), authorized_w=authorized.get(history.latest.event_id))


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
