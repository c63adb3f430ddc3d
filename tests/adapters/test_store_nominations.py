"""What every store promises about nominations."""

from tests.adapters.store_world import after
from vpp.domain.nomination import Nomination
from vpp.domain.quantities import Watts
from vpp.ports import Store


async def test_nominations_come_back_in_the_order_made(store: Store) -> None:
    made = [
        Nomination("elrp-a4-pge", month, Watts(power_w), after(minute), "op-lin")
        for minute, (month, power_w) in enumerate(
            [("2026-09", 5_000_000), ("2026-10", 4_000_000), ("2026-09", 6_500_000)]
        )
    ]
    for nomination in made:
        await store.nominate(nomination)

    assert await store.nominations() == made
