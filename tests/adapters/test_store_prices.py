"""What every store promises about wholesale prices."""

from tests.adapters.store_world import after
from vpp.domain.quantities import MicroDollars
from vpp.domain.wholesale_price import WholesalePrice
from vpp.ports import Store


def a_price(program_id: str, hour: int, dollars: int, minute: int) -> WholesalePrice:
    return WholesalePrice(program_id, after(60 * hour), MicroDollars(dollars * 1_000_000), after(minute))


async def test_prices_of_a_program_come_back_in_the_order_made(store: Store) -> None:
    first = [a_price("dsgs-3", 7, 180, 0), a_price("dsgs-3", 6, -12, 0), a_price("other", 6, 90, 0)]
    again = [a_price("dsgs-3", 7, 184, 1)]
    await store.add_prices(first)
    await store.add_prices(again)

    assert await store.prices("dsgs-3") == [*first[:2], *again]
    assert await store.prices("other") == first[2:]
    assert await store.prices("unknown") == []
