"""Planted in the controller: what it commits and sends, how it plans, how it takes signals."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

import vpp.adapters.device_link
import vpp.adapters.memory.chain
import vpp.bootstrap
import vpp.domain.candidates
import vpp.domain.demands
import vpp.domain.event_plan
import vpp.domain.orders
import vpp.domain.telling
import vpp.runner
import vpp.stages.collect
import vpp.stages.control
import vpp.stages.pay
import vpp.stages.stop
from simulators.faults import Fault
from tests.simulation.planting import planted
from vpp.adapters.memory.dispatch import MemoryDispatch
from vpp.domain.brake import NO_BRAKE, UNBOUNDED_W
from vpp.domain.command import LONGEST_LEASE
from vpp.domain.fleet import FleetState, enroll
from vpp.domain.grid_event import EventHistory, EventStatus
from vpp.domain.headroom import Limits
from vpp.domain.interval import to_epoch
from vpp.domain.known_leases import KnownLeases
from vpp.domain.proof import ProofState
from vpp.domain.quantities import column
from vpp.ports import StoreUnavailable

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
            *_, basis, _decide, _wait = rest
            return tick, basis

    patch.setattr(vpp.stages.control, "_commit", hopes)


@planted("I3", seed=3, needs=[Fault.STORE_SLOW])
def a_slow_commit_lets_all_of_its_tick_leave_first(patch: pytest.MonkeyPatch) -> None:
    async def all_of_it(tick: Any, plans: Any, link: Any) -> None:
        await link.command(vpp.domain.orders.batches_of(tick, plans))

    patch.setattr(vpp.stages.control, "_send_stops", all_of_it)


@planted("I8", seed=9)
def an_event_that_means_some_homes_takes_any(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        vpp.domain.demands, "targeted_sites", lambda _, fleet, __: np.ones(len(fleet), dtype=np.bool_)
    )


@planted("I8", seed=19, minutes=60)
def who_withdraws_is_kept_as_before(patch: pytest.MonkeyPatch) -> None:
    def keeps(fleet: Any, roster: Any, enrollments: Any) -> None:
        known = {each.site_id: each for each in roster.enrollments}
        enroll(fleet, roster, [known.get(each.site_id, each) if each.withdrawn_at else each
                               for each in enrollments])  # fmt: skip

    patch.setattr(vpp.bootstrap, "enroll", keeps)


@planted("I6", seed=49, minutes=60)
def what_was_stopped_goes_on(patch: pytest.MonkeyPatch) -> None:
    async def cancels_nothing(*_: Any) -> None:
        pass

    patch.setattr(vpp.stages.stop, "_cancel_what_was_on", cancels_nothing)


@planted("I3", seed=1)
def a_command_says_more_than_was_committed(patch: pytest.MonkeyPatch) -> None:
    body_of = vpp.domain.orders.commands_of
    patch.setattr(
        vpp.domain.orders,
        "commands_of",
        lambda tick, order, plan: replace(
            body_of(tick, order, plan), reserve_floor_permille=np.zeros_like(order.site_no)
        ),
    )


@planted("I3", seed=1)
def what_homes_answered_is_not_stored_with_a_tick(patch: pytest.MonkeyPatch) -> None:
    news = KnownLeases.news

    def silence(self: Any, *known: Any) -> Any:
        told = news(self, *known)
        return replace(told, **{each.name: getattr(told, each.name)[:0] for each in fields(told)})

    patch.setattr(KnownLeases, "news", silence)


@planted("I4", seed=18, needs=(Fault.TWO_CONTROLLERS,))
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


@planted("I6", seed=1)
def a_cancel_waits_for_the_next_tick(patch: pytest.MonkeyPatch) -> None:
    take = vpp.runner.Runner._take_signals

    async def sleepy(self: Any, packets: Any, now: datetime) -> None:
        woken = self._woken
        await take(self, packets, now)
        self._woken = woken

    patch.setattr(vpp.runner.Runner, "_take_signals", sleepy)


@planted("I6", seed=7, minutes=50)
def a_lease_outlives_its_event(patch: pytest.MonkeyPatch) -> None:
    orders = vpp.domain.telling.discharge_orders

    def long(planned: Any, due: Any, terms: Any, now: datetime, **rest: Any) -> Any:
        lease = timedelta(seconds=terms.lease_s)
        return tuple(
            replace(each, expires_at=each.starts_at + lease)
            for each in orders(planned, due, terms, now, **rest)
        )

    patch.setattr(vpp.domain.telling, "discharge_orders", long)


@planted("I7", seed=125, needs=(Fault.STORE_SLOW, Fault.OPT_OUT))
def an_opt_out_is_read_too_early(patch: pytest.MonkeyPatch) -> None:
    decide = vpp.bootstrap.control

    async def forgets(**known: Any) -> Any:
        return await decide(**{**known, "words": None})

    patch.setattr(vpp.bootstrap, "control", forgets)


@planted("I7", seed=1)
def an_opt_out_is_not_planned_with(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.domain.candidates, "_said_no", lambda *_: {})


@planted("I7", seed=2)
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


@planted("I19", seed=83, needs=(Fault.DROP, Fault.OUTAGE))
def a_release_is_said_only_once(patch: pytest.MonkeyPatch) -> None:
    due_now = vpp.domain.telling.due_commands

    def once(leases: Any, *rest: Any, **known: Any) -> Any:
        due = due_now(leases, *rest, **known)
        return replace(due, release=due.release[leases.setpoint_w[due.release] > 0])

    patch.setattr(vpp.domain.telling, "due_commands", once)


@planted("I17", seed=2)
def an_unanswered_command_is_repeated_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.domain.lease.RESENDS", 100)


@planted("I20", seed=3)
def a_restart_forgets_what_was_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "told_in_order", lambda *_: [])


@planted("I19", seed=10)
def a_restart_forgets_the_plans_of_what_is_over(patch: pytest.MonkeyPatch) -> None:
    resume = vpp.bootstrap.resume

    async def forgets(*, store: Any, clock: Any, **known: Any) -> Any:
        board = await resume(store=store, clock=clock, **known)
        in_force = await store.histories(ending_after=clock.now() - LONGEST_LEASE)
        lately = {history.latest.event_id for history in in_force}
        board.plans = {event_id: plan for event_id, plan in board.plans.items() if event_id in lately}
        return board

    patch.setattr(vpp.bootstrap, "resume", forgets)


@planted("I13", seed=1)
def a_committed_tick_is_edited(patch: pytest.MonkeyPatch) -> None:
    append = vpp.adapters.memory.chain.MemoryChain.append

    def edited(self: Any, kind: str, fact: Any, *, actor: str | None = None) -> None:
        append(self, kind, fact, actor=actor)
        if kind == "dispatch_tick":
            self._links[-1] = (kind, replace(fact, epoch=0), actor, self.head)

    patch.setattr(vpp.adapters.memory.chain.MemoryChain, "append", edited)


# The plan: power, limits, proof.


@planted("I18", seed=1)
def the_limit_of_the_source_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.domain.demands, "within_authority", lambda demands, *_, **__: demands)


@planted("I18", seed=1)
def substitutes_stand_beside_the_short_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.domain.event_plan, "_told_most_w", lambda *_: UNBOUNDED_W)


@planted("I18", seed=1)
def the_ramp_cap_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "brake_for", lambda *_, **__: NO_BRAKE)


@planted("I18", seed=12, minutes=50)
def a_zone_falls_as_fast_as_it_is_asked(patch: pytest.MonkeyPatch) -> None:
    brake_for = vpp.stages.control.brake_for

    def unbound(caps: Any, *rest: Any, **known: Any) -> Any:
        brake = brake_for(caps, *rest, **known)
        nothing = np.zeros_like(brake.zone_floor_w)
        return replace(brake, zone_ceiling_w=nothing + UNBOUNDED_W, zone_floor_w=nothing)

    patch.setattr(vpp.stages.control, "brake_for", unbound)


@planted("I18", seed=47, minutes=20)
def the_machines_clock_is_followed_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.adapters.clock.SlewedClock.now", lambda clock: clock._machine())


@planted("I18", seed=21)
def the_limit_of_a_feeder_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.stages.control, "network_limits", lambda *_: Limits(column([]), column([])))


@planted("proof", seed=18, minutes=12, needs=(Fault.DISCONNECT,))
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


@planted("I16", seed=408, needs=(Fault.EVENT_MODIFIED, Fault.DELAY))
def an_older_version_replaces_a_newer_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("vpp.domain.verdict._order", lambda _: (datetime(2026, 1, 1, tzinfo=UTC), 0))


@planted("I19", seed=1)
def an_event_never_closes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vpp.runner, "ended_at", lambda _: datetime(2036, 1, 1, tzinfo=UTC))
