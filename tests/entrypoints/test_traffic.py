"""Nothing is lost in silence: every message is stored, a duplicate, or refused with a reason, and counted."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.stages.world import EVENING, a_request
from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.bootstrap import Controller, assemble
from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, Quality
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.live import Live
from vpp.entrypoints.operations.traffic import show_traffic
from vpp.ports import Packet, StoreUnavailable
from vpp.settings import load_settings
from vpp.wire.gateway_meter import encode_meter
from vpp.wire.openadr import Ask, encode_notification
from vpp.wire.signed import SigningKey, sign

HOME_KEY = SigningKey(bytes(range(32)))
TELEMETRY = (
    '{"schema":"vpp.telemetry/1","site_id":"s-0000","at":"2026-09-10T00:59:30Z","epoch":0,"sequence":0,'
    '"soc_pct":80.0,"battery_w":0,"discharge_limit_w":5000,"energy_full_wh":13500,"reserve_pct":20.0,'
    '"discharged_wh":10,"charged_wh":12,"grid":"connected","storm_mode":false,"opted_out":false,"fault":null'
)


async def a_controller(folder: Path, store: MemoryStore | None = None) -> Controller:
    """Return a controller with one home enrolled, on memory adapters."""
    store = store or MemoryStore()
    home = replace(a_request(0), gateway_public_key=HOME_KEY.verifying_key.raw)
    await store.enroll([home], at=EVENING - timedelta(days=60))
    return assemble(
        load_settings(state_dir=folder),
        clock=SteppedClock(EVENING),
        store=store,
        keys=FileKeys(folder),
        transport=MemoryTransport(MemoryBroker(), "controller"),
    )


def telemetry(text: str = TELEMETRY + "}", *, retain: bool = False) -> Packet:
    return Packet("vpp/v1/00/s-0000/telemetry", text.encode(), qos=0, retain=retain)


async def test_every_message_is_counted_once_by_what_became_of_it(tmp_path: Path) -> None:
    controller = await a_controller(tmp_path)
    packets = [
        telemetry(),
        telemetry(),
        telemetry(TELEMETRY + ',"colour":"red"}'),
        telemetry("{"),
        telemetry(retain=True),
        Packet("vpp/v1/00/s-0000/ack", b"unsigned"),
        Packet("vpp/v1/00/s-eve/status", b"{}"),
        Packet("grid/v1/stranger/event", b"{}"),
        Packet("grid/v1/caiso/event", b"{}", retain=True),
    ]

    await controller.runner.turn(packets)

    assert controller.traffic()["topics"] == {
        "ack": a_topic(1, refused={"not signed: no second line": 1}),
        "event": a_topic(2, refused={"retained": 1, "unknown_source": 1}),
        "status": a_topic(1, refused={"unknown_site": 1}),
        "telemetry": a_topic(5, stored=1, duplicate=2, refused={"not JSON": 1, "retained": 1}),
    }
    assert controller.traffic()["unknown_fields"] == {"telemetry": 1}


def a_signal(event_id: str = "ev-1", *, seconds: int = 0, power_w: int = 5_000, **more: Any) -> bytes:
    """Return an unsigned two-hour emergency, modified so many seconds after the evening's beginning."""
    return encode_notification(
        more.pop("operation", Operation.CREATE),
        event_id=event_id,
        program_id=more.pop("program_id", "elrp-a4-pge"),
        name="EEA 2",
        created_at=EVENING,
        modified_at=EVENING + timedelta(seconds=seconds),
        asks=(Ask(7_200, power_w=power_w),),
        starts_at=EVENING,
    )


async def grid(controller: Controller, *bodies: bytes, source: str = "lab") -> Json:
    """Let a grid source say these one after the other; return what is counted of signals since the start."""
    for name in ("lab", "caiso"):
        await controller.store.add_source(GridSource(name, None, Watts(10**9), EVENING))
    await controller.runner.turn([Packet(f"grid/v1/{source}/event", body) for body in bodies])
    topics = controller.traffic()["topics"]
    assert isinstance(topics, dict)
    return dict(topics["event"])


