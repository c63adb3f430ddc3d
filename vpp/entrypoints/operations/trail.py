"""The trail: who did and read what, and why."""

from vpp.domain.access import TrailEntry
from vpp.entrypoints.operations.desk import Desk, Json, instant
from vpp.entrypoints.operations.paging import cursor_of, key_at, not_given

OLDEST = 100_000


async def list_trail(desk: Desk, *, subject: str = "", cursor: str = "", limit: int = 100) -> Json:
    """Return what people and programs did and read, the newest first; nothing of it is ever changed.

    Args:
        subject: Only what is about this, such as ``event:ev-1`` or ``owner:o-1``; empty takes all.
        cursor: ``next_cursor`` of the page before. What comes in between shows some entries again.
        limit: At most this many.

    Returns:
        ``entries``: ``at, actor, action, subject, reason, request_id``; ``time_zone`` (in which staff read
        it); ``next_cursor``.
    """
    passed = key_at(cursor) if cursor else "0"
    if not (passed.isascii() and passed.isdecimal()) or int(passed) > OLDEST:
        raise not_given(cursor)
    offset = int(passed)
    found = await desk.store.trail(subject=subject or None, limit=offset + limit + 1)
    shown = found[offset : offset + limit]
    following = cursor_of(str(offset + limit)) if len(found) > offset + limit else None
    entries = [_entry_facts(entry) for entry in shown]
    return {"entries": entries, "time_zone": desk.staff_zone, "next_cursor": following}


def _entry_facts(entry: TrailEntry) -> Json:
    return {
        "at": instant(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "reason": entry.reason,
        "request_id": entry.request_id,
    }
