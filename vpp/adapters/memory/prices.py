"""Wholesale prices, in memory."""

from collections.abc import Sequence

from vpp.domain.wholesale_price import WholesalePrice


class MemoryPrices:
    """The wholesale prices' part of the memory store."""

    def __init__(self) -> None:
        self._prices: list[WholesalePrice] = []

    async def add_prices(self, prices: Sequence[WholesalePrice]) -> None:
        """Append prices, all or none; each stands in place of earlier ones of its hour."""
        self._prices.extend(prices)

    async def prices(self, program_id: str) -> Sequence[WholesalePrice]:
        """Return every price of a program in the order made."""
        return [each for each in self._prices if each.program_id == program_id]
