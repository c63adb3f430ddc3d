"""Who may grant what an event waits for, so that one person at one terminal is never two.

The first person is whoever started or changed the event here; a grid source is nobody of ours, so that its
events have no first person and one operator is enough. A system user is told apart by the system, a login by
its password. A name in a header is only a claim: whoever holds the API's token can write any.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus

from vpp.adapters.passwords import password_matches
from vpp.domain.access import RIGHTS, Right, TrailEntry
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.people import LOGIN_GIVEN, login_subject

ALL_ENTRIES = 100_000
"""So many that nobody hides who started an event by asking for other things."""


async def who_grants(
    desk: Desk, event_id: str, *, right: Right, actor: str, claimed: bool, login: str = "", password: str = ""
) -> str:
    """Return who grants something for an event, known as surely as the event needs it.

    What a person began here, somebody else approves and forces: whom an older login names, or another system
    user.

    Args:
        desk: Where trail and logins are.
        event_id: The event.
        right: What is granted: APPROVE, or DISPATCH for force.
        actor: Who asks.
        claimed: Nobody but the caller says so.
        login: Of whom ``password`` is, for one command; empty for none.
        password: What proves the login.

    Raises:
        OperationRefused: It is the first person, or not known who it is. Nothing was changed.
    """
    if login:
        actor = await _logged_in(desk, login, password, right, actor)
    first = await _first_persons(desk, event_id)
    if not first:
        return actor
    named = bool(login) or (actor.startswith("staff:") and not claimed)
    began = first.get(person_of(actor))
    if began is not None:
        did = "started" if began.action == "start" else "changed"
        raise OperationRefused(
            f"{actor} {did} event {event_id}; somebody else has to {_verb(right)} it, with a login: "
            f"vpp event {_verb(right)} {event_id} --as NAME",
            HTTPStatus.CONFLICT,
        )
    if claimed and not named:
        raise OperationRefused(
            f"a person began event {event_id}, and that {actor} is another one is only said; "
            f"{_verb(right)} it with a login: vpp event {_verb(right)} {event_id} --as NAME, or on its page",
            HTTPStatus.CONFLICT,
        )
    if named:
        await _require_older_login(desk, person_of(actor), min(first.values(), key=lambda entry: entry.at))
    return actor


def person_of(actor: str) -> str:
    """Return who stands behind an actor: the same name is one person, at a page or at a terminal."""
    return actor.rpartition(":")[2]


def _verb(right: Right) -> str:
    return "approve" if right is Right.APPROVE else "force"


async def _first_persons(desk: Desk, event_id: str) -> Mapping[str, TrailEntry]:
    """Return by person what they last did to make the event what it is."""
    trail = await desk.store.trail(subject=f"event:{event_id}", limit=ALL_ENTRIES)
    return {person_of(entry.actor): entry for entry in trail if entry.action in ("start", "modify")}


async def _logged_in(desk: Desk, name: str, password: str, right: Right, asker: str) -> str:
    user = await desk.store.user(name)
    if user is None or not await asyncio.to_thread(password_matches, user.password_hash, password):
        raise OperationRefused(
            f"login {name[:70]} and that password do not belong together; nothing changed",
            HTTPStatus.FORBIDDEN,
        )
    if right not in RIGHTS[user.role]:
        able = ", ".join(role for role, rights in RIGHTS.items() if right in rights)
        raise OperationRefused(
            f"{name} has the role {user.role}; to {_verb(right)} takes {able}; nothing changed",
            HTTPStatus.FORBIDDEN,
        )
    entry = desk.trail_entry(f"staff:{name}", "log in", f"user:{name}", f"for one command of {asker}")
    await desk.store.leave_trail([entry])
    return f"staff:{name}"


async def _require_older_login(desk: Desk, name: str, began: TrailEntry) -> None:
    """Refuse a login that was made, or given anew, since the event began: its first person may have it."""
    user = await desk.store.user(name)
    if user is None:
        return
    given = await desk.store.trail(subject=login_subject(user), limit=ALL_ENTRIES)
    if user.added_at > began.at or any(
        entry.action in LOGIN_GIVEN and entry.at > began.at for entry in given
    ):
        raise OperationRefused(
            f"login {name} was made or given anew after {began.actor} began the event, so it proves no "
            "second person; take an older login, or cancel the event and start it again",
            HTTPStatus.CONFLICT,
        )
