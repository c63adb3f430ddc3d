"""The hash chain over ledger entries, grid events and ticks, link by link in the order of commit."""

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import insert_new
from vpp.adapters.sql.tables import ChainLinkRow, table_of
from vpp.ports import ConflictingFact
from vpp.wire import facts

_LINKS_AT_A_TIME = 1_000


async def newest_link(session: AsyncSession) -> tuple[int, str]:
    """Return the position and the head of the chain; zero and the genesis before any link."""
    newest = (
        await session.exec(select(ChainLinkRow).order_by(col(ChainLinkRow.position).desc()).limit(1))
    ).first()
    return (0, facts.GENESIS) if newest is None else (newest.position, newest.head)


async def link_with(session: AsyncSession, head: str) -> int | None:
    """Return the position of the first link whose head begins so (hexadecimal digits), None for none."""
    wanted = select(func.min(ChainLinkRow.position)).where(col(ChainLinkRow.head).startswith(head))
    return (await session.exec(wanted)).one()


async def append_links(
    session: AsyncSession, linked: Sequence[tuple[str, tuple[str, int], object]], *, actor: str | None = None
) -> int:
    """Link facts in order, each as (kind, key, fact); return the position of the first.

    The caller stores the facts in the same ordered transaction.
    """
    position, head = await newest_link(session)
    heads = []
    for kind, _, fact in linked:
        head = facts.next_link(head, kind, fact, actor=actor)
        heads.append(head)
    columns: dict[str, Sequence[object]] = {
        "position": range(position + 1, position + 1 + len(linked)),
        "kind": [kind for kind, _, _ in linked],
        "fact_id": [fact_id for _, (fact_id, _), _ in linked],
        "fact_number": [number for _, (_, number), _ in linked],
        "head": heads,
    }
    if await insert_new(session, table_of(ChainLinkRow), columns) < len(linked):
        raise ConflictingFact(f"a {linked[0][0]} is in the hash chain already; nothing was stored")
    return position + 1


async def links(session: AsyncSession) -> AsyncIterator[list[ChainLinkRow]]:
    """Yield all links in order, some at a time."""
    position = 0
    while True:
        wanted = (
            select(ChainLinkRow)
            .where(col(ChainLinkRow.position) > position)
            .order_by(col(ChainLinkRow.position))
            .limit(_LINKS_AT_A_TIME)
        )
        found = list((await session.exec(wanted)).all())
        if not found:
            return
        yield found
        position = found[-1].position
