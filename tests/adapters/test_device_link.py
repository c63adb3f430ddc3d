"""The wire to the gateways: what is believed, what is only counted, and in which order we speak."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from vpp.adapters import device_link
from vpp.adapters.device_link import GATEWAY_FILTERS, GatewayLink
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.domain.command import Action, CommandBatch, Order, Refusal
from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, Quality
from vpp.domain.enrollment import Consent, Enrollment
from vpp.domain.fleet import FleetState, Roster, enroll
from vpp.domain.quantities import Permille, WattHours, Watts, column
from vpp.ports import Heard, Packet
from vpp.wire.gateway import (
    Ack,
    GatewayKind,
    GatewayTopic,
    Online,
    Status,
    decode_command,
    encode_ack,
    encode_status,
    topic,
)
from vpp.wire.gateway_meter import decode_receipt, encode_meter
from vpp.wire.gateway_telemetry import GridState, Telemetry, encode_telemetry
from vpp.wire.signed import SigningKey, sign, split, verify

NOW = datetime(2026, 9, 10, 1, 5, 30, tzinfo=UTC)
BOOT = "b91c5e7702d144f8b91c5e7702d144f8"
HOME_KEY, OTHER_KEY, OUR_KEY = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))


class OurKeys:
    """The controller's key in a test."""

    kid = "vpp"
    public_key = OUR_KEY.verifying_key.raw

    def sign(self, body: bytes) -> bytes:
        return sign(body, OUR_KEY, self.kid)


def an_enrollment(site_no: int, site_id: str, *, withdrawn_at: datetime | None = None) -> Enrollment:
    return Enrollment(
        site_no=site_no,
        site_id=site_id,
        owner_id=f"o-{site_no}",
        program_id="elrp-a4-pge",
        utility="pge",
        county="Alameda",
        feeder="f-1",
        full_energy_wh=WattHours(13_500),
        max_discharge_w=Watts(5_000),
        reserve_permille=Permille(200),
        gateway_public_key=HOME_KEY.verifying_key.raw,
        consent=Consent("2026-05", NOW - timedelta(days=100)),
        enrolled_at=NOW - timedelta(days=90),
        withdrawn_at=withdrawn_at,
    )


ADA, BEN, GONE = 0, 1, 2
IDS = {ADA: "s-ada", BEN: "s-ben", GONE: "s-gone"}


def a_link() -> tuple[GatewayLink, MemoryTransport]:
    """Return a link with two homes and one that withdrew, and a transport that hears what is sent."""
    roster = Roster()
    withdrawn = an_enrollment(GONE, IDS[GONE], withdrawn_at=NOW - timedelta(days=1))
    enroll(FleetState(), roster, [an_enrollment(ADA, IDS[ADA]), an_enrollment(BEN, IDS[BEN]), withdrawn])
    broker = MemoryBroker()
    return GatewayLink(MemoryTransport(broker, "vpp"), OurKeys(), roster), MemoryTransport(
        broker, "homes", filters=["vpp/v1/+/+/command", "vpp/v1/+/+/receipt"]
    )


def a_topic(kind: GatewayKind, site_no: int = ADA, shard: str | None = None) -> str:
    return topic(GatewayTopic(shard or f"{site_no:02x}", IDS[site_no], kind))


def a_sample(site_no: int = ADA, soc_permille: int = 799) -> Packet:
    sample = Telemetry(
        site_id=IDS[site_no],
        at=NOW,
        epoch=7,
        sequence=45,
        soc_permille=Permille(soc_permille),
        battery_w=Watts(4_190),
        discharge_limit_w=Watts(5_000),
        energy_full_wh=WattHours(13_305),
        reserve_permille=Permille(200),
        discharged_wh=WattHours(12_319_921),
        charged_wh=WattHours(13_853_641),
        grid=GridState.SYNCING,
        storm_mode=False,
        opted_out=True,
        fault="inverter",
    )
    return Packet(a_topic(GatewayKind.TELEMETRY, site_no), encode_telemetry(sample), qos=0)


def an_ack(refusal: Refusal | None = None) -> bytes:
    return encode_ack(Ack("s-ada", "ev-1", 7, 45, refusal, NOW))


def a_meter_body() -> bytes:
    reading = MeterReading("s-ada", BOOT, 4, NOW, WattHours(10), WattHours(12), Permille(802), Quality.OK)
    return encode_meter(MeterMessage("s-ada", BOOT, 3, (reading,)))


def signed(kind: GatewayKind, body: bytes, *, key: SigningKey = HOME_KEY, kid: str = "s-ada") -> Packet:
    return Packet(a_topic(kind), sign(body, key, kid))


