"""What became of every message since the controller started."""

from typing import cast

from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.paging import page


async def show_traffic(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return counts of messages by topic kind, and what failed lately.

    Args:
        cursor: ``next_cursor`` of the page before, of what failed.
        limit: At most this many of what failed; None takes all.

    Returns:
        ``topics``: by kind, how many were ``received``, and how many of them ``stored``, ``duplicate``,
        ``lost`` (their stage failed; the sender repeats what it was promised an answer for) and ``refused``,
        by reason. ``unknown_fields``: fields of no schema, by kind. ``shed``: packets given up because a
        queue was full, ``incoming`` and ``outgoing``. ``pending``: what failed lately, by stage and fact;
        ``next_cursor``, to more of that.

    Raises:
        OperationRefused: No controller runs in this process.
    """
    found = desk.running.controller.traffic()
    failed = cast("dict[str, str]", found["pending"])
    shown, following = page(sorted(failed), str, cursor=cursor, limit=limit)
    return found | {"pending": {fact: failed[fact] for fact in shown}, "next_cursor": following}
