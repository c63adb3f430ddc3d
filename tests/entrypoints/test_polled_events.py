"""A utility's VTN is asked for events: what is new is judged as a signal, what is gone twice is withdrawn."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb
from tests.entrypoints.test_openadr_api import an_event
from vpp.adapters.vtn_client import VtnUnreachable
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.notice import Notice, NoticeKind
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations import events
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.polling import Polling
from vpp.settings import VtnSettings
from vpp.stages.watch import Watched, watch
from vpp.wire.notice_text import word_notice
from vpp.wire.openadr import wrap_event
from vpp.wire.strict_json import GRID_MESSAGE_BYTES, time_text


@dataclass
class Vtn:
    """A list of events, and somebody who asks for it."""

    suburb: Suburb
    polling: Polling
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    down: bool = False

    async def answer(self) -> list[dict[str, Any]]:
        """Return the list, in place of the client's way to a server."""
        if self.down:
            raise VtnUnreachable("it is down")
        return list(self.events.values())

    async def poll(self) -> None:
        """Ask once, the controller turning meanwhile; then let a second pass."""
        asking = asyncio.create_task(self.polling.turn())
        while not asking.done():
            await asyncio.sleep(0)
            await self.suburb.controller.turn()
        await asking
        await self.suburb.pass_time(1)

    def say(self, event_id: str, **changed: Any) -> None:
        """Put an event into the list, said now."""
        at = time_text(self.suburb.clock.now())
        said = {"id": event_id, "objectType": "EVENT", "createdDateTime": at, "modificationDateTime": at}
        self.events[event_id] = said | an_event(**changed)

    async def shown(self, event_id: str) -> dict[str, Any]:
        return dict(await events.show_event(self.suburb.desk, event_id=event_id))


@pytest.fixture
async def vtn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vtn:
    suburb = await a_suburb(tmp_path, homes=3)
    await suburb.desk.store.add_source(GridSource("pge", b"k" * 32, Watts(10**9), EVENING))
    settings = VtnSettings(
        url="https://vtn.example.org", client_id="us", secret_file=tmp_path / "s",
        programs={"249rj49jiej": PROGRAM},
    )  # fmt: skip
    polling = Polling("pge", settings, controller=suburb.controller, desk=suburb.desk)
    made = Vtn(suburb, polling)
    monkeypatch.setattr(polling._client, "events", made.answer)
    return made


async def test_an_event_is_dispatched_changed_and_ended_as_the_list_says(vtn: Vtn) -> None:
    vtn.say("ev-1", programID="249rj49jiej")
    await vtn.poll()
    await vtn.suburb.pass_time(30)
    begun = await vtn.shown("ev-1")
    vtn.say("ev-1", programID="249rj49jiej", power_kw=3)
    await vtn.poll()
    changed = await vtn.shown("ev-1")

    assert (begun["source"], begun["program_id"], begun["state"]) == ("pge", PROGRAM, "active")
    assert vtn.suburb.plan("ev-1").setpoint_w.sum() > 0
    assert [step["power_w"] for step in changed["steps"]] == [3_000]


async def test_a_list_that_says_nothing_new_leaves_nothing_behind(vtn: Vtn) -> None:
    vtn.say("ev-1")
    vtn.say("ev-2", power_kw=-5)  # it would ask homes to consume
    for _ in range(4):
        await vtn.poll()

    assert len((await vtn.shown("ev-1"))["receipts"]) == 1
    refused = await vtn.suburb.desk.store.receipts("ev-2")
    assert [each.state.value for each in refused] == ["rejected"]