def test_telemetry_becomes_columns_in_order_of_arrival() -> None:
    link, _ = a_link()

    heard = link.decode([a_sample(BEN, soc_permille=500), a_sample(ADA)])

    batch = heard.telemetry
    assert batch.site_no.tolist() == [BEN, ADA]
    assert batch.soc_permille.tolist() == [500, 799]
    assert (batch.epoch[0], batch.sequence[0], batch.battery_w[0]) == (7, 45, 4_190)
    assert batch.at_s[0] == int(NOW.timestamp())
    assert (batch.grid_connected[0], batch.opted_out[0], batch.faulted[0], batch.storm_mode[0]) == (
        False, True, True, False,
    )  # fmt: skip
    assert not batch.soc_permille.flags.writeable
    assert heard.received == {"telemetry": 2}
    assert not heard.refused


def test_an_acknowledgement_is_believed_from_the_homes_own_key() -> None:
    link, _ = a_link()

    heard = link.decode(
        [signed(GatewayKind.ACK, an_ack()), signed(GatewayKind.ACK, an_ack(Refusal.STORM_MODE))]
    )

    assert heard.acks.site_no.tolist() == [ADA, ADA]
    assert (heard.acks.epoch[0], heard.acks.sequence[0], heard.acks.event_id[0]) == (7, 45, "ev-1")
    assert heard.acks.refusal == (None, Refusal.STORM_MODE)


def test_meter_readings_are_believed_from_the_homes_own_key() -> None:
    link, _ = a_link()

    heard = link.decode([signed(GatewayKind.METER, a_meter_body())])

    assert [(each.site_id, each.oldest_index, each.readings[0].index) for each in heard.meter] == [
        ("s-ada", 3, 4)
    ]


def test_presence_is_read_in_order_of_arrival_and_a_kept_copy_says_so() -> None:
    link, _ = a_link()
    here = encode_status(Status("s-ada", Online(NOW, BOOT, 7, 45, "24.12", 12)))
    gone = encode_status(Status("s-ada", None))

    heard = link.decode(
        [Packet(a_topic(GatewayKind.STATUS), here, retain=True), Packet(a_topic(GatewayKind.STATUS), gone)]
    )

    assert [(each.online, each.retained, each.sequence) for each in heard.statuses] == [
        (True, True, 45), (False, False, 0),
    ]  # fmt: skip


SAMPLE = a_sample()


@pytest.mark.parametrize(
    ("packet", "kind", "reason"),
    [
        (Packet("vpp/v2/00/s-ada/ack", b""), "unknown", "unknown_topic"),
        (Packet("grid/v1/caiso/event", b""), "unknown", "unknown_topic"),
        (Packet(a_topic(GatewayKind.COMMAND), b""), "command", "not_from_a_gateway"),
        (Packet("vpp/v1/00/s-eve/telemetry", SAMPLE.payload), "telemetry", "unknown_site"),
        (replace(SAMPLE, topic=a_topic(GatewayKind.TELEMETRY, ADA, "0b")), "telemetry", "wrong_shard"),
        (a_sample(GONE), "telemetry", "no_consent"),
        (replace(SAMPLE, topic=a_topic(GatewayKind.TELEMETRY, BEN)), "telemetry", "wrong_site"),
        (replace(SAMPLE, retain=True), "telemetry", "retained"),
        (replace(SAMPLE, payload=b"\xff"), "telemetry", "not UTF-8"),
        (replace(SAMPLE, payload=b"x" * 4097), "telemetry", "longer than 4096 bytes"),
        (replace(signed(GatewayKind.ACK, an_ack()), retain=True), "ack", "retained"),
        (Packet(a_topic(GatewayKind.ACK), an_ack()), "ack", "not signed: no second line"),
        (signed(GatewayKind.ACK, an_ack(), key=OTHER_KEY), "ack", "bad_signature"),
        (signed(GatewayKind.ACK, an_ack(), kid="s-ben"), "ack", "wrong_key_name"),
        (signed(GatewayKind.METER, a_meter_body(), key=OTHER_KEY), "meter", "bad_signature"),
        (Packet(a_topic(GatewayKind.STATUS), b"", retain=True), "status", "not JSON"),
    ],
)
def test_what_cannot_be_trusted_is_counted_and_changes_nothing(
    packet: Packet, kind: str, reason: str
) -> None:
    link, _ = a_link()

    heard = link.decode([packet])

    assert heard.refused == {(kind, reason): 1}
    assert heard.received == {kind: 1}
    assert _nothing(heard)


def _nothing(heard: Heard) -> bool:
    return not (len(heard.telemetry) or len(heard.acks) or heard.meter or heard.statuses)


def test_a_changed_byte_of_signed_evidence_is_noticed() -> None:
    link, _ = a_link()
    honest = signed(GatewayKind.METER, a_meter_body())
    inflated = replace(honest, payload=honest.payload.replace(b'"discharged_wh":10', b'"discharged_wh":99'))

    heard = link.decode([inflated])

    assert heard.refused == {("meter", "bad_signature"): 1}


