"""What staff read of an owner's data: who, what and why is stored before anything is answered.

The owner sees each such entry at once. Owners read their own data elsewhere, and leave no such entry.
"""

import inspect
import secrets
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from vpp.domain.access import TrailEntry
from vpp.domain.enrollment import Enrollment
from vpp.entrypoints.operations import disputes, fairness
from vpp.entrypoints.operations.contacts import show_contact
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.money import UNSUMMED, show_statement
from vpp.entrypoints.operations.owner import homes_of, show_own_events, show_own_home
from vpp.entrypoints.operations.owner_money import show_own_event
from vpp.entrypoints.operations.sites import site_facts

ON_THE_COMMAND_LINE = "asked on the command line"
LEAST_REASON = 3

OperationT = TypeVar("OperationT", bound=Callable[..., Awaitable[Json]])


def _answers_as(source: Callable[..., Awaitable[Json]]) -> Callable[[OperationT], OperationT]:
    """Let an operation's description end with what another one says that it returns."""
    returns = (inspect.getdoc(source) or "").partition("Returns:")

    def described(operation: OperationT) -> OperationT:
        operation.__doc__ = f"{inspect.getdoc(operation)}\n\n{''.join(returns[1:])}"
        return operation

    return described


async def homes_for(desk: Desk, owner_id: str, actor: str, reason: str, action: str) -> Sequence[Enrollment]:
    """Return the homes of an owner; what staff read is written down in the same transaction.

    Args:
        desk: The desk.
        owner_id: The owner.
        actor: Who asks; empty, or ``owner:`` with the owner's id, where the owner does.
        reason: Why staff ask.
        action: What is read, for the trail.

    Raises:
        OperationRefused: Staff give no reason, or the owner has no home here.
    """
    if actor in ("", f"owner:{owner_id}"):
        return await homes_of(desk, owner_id)
    homes = await desk.store.read_homes(owner_id, _entry(desk, owner_id, actor, reason, action))
    if not homes:
        raise OperationRefused(f"owner {owner_id[:60]} has no home here", HTTPStatus.NOT_FOUND)
    return homes


def _entry(desk: Desk, owner_id: str, actor: str, reason: str, action: str) -> TrailEntry:
    if len(reason.strip()) < LEAST_REASON:
        raise OperationRefused(
            "say why you read an owner's data, in three letters at least; the owner sees it"
        )
    request_id = desk.request_id or secrets.token_hex(8)
    return TrailEntry(desk.clock.now(), actor, action, f"owner:{owner_id}", reason.strip()[:500], request_id)


async def read_home(desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE) -> Json:
    """Return an owner's first page, for staff who say why.

    Returns:
        ``homes``: enrolment, ``now``, ``usable_wh, event_most_wh, usd_per_kwh, usual_wh, usual_usd,
        usual_floor_pct``;
        ``coming``: events that are not over, with what each asks of each home; ``season_usd, pending_usd,
        posted_usd, on_its_way_usd, paid_out_usd, what_counts``.
    """
    await homes_for(desk, owner_id, actor, reason, "read home page")
    return await show_own_home(desk, owner_id=owner_id)


async def read_history(desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE) -> Json:
    """Return every past event of an owner, for somebody of the staff who says why.

    Args:
        owner_id: The owner.
        actor: Who reads; the owner sees it.
        reason: Why.

    Returns:
        ``events``, the newest first: ``event_id, name, site_id, starts_at, ends_at, time_zone, delivered_wh,
        incremental_wh, paid_wh, amount_usd, state, why`` (a word; None where nothing was special)``,
        sentence, test``.
    """
    await homes_for(desk, owner_id, actor, reason, "read history")
    return await show_own_events(desk, owner_id=owner_id)


async def read_event(
    desk: Desk, *, owner_id: str, event_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE
) -> Json:
    """Return one past event of an owner from the meter to the cent, for staff who say why.

    Returns:
        ``rows`` as of ``vpp owner history``, one for each home; ``lines`` of the statement with exact
        decimals: ``sum_kwh, paid_kwh, hours`` (``metered_kwh, baseline_kwh, beyond_kwh, exported_kwh``)``,
        steps`` (from the hours to the amount); ``chain_head``.
    """
    await homes_for(desk, owner_id, actor, reason, f"read event {event_id}")
    return await show_own_event(desk, owner_id=owner_id, event_id=event_id)


async def read_contact(desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE) -> Json:
    """Return where an owner is written to and what was written, for staff who say why.

    Returns:
        ``party, address, language, muted, rank``; ``notices``: ``at, kind, subject, facts, sent_at,
        trouble, given_up``, the newest first.
    """
    await homes_for(desk, owner_id, actor, reason, "read contact")
    return await show_contact(desk, owner_id=owner_id)


@_answers_as(show_statement)
async def read_statement(desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE) -> Json:
    """Return all that an owner earned, with every number behind it, for staff who say why.

    Where somebody changed an entry of the owner in the database, nothing can be summed: then only
    ``owner_id``, ``balanced`` (False) and ``differs``, what was changed.
    """
    if actor != f"owner:{owner_id}":  # an owner without a home may still have entries
        await desk.store.read_homes(owner_id, _entry(desk, owner_id, actor, reason, "read statement"))
    try:
        return await show_statement(desk, owner_id=owner_id)
    except UNSUMMED as failure:
        return {"owner_id": owner_id, "balanced": False, "differs": str(failure)}


async def read_site(desk: Desk, *, site_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE) -> Json:
    """Return one enrolment, for staff who say why: the owner sees who read it.

    Returns:
        Ids, ``full_energy_wh`` (Wh), ``max_discharge_w`` (W), ``reserve_pct``, consent and its end,
        ``meter_accuracy_pct`` (None where nobody said).
    """
    known = await desk.enrollment(site_id)
    homes = await homes_for(desk, known.owner_id, actor, reason, f"read home {site_id}")
    return site_facts(next(home for home in homes if home.site_id == site_id))


@_answers_as(fairness.site_history)
async def read_site_history(
    desk: Desk, *, site_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE
) -> Json:
    """Return what a home did this season, and how that compares, for staff who say why."""
    known = await desk.enrollment(site_id)
    await homes_for(desk, known.owner_id, actor, reason, f"read season of {site_id}")
    return await fairness.site_history(desk, site_id=site_id)


async def read_disputes(
    desk: Desk,
    *,
    actor: str,
    owner: str = "",
    waiting: bool = False,
    reason: str = ON_THE_COMMAND_LINE,
    cursor: str = "",
    limit: int | None = None,
) -> Json:
    """Return every dispute, those that wait for an answer first; with an owner, that owner's.

    With ``waiting``, only those that wait.
    Each owner whose words are read sees who read them.

    Returns:
        ``disputes``, each as ``vpp dispute ask`` answers; ``next_cursor``. One that is asked or answered
        between two pages changes its place.
    """
    found = await disputes.list_disputes(desk, owner=owner, waiting=waiting, cursor=cursor, limit=limit)
    listed = found["disputes"]
    assert isinstance(listed, list)
    read = sorted({str(each["owner_id"]) for each in listed})
    told = [each for each in read if actor != f"owner:{each}"]
    if told:
        await desk.store.leave_trail([_entry(desk, each, actor, reason, "read disputes") for each in told])
    return found
