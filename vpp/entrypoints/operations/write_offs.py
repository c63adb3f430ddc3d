"""What an owner who left owes, and nobody collects: borne by us, by a posted entry with its reason."""

from http import HTTPStatus

from vpp.domain.interval import whole_second
from vpp.domain.ledger import owed_by
from vpp.domain.payout import write_off
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, usd
from vpp.entrypoints.operations.money import show_statement
from vpp.entrypoints.operations.owner import homes_of
from vpp.ports import ConflictingFact


async def write_off_owner(desk: Desk, *, owner_id: str, reason: str, actor: str) -> Json:
    """Bear what an owner who left owes after a correction: nobody collects it, and it hinders forgetting.

    One posted entry against the margin of the owner's last program; who did it and why stands in it. While
    a home takes part what comes next is netted, and while money is pending nobody knows what is owed.

    Returns:
        ``owner_id, entry_id, written_off_usd`` and ``posted_usd``, what is owed to the owner then.
    """
    if not 1 <= len(reason) <= 200 or not reason.isprintable():
        raise OperationRefused("a write-off needs a reason of 1 to 200 printable characters")
    sums = await show_statement(desk, owner_id=owner_id)
    still = next((each.site_id for each in await homes_of(desk, owner_id) if each.withdrawn_at is None), None)
    if still is not None:
        raise OperationRefused(
            f"home {still} has not left the program: what it earns next is netted; nothing was written off",
            HTTPStatus.CONFLICT,
        )
    if sums["pending_usd"] != "0.00" or sums["on_its_way_usd"] != "0.00":
        raise OperationRefused(
            f"owner {owner_id} has ${sums['pending_usd']} pending and ${sums['on_its_way_usd']} on its way; "
            "write off what is owed after that",
            HTTPStatus.CONFLICT,
        )
    entries = await desk.store.entries(owner_id=owner_id)
    memo = f"Written off by {actor}: {reason}"
    entry = write_off(owner_id, entries, at=whole_second(desk.clock.now()), memo=memo)
    if entry is None:
        raise OperationRefused(f"owner {owner_id} owes nothing; nothing was written off", HTTPStatus.CONFLICT)
    about = f"${usd(owed_by(entry, owner_id))}: {reason}"
    await desk.store.leave_trail([desk.trail_entry(actor, "write off", f"owner:{owner_id}", about)])
    try:
        await desk.store.post([entry])
    except ConflictingFact as failure:
        raise OperationRefused(
            f"somebody else wrote off what owner {owner_id} owes in this moment", HTTPStatus.CONFLICT
        ) from failure
    return {
        "owner_id": owner_id,
        "entry_id": entry.entry_id,
        "written_off_usd": usd(owed_by(entry, owner_id)),
        "posted_usd": (await show_statement(desk, owner_id=owner_id))["posted_usd"],
    }
