"""Disputes: an owner asks about what they got, staff answer, a correction may follow; all of it stays."""

from collections.abc import Sequence
from http import HTTPStatus

from vpp.domain.dispute import LONGEST_WORD, Dispute, DisputeWord, WordKind, disputes
from vpp.entrypoints.operations.books import correct_event
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.paging import page


async def ask_dispute(desk: Desk, *, owner_id: str, period: str, text: str, actor: str) -> Json:
    """Ask about what an owner got for an event, or for a month, season or year. Asking again reopens it.

    Returns:
        ``owner_id, period, state`` (``open`` or ``answered``) and ``words`` in the order said:
        ``kind`` (``asked``, ``answered``, ``corrected``), ``at, actor, text``.
    """
    if not await _was_settled(desk, owner_id, period):
        raise OperationRefused(
            f"owner {owner_id} has nothing settled for {period}; vpp statement {owner_id} lists what is",
            HTTPStatus.NOT_FOUND,
        )
    return await _say(desk, owner_id, period, WordKind.ASKED, text, actor)


async def answer_dispute(
    desk: Desk, *, owner_id: str, period: str, text: str, actor: str, correct: bool = False
) -> Json:
    """Answer an owner; with ``correct``, settle the event again from all readings there are now, first.

    A correction reverses and books anew only the amounts that changed; its entries name the dispute, and the
    statement shows the answer beside them.

    Returns:
        The dispute as ``vpp dispute ask`` does.
    """
    known = await _find(desk, owner_id, period)
    if known is None:
        raise OperationRefused(
            f"owner {owner_id} asked nothing about {period}; vpp dispute list names all disputes",
            HTTPStatus.NOT_FOUND,
        )
    _require_text(text)
    if correct:
        await correct_event(desk, event_id=period, reason=f"dispute of {owner_id}"[:200], actor=actor)
    kind = WordKind.CORRECTED if correct else WordKind.ANSWERED
    return await _say(desk, owner_id, period, kind, text, actor)


async def list_disputes(
    desk: Desk, *, owner: str = "", waiting: bool = False, cursor: str = "", limit: int | None = None
) -> Json:
    """Return every dispute, those that wait for an answer first; with an owner, that owner's.

    With ``waiting``, only those that wait.

    Returns:
        ``disputes``, each as ``vpp dispute ask`` answers; ``next_cursor``. One that is asked or answered
        between two pages changes its place.
    """
    found = disputes(await desk.store.words(owner_id=owner or None))
    placed = sorted(
        (f"{not each.is_open:d}{number:012d}", each)
        for number, each in enumerate(found)
        if each.is_open or not waiting
    )
    shown, following = page(placed, lambda each: each[0], cursor=cursor, limit=limit)
    return {"disputes": [dispute_facts(each) for _, each in shown], "next_cursor": following}


def dispute_facts(dispute: Dispute) -> Json:
    """Return a dispute with stable keys."""
    return {
        "owner_id": dispute.owner_id,
        "period": dispute.period,
        "state": "open" if dispute.is_open else "answered",
        "words": [
            {"kind": each.kind.value, "at": instant(each.at), "actor": each.actor, "text": each.text}
            for each in dispute.words
        ],
    }


async def own_disputes(desk: Desk, owner_id: str) -> Sequence[Json]:
    """Return one owner's disputes, in the order in which each began."""
    return [dispute_facts(each) for each in disputes(await desk.store.words(owner_id=owner_id))]


async def _was_settled(desk: Desk, owner_id: str, period: str) -> bool:
    booked = await desk.store.entries(owner_id=owner_id)
    if any(each.settles is not None and each.settles[3] == period for each in booked):
        return True
    # An event that earned nothing has a line and no entry; that is what owners ask about most.
    return any(each.event_id == period for each in await desk.store.settlements(owner_id=owner_id))


async def _find(desk: Desk, owner_id: str, period: str) -> Dispute | None:
    found = disputes(await desk.store.words(owner_id=owner_id))
    return next((each for each in found if each.period == period), None)


async def _say(desk: Desk, owner_id: str, period: str, kind: WordKind, text: str, actor: str) -> Json:
    _require_text(text)
    known = await _find(desk, owner_id, period)
    last = known.words[-1] if known else None
    if last is None or (last.kind, last.text) != (kind, text):  # the same word sent twice is said once
        await desk.store.say(DisputeWord(owner_id, period, kind, desk.clock.now(), actor, text))
        await desk.store.leave_trail(
            [desk.trail_entry(actor, f"dispute {kind.value}", f"owner:{owner_id}", period)]
        )
        known = await _find(desk, owner_id, period)
    assert known is not None
    return dispute_facts(known)


def _require_text(text: str) -> None:
    if not 1 <= len(text) <= LONGEST_WORD or not text.replace("\n", " ").isprintable():
        raise OperationRefused(f"a dispute needs a text of 1 to {LONGEST_WORD} printable characters")
