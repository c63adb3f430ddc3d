"""Who visits a page, and whether the page is for them.

Every route names the right it asks for by one of the types at the end; a form comes checked.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from vpp.domain.access import RIGHTS, Right, Role, TrailEntry
from vpp.entrypoints.http.live import BoardsKept
from vpp.entrypoints.http.security import COOKIE, CookieSigner, RateLimit
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.in_time import in_time
from vpp.entrypoints.operations.people import key_of
from vpp.ports import StoreUnavailable

FIELDS_MOST = 100
STOPPER_S = 0.3  # for the database to say who wants to stop everything; it is asked twice


@dataclass(slots=True)
class Front:
    """What all pages share. ``secure`` marks cookies for https only."""

    desk_now: Callable[[], Desk]
    signer: CookieSigner
    secure: bool = False
    boards: BoardsKept = field(default_factory=BoardsKept)
    visitors: "VisitorsKept" = field(default_factory=lambda: VisitorsKept())
    dispatchers: "DispatchersKept" = field(default_factory=lambda: DispatchersKept())
    bad_logins_by_name: RateLimit = field(default_factory=lambda: RateLimit(5, 60))
    bad_logins_by_host: RateLimit = field(default_factory=lambda: RateLimit(50, 60))
    commands: RateLimit = field(default_factory=lambda: RateLimit(30, 10))
    questions: "QuestionsCounted" = field(default_factory=lambda: QuestionsCounted())


class QuestionsCounted:
    """How many questions wait, as counted some seconds ago: every staff page says it."""

    SECONDS = 10.0

    def __init__(self) -> None:
        self._counted: tuple[float, int] | None = None

    async def count(self, desk: Desk) -> int:
        """Return how many questions wait for an answer."""
        if self._counted is None or time.monotonic() - self._counted[0] >= self.SECONDS:
            self._counted = (time.monotonic(), await desk.store.open_disputes())
        return self._counted[1]

    def forget(self) -> None:
        """Count anew: a question was asked or answered."""
        self._counted = None


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in. ``form_token`` goes into every form shown to them."""

    name: str
    role: Role
    owner_id: str | None
    session_key: str
    form_token: str
    open_questions: int = 0
    """How many owners wait for an answer, for somebody who may give it."""

    @property
    def actor(self) -> str:
        """Return how histories and the trail name this person.

        An owner's name stands in none: facts that never change would tell for ever whose they are.
        """
        return f"owner:{self.own_id}" if self.role is Role.OWNER else f"staff:{self.name}"

    def may(self, right: Right) -> bool:
        """Return whether the role carries the right."""
        return right in RIGHTS[self.role]

    @property
    def own_id(self) -> str:
        """Return the owner whose homes these are. Only for visitors that may OWN_HOME."""
        assert self.owner_id is not None
        return self.owner_id


class VisitorsKept:
    """Who looked within the last seconds, so that a board asked for each second does not ask the database.

    A login that ends shows its last board for that long; nothing else is let in by it.
    """

    MOST = 5_000

    def __init__(self, seconds: float = 5.0) -> None:
        self._seconds = seconds
        self._known: dict[str, tuple[float, Visitor]] = {}

    def get(self, cookie: str) -> Visitor | None:
        """Return who came with the cookie lately, None where nobody did."""
        known = self._known.get(cookie)
        return known[1] if known is not None and time.monotonic() - known[0] < self._seconds else None

    def put(self, cookie: str, visitor: Visitor) -> None:
        """Remember somebody for some seconds."""
        if len(self._known) >= self.MOST:
            self._known.clear()
        self._known[cookie] = (time.monotonic(), visitor)


class DispatchersKept:
    """Who may dispatch and was found in the database, until the login would end.

    It lets them do one thing while the database is down: stop. What could not be known any more, that the
    login was ended elsewhere meanwhile, makes a stop no danger.
    """

    MOST = 1_000

    def __init__(self) -> None:
        self._known: dict[str, tuple[datetime, Visitor]] = {}

    def get(self, cookie: str, now: datetime) -> Visitor | None:
        """Return who came with the cookie, None where nobody did or the login is over."""
        known = self._known.get(cookie)
        return known[1] if known is not None and now < known[0] else None

    def note(self, cookie: str, until: datetime, visitor: Visitor) -> None:
        """Remember somebody who may dispatch; the one who came longest ago makes room."""
        self._known.pop(cookie, None)
        if len(self._known) >= self.MOST:
            self._known.pop(next(iter(self._known)))
        self._known[cookie] = (until, visitor)

    def forget(self, cookie: str) -> None:
        """Let nobody in by a cookie that the database does not know any more."""
        self._known.pop(cookie, None)


class NotLoggedIn(Exception):
    """The page needs a login first."""


class ToldFault(HTTPException):
    """Why a page was not shown or a form not taken, as a sentence that stands in every language."""

    def __init__(self, status: HTTPStatus, key: str) -> None:
        super().__init__(status, str(Language("en")(key)))
        self.key = key


def front_of(request: Request) -> Front:
    """Return what all pages share."""
    front = request.app.state.front
    assert isinstance(front, Front)
    return front


def desk_of(request: Request) -> Desk:
    """Return what operations work on. Raises StoreUnavailable while the database is not there."""
    return replace(front_of(request).desk_now(), request_id=f"page-{secrets.token_hex(8)}")


