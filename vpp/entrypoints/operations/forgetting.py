"""An owner's wish to be forgotten: what names a person is destroyed, the books stay under a pseudonym."""

from decimal import Decimal
from http import HTTPStatus

from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.money import show_statement
from vpp.entrypoints.operations.owner import homes_of
from vpp.entrypoints.operations.owner_money import with_owed

ENROLLED, OWED = "enrolled", "owed"
STAYS = ("ledger", "meter", "trail")
"""What is kept and why stands under ``forget.stays_…`` of the owner's language."""


async def why_not_yet(desk: Desk, *, owner_id: str) -> tuple[str, str] | None:
    """Return what must end before an owner can be forgotten, None where nothing must.

    Returns:
        ``enrolled`` and the home's id, or ``owed`` and the dollars that are not paid out yet.
    """
    homes = await homes_of(desk, owner_id)
    still = next((home.site_id for home in homes if home.withdrawn_at is None), None)
    if still is not None:
        return ENROLLED, still
    sums = with_owed(await show_statement(desk, owner_id=owner_id))
    open_usd = sum(
        (Decimal(str(sums[name])) for name in ("pending_usd", "owed_usd", "on_its_way_usd")), Decimal(0)
    )
    return (OWED, f"{open_usd:.2f}") if open_usd else None


def _first(owner_id: str, kind: str, what: str) -> str:
    """Return what a member of staff does before an owner can be forgotten."""
    if kind == ENROLLED:
        return f"home {what} has not left the program; vpp owner leave {owner_id} {what}"
    if what.startswith("-"):
        return (
            f"owner {owner_id} owes ${what.removeprefix('-')} after a correction; "
            f"once it is final, vpp owner write-off {owner_id} --reason WHY bears it"
        )
    return f"${what} of owner {owner_id} is not paid out yet; after that it can be done"


async def forget_owner(desk: Desk, *, owner_id: str, actor: str) -> Json:
    """Destroy what links a person to the books: address, messages, calendar address, logins. Not undone.

    The ledger, the meter evidence behind it and the trail stay under the owner's id, which then names
    nobody. Asking again destroys what was kept anew since.

    Args:
        owner_id: The owner; every home has left, and no money is open.
        actor: Who asks.

    Returns:
        A certificate: ``owner_id, forgotten_at``; ``destroyed``: ``addresses, messages, calendars, logins``,
        how many; ``stays``: ``ledger, meter, trail``.
    """
    hindrance = await why_not_yet(desk, owner_id=owner_id)
    if hindrance is not None:
        raise OperationRefused(f"{_first(owner_id, *hindrance)}; nothing was destroyed", HTTPStatus.CONFLICT)
    entry = desk.trail_entry(actor, "destroy what names the owner", f"owner:{owner_id}")
    found = await desk.store.forget_owner(owner_id, entry)
    return {
        "owner_id": owner_id,
        "forgotten_at": instant(entry.at),
        "destroyed": {
            "addresses": found.addresses,
            "messages": found.messages,
            "calendars": found.calendars,
            "logins": found.logins,
        },
        "stays": list(STAYS),
    }
