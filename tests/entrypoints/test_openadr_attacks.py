"""What others say, lost answers and full queues neither double a client's event nor let it run on."""

import asyncio
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.entrypoints.pages.world import EVENING, PROGRAM
from tests.entrypoints.test_openadr_api import BASE, Utility, an_event, events_of, pge
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.openadr import client_topic, event_topic
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import Watts
from vpp.entrypoints.http.api_openadr import CLIENT_MOST
from vpp.entrypoints.operations import sources
from vpp.runner import ASKERS_MOST, JUDGED_MOST, TOO_MANY_WAIT
from vpp.wire.openadr import Ask, encode_notification, wrap_event
from vpp.wire.openadr_time import NOW
from vpp.wire.signed import SigningKey, sign
from vpp.wire.strict_json import time_text

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


async def queued(pge: Utility, many: int) -> None:
    """Return once so many wait for the controller's next turn."""
    for _ in range(100_000):
        if len(pge.suburb.controller.runner._posts) >= many:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"not {many} wait")


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


async def test_a_flood_of_new_events_leaves_a_place_to_whoever_cancels_one(pge: Utility) -> None:
    first = (await pge.create())["id"]
    second = (await pge.create(power_kw=4))["id"]
    shown = {"headers": {"Authorization": f"Bearer {pge.token}"}}
    flood = [
        asyncio.create_task(
            pge.suburb.controller.take_signal(client_topic("pge"), a_created(number), within_s=60.0)
        )
        for number in range(ASKERS_MOST + 1)
    ]
    refused = await next(asyncio.as_completed(flood))
    nothing = an_event(intervalPeriod={"start": NOW, "duration": "PT0S"})
    deleting = asyncio.create_task(pge.http.delete(f"{BASE}/events/{first}", **shown))
    ending = asyncio.create_task(pge.http.put(f"{BASE}/events/{second}", json=nothing, **shown))
    await queued(pge, ASKERS_MOST + 2)
    while not all(each.done() for each in (deleting, ending, *flood)):
        await pge.suburb.controller.turn()
        await asyncio.sleep(0)

    assert refused == TOO_MANY_WAIT
    assert (deleting.result().status_code, ending.result().status_code) == (200, 200)
    assert len(await pge.suburb.desk.store.histories()) == 2 + ASKERS_MOST


async def test_a_clients_flood_takes_no_place_of_another_client(pge: Utility) -> None:
    added = await sources.add_source(pge.suburb.desk, name="sce", max_mw="1", client=True)
    sce = Utility(pge.suburb, pge.http, str(added["client_secret"]), name="sce")
    await sce.log_in()
    shown = {"headers": {"Authorization": f"Bearer {sce.token}"}}
    flood = [
        asyncio.create_task(sce.http.post(f"{BASE}/events", json=an_event(priority=number), **shown))
        for number in range(CLIENT_MOST + 30)
    ]
    for refused in itertools.islice(asyncio.as_completed(flood), 30):
        assert (await refused).status_code == 429
    answer = await pge.ask("POST", "/events", json=an_event())
    while not all(each.done() for each in flood):
        await pge.suburb.controller.turn()
        await asyncio.sleep(0)

    assert answer.status_code == 201
    assert sorted(each.result().status_code for each in flood) == [201] * CLIENT_MOST + [429] * 30
    assert (await sce.ask("POST", "/events", json=an_event(power_kw=1))).status_code == 201


async def test_an_event_that_its_source_signed_is_changed_and_cancelled_by_its_client(pge: Utility) -> None:
    key, store = SigningKey(b"p" * 32), pge.suburb.desk.store
    known = next(each for each in await store.sources() if each.name == "pge")
    await store.add_source(replace(known, public_key=key.verifying_key.raw))
    event = an_event() | {f"note{number}": [1e15] * 240 for number in range(9)}
    # A z may be small, and a number longer as Python writes it than as it came.
    event |= {"objectType": "EVENT", "createdDateTime": "2026-09-10t00:00:00z"}
    for event_id in ("ev-1", "ev-2"):
        event |= {"id": event_id, "modificationDateTime": time_text(EVENING)}
        written = wrap_event(Operation.CREATE, event).replace(b"1000000000000000.0", b"1.0E15")
        await signal(pge, sign(written, key, kid="pge"), "pge")

    changed = await pge.ask("PUT", "/events/ev-1", json=an_event(power_kw=3))
    gone = await pge.ask("DELETE", "/events/ev-2")

    assert changed.status_code == 200, changed.text
    assert (gone.status_code, gone.headers["x-vpp-state"]) == (200, "cancelled"), gone.text
    assert gone.json()["note0"] == event["note0"]


async def test_an_event_asked_for_again_before_the_first_was_judged_is_no_second_event(pge: Utility) -> None:
    shown = {"headers": {"Authorization": f"Bearer {pge.token}"}}
    asked = []
    for second in range(3):
        pge.suburb.clock.step_to(EVENING + timedelta(seconds=second))
        asked.append(asyncio.create_task(pge.http.post(f"{BASE}/events", json=an_event(), **shown)))
        await queued(pge, len(asked))
    while not all(each.done() for each in asked):
        await pge.suburb.controller.turn()
        await asyncio.sleep(0)

    assert {each.result().status_code for each in asked} == {201}
    assert len({each.result().json()["id"] for each in asked}) == 1
    assert len(await pge.suburb.desk.store.histories()) == 1


