"""Commands of the API are done once and leave a trail.

A caller that sends ``Idempotency-Key`` gets, for the same request under the same key, the same answer, and
nothing is done again; another request under a used key is refused. One that was refused as it was asked
(422) uses up no key. Every command that was done stands in the trail: who, what, why, and the request's id;
what is done in an owner's name stands where the owner reads it.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vpp.domain.access import KeptAnswer
from vpp.entrypoints.http.problems import MEDIA_TYPE, methods_at, problem, store_down
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.in_time import in_time
from vpp.ports import StoreUnavailable

WRITES = ("POST", "PUT", "PATCH", "DELETE")
NO_COMMANDS = ("/api/v1/previews", "/api/v1/rehearsals")
"""They are posted because of what they are told; nothing is stored."""
STOP_ALL = "/api/v1/stop-all"
"""It waits for no database, and does no harm twice: where none answers, its key is not looked at."""
STOP_KEY_S = 0.4  # for each look at its key, in a database that may hang
SIGNALS = re.compile(r"/api/v1/sources/[^/]+/signals|/openadr/.*", re.DOTALL)
"""What a grid source says is no person's command: its version makes it harmless twice, its receipt tells.

Nor is an access token, which stands in no database.
"""
TOLD_ONCE = re.compile(
    r"[A-Z]+ /api/v1/users/.+|PUT /api/v1/sources/[^/]+|POST /api/v1/owners/[^/]+/calendar", re.DOTALL
)
"""Answers to these hold passwords, secrets, links and calendar addresses, which stand in no database."""
OWN_TRAIL = (
    "start_event",
    "modify_event",
    "force_event",
    "approve_event",
    "cancel_event",
    "stop_all",
    "add_source",
    "approve_source",
    "add_user",
    "make_login_link",
    "quarantine_meters",
    "exclude_day",
    "include_day",
    "nominate_power",
    "import_prices",
    "ask_dispute",
    "answer_dispute",
    "write_off_owner",
    "forget_owner",
)
"""Operations that leave their trail by themselves, whoever asks."""
OWNERS_WORDS = {
    "change_reserve": "change reserve of {site_id}",
    "opt_out_site": "opt out of {event_id}",
    "opt_in_site": "opt in to {event_id}",
    "leave_program": "leave the program with {site_id}",
    "keep_contact": "change contact",
    "name_home": "name home {site_id}",
    "open_calendar": "open calendar",
    "close_calendar": "close calendar",
}
"""What else would be done in an owner's name unseen, and how the trail tells the owner of it."""
REASON_MOST = 500
_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
_KINDS = {"event_id": "event", "site_id": "site", "run_id": "payout", "name": "name"}

FoundT = TypeVar("FoundT")

logger = structlog.get_logger()


def is_command(method: str, path: str) -> bool:
    """Return whether a request is some person's command, done once under its key and told in the trail."""
    return method in WRITES and path not in NO_COMMANDS and not SIGNALS.fullmatch(path)