async def test_signals_are_counted_by_their_verdict(tmp_path: Path) -> None:
    controller = await a_controller(tmp_path)
    ended = a_signal("ev-2", operation=Operation.DELETE)

    with capture_logs() as lines:
        counted = await grid(
            controller,
            a_signal(), a_signal(),  # the same again
            a_signal(power_w=6_000),  # the same time, another content
            a_signal(seconds=-60),  # an older version
            a_signal("ev-3", seconds=3_600),
            a_signal("ev-4", program_id="nobodys"), a_signal("ev-5", program_id="nobodys"),
            ended, a_signal("ev-2", seconds=1),
            b"{",
        )  # fmt: skip
    stranger = await grid(controller, a_signal(seconds=5), source="caiso")

    verdicts = {
        "conflicting_content": 1, "modified_too_far_ahead": 1, "unknown_program": 2, "cancelled": 1,
    }  # fmt: skip
    assert counted == a_topic(10, stored=3, duplicate=1, refused=verdicts | {"not JSON": 1})
    assert stranger == a_topic(
        11, stored=3, duplicate=1, refused=verdicts | {"not JSON": 1, "not_your_event": 1}
    )
    logged = [line["reason"] for line in lines if line["event"] == "message refused"]
    assert sorted(logged) == sorted([*verdicts, "not JSON"])  # each once a second


async def test_a_signal_that_could_not_be_judged_is_lost_until_it_is(tmp_path: Path) -> None:
    store = StoreThatForgetsToDecide()
    controller = await a_controller(tmp_path, store)

    before = await grid(controller, a_signal())
    store.decides = True
    after = await grid(controller)

    assert (before, after) == (a_topic(1, lost=1), a_topic(1, stored=1))


class StoreThatForgetsToDecide(MemoryStore):
    """A store that cannot commit a verdict until it is told to."""

    decides = False

    async def decide(self, *arguments: Any, **more: Any) -> None:
        if not self.decides:
            raise StoreUnavailable("the disk is full")
        await super().decide(*arguments, **more)


async def test_readings_that_could_not_be_stored_are_lost_until_they_come_again(tmp_path: Path) -> None:
    controller = await a_controller(tmp_path, StoreWithoutMeters())
    evidence = encode_meter(a_meter_message())

    await controller.runner.turn([Packet("vpp/v1/00/s-0000/meter", sign(evidence, HOME_KEY, "s-0000"))])

    assert controller.traffic()["topics"] == {"meter": a_topic(1, lost=1)}
    assert controller.traffic()["pending"] == {"collect packets": "StoreUnavailable: the disk is full"}


async def test_a_reason_is_logged_once_a_second_however_often_it_occurs(tmp_path: Path) -> None:
    controller = await a_controller(tmp_path)

    with capture_logs() as lines:
        for _ in range(50):
            await controller.runner.turn([telemetry("{")])

    refused = [line for line in lines if line["event"] == "message refused"]
    assert [(line["kind"], line["reason"]) for line in refused][:1] == [("telemetry", "not JSON")]
    assert len(refused) < 5


async def test_operator_sees_what_became_of_messages(tmp_path: Path) -> None:
    controller = await a_controller(tmp_path)
    await controller.runner.turn([telemetry()])
    desk = Desk(controller.store, controller.clock, FileKeys(tmp_path), {}, live=Live(controller))

    assert await show_traffic(desk) == controller.traffic() | {"next_cursor": None}
    with pytest.raises(OperationRefused, match="start vpp serve"):
        await show_traffic(replace(desk, live=None))


class StoreWithoutMeters(MemoryStore):
    """A store on a full disk."""

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        raise StoreUnavailable("the disk is full")


def a_meter_message() -> MeterMessage:
    reading = MeterReading(
        "s-0000", "b" * 32, 1, EVENING, WattHours(10), WattHours(12), Permille(802), Quality.OK
    )
    return MeterMessage("s-0000", "b" * 32, 1, (reading,))


def a_topic(
    received: int,
    *,
    stored: int = 0,
    duplicate: int = 0,
    lost: int = 0,
    refused: dict[str, int] | None = None,
) -> Json:
    return {
        "received": received, "stored": stored, "duplicate": duplicate, "lost": lost,
        "refused": refused or {},
    }  # fmt: skip
