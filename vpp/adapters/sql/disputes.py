"""What owners ask about their money, in the database."""

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import col, select

from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.money_tables import DisputeWordRow
from vpp.domain.dispute import DisputeWord, WordKind


class SqlDisputes:
    """The disputes' part of the store."""

    def __init__(self, database: Database) -> None:
        self._dispute_database = database

    async def say(self, word: DisputeWord) -> None:
        """Append a word; nothing of it is ever changed."""
        async with self._dispute_database.write() as session:
            session.add(
                DisputeWordRow(
                    owner_id=word.owner_id,
                    period=word.period,
                    kind=word.kind.value,
                    at_us=to_us(word.at),
                    actor=word.actor,
                    body=word.text,
                )
            )

    async def words(self, *, owner_id: str | None = None) -> Sequence[DisputeWord]:
        """Return everything that was said in the order said; with an owner, about that owner's money."""
        wanted = select(DisputeWordRow).order_by(col(DisputeWordRow.number))
        if owner_id is not None:
            wanted = wanted.where(DisputeWordRow.owner_id == owner_id)
        async with self._dispute_database.read() as session:
            found = (await session.exec(wanted)).all()
        return [
            DisputeWord(
                each.owner_id, each.period, WordKind(each.kind), from_us(each.at_us), each.actor, each.body
            )
            for each in found
        ]

    async def open_disputes(self) -> int:
        """Return how many disputes wait for an answer."""
        said = DisputeWordRow
        newest = select(func.max(said.number)).group_by(col(said.owner_id), col(said.period))
        waiting = col(said.kind) == WordKind.ASKED.value
        wanted = select(func.count()).where(waiting, col(said.number).in_(newest))
        async with self._dispute_database.read() as session:
            return int((await session.exec(wanted)).one())
