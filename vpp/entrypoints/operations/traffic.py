"""What became of every message since the controller started."""

from vpp.entrypoints.operations.desk import Desk, Json


async def show_traffic(desk: Desk) -> Json:
    """Return counts of messages by topic kind, and what failed lately.

    Returns:
        ``topics``: by kind, how many were ``received``, and how many of them ``stored``, ``duplicate``,
        ``lost`` (their stage failed; the sender repeats what it was promised an answer for) and ``refused``,
        by reason. ``unknown_fields``: fields of no schema, by kind. ``shed``: packets given up because a
        queue was full, ``incoming`` and ``outgoing``. ``pending``: what failed lately, by stage and fact.

    Raises:
        OperationRefused: No controller runs in this process.
    """
    return desk.running.controller.traffic()