class CommandsOnce:
    """Give every request an id; do a command once under its key, and note it."""

    def __init__(self, app: ASGIApp, *, desk: Callable[[], Desk], token: str) -> None:
        self._app, self._desk, self._token = app, desk, token
        self._under_way: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, answer it from what is kept, or refuse the key."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _VISIBLE.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        commands = is_command(scope["method"], scope["path"])
        if not commands or not self._is_known(headers) or scope["method"] not in methods_at(scope):
            await self._app(scope, receive, send_with_id)
            return
        key = headers.get("idempotency-key")
        if len(headers.get("x-vpp-reason", "")) > REASON_MOST:
            detail = f"X-VPP-Reason has at most {REASON_MOST} characters"
            await problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)(scope, receive, send_with_id)
        elif key is None:
            answer = await _answer_of(self._app, scope, receive)
            await self._note(scope, headers, answer)
            await answer.send_on(send_with_id)
        elif _VISIBLE.fullmatch(key):
            await self._once(key, scope, receive, send_with_id)
        else:
            refusal = problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency-Key is not 1-128 visible characters"
            )
            await refusal(scope, receive, send_with_id)

    def _is_known(self, headers: Headers) -> bool:
        shown = headers.get("authorization", "").encode()
        return secrets.compare_digest(shown, f"Bearer {self._token}".encode())

    async def _once(self, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        if key in self._under_way:
            refusal = problem(HTTPStatus.CONFLICT, "a command under this key is under way; ask again")
            await refusal(scope, receive, send)
            return
        self._under_way.add(key)
        try:
            body = await _body(receive)
            asked = _fingerprint(scope, body)
            kept = None
            with _even_without_store(scope["path"]):
                kept = await _asked(scope["path"], self._desk().store.kept_answer(key))
            if kept is not None:
                await _kept_response(kept, asked)(scope, receive, send)
                return
            answer = await _answer_of(self._app, scope, _replay(body, receive))
            await self._note(scope, Headers(scope=scope), answer)
            # What was refused as it was asked did nothing, and is asked again under its key, put right.
            asked_wrongly = answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
            if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and not asked_wrongly:
                told_once = TOLD_ONCE.fullmatch(f"{scope['method']} {scope['path']}") is not None
                secret = told_once and answer.status < HTTPStatus.BAD_REQUEST
                kept = KeptAnswer(
                    key, asked, answer.status, None if secret else answer.body, self._desk().clock.now()
                )
                with _even_without_store(scope["path"]):
                    await _asked(scope["path"], self._desk().store.keep_answer(kept))
            await answer.send_on(send)
        except StoreUnavailable as failure:
            await store_down(failure)(scope, receive, send)
        finally:
            self._under_way.discard(key)

    async def _note(self, scope: Scope, headers: Headers, answer: "_Answer") -> None:
        """Write a command that was done into the trail, and into the log that it was asked."""
        name, named = getattr(scope.get("endpoint"), "__name__", ""), scope.get("path_params", {})
        request_id = scope["state"]["request_id"]
        # Paths and bodies name homes and people, so the log has the operation only.
        logger.info("command", operation=name, status=answer.status, request_id=request_id)
        if answer.status >= HTTPStatus.BAD_REQUEST or name in OWN_TRAIL:
            return
        desk = replace(self._desk(), request_id=request_id, why=headers.get("x-vpp-reason", ""))
        actor, of = headers.get("x-vpp-actor", "api")[:80], next((of for of in _KINDS if of in named), None)
        subject = f"{_KINDS[of]}:{named[of]}" if of else "fleet"
        about = ", ".join(str(value) for each, value in named.items() if each not in (of, "owner_id"))
        owner_id = await _whose(desk, named) if name in OWNERS_WORDS else None
        entries = []
        if of or owner_id is None:
            entries.append(desk.trail_entry(actor, name.replace("_", " "), subject, about))
        if owner_id is not None:
            told = OWNERS_WORDS[name].format_map(named)
            entries.append(desk.trail_entry(actor, told, f"owner:{owner_id}"))
        await desk.store.leave_trail(entries)


async def _whose(desk: Desk, named: Mapping[str, str]) -> str | None:
    """Return the owner whom a command was about."""
    if "owner_id" in named:
        return named["owner_id"]
    home = await desk.store.enrollment(named["site_id"])
    return None if home is None else home.owner_id


async def _asked(path: str, question: Coroutine[Any, Any, FoundT]) -> FoundT:
    """Return what the database answers; stop-all does not wait for it."""
    return await (in_time(question, STOP_KEY_S) if path == STOP_ALL else question)


def _even_without_store(path: str) -> AbstractContextManager[None]:
    return suppress(StoreUnavailable) if path == STOP_ALL else nullcontext()


@dataclass(slots=True)
class _Answer:
    """A whole answer, held back until it is kept."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    async def send_on(self, send: Send) -> None:
        for message in self.messages:
            await send(message)


async def _answer_of(app: ASGIApp, scope: Scope, receive: Receive) -> _Answer:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return _Answer(messages)


def _fingerprint(scope: Scope, body: bytes) -> str:
    actor = Headers(scope=scope).get("x-vpp-actor", "api")
    asked = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}\n{actor}\n"
    return hashlib.sha256(asked.encode() + body).hexdigest()


def _kept_response(kept: KeptAnswer, asked: str) -> Response:
    if kept.request_sha256 != asked:
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used for another command; nothing was done",
        )
    if kept.body is None:
        return problem(
            HTTPStatus.CONFLICT, "this was done before; its answer held a secret that is told once"
        )
    good = kept.status < HTTPStatus.BAD_REQUEST
    return Response(
        kept.body,
        kept.status,
        {"Idempotency-Replayed": "true"},
        "application/json" if good else MEDIA_TYPE,
    )


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again
