"""People who may log in: add them, list them, and let them in once by a link."""

import asyncio
import hashlib
import re
import secrets
from datetime import timedelta
from http import HTTPStatus

from vpp.adapters.passwords import hash_password
from vpp.domain.access import LoginLink, Role, User
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.paging import page

LEAST_CHARACTERS = 12
LINK_LASTS = timedelta(hours=1)
LOGIN_GIVEN = ("add user", "make login link")
"""What the trail says where somebody was given a way to log in."""
_NAME = re.compile(r"[a-z0-9][a-z0-9.@_-]{0,63}")


def key_of(secret: str) -> str:
    """Return what a session or link is stored under: its secret stands in no database."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def add_user(
    desk: Desk,
    *,
    name: str,
    role: str,
    owner: str | None = None,
    password: str | None = None,
    actor: str = "api",
) -> Json:
    """Let somebody log in, or give the one of that name a new password and role; old logins end.

    Args:
        name: 1 to 64 of a-z, 0-9 and ``.@_-``.
        role: operator, approver, viewer, auditor, support or owner.
        owner: Whose homes an owner sees; only for the role owner.
        password: At least 12 characters; without one it is made here and answered once.
        actor: Who lets them; the trail keeps it.

    Returns:
        ``name, role, owner_id, password`` (None where it was given)``, added_at``.
    """
    if not _NAME.fullmatch(name):
        raise OperationRefused(f"user name {name[:70]!r} is not 1-64 of a-z, 0-9 and '.@_-'")
    if role not in list(Role):
        raise OperationRefused(f"role {role[:30]!r} is none of {', '.join(Role)}")
    if (role == Role.OWNER) != (owner is not None):
        raise OperationRefused("the role owner needs --owner OWNER, and no other role has one")
    if owner is not None and not await _has_homes(desk, owner):
        raise OperationRefused(f"owner {owner[:60]} has no home here; vpp site list names all owners")
    if password is not None and not LEAST_CHARACTERS <= len(password) <= 1000:
        raise OperationRefused(f"a password has at least {LEAST_CHARACTERS} characters")
    made = None if password is not None else secrets.token_urlsafe(18)
    hashed = await asyncio.to_thread(hash_password, password or made or "")
    user = User(name, Role(role), owner, hashed, desk.clock.now())
    await desk.store.leave_trail([desk.trail_entry(actor, "add user", login_subject(user), f"as {role}")])
    await desk.store.keep_user(user)
    return user_facts(user) | {"password": made}


async def _has_homes(desk: Desk, owner_id: str) -> bool:
    return bool(await desk.store.enrollments(owner_ids=[owner_id]))


def login_subject(user: User) -> str:
    """Return what the trail says a login is about; an owner's name stands in no fact that never changes."""
    return "login" if user.role is Role.OWNER else f"user:{user.name}"


def user_facts(user: User) -> Json:
    """Return one person as JSON, without the password's hash."""
    return {
        "name": user.name,
        "role": user.role.value,
        "owner_id": user.owner_id,
        "added_at": instant(user.added_at),
    }


async def list_users(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``users``: everybody who may log in, by name; and ``next_cursor``."""
    found, following = page(await desk.store.users(), lambda each: each.name, cursor=cursor, limit=limit)
    return {"users": [user_facts(user) for user in found], "next_cursor": following}


async def make_login_link(desk: Desk, *, name: str, actor: str = "api") -> Json:
    """Make a link that logs somebody in once, within an hour; who made it stands in the trail.

    Returns:
        ``name, path`` (on the pages' own host)``, expires_at``.
    """
    user = await desk.store.user(name)
    if user is None:
        raise OperationRefused(f"user {name[:70]} is not known; vpp user list", HTTPStatus.NOT_FOUND)
    secret, now = secrets.token_urlsafe(32), desk.clock.now()
    link = LoginLink(key_of(secret), name, now, now + LINK_LASTS)
    await desk.store.leave_trail([desk.trail_entry(actor, "make login link", login_subject(user))])
    await desk.store.add_login_link(link)
    return {"name": name, "path": f"/login/once/{secret}", "expires_at": instant(link.expires_at)}