async def visitor_of(request: Request) -> Visitor | None:
    """Return who is logged in by the request's cookie, or None."""
    front, cookie = front_of(request), request.cookies.get(COOKIE, "")
    secret = front.signer.secret_of(cookie)
    if secret is None:
        return None
    desk = front.desk_now()
    session = await desk.store.session(key_of(secret))
    valid = session is not None and session.expires_at > desk.clock.now()
    user = await desk.store.user(session.user_name) if session is not None and valid else None
    if session is None or user is None:
        front.dispatchers.forget(cookie)
        return None
    token = front.signer.form_token(session.key)
    visitor = Visitor(user.name, user.role, user.owner_id, session.key, token)
    if visitor.may(Right.DISPATCH):
        front.dispatchers.note(cookie, session.expires_at, visitor)
    return visitor


async def visitor_or_dispatcher(request: Request) -> Visitor | None:
    """Return who is logged in; while the database does not answer, who may dispatch and was seen before."""
    try:
        return await in_time(visitor_of(request), STOPPER_S)
    except StoreUnavailable:
        front = front_of(request)
        known = front.dispatchers.get(request.cookies.get(COOKIE, ""), front.desk_now().clock.now())
        if known is None:
            raise
        return known


@dataclass(frozen=True, slots=True)
class Permit:
    """Lets a visitor with the right in. An owner is told that staff pages do not exist.

    ``kept``: somebody who was let in some seconds ago is let in without a look into the database.
    ``stops``: so is somebody who may dispatch, while the database is down.
    """

    right: Right
    kept: bool = False
    stops: bool = False

    async def __call__(self, request: Request) -> Visitor:
        """Return the visitor. Raises NotLoggedIn, or HTTPException 403 or 404."""
        front, cookie = front_of(request), request.cookies.get(COOKIE, "")
        visitor = front.visitors.get(cookie) if self.kept else None
        visitor = visitor or await (visitor_or_dispatcher if self.stops else visitor_of)(request)
        if visitor is None:
            raise NotLoggedIn
        request.state.visitor = visitor  # whoever has to say what went wrong need not ask again
        if self.kept:
            front.visitors.put(cookie, visitor)
        if not visitor.may(self.right):
            if visitor.role is Role.OWNER:
                raise ToldFault(HTTPStatus.NOT_FOUND, "page.nothing_here")
            raise HTTPException(
                HTTPStatus.FORBIDDEN, f"This page is not for the role {visitor.role}; nothing was changed."
            )
        if visitor.may(Right.ANSWER) and not (self.kept or self.stops):
            return replace(visitor, open_questions=await front.questions.count(front.desk_now()))
        return visitor


Form = Mapping[str, str]


async def plain_form(request: Request) -> Form:
    """Return the fields of a form sent from a page of this host. Raises HTTPException 403 or 422."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise ToldFault(HTTPStatus.FORBIDDEN, "page.other_site")
    try:
        body = (await request.body()).decode()
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS_MOST)
    except ValueError as failure:
        raise ToldFault(HTTPStatus.UNPROCESSABLE_ENTITY, "page.unreadable") from failure
    return {name: value.strip().replace("\x00", "") for name, value in fields}


async def checked_form(request: Request) -> Form:
    """Return the fields of a form that was shown to this visitor. Raises NotLoggedIn, HTTPException."""
    return _checked(request, await plain_form(request), await visitor_of(request))


async def checked_stop(request: Request) -> Form:
    """Return the fields of the form that stops; it works while the database is down. Raises as others do."""
    return _checked(request, await plain_form(request), await visitor_or_dispatcher(request))


def _checked(request: Request, form: Form, visitor: Visitor | None) -> Form:
    if visitor is None:
        raise NotLoggedIn
    front = front_of(request)
    if not front.signer.is_form_token(visitor.session_key, form.get("form_token", "")):
        raise ToldFault(HTTPStatus.FORBIDDEN, "page.earlier_login")
    if front.commands.is_full(visitor.session_key):
        raise ToldFault(HTTPStatus.TOO_MANY_REQUESTS, "page.too_many")
    front.commands.hit(visitor.session_key)
    return form


async def leave_trail(desk: Desk, visitor: Visitor, action: str, subject: str, reason: str = "") -> None:
    """Write into the trail what the visitor did."""
    await desk.store.leave_trail([trail_entry(desk, visitor, action, subject, reason)])


def trail_entry(desk: Desk, visitor: Visitor, action: str, subject: str, reason: str = "") -> TrailEntry:
    """Return what the trail says of what the visitor did, or is about to read."""
    return TrailEntry(desk.clock.now(), visitor.actor, action, subject, reason[:500], desk.request_id)


AtDesk = Annotated[Desk, Depends(desk_of)]
Watcher = Annotated[Visitor, Depends(Permit(Right.WATCH))]
Follower = Annotated[Visitor, Depends(Permit(Right.WATCH, kept=True))]
Dispatcher = Annotated[Visitor, Depends(Permit(Right.DISPATCH))]
Stopper = Annotated[Visitor, Depends(Permit(Right.DISPATCH, stops=True))]
Approver = Annotated[Visitor, Depends(Permit(Right.APPROVE))]
HomeReader = Annotated[Visitor, Depends(Permit(Right.READ_HOMES))]
Answerer = Annotated[Visitor, Depends(Permit(Right.ANSWER))]
TrailReader = Annotated[Visitor, Depends(Permit(Right.READ_TRAIL))]
HomeOwner = Annotated[Visitor, Depends(Permit(Right.OWN_HOME))]
CheckedForm = Annotated[Form, Depends(checked_form)]
StopForm = Annotated[Form, Depends(checked_stop)]
PlainForm = Annotated[Form, Depends(plain_form)]
