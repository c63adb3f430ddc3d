"""What others say, lost answers and full queues neither double a client's event nor let it run on."""

import asyncio
from datetime import UTC, datetime

from tests.entrypoints.pages.world import EVENING, PROGRAM
from tests.entrypoints.test_openadr_api import Utility, an_event, pge
from vpp.adapters.openadr import event_topic
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.quantities import Watts
from vpp.wire.openadr import Ask, encode_notification

__all__ = ["pge"]  # the fixture

END_OF_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def signal(pge: Utility, message: bytes, source: str) -> None:
    """Let a source speak on its topic."""
    speaking = asyncio.create_task(
        pge.suburb.controller.take_signal(event_topic(source), message, within_s=10.0)
    )
    while not speaking.done():
        await asyncio.sleep(0)
        await pge.suburb.controller.turn()


async def test_a_strangers_word_from_the_end_of_time_keeps_nobody_from_changing_and_cancelling(
    pge: Utility,
) -> None:
    event_id = (await pge.create())["id"]
    await pge.suburb.desk.store.add_source(GridSource("mallory", None, Watts(0), EVENING))
    forged = encode_notification(
        Operation.UPDATE, event_id=event_id, program_id=PROGRAM, name="", created_at=EVENING,
        modified_at=END_OF_TIME, asks=(Ask(7_200, power_w=9_000),), starts_at=EVENING,
    )  # fmt: skip
    await signal(pge, forged, "mallory")

    changed = await pge.ask("PUT", f"/events/{event_id}", json=an_event(power_kw=3))
    gone = await pge.ask("DELETE", f"/events/{event_id}")

    assert [each.reason for each in await pge.suburb.desk.store.receipts(event_id)][1] == "not_your_event"
    assert changed.status_code == 200, changed.text
    assert (gone.status_code, gone.headers["x-vpp-state"]) == (200, "cancelled")
