"""Wholesale prices, in the database."""

from collections.abc import Sequence

from sqlmodel import col, select

from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.money_tables import WholesalePriceRow
from vpp.domain.quantities import MicroDollars
from vpp.domain.wholesale_price import WholesalePrice


class SqlPrices:
    """The wholesale prices' part of the store."""

    def __init__(self, database: Database) -> None:
        self._price_database = database

    async def add_prices(self, prices: Sequence[WholesalePrice]) -> None:
        """Append prices, all or none; each stands in place of earlier ones of its hour."""
        async with self._price_database.write() as session:
            session.add_all(
                WholesalePriceRow(
                    program_id=each.program_id,
                    hour_starts_at_us=to_us(each.hour_starts_at),
                    micro_dollars_per_mwh=each.per_mwh,
                    imported_at_us=to_us(each.imported_at),
                )
                for each in prices
            )

    async def prices(self, program_id: str) -> Sequence[WholesalePrice]:
        """Return every price of a program in the order made."""
        wanted = (
            select(WholesalePriceRow)
            .where(WholesalePriceRow.program_id == program_id)
            .order_by(col(WholesalePriceRow.number))
        )
        async with self._price_database.read() as session:
            found = (await session.exec(wanted)).all()
        return [
            WholesalePrice(
                each.program_id,
                from_us(each.hour_starts_at_us),
                MicroDollars(each.micro_dollars_per_mwh),
                from_us(each.imported_at_us),
            )
            for each in found
        ]