async def test_an_event_is_withdrawn_when_two_lists_lack_it_and_may_come_again_newer(vtn: Vtn) -> None:
    vtn.say("ev-1")
    await vtn.poll()
    said = vtn.events.pop("ev-1")
    await vtn.poll()
    once = (await vtn.shown("ev-1"))["state"]
    vtn.events["ev-1"] = said
    await vtn.poll()
    del vtn.events["ev-1"]
    await vtn.poll()
    once_again = (await vtn.shown("ev-1"))["state"]
    await vtn.poll()
    twice = (await vtn.shown("ev-1"))["state"]
    for _ in range(3):
        await vtn.poll()
    versions = len((await vtn.shown("ev-1"))["versions"])
    vtn.say("ev-1")
    await vtn.poll()

    assert (once, once_again, twice) == ("active", "active", "cancelled")
    assert versions == 2
    assert (await vtn.shown("ev-1"))["state"] == "active"


async def test_a_strangers_word_from_the_end_of_time_keeps_no_event_from_being_withdrawn(vtn: Vtn) -> None:
    vtn.say("ev-1")
    await vtn.poll()
    await vtn.suburb.desk.store.add_source(GridSource("mallory", None, Watts(0), EVENING))
    forged = {**vtn.events["ev-1"], "modificationDateTime": "9999-12-31T23:59:59Z"}
    vtn.polling._source, ours = "mallory", vtn.polling._source
    vtn.events["ev-1"] = forged
    await vtn.poll()
    vtn.polling._source = ours
    vtn.events.clear()
    for _ in range(2):
        await vtn.poll()

    assert len(await vtn.suburb.desk.store.receipts("ev-1")) == 3
    assert (await vtn.shown("ev-1"))["state"] == "cancelled"


async def test_what_is_over_or_was_told_another_way_is_not_withdrawn(vtn: Vtn) -> None:
    vtn.say("ev-1", intervalPeriod={"start": time_text(EVENING), "duration": "PT1H"})
    await vtn.poll()
    await vtn.suburb.pass_time(3_700)
    vtn.events.clear()
    for _ in range(3):
        await vtn.poll()

    shown = await vtn.shown("ev-1")
    assert (shown["state"], len(shown["versions"])) == ("ended", 1)


async def test_while_a_vtn_is_silent_its_events_stand_and_the_staff_is_told(vtn: Vtn) -> None:
    vtn.say("ev-1")
    await vtn.poll()
    vtn.down = True
    for _ in range(3):
        await vtn.poll()
        await vtn.suburb.pass_time(61)

    found = await seen_by_staff(vtn.suburb)
    vtn.down = False
    await vtn.poll()

    assert (await vtn.shown("ev-1"))["state"] == "active"
    assert [(each.kind, each.subject) for each in found] == [(NoticeKind.FEED_LOST, "pge")]
    assert await seen_by_staff(vtn.suburb) == []


async def seen_by_staff(suburb: Suburb) -> list[Any]:
    found = await watch(
        board=None, connected=True, silent_vtns=suburb.controller.silent_vtns, store=suburb.desk.store,
        clock=suburb.clock, seen=Watched(), programs=suburb.desk.programs, homes={},
    )  # fmt: skip
    return [each for each in found if each.kind is NoticeKind.FEED_LOST]


@pytest.mark.parametrize(("language", "words"), [("en", "gives no events"), ("es", "no da eventos")])
async def test_the_alarm_names_the_vtn_in_the_language_of_who_reads_it(
    vtn: Vtn, language: str, words: str
) -> None:
    vtn.down = True
    await vtn.poll()
    await vtn.suburb.pass_time(200)
    vtn.suburb.controller.seen = Watched()
    await vtn.suburb.controller.notify()
    (alarm,) = [each for each in await vtn.suburb.desk.store.alarms() if each.kind is NoticeKind.FEED_LOST]

    assert alarm.facts["vtn"] == "pge"
    notice = Notice("n", "staff:a", alarm.kind, alarm.subject, alarm.raised_at, alarm.facts)
    title, text = word_notice(notice, language)
    assert "pge" in title
    assert words in text


async def test_a_source_that_was_never_added_is_refused_and_heard_once_it_is(vtn: Vtn) -> None:
    vtn.polling._source = "sce"
    vtn.say("ev-1", intervalPeriod={"start": time_text(EVENING + timedelta(hours=1)), "duration": "PT1H"})
    await vtn.poll()
    with pytest.raises(OperationRefused, match="ev-1 is not known"):
        await vtn.shown("ev-1")
    await vtn.suburb.desk.store.add_source(GridSource("sce", b"k" * 32, Watts(10**9), EVENING))
    await vtn.poll()

    assert (await vtn.shown("ev-1"))["state"] == "scheduled"


