"""An owner's homes in the owner's own Home Assistant: six entities and a switch that opts out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.entrypoints.home_assistant import Away, HomeBridge, NotTheOwnersBroker
from vpp.entrypoints.operations import events, own_data, sites, starting
from vpp.entrypoints.operations.home_states import show_home_states
from vpp.ports import Packet
from vpp.wire.home_assistant import SWITCH_FILTER, decode_switch

SITE = "s-001"
OWNER = f"o-{SITE}"
AVAILABLE = f"vpp-home/{OWNER}/available"
STATE = f"vpp-home/{SITE}/state"
CONFIG = f"homeassistant/device/{SITE}/config"


class Home:
    """A suburb with one owner's broker, on which Home Assistant listens to everything."""

    def __init__(self, suburb: Suburb) -> None:
        self.suburb, self.away = suburb, False
        self.broker = MemoryBroker()
        self.assistant = MemoryTransport(self.broker, "homeassistant", filters=["#"])
        transport = MemoryTransport(self.broker, "bridge", filters=[SWITCH_FILTER])
        for each in (self.assistant, transport):
            each.reconnect()
        self.bridge = HomeBridge(transport, OWNER, self.read, self.switch)

    async def read(self) -> Mapping[str, Any]:
        if self.away:
            raise Away
        return await show_home_states(self.suburb.desk, owner_id=OWNER, actor=f"owner:{OWNER}")

    async def switch(self, site_id: str, event_id: str, out: bool) -> None:
        if out:
            await sites.opt_out_site(
                self.suburb.desk, site_id=site_id, event_id=event_id, actor=f"owner:{OWNER}"
            )
        else:
            await sites.opt_in_site(self.suburb.desk, site_id=site_id, event_id=event_id)

    async def shown(self) -> dict[str, Any]:
        """Take a turn and return what Home Assistant heard, the newest by topic."""
        await self.bridge.turn()
        return {packet.topic: packet.payload for packet in self.assistant.received_now()}

    async def state(self) -> dict[str, Any]:
        found = json.loads((await self.shown())[STATE])
        assert isinstance(found, dict)
        return found


@pytest.fixture
async def home(tmp_path: Path) -> Home:
    return Home(await a_suburb(tmp_path, homes=3))


async def begin(home: Home) -> None:
    await starting.start_event(
        home.suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.012", minutes=60, actor="staff:a"
    )
    await home.suburb.pass_time(60)


async def test_six_entities_of_each_home_appear_by_themselves(home: Home) -> None:
    heard = await home.shown()
    config = json.loads(heard[CONFIG])

    expected = (
        ("next_event_start", "sensor", "timestamp"),
        ("event_active", "binary_sensor", None),
        ("discharge_power", "sensor", "power"),
        ("energy_delivered", "sensor", "energy"),
        ("season_earnings", "sensor", "monetary"),
        ("opt_out", "switch", None),
    )
    assert set(config["components"]) == {name for name, _, _ in expected}
    for name, platform, device_class in expected:
        entity = config["components"][name]
        assert (entity["platform"], entity.get("device_class")) == (platform, device_class)
    assert config["components"]["energy_delivered"]["state_class"] == "total_increasing"
    assert config["state_topic"] == STATE
    assert heard[AVAILABLE] == b"online"
    assert not any("s-002" in topic for topic in heard)


async def test_a_battery_at_work_is_shown_and_one_that_is_silent_is_unknown(home: Home) -> None:
    before = await home.state()
    await begin(home)
    during = await home.state()
    home.suburb.clock.step_to(home.suburb.clock.now().replace(minute=30))
    silent = await home.state()

    assert (before["event_active"], before["next_event_start"]) == ("OFF", None)
    assert (during["event_active"], during["next_event_start"]) == ("ON", "2026-09-10T01:00:00Z")
    assert during["discharge_w"] > 0
    assert silent["discharge_w"] is None


