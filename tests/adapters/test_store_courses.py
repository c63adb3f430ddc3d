"""What every store promises about how an event went."""

from tests.adapters.store_world import after
from vpp.domain.course import EventPower
from vpp.ports import Store


def seen(event_id: str, minute: int, measured_w: int) -> EventPower:
    return EventPower(
        event_id, after(minute), asked_w=4_000, planned_w=4_000, measured_w=measured_w, estimated_w=100,
        shortfall_w=0, sites=2,
    )  # fmt: skip


async def test_the_course_of_an_event_comes_back_in_order_and_its_first_word_stays(store: Store) -> None:
    first, second, other = seen("ev-1", 1, 3_900), seen("ev-1", 2, 3_950), seen("ev-2", 1, 10)

    await store.add_course([second, other])
    await store.add_course([first, seen("ev-1", 2, 1)])
    await store.add_course([])

    assert await store.course("ev-1") == [first, second]
    assert await store.course("ev-2") == [other]
    assert await store.course("unknown") == []
