"""Bugs that are planted on purpose: each must be found by the simulation, and each was.

A bug is one small change of a real function, switched on by a test and nowhere else. Beside it stand the
invariant that must complain and the seed that makes it. ``python -m tests.simulation.planted_bugs --search``
looks for the first such seed of every bug, or of those named.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest

import simulators.command_check
import simulators.powerwall
import vpp.adapters.device_link
import vpp.adapters.memory.chain
import vpp.bootstrap
import vpp.domain.event_plan
import vpp.domain.settlement
import vpp.runner
import vpp.stages.collect
import vpp.stages.control
import vpp.stages.pay
from simulators.faults import Climate, Fault
from simulators.history_of_seed import HistoryOfSeed, Outcome
from simulators.simulation import quiet
from simulators.stand_ins import hashed_signatures
from vpp.adapters.memory.books import MemoryBooks
from vpp.adapters.memory.dispatch import MemoryDispatch
from vpp.adapters.memory.meter import MemoryMeter
from vpp.domain.brake import NO_BRAKE
from vpp.domain.command import Refusal
from vpp.domain.delivery import MeterReceipt
from vpp.domain.event_plan import Limits
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import EventHistory, EventStatus
from vpp.domain.interval import to_epoch
from vpp.domain.proof import ProofState
from vpp.domain.quantities import column
from vpp.domain.settlement import NEVER_OPTED_OUT
from vpp.ports import StoreUnavailable
from vpp.wire.gateway import GatewayKind
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

MINUTES = 6
"""Trouble is short here: what takes an hour to happen is rarely what finds a bug."""
SEEDS = 500
OFTEN_S = 10

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """One planted bug. ``seed`` is one whose history shows it; ``invariant`` is what complains.

    ``minutes`` is how long trouble must last, ``needs`` the kinds of trouble without which a search for
    another seed would be in vain.
    """

    name: str
    invariant: str
    seed: int
    plant: Plant
    minutes: int
    needs: frozenset[Fault]


BUGS: list[PlantedBug] = []


def planted(
    invariant: str, *, seed: int, minutes: int = MINUTES, needs: Sequence[Fault] = ()
) -> Callable[[Plant], Plant]:
    """Put a function that plants a bug into the table, under its own name."""

    def into_the_table(plant: Plant) -> Plant:
        BUGS.append(PlantedBug(plant.__name__, invariant, seed, plant, minutes, frozenset(needs)))
        return plant

    return into_the_table


def play(seed: int, *, minutes: int = MINUTES) -> Outcome:
    """Play a short history."""
    with quiet(), hashed_signatures():
        return HistoryOfSeed(seed, minutes=minutes).play()


def complaints(outcome: Outcome) -> set[str]:
    """Return the invariants that did not hold."""
    return {violation.invariant for violation in outcome.violations}


# The controller: what it commits, and what it sends.


@planted("I3", seed=1)
def commands_leave_before_their_commit(patch: pytest.MonkeyPatch) -> None:
    decide = vpp.bootstrap.control

    class Later:
        def __init__(self, store: Any, link: Any) -> None:
            self._store, self._link = store, link

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def commit(self, *fact: Any, **words: Any) -> None:
            self._waiting = (fact, words)

        async def command(self, batches: Any) -> None:
            await self._link.command(batches)
            await self._store.commit(*self._waiting[0], **self._waiting[1])

    async def sends_first(*, store: Any, link: Any, **known: Any) -> Any:
        later = Later(store, link)
        return await decide(store=later, link=later, **known)

    patch.setattr(vpp.bootstrap, "control", sends_first)


@planted("I3", seed=3)
def a_failed_commit_is_taken_for_done(patch: pytest.MonkeyPatch) -> None:
    commit = vpp.stages.control._commit

    async def hopes(tick: Any, *rest: Any) -> Any:
        try:
            return await commit(tick, *rest)
        except StoreUnavailable:
            return tick

    patch.setattr(vpp.stages.control, "_commit", hopes)


@planted("I3", seed=1)
def a_command_says_more_than_was_committed(patch: pytest.MonkeyPatch) -> None:
    body_of = vpp.stages.control.commands_of
    patch.setattr(
        vpp.stages.control,
        "commands_of",
        lambda tick, order, plan: replace(
            body_of(tick, order, plan), reserve_floor_permille=np.zeros_like(order.site_no)
        ),
    )


@planted("I4", seed=1, needs=(Fault.TWO_CONTROLLERS,))
def a_commit_does_not_look_at_the_epoch(patch: pytest.MonkeyPatch) -> None:
    commit = MemoryDispatch.commit

    async def trusts(self: Any, tick: Any, revisions: Any, **known: Any) -> None:
        leader, self._epoch = self._epoch, tick.epoch
        try:
            await commit(self, tick, revisions, **known)
        finally:
            self._epoch = leader

    patch.setattr(MemoryDispatch, "commit", trusts)


@planted("I4", seed=1)
def a_new_leader_takes_the_old_epoch(patch: pytest.MonkeyPatch) -> None:
    async def same(self: Any, *, at: datetime) -> int:
        self._epoch = self._epoch if self._ticks and max(self._ticks) > 1 else to_epoch(at)
        return int(self._epoch)

    patch.setattr(MemoryDispatch, "take_epoch", same)


@planted("I6", seed=1)
def a_cancel_is_ignored(patch: pytest.MonkeyPatch) -> None:
    read = vpp.stages.control._read_facts

    def uncancelled(history: EventHistory) -> EventHistory:
        asked = tuple(each for each in history.versions if each.status is not EventStatus.CANCELLED)
        return EventHistory(asked or history.versions, history.grants)

    async def reads(*known: Any) -> Any:
        facts = await read(*known)
        return replace(facts, histories=[uncancelled(each) for each in facts.histories])

    patch.setattr(vpp.stages.control, "_read_facts", reads)


@planted("I6", seed=2)
def a_cancel_waits_for_the_next_tick(patch: pytest.MonkeyPatch) -> None:
    take = vpp.runner.Runner._take_signals

    async def sleepy(self: Any, packets: Any, now: datetime) -> None:
        woken = self._woken
        await take(self, packets, now)
        self._woken = woken

    patch.setattr(vpp.runner.Runner, "_take_signals", sleepy)


@planted("I6", seed=7, minutes=50)
def a_lease_outlives_its_event(patch: pytest.MonkeyPatch) -> None:
    orders = vpp.stages.control.discharge_orders

    def long(planned: Any, due: Any, terms: Any, now: datetime, **rest: Any) -> Any:
        lease = timedelta(seconds=terms.lease_s)
        return tuple(
            replace(each, expires_at=each.starts_at + lease)
            for each in orders(planned, due, terms, now, **rest)
        )

    patch.setattr(vpp.stages.control, "discharge_orders", long)


@planted("I7", seed=20, needs=(Fault.STORE_SLOW, Fault.OPT_OUT))
def an_opt_out_is_read_too_early(patch: pytest.MonkeyPatch) -> None:
    decide = vpp.bootstrap.control

    async def forgets(**known: Any) -> Any:
        return await decide(**{**known, "words": None})

    patch.setattr(vpp.bootstrap, "control", forgets)


@planted("I7", seed=1)
def an_opt_out_is_not_planned_with(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "_opted_out", lambda *known: np.zeros(known[2], dtype=np.bool_))


@planted("I7", seed=1)
def an_opt_out_waits_for_the_next_tick(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.bootstrap.Controller, "wake", lambda *_: None)


@planted("I1", seed=14, needs=(Fault.RESERVE_CHANGED,))
def a_reserve_is_read_from_an_old_snapshot(patch: pytest.MonkeyPatch) -> None:
    read = vpp.bootstrap.Controller._read_new_sites

    async def forgets(self: Any) -> None:
        self._changed_sites.clear()
        await read(self)

    patch.setattr(vpp.bootstrap.Controller, "_read_new_sites", forgets)


@planted("I1", seed=3)
def the_higher_reserve_is_not_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(FleetState, "binding_reserve_permille", lambda self: self.vpp_reserve_permille)


@planted("I19", seed=17, needs=(Fault.DROP, Fault.OUTAGE))
def a_release_is_said_only_once(patch: pytest.MonkeyPatch) -> None:
    due_now = vpp.stages.control.due_commands

    def once(leases: Any, *rest: Any, **known: Any) -> Any:
        due = due_now(leases, *rest, **known)
        return replace(due, release=due.release[leases.setpoint_w[due.release] > 0])

    patch.setattr(vpp.stages.control, "due_commands", once)


@planted("I17", seed=1)
def an_unanswered_command_is_repeated_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.domain.lease.RESENDS", 100)


@planted("I20", seed=1)
def a_restart_forgets_what_was_told(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    patch.setattr(vpp.stages.control, "_told", nothing)


@planted("I13", seed=1)
def a_committed_tick_is_edited(patch: pytest.MonkeyPatch) -> None:
    append = vpp.adapters.memory.chain.MemoryChain.append

    def edited(self: Any, kind: str, fact: Any, *, actor: str | None = None) -> None:
        append(self, kind, fact, actor=actor)
        if kind == "dispatch_tick":
            self._links[-1] = (kind, replace(fact, epoch=0), actor, self.head)

    patch.setattr(vpp.adapters.memory.chain.MemoryChain, "append", edited)


# The plan: power, limits, proof.


@planted("I18", seed=2)
def the_limit_of_the_source_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "authorized_power", lambda *_: {})


@planted("I18", seed=1)
def substitutes_stand_beside_the_short_without_bound(patch: pytest.MonkeyPatch) -> None:
    solved = vpp.domain.event_plan._solved

    def unbounded(plan: Any, demand: Any, *rest: Any) -> Any:
        top_up = rest[-1] is not None
        return solved(plan, replace(demand, authorized_w=None) if top_up else demand, *rest)

    patch.setattr(vpp.domain.event_plan, "_solved", unbounded)


@planted("I18", seed=1)
def the_ramp_cap_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "brake_for", lambda *_, **__: NO_BRAKE)


@planted("I18", seed=21)
def the_limit_of_a_feeder_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "network_limits", lambda *_: Limits(column([]), column([])))


@planted("proof", seed=11, minutes=12, needs=(Fault.DISCONNECT,))
def a_silent_home_counts_in_full(patch: pytest.MonkeyPatch) -> None:
    judge = vpp.stages.control.assess

    def trusting(fleet: Any, leases: Any, *rest: Any, **known: Any) -> Any:
        found = judge(fleet, leases, *rest, **known)
        silent = found.sites_in(ProofState.SILENT)
        return replace(found, counted_w=np.where(silent, leases.setpoint_w, found.counted_w))

    patch.setattr(vpp.stages.control, "assess", trusting)


# Signals.


@planted("I21", seed=1)
def a_signal_sent_twice_makes_two_versions(patch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> bool:
        return False

    patch.setattr("vpp.adapters.memory.signals.MemorySignals.seen", never)
    patch.setattr("vpp.stages.intake._contradicted", never)


@planted("I16", seed=79, needs=(Fault.EVENT_MODIFIED, Fault.DELAY))
def an_older_version_replaces_a_newer_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.domain.verdict._order", lambda _: (datetime(2026, 1, 1, tzinfo=UTC), 0))


@planted("I19", seed=1)
def an_event_never_closes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.runner, "_ended_at", lambda _: datetime(2036, 1, 1, tzinfo=UTC))


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
        messages: Any, fleet: Any, roster: Any, store: Any, link: Any, *rest: Any
    ) -> None:
        await link.acknowledge(
            [MeterReceipt(each.site_id, each.boot_id, each.readings[-1].index) for each in messages]
        )
        await store_meter(messages, fleet, roster, store, link, *rest)

    patch.setattr(vpp.stages.collect, "_store_meter", answers_first)


@planted("I22", seed=1)
def a_reading_is_lost_after_its_receipt(patch: pytest.MonkeyPatch) -> None:
    append = MemoryMeter.append

    async def loses(self: Any, messages: Any, *, at: datetime) -> Any:
        receipts = await append(self, messages, at=at)
        for message in messages[1:]:
            self._readings[message.site_id].pop((message.boot_id, message.readings[0].index), None)
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


@planted("I11", seed=3, needs=(Fault.CROSS_TOPIC,))
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


@planted("I11", seed=11, needs=(Fault.ENERGY_LIE,))
def more_energy_is_believed_than_a_battery_can_give(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.collect, "judge_message", lambda message, **_: message)


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


@planted("I12", seed=2)
def money_is_a_float(patch: pytest.MonkeyPatch) -> None:
    earned = vpp.domain.settlement.earned_in_event

    def inexact(*terms: Any, **counts: Any) -> Any:
        exact = earned(*terms, **counts)
        return replace(exact, amount=float(exact.amount))

    patch.setattr(vpp.domain.settlement, "earned_in_event", inexact)


@planted("I10", seed=9)
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


@planted("I5", seed=132, needs=(Fault.DELAY, Fault.REPLAY))
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


@planted("I2", seed=3, needs=(Fault.CROSS_TOPIC,))
def a_gateway_obeys_the_command_of_another_home(patch: pytest.MonkeyPatch) -> None:
    read = simulators.powerwall.read_command

    def anyones(payload: bytes, *, site_id: str, keys: Any) -> Any:
        _, found, rest = payload.partition(b'"site_id":"')
        return read(payload, site_id=rest.split(b'"')[0].decode() if found else site_id, keys=keys)

    patch.setattr(simulators.powerwall, "read_command", anyones)


@planted("I2", seed=11, needs=(Fault.REPLAY,))
def a_gateway_does_not_notice_a_repeated_command(patch: pytest.MonkeyPatch) -> None:
    answer = simulators.powerwall.Gateway._answer

    def forgetful(self: Any, trusted: Any, *rest: Any) -> Any:
        self._kept.highest.pop(trusted.kid, None)
        return answer(self, trusted, *rest)

    patch.setattr(simulators.powerwall.Gateway, "_answer", forgetful)


@planted("I2", seed=11, needs=(Fault.RETAINED_COMMAND,))
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


@planted("I2", seed=264, needs=(Fault.OUTAGE, Fault.GATEWAY_CRASH))
def a_home_resumes_what_it_had_ended(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulators.powerwall.Gateway, "_forget_lease", lambda *_: None)


@planted("I1", seed=6, needs=(Fault.RESERVE_CHANGED_AT_HOME,))
def a_home_goes_below_its_owners_reserve(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("simulators.inverter.Inverter.floor_permille", lambda *floor: floor[1])


@planted("I1", seed=10, needs=(Fault.OUTAGE,))
def a_home_discharges_in_an_outage(patch: pytest.MonkeyPatch) -> None:
    home_passes_over(patch, Refusal.ISLANDED)


@planted("I7", seed=25, needs=(Fault.OPT_OUT_AT_HOME,))
def a_home_discharges_against_its_owners_no(patch: pytest.MonkeyPatch) -> None:
    home_passes_over(patch, Refusal.OPTED_OUT)


def search(names: Sequence[str], *, first: int, seeds: int) -> int:
    """Print the first seed that finds each bug, and return how many were not found."""
    missed = 0
    for bug in BUGS:
        if names and bug.name not in names:
            continue
        began, found = time.process_time(), None
        other: set[str] = set()
        for seed in range(first, first + seeds):
            climate = Climate.drawn(Random(seed))
            if bug.needs and not (bug.needs <= climate.kinds and climate.mean_between_s <= OFTEN_S):
                continue
            with pytest.MonkeyPatch.context() as patch:
                bug.plant(patch)
                heard = complaints(play(seed, minutes=bug.minutes))
            other |= heard - {bug.invariant}
            if bug.invariant in heard:
                found = seed
                break
        missed += found is None
        spent = time.process_time() - began
        others = f" (also {', '.join(sorted(other))})" if other else ""
        sys.stdout.write(f"{bug.invariant:6} seed {found!s:4} {spent:5.1f} s  {bug.name}{others}\n")
        sys.stdout.flush()
    return missed


def main() -> int:
    """Search for seeds, or list the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted_bugs", description=__doc__)
    parser.add_argument("names", nargs="*", help="bugs, all by default")
    parser.add_argument("--search", action="store_true", help="play seeds until one finds each bug")
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many at most for each bug")
    arguments = parser.parse_args()
    if arguments.search:
        return 1 if search(arguments.names, first=arguments.first, seeds=arguments.seeds) else 0
    for bug in BUGS:
        sys.stdout.write(f"{bug.invariant:6} seed {bug.seed:4} {bug.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