async def test_a_battery_that_an_event_let_go_is_not_shown_at_work_by_an_older_sample(home: Home) -> None:
    await begin(home)
    during = await home.state()
    await events.cancel_event(home.suburb.desk, event_id="hot-1", actor="staff:a")
    await home.suburb.controller.turn()
    let_go = await home.state()
    await home.suburb.pass_time(30)
    idle = await home.state()

    assert during["discharge_w"] > 0
    assert (let_go["event_active"], let_go["discharge_w"]) == ("OFF", None)
    assert idle["discharge_w"] == 0


async def test_the_switch_opts_out_and_in_again_within_one_turn(home: Home) -> None:
    await begin(home)
    await home.state()
    for word, out in ((b"ON", True), (b"OFF", False)):
        await home.assistant.send([Packet(f"vpp-home/{SITE}/opt-out/set", word)])
        assert await home.bridge.hear()
        await home.suburb.controller.turn()

        assert (await home.state())["opt_out"] == word.decode()
        assert not (out and home.suburb.live.busy(home.suburb.clock.now())[1])


async def test_a_switch_of_another_home_or_without_an_event_does_nothing(home: Home) -> None:
    await home.state()
    await home.assistant.send([Packet(f"vpp-home/{SITE}/opt-out/set", b"ON")])
    assert not await home.bridge.hear()
    await begin(home)
    await home.state()
    await home.assistant.send([Packet("vpp-home/s-002/opt-out/set", b"ON")])

    assert not await home.bridge.hear()
    assert await home.suburb.desk.store.opt_outs(["hot-1"]) == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [("vpp-home/s-1/opt-out/set", b"on"), ("vpp-home/s-1/opt-out", b"ON"), ("else/s-1/opt-out/set", b"ON")],
)
def test_what_is_no_switch_is_passed_over(topic: str, payload: bytes) -> None:
    assert decode_switch(topic, payload) is None


async def test_homes_are_unavailable_while_the_service_is_away_and_gone_when_taken_out(home: Home) -> None:
    await home.shown()
    home.away = True
    with pytest.raises(Away):
        await home.bridge.turn()
    away = {packet.topic: packet.payload for packet in home.assistant.received_now()}
    await home.bridge.remove([SITE])
    removed = {packet.topic: packet.payload for packet in home.assistant.received_now()}

    assert away == {AVAILABLE: b"offline"}
    assert removed == {CONFIG: b""}
    assert HomeBridge.will_of(OWNER) == Packet(AVAILABLE, b"offline", retain=True)


async def test_staff_who_start_the_bridge_are_named_to_the_owner_once(home: Home) -> None:
    await show_home_states(home.suburb.desk, owner_id=OWNER, actor="operator:ada", reason="asked by phone")
    await home.shown()

    reads = (await own_data.show_own_data(home.suburb.desk, owner_id=OWNER))["reads"]
    assert isinstance(reads, list)
    assert [(each["actor"], each["reason"]) for each in reads] == [("operator:ada", "asked by phone")]


async def test_the_controllers_broker_is_refused_before_anything_is_said(home: Home) -> None:
    gateway = MemoryTransport(home.broker, SITE, filters=[])
    gateway.reconnect()
    await gateway.send([Packet(f"vpp/v1/0a/{SITE}/status", b"{}", retain=True)])
    bridging = MemoryTransport(home.broker, "second", filters=HomeBridge.filters_of([SITE]))
    bridging.reconnect()
    bridge = HomeBridge(bridging, OWNER, home.read, home.switch)

    with pytest.raises(NotTheOwnersBroker, match="name the owner's own"):
        await bridge.require_owners_broker(within_s=5)

    assert home.assistant.received_now()[0].topic.startswith("vpp/v1/"), "and nothing else"


async def test_an_owners_broker_serves_where_no_gateway_speaks(home: Home) -> None:
    await home.bridge.require_owners_broker(within_s=0.05)

    assert CONFIG in await home.shown()