def test_evidence_of_one_site_is_not_taken_for_another() -> None:
    link, _ = a_link()
    honest = signed(GatewayKind.METER, a_meter_body())

    heard = link.decode([replace(honest, topic=a_topic(GatewayKind.METER, BEN))])

    assert heard.refused == {("meter", "wrong_key_name"): 1}


def test_a_bad_packet_does_not_stop_the_good_ones_around_it() -> None:
    link, _ = a_link()

    heard = link.decode([a_sample(), Packet("nonsense", b""), a_sample(BEN)])

    assert heard.telemetry.site_no.tolist() == [ADA, BEN]
    assert heard.received == {"telemetry": 2, "unknown": 1}


def test_unknown_fields_are_counted_by_kind() -> None:
    link, _ = a_link()

    link.decode([replace(SAMPLE, payload=SAMPLE.payload[:-1] + b',"solar_w":1}')])

    assert link.unknown_fields == {"telemetry": 1}


def an_order(action: Action, sites: list[int]) -> Order:
    return Order(
        event_id="ev-1",
        revision=1,
        action=action,
        site_no=column(sites),
        starts_at=NOW,
        expires_at=NOW + timedelta(minutes=15),
        event_ends_at=NOW + timedelta(hours=2),
        ramp_s=30,
        spread_s=60,
        test=False,
    )


async def test_commands_leave_signed_with_releases_ahead_of_starts() -> None:
    link, homes = a_link()
    start = CommandBatch(7, 46, NOW, an_order(Action.DISCHARGE, [ADA]), column([4_200]), column([200]))
    stop = CommandBatch(7, 46, NOW, an_order(Action.RELEASE, [BEN]), column([0]), column([200]))
    transport = link._transport
    assert isinstance(transport, MemoryTransport)

    await link.command([start, stop])  # both wait: there is no connection yet
    async with homes, transport:
        sent = homes.received_now()

    assert [packet.topic for packet in sent] == ["vpp/v1/01/s-ben/command", "vpp/v1/00/s-ada/command"]
    assert not any(packet.retain for packet in sent)
    body = verify(split(sent[1].payload, max_bytes=4_096), OUR_KEY.verifying_key)
    command = decode_command(body, site_id="s-ada")
    assert (command.action, command.discharge_w, command.sequence) == (Action.DISCHARGE, 4_200, 46)


async def test_what_is_committed_and_not_handed_over_yet_is_counted_by_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link, _ = a_link()
    monkeypatch.setattr(device_link, "SIGN_AT_ONCE", 1)
    order = an_order(Action.DISCHARGE, [ADA, BEN])
    start = CommandBatch(7, 46, NOW, order, column([4_200, 100]), column([200, 200]))
    seen: list[int] = []

    sending = asyncio.create_task(link.command([start]))
    while not sending.done():
        await asyncio.sleep(0)
        seen.append(link.unsent["ev-1"])

    assert seen[0] == 1
    assert seen[-1] == 0


async def test_receipts_leave_signed_to_the_home_they_are_for() -> None:
    link, homes = a_link()
    transport = link._transport
    assert isinstance(transport, MemoryTransport)
    async with homes, transport:
        await link.acknowledge([MeterReceipt("s-ada", BOOT, 1042)])
        sent = homes.received_now()

    assert [packet.topic for packet in sent] == ["vpp/v1/00/s-ada/receipt"]
    body = verify(split(sent[0].payload, max_bytes=4_096), OUR_KEY.verifying_key)
    assert decode_receipt(body, site_id="s-ada") == MeterReceipt("s-ada", BOOT, 1042)


def test_the_link_listens_to_what_gateways_say_and_to_nothing_else() -> None:
    assert GATEWAY_FILTERS == (
        "vpp/v1/+/+/ack", "vpp/v1/+/+/telemetry", "vpp/v1/+/+/meter", "vpp/v1/+/+/status",
    )  # fmt: skip


def test_of_many_signed_messages_only_the_forged_one_is_refused_and_order_is_kept() -> None:
    link, _ = a_link()
    bodies = [encode_ack(Ack("s-ada", "ev-1", 7, number, None, NOW)) for number in range(1, 101)]
    forged = [signed(GatewayKind.ACK, body, key=OTHER_KEY if number == 40 else HOME_KEY)
              for number, body in enumerate(bodies)]  # fmt: skip

    heard = link.decode(forged)

    assert heard.acks.sequence.tolist() == [*range(1, 41), *range(42, 101)]
    assert heard.refused == {("ack", "bad_signature"): 1}
    assert heard.received == {"ack": 100}
