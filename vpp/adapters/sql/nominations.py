"""What programs were told to count on, in the database."""

from collections.abc import Sequence

from sqlmodel import col, select

from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.money_tables import NominationRow
from vpp.domain.nomination import Nomination
from vpp.domain.quantities import Watts


class SqlNominations:
    """The nominations' part of the store."""

    def __init__(self, database: Database) -> None:
        self._nomination_database = database

    async def nominate(self, nomination: Nomination) -> None:
        """Append a nomination; it stands in place of earlier ones, which are never changed."""
        async with self._nomination_database.write() as session:
            session.add(
                NominationRow(
                    program_id=nomination.program_id,
                    month=nomination.month,
                    power_w=nomination.power,
                    at_us=to_us(nomination.nominated_at),
                    actor=nomination.actor,
                )
            )

    async def nominations(self) -> Sequence[Nomination]:
        """Return every nomination in the order made."""
        wanted = select(NominationRow).order_by(col(NominationRow.number))
        async with self._nomination_database.read() as session:
            found = (await session.exec(wanted)).all()
        return [
            Nomination(each.program_id, each.month, Watts(each.power_w), from_us(each.at_us), each.actor)
            for each in found
        ]