def nested(depth: int) -> list[Any]:
    """Return a list in a list, and so on, as a reader of JSON still takes it."""
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    "poison",
    [
        {"priority": float("nan")},
        {"eventName": "\ud800"},
        {"\udfff": 1},
        {"note": nested(400)},
        {"note": "x" * 20_000},
        {"id": "ev/0" * 9_000},
        {"id": ""},
    ],
    ids=lambda each: next(iter(each)).encode("ascii", "replace").decode(),
)
async def test_an_event_that_nobody_can_write_down_keeps_no_other_from_being_heard_and_ended(
    vtn: Vtn, poison: dict[str, Any]
) -> None:
    vtn.say("ev-0")
    vtn.events["ev-0"] |= poison
    vtn.say("ev-1")
    await vtn.poll()
    begun = (await vtn.shown("ev-1"))["state"]
    del vtn.events["ev-1"]
    for _ in range(2):
        await vtn.poll()

    assert begun == "active"
    assert (await vtn.shown("ev-1"))["state"] == "cancelled"
    assert vtn.suburb.controller.silent_vtns == {}


async def test_an_event_so_long_that_nothing_can_be_added_is_withdrawn_all_the_same(vtn: Vtn) -> None:
    period = {"start": time_text(EVENING), "duration": "PT2H"}
    vtn.say("ev-1")
    (interval,) = vtn.events["ev-1"]["intervals"]
    vtn.events["ev-1"] |= {"intervals": [interval | {"intervalPeriod": period}]}
    del vtn.events["ev-1"]["intervalPeriod"]
    length = len(wrap_event(Operation.CREATE, vtn.events["ev-1"] | {"note": ""}))
    vtn.events["ev-1"]["note"] = "x" * (GRID_MESSAGE_BYTES - length)
    await vtn.poll()
    begun = (await vtn.shown("ev-1"))["state"]
    vtn.events.clear()
    for _ in range(2):
        await vtn.poll()

    assert begun == "active"
    assert (await vtn.shown("ev-1"))["state"] == "cancelled"


async def test_what_a_list_ends_comes_before_what_it_begins(vtn: Vtn) -> None:
    for number in range(3):
        vtn.say(f"ev-{number}")
    await vtn.poll()
    del vtn.events["ev-0"]
    await vtn.poll()
    vtn.say("ev-3")
    vtn.say("ev-1", intervalPeriod={"start": time_text(EVENING), "duration": "PT0S"})
    vtn.say("ev-4")
    await vtn.poll()

    said = await vtn.suburb.desk.store.accepted_signals("pge")
    assert [receipt.event_id for receipt, _ in said[3:]] == ["ev-0", "ev-1", "ev-3", "ev-4"]


async def test_an_event_of_a_vtn_whose_clock_is_ahead_is_heard_once_its_time_is_near(vtn: Vtn) -> None:
    vtn.say("ev-1")
    ahead = time_text(vtn.suburb.clock.now() + timedelta(minutes=6))
    vtn.events["ev-1"]["modificationDateTime"] = ahead
    for _ in range(3):
        await vtn.poll()
    refused = [each.reason for each in await vtn.suburb.desk.store.receipts("ev-1")]
    await vtn.suburb.pass_time(120)
    await vtn.poll()

    assert refused == ["modified_too_far_ahead"]
    assert (await vtn.shown("ev-1"))["state"] == "active"


async def test_a_vtn_that_is_still_asked_after_minutes_is_silent(
    vtn: Vtn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(vtn.polling._client, "events", broken)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await vtn.polling.turn()
        await vtn.suburb.pass_time(91)

    assert [each.subject for each in await seen_by_staff(vtn.suburb)] == ["pge"]
