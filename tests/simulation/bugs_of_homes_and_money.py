"""Planted where homes are heard, where money is made of it, and in the gateway itself."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

import simulators.command_check
import simulators.powerwall
import vpp.adapters.device_link
import vpp.adapters.memory.chain
import vpp.bootstrap
import vpp.domain.event_plan
import vpp.domain.site_earnings
import vpp.runner
import vpp.stages.collect
import vpp.stages.control
import vpp.stages.pay
from simulators.faults import Fault
from tests.simulation.planting import planted
from vpp.adapters.memory.books import MemoryBooks
from vpp.adapters.memory.meter import MemoryMeter
from vpp.domain.command import Refusal
from vpp.domain.delivery import MeterReceipt
from vpp.domain.interval import to_epoch
from vpp.domain.site_earnings import NEVER_OPTED_OUT
from vpp.wire.gateway import GatewayKind
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

# What homes say: samples, readings, receipts.


@planted("I16", seed=4)
def an_older_sample_replaces_a_newer_one(patch: pytest.MonkeyPatch) -> None:
    trusted = vpp.stages.collect._trusted

    def believes(batch: Any, fleet: Any, *rest: Any) -> Any:
        fleet.sampled_at_s[batch.site_no] = 0
        return trusted(batch, fleet, *rest)

    patch.setattr(vpp.stages.collect, "_trusted", believes)


@planted("I22", seed=5)
def a_receipt_leaves_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    store_meter = vpp.stages.collect._store_meter

    async def answers_first(
        messages: Any, fleet: Any, roster: Any, programs: Any, store: Any, link: Any, *rest: Any
    ) -> None:
        await link.acknowledge(
            [MeterReceipt(each.site_id, each.boot_id, each.readings[-1].index) for each in messages]
        )
        await store_meter(messages, fleet, roster, programs, store, link, *rest)

    patch.setattr(vpp.stages.collect, "_store_meter", answers_first)


@planted("I22", seed=1)
def a_reading_is_lost_after_its_receipt(patch: pytest.MonkeyPatch) -> None:
    append = MemoryMeter.append

    async def loses(self: Any, messages: Any, *, at: datetime) -> Any:
        receipts = await append(self, messages, at=at)
        for message in messages[1:]:
            self._readings[message.site_id].pop((message.boot_id, message.readings[0].index), None)
            self._tables.pop(message.site_id, None)
        return receipts

    patch.setattr(MemoryMeter, "append", loses)


@planted("I22", seed=1)
def the_same_reading_is_stored_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.adapters.memory.meter._measured", lambda _: object())


@planted("I22", seed=1)
def what_is_refused_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.runner.Failures, "refuse", lambda *_: None)


@planted("I11", seed=25, needs=(Fault.MUTATE,))
def the_controller_checks_no_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.adapters.device_link, "_is_signed", lambda _: True)


@planted("I11", seed=1, needs=(Fault.CROSS_TOPIC,))
def a_reading_signed_by_another_home_is_accepted(patch: pytest.MonkeyPatch) -> None:
    link, decode = vpp.adapters.device_link, vpp.adapters.device_link.decode_meter
    take = link.GatewayLink._take

    def any_key(self: Any, packet: Any, name: Any, hearing: Any) -> Any:
        if name.kind is not GatewayKind.METER:
            return take(self, packet, name, hearing)
        site_no, site = self._site(name)
        message = link.split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
        signer = self._roster.enrollments[self._roster.site_no_of.get(message.kid, site_no)]
        key = signer.gateway_public_key
        return link._Claim(name.kind, site_no, replace(site, gateway_public_key=key), message)

    def any_site(body: bytes, *, site_id: str, **_: Any) -> Any:
        said = decode(body, site_id=body.split(b'"site_id":"')[1].split(b'"')[0].decode())
        readings = tuple(replace(each, site_id=site_id) for each in said.readings)
        return replace(said, site_id=site_id, readings=readings)

    patch.setattr(link.GatewayLink, "_take", any_key)
    patch.setattr(link, "decode_meter", any_site)


# Money.


@planted("I11", seed=18, needs=(Fault.ENERGY_LIE,))
def more_energy_is_believed_than_a_battery_can_give(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.collect, "judge_readings", lambda readings, **_: tuple(readings))


@planted("I11", seed=1)
def the_baseline_includes_an_event_day(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    patch.setattr("vpp.stages.settle._excluded_by_command", nothing)


@planted("I11", seed=3, needs=(Fault.OPT_OUT,))
def the_time_after_an_opt_out_is_paid(patch: pytest.MonkeyPatch) -> None:
    async def never(event_id: str, roster: Any, *_: Any) -> Any:
        return np.full(len(roster), NEVER_OPTED_OUT, dtype=np.int64)

    patch.setattr("vpp.stages.settle._opted_out_s", never)


@planted("I12", seed=0)
def money_is_a_float(patch: pytest.MonkeyPatch) -> None:
    earned = vpp.domain.site_earnings.earned_in_event

    def inexact(*terms: Any, **counts: Any) -> Any:
        exact = earned(*terms, **counts)
        return replace(exact, amount=float(exact.amount))

    patch.setattr(vpp.domain.site_earnings, "earned_in_event", inexact)


@planted("I10", seed=1)
def a_settlement_is_booked_each_time_it_is_made(patch: pytest.MonkeyPatch) -> None:
    due = vpp.stages.pay.entries_due

    def always(settlement: Any, booked: Any, *, at: datetime, note: str = "") -> Any:
        entries = due(settlement, (), at=at, note=note)
        return tuple(replace(each, entry_id=f"{each.entry_id}-{to_epoch(at)}") for each in entries)

    patch.setattr(vpp.stages.pay, "entries_due", always)
    patch.setattr(MemoryBooks, "_stand", lambda *_: None)  # nor does the database keep one of each


# The gateway.


def gateway_passes_over(patch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    """Let a gateway take what its clock forbids for one reason."""
    judge = simulators.powerwall.clock_refusal

    def lenient(command: Any, **clock: Any) -> Any:
        found = judge(command, **clock)
        return None if found is refusal else found

    patch.setattr(simulators.powerwall, "clock_refusal", lenient)


def home_passes_over(patch: pytest.MonkeyPatch, refusal: Refusal) -> None:
    """Let a home pass over one of its own rules."""
    judge = simulators.powerwall.Gateway._home_refusal

    def lenient(self: Any, floor_permille: int) -> Any:
        found = judge(self, floor_permille)
        return None if found is refusal else found

    patch.setattr(simulators.powerwall.Gateway, "_home_refusal", lenient)


@planted("I5", seed=213, needs=(Fault.DELAY, Fault.REPLAY))
def a_gateway_takes_an_expired_command(patch: pytest.MonkeyPatch) -> None:
    gateway_passes_over(patch, Refusal.EXPIRED)


@planted("I5", seed=11, needs=(Fault.LONG_LEASE,))
def a_gateway_takes_a_lease_of_any_length(patch: pytest.MonkeyPatch) -> None:
    gateway_passes_over(patch, Refusal.LEASE_TOO_LONG)


@planted("I5", seed=6, needs=(Fault.CLOCK_UNSURE,))
def a_gateway_acts_without_knowing_the_time(patch: pytest.MonkeyPatch) -> None:
    gateway_passes_over(patch, Refusal.CLOCK_UNSURE)


@planted("I5", seed=1, needs=(Fault.DISCONNECT, Fault.PARTITION_PARTIAL))
def a_discharge_does_not_end_with_its_lease(patch: pytest.MonkeyPatch) -> None:
    moments = simulators.powerwall.lease_of

    def endless(*command: Any, **known: Any) -> Any:
        lease = moments(*command, **known)
        return replace(lease, stops_s=lease.event_ends_s)

    patch.setattr(simulators.powerwall, "lease_of", endless)


@planted("I3", seed=10, needs=(Fault.FORGE,))
def a_gateway_checks_no_signature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulators.command_check, "verify", lambda message, _: message.body)


@planted("I2", seed=11, needs=(Fault.CROSS_TOPIC,))
def a_gateway_obeys_the_command_of_another_home(patch: pytest.MonkeyPatch) -> None:
    read = simulators.powerwall.read_command

    def anyones(payload: bytes, *, site_id: str, **known: Any) -> Any:
        _, found, rest = payload.partition(b'"site_id":"')
        return read(payload, site_id=rest.split(b'"')[0].decode() if found else site_id, **known)

    patch.setattr(simulators.powerwall, "read_command", anyones)


@planted("I2", seed=11, needs=(Fault.REPLAY,))
def a_gateway_does_not_notice_a_repeated_command(patch: pytest.MonkeyPatch) -> None:
    answer = simulators.powerwall.Gateway._answer

    def forgetful(self: Any, trusted: Any, *rest: Any) -> Any:
        self._kept.highest.pop(trusted.kid, None)
        return answer(self, trusted, *rest)

    patch.setattr(simulators.powerwall.Gateway, "_answer", forgetful)


@planted("I2", seed=1, needs=(Fault.RETAINED_COMMAND,))
def a_gateway_obeys_a_retained_command(patch: pytest.MonkeyPatch) -> None:
    take = simulators.powerwall.Gateway._on_command
    patch.setattr(
        simulators.powerwall.Gateway,
        "_on_command",
        lambda self, packet, *rest: take(self, replace(packet, retain=False), *rest),
    )


@planted("I2", seed=1)
def a_gateway_acts_before_it_stores(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("simulators.command_disk.MemoryDisk.store", lambda *_: None)


@planted("I2", seed=304, minutes=15, needs=(Fault.OUTAGE, Fault.GATEWAY_CRASH))
def a_home_resumes_what_it_had_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulators.powerwall.Gateway, "_forget_lease", lambda *_: None)


@planted("I1", seed=6, needs=(Fault.RESERVE_CHANGED_AT_HOME,))
def a_home_goes_below_its_owners_reserve(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("simulators.inverter.Inverter.floor_permille", lambda *floor: floor[1])


@planted("I1", seed=10, needs=(Fault.OUTAGE,))
def a_home_discharges_in_an_outage(patch: pytest.MonkeyPatch) -> None:
    home_passes_over(patch, Refusal.ISLANDED)


@planted("I7", seed=20, needs=(Fault.OPT_OUT_AT_HOME,))
def a_home_discharges_against_its_owners_no(patch: pytest.MonkeyPatch) -> None:
    home_passes_over(patch, Refusal.OPTED_OUT)
