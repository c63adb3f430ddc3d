"""Logging in and out: by password, or by a link that works once."""

import asyncio
import secrets
from datetime import timedelta
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.adapters.passwords import hash_password, password_matches
from vpp.domain.access import Role, Session, TrailEntry, User
from vpp.entrypoints.http.security import COOKIE
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, PlainForm, ToldFault, front_of, visitor_of
from vpp.entrypoints.language import Language, preferred
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.people import key_of

SESSION_LASTS = timedelta(hours=12)
HASHING_AT_ONCE = 2  # each takes 64 MiB

router = APIRouter()
_hashing = asyncio.Semaphore(HASHING_AT_ONCE)


class _Nobody:
    """A hash to compare with where nobody has the name, so that both take the same time."""

    password_hash: str | None = None


def safe_next(path: str) -> str:
    """Return the path if it is one of this host, else ``/``."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def home_of(role: Role) -> str:
    """Return the first page of a role."""
    return "/owner" if role is Role.OWNER else "/operator"


@router.get("/")
async def front_page(request: Request) -> Response:
    """Lead everybody to their first page."""
    visitor = await visitor_of(request)
    return RedirectResponse("/login" if visitor is None else home_of(visitor.role), HTTPStatus.SEE_OTHER)


@router.get("/login")
async def login_page(request: Request, next: str = "/") -> Response:  # noqa: A002  # the word in the address
    """Show the form."""
    return _form(request, HTTPStatus.OK, next_path=safe_next(next))


@router.post("/login")
async def log_in(request: Request, desk: AtDesk, form: PlainForm) -> Response:
    """Begin a session, or say that name and password do not belong together."""
    front, name = front_of(request), form.get("name", "")[:64]
    next_path = safe_next(form.get("next", "/"))
    host = request.client.host if request.client else "unknown"
    if front.bad_logins_by_name.is_full(name) or front.bad_logins_by_host.is_full(host):
        return _form(
            request, HTTPStatus.TOO_MANY_REQUESTS, next_path=next_path, name=name, fault="too_many_wrong"
        )
    user = await desk.store.user(name)
    if not await _is_password(user, form.get("password", "")[:1000]) or user is None:
        front.bad_logins_by_name.hit(name)
        front.bad_logins_by_host.hit(host)
        return _form(request, HTTPStatus.UNAUTHORIZED, next_path=next_path, name=name, fault="wrong")
    return await _let_in(request, desk, user, home_of(user.role) if next_path == "/" else next_path)


def _form(
    request: Request, status: HTTPStatus, *, next_path: str, name: str = "", fault: str = ""
) -> Response:
    """Show the form in the language that the browser asks for; ``fault`` names a sentence of the login's."""
    t = Language(preferred(request.headers.get("accept-language", "")))
    return show(
        request, "login.html", status, t=t, next=next_path, name=name,
        fault=t(f"login.{fault}") if fault else None, ended="again=yes" in next_path,
    )  # fmt: skip


async def _is_password(user: User | None, password: str) -> bool:
    async with _hashing:
        if user is not None:
            return await asyncio.to_thread(password_matches, user.password_hash, password)
        if _Nobody.password_hash is None:
            _Nobody.password_hash = await asyncio.to_thread(hash_password, secrets.token_urlsafe(18))
        await asyncio.to_thread(password_matches, _Nobody.password_hash, password)
        return False


@router.get("/login/once/{secret}")
async def log_in_once(request: Request, desk: AtDesk, secret: str) -> Response:
    """Begin a session by a link; the link ends with it."""
    link = await desk.store.use_login_link(key_of(secret))
    user = await desk.store.user(link.user_name) if link is not None else None
    if link is None or user is None or link.expires_at <= desk.clock.now():
        raise ToldFault(HTTPStatus.NOT_FOUND, "page.link_over")
    return await _let_in(request, desk, user, home_of(user.role))


async def _let_in(request: Request, desk: Desk, user: User, path: str) -> Response:
    front, now, secret = front_of(request), desk.clock.now(), secrets.token_urlsafe(32)
    await desk.store.begin_session(Session(key_of(secret), user.name, now, now + SESSION_LASTS))
    own = user.role is Role.OWNER  # whose name stands in no fact that never changes
    actor = f"owner:{user.owner_id}" if own else f"staff:{user.name}"
    entry = TrailEntry(now, actor, "log in", "login" if own else f"user:{user.name}", "", "page")
    await desk.store.leave_trail([entry])
    response = RedirectResponse(path, HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE, front.signer.sign(secret), httponly=True, samesite="lax", secure=front.secure, path="/"
    )
    return response


@router.post("/logout")
async def log_out(request: Request, desk: AtDesk, _form: CheckedForm) -> Response:
    """End the session here and in the store."""
    visitor = await visitor_of(request)
    if visitor is not None:
        await desk.store.end_session(visitor.session_key)
        front_of(request).dispatchers.forget(request.cookies.get(COOKIE, ""))
    response = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    response.delete_cookie(COOKIE, path="/")
    return response
