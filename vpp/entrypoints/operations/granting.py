"""Who may grant what waits for a second person, so that one person at one terminal is never two.

The first person is whoever started or changed an event here, or asked for a source's higher limit; a grid
source is nobody of ours, so that its events have no first person and one operator is enough. A system user
is told apart by the system, a login by its password. A name in a header is only a claim: whoever holds the
API's token can write any.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from vpp.adapters.passwords import password_matches
from vpp.domain.access import RIGHTS, Right
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.people import LOGIN_GIVEN, login_subject

ALL_ENTRIES = 100_000
"""So many that nobody hides who started an event by asking for other things."""
_BEGINS = {"start": "started", "modify": "changed"}


@dataclass(frozen=True, slots=True)
class Began:
    """What a first person did, in a word such as ``started``, and when."""

    actor: str
    did: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a second person: its name, the command that grants it, and its first persons."""

    thing: str  # such as ``event ev-1``
    command: str
    first: Mapping[str, Began]
    elsewhere: str = ""  # where else it is granted
    anew: str = ""  # how it is asked for anew


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
    event = Waiting(
        f"event {event_id}",
        f"vpp event {_verb(right)} {event_id}",
        await _first_persons(desk, event_id),
        elsewhere=", or on its page",
        anew="cancel the event and start it again",
    )
    return await second_person(
        desk, event, right=right, actor=actor, claimed=claimed, login=login, password=password
    )


async def second_person(
    desk: Desk, what: Waiting, *, right: Right, actor: str, claimed: bool, login: str = "", password: str = ""
) -> str:
    """Return who grants what waits, as ``who_grants`` does for an event. Raises OperationRefused."""
    if login:
        actor = await _logged_in(desk, login, password, right, actor)
    if not what.first:
        return actor
    named = bool(login) or (actor.startswith("staff:") and not claimed)
    own, began = what.first.get(person_of(actor)), min(what.first.values(), key=lambda each: each.at)
    if own is not None:
        raise OperationRefused(
            f"{actor} {own.did} {what.thing}; somebody else has to {_verb(right)} it, with a login: "
            f"{what.command} --as NAME",
            HTTPStatus.CONFLICT,
        )
    if claimed and not named:
        raise OperationRefused(
            f"a person {began.did} {what.thing}, and that {actor} is another one is only said; "
            f"{_verb(right)} it with a login: {what.command} --as NAME{what.elsewhere}",
            HTTPStatus.CONFLICT,
        )
    if named:
        await _require_older_login(desk, person_of(actor), what, began)
    return actor


async def is_first_person(desk: Desk, event_id: str, actor: str) -> bool:
    """Return whether somebody began an event here, so that another has to grant what of it waits."""
    return person_of(actor) in await _first_persons(desk, event_id)


def person_of(actor: str) -> str:
    """Return who stands behind an actor: the same name is one person, at a page or at a terminal."""
    return actor.rpartition(":")[2]


def _verb(right: Right) -> str:
    return "approve" if right is Right.APPROVE else "force"


async def _first_persons(desk: Desk, event_id: str) -> Mapping[str, Began]:
    """Return by person what they last did to make the event what it is."""
    trail = await desk.store.trail(subject=f"event:{event_id}", limit=ALL_ENTRIES)
    return {
        person_of(entry.actor): Began(entry.actor, _BEGINS[entry.action], entry.at)
        for entry in trail
        if entry.action in _BEGINS
    }


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


async def _require_older_login(desk: Desk, name: str, what: Waiting, began: Began) -> None:
    """Refuse a login that was made, or given anew, since it began: its first person may have it."""
    user = await desk.store.user(name)
    if user is None:
        return
    given = await desk.store.trail(subject=login_subject(user), limit=ALL_ENTRIES)
    if user.added_at > began.at or any(
        entry.action in LOGIN_GIVEN and entry.at > began.at for entry in given
    ):
        raise OperationRefused(
            f"login {name} was made or given anew after {began.actor} {began.did} {what.thing}, so it "
            f"proves no second person; take an older login, or {what.anew}",
            HTTPStatus.CONFLICT,
        )