async def test_what_a_source_said_on_several_lines_before_it_had_a_secret_is_its_clients_to_end(
    pge: Utility,
) -> None:
    desk = pge.suburb.desk
    await sources.add_source(desk, name="pge", max_mw="1", client=False)
    event = an_event() | {"id": "ev-1", "objectType": "EVENT", "createdDateTime": time_text(EVENING)}
    event |= {"modificationDateTime": time_text(EVENING)}
    said = {"objectType": "EVENT", "operation": "CREATE", "object": event}
    await signal(pge, json.dumps(said, indent=2).encode(), "pge")
    pge.secret = str((await sources.add_source(desk, name="pge", max_mw="1", client=True))["client_secret"])
    await pge.log_in()

    assert [each["id"] for each in await events_of(pge)] == ["ev-1"]
    assert (await pge.ask("DELETE", "/events/ev-1")).status_code == 200


async def test_an_access_token_is_kept_for_nobody_who_asks_again_under_a_key(pge: Utility) -> None:
    form = {"grant_type": "client_credentials", "client_id": "pge", "client_secret": pge.secret}
    of_the_api = {"Authorization": "Bearer a-token", "Idempotency-Key": "k-1"}
    first = await pge.ask("POST", "/auth/token", data=form, headers=of_the_api)
    again = await pge.ask("POST", "/auth/token", data=form, headers=of_the_api)

    assert (first.status_code, again.status_code) == (200, 200)
    assert "idempotency-replayed" not in again.headers
    assert await pge.suburb.desk.store.kept_answer("k-1") is None


async def test_a_cancel_comes_before_what_begins_and_control_after_a_few_of_them(pge: Utility) -> None:
    first = (await pge.create())["id"]
    await pge.suburb.pass_time(30)
    take = pge.suburb.controller.take_signal
    flood = [
        asyncio.create_task(take(client_topic("pge"), a_created(number), within_s=60.0))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    shown = {"headers": {"Authorization": f"Bearer {pge.token}"}}
    deleting = asyncio.create_task(pge.http.delete(f"{BASE}/events/{first}", **shown))
    await queued(pge, len(flood) + 1)
    await pge.suburb.controller.turn()
    assert (await deleting).status_code == 200

    board = pge.suburb.controller.board
    assert board is not None
    assert not board.leases.discharging(to_epoch(pge.suburb.clock.now())).any()
    assert sum(each.done() for each in flood) == JUDGED_MOST - 1
    while not all(each.done() for each in flood):
        await pge.suburb.controller.turn()
        await asyncio.sleep(0)
    assert len(await pge.suburb.desk.store.histories()) == 51


def a_created(number: int) -> bytes:
    """Return the notification of an event in the days that come."""
    event = {"id": f"ev-{number}", "objectType": "EVENT", "createdDateTime": time_text(EVENING)}
    later = {"start": time_text(EVENING + timedelta(days=number + 1)), "duration": "PT1H"}
    at = {"modificationDateTime": time_text(EVENING), "intervalPeriod": later}
    return wrap_event(Operation.CREATE, an_event() | event | at)


async def test_one_event_is_shown_changed_and_cancelled_without_a_look_at_all_others(
    pge: Utility, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = (await pge.create())["id"]
    read = MemoryStore.accepted_signals

    async def of_one(store: MemoryStore, source: str, *, event_id: str) -> Any:
        return await read(store, source, event_id=event_id)

    monkeypatch.setattr(MemoryStore, "accepted_signals", of_one)
    for method, more in (("GET", {}), ("PUT", {"json": an_event(power_kw=3)}), ("DELETE", {})):
        assert (await pge.ask(method, f"/events/{event_id}", **more)).status_code == 200


async def test_an_answer_has_no_header_that_a_proxy_would_refuse(pge: Utility) -> None:
    answer = await pge.ask("POST", "/events", json=an_event(targets=["é" * 120] * 50))

    assert answer.status_code == 201
    assert max(map(len, answer.headers.values())) < 4_000


async def test_changes_that_come_at_once_contradict_nobody_and_one_that_cancels_counts(pge: Utility) -> None:
    event_id = (await pge.create())["id"]
    nothing = an_event(intervalPeriod={"start": NOW, "duration": "PT0S"})
    shown = {"headers": {"Authorization": f"Bearer {pge.token}"}}
    asked = []
    for number, event in enumerate((an_event(power_kw=4), an_event(power_kw=3), nothing)):
        asked.append(asyncio.create_task(pge.http.put(f"{BASE}/events/{event_id}", json=event, **shown)))
        await queued(pge, number + 1)
    while not all(each.done() for each in asked):
        await pge.suburb.controller.turn()
        await asyncio.sleep(0)

    assert [each.result().status_code for each in asked] == [200] * 3
    assert (await pge.ask("GET", f"/events/{event_id}")).headers["x-vpp-state"] == "cancelled"
