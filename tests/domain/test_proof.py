"""What a home is counted at, from what it was told and what it said last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.command import AckBatch, Action, CommandBatch, Order, Refusal
from vpp.domain.fleet import FleetState
from vpp.domain.interval import from_epoch
from vpp.domain.lease import Leases, Standing, note_acks, note_sent
from vpp.domain.proof import BLIND_FROM_SITES, Assessment, ProofLog, ProofState, Response, assess, output_of
from vpp.domain.quantities import BoolColumn, IntColumn, column, flags

RESPONSE = Response(spread_s=60, ramp_s=30, sample_period_s=30)
SITES = 12
BEGIN_S = 1_789_002_000
EVENT_S = 1_000  # so short that many histories reach its end
LEASE_S = 800


@dataclass(frozen=True)
class Told:
    """A setpoint in watts that a home is told; zero is a release."""

    watts: int


@dataclass(frozen=True)
class Sampled:
    """Watts of the battery that a home reports."""

    watts: int


Word = Told | Sampled | Refusal | str | None
WORDS = st.one_of(
    st.none(),
    st.builds(Sampled, st.sampled_from((-3_000, 0, 900, 1_700, 2_000, 4_000, 9_000))),
    st.builds(Told, st.sampled_from((0, 500, 2_000, 4_000))),
    st.sampled_from(("accepted", "offline", "online", Refusal.FAULTED, Refusal.DWELL)),
)
TURNS = st.tuples(
    st.sampled_from((15, 15, 60, 300)),
    st.one_of(
        st.lists(WORDS, min_size=SITES, max_size=SITES),
        # Whole fleets do the same thing too: report, fall silent, answer.
        WORDS.map(lambda word: [word] * SITES),
        st.tuples(WORDS, WORDS, st.integers(0, SITES)).map(
            lambda both: [both[0]] * both[2] + [both[1]] * (SITES - both[2])
        ),
    ),
)
HISTORIES = st.lists(TURNS, min_size=1, max_size=16)


class Homes:
    """A fleet in one event, what it was told and said, and how it is judged; time goes on turn by turn."""

    def __init__(self) -> None:
        self.fleet, self.leases, self.log = FleetState(), Leases(SITES), ProofLog(SITES)
        self.fleet.grow(SITES)
        self.fleet.online[:] = True
        self.now_s, self.sequence = BEGIN_S, 0
        self.tell(dict.fromkeys(range(SITES), 2_000))

    def tell(self, setpoint_w: dict[int, int]) -> None:
        """Send discharges and releases, each with a sequence of its own; none after the event."""
        at, ends_at = from_epoch(self.now_s), from_epoch(BEGIN_S + EVENT_S)
        for action in Action:
            told = {site: w for site, w in setpoint_w.items() if (w > 0) == (action is Action.DISCHARGE)}
            if told and at < ends_at:
                self.sequence += 1
                expires_at = min(ends_at, at + timedelta(seconds=LEASE_S))
                order = Order("ev-a", 1, action, column(told), at, expires_at, ends_at, 30, 60, test=False)
                floors = column([200] * len(told))
                batch = CommandBatch(1, self.sequence, at, order, column(told.values()), floors)
                note_sent(self.leases, batch, 0)

    def answer(self, refusals: dict[int, Refusal | None]) -> None:
        """Let homes accept or refuse the newest that they were told."""
        sites, ones = column(refusals), column([1] * len(refusals))
        said = (self.leases.sequence[sites], ones * self.now_s, ("ev-a",) * len(sites))
        note_acks(self.leases, AckBatch(sites, ones, *said, tuple(refusals.values())), 1)

    def hear(self, words: Sequence[Word]) -> BoolColumn:
        """Let every home say or be told its word; return who was told something or answered."""
        self.tell({site: word.watts for site, word in enumerate(words) if isinstance(word, Told)})
        self.answer({
            site: word if isinstance(word, Refusal) else None
            for site, word in enumerate(words)
            if isinstance(word, Refusal) or word == "accepted"
        })  # fmt: skip
        for site, word in enumerate(words):
            if isinstance(word, Sampled):
                self.fleet.sampled_at_s[site], self.fleet.battery_w[site] = self.now_s, word.watts
            if isinstance(word, Sampled) or word in ("online", "offline"):
                self.fleet.online[site] = word != "offline"
        return np.array([isinstance(word, Told | Refusal) or word == "accepted" for word in words])

    def judged(self, *, from_s: int = 0) -> Assessment:
        return assess(
            self.fleet, self.leases, self.log, RESPONSE, now_s=self.now_s, judged_from_s=BEGIN_S + from_s
        )


@dataclass(frozen=True)
class Seen:
    """One look at the homes; ``spoken`` marks whom a command or an answer concerned since the last."""

    homes: Homes
    found: Assessment
    running: BoolColumn
    sampled_at_s: IntColumn
    spoken: BoolColumn

    @property
    def silent(self) -> BoolColumn:
        return self.found.sites_in(ProofState.SILENT)


def looks(history: Sequence[tuple[int, Sequence[Word]]], *, judged_from_s: int = 0) -> Iterator[Seen]:
    """Yield what is seen of homes after each turn of a history."""
    homes = Homes()
    for seconds, words in history:
        homes.now_s += seconds
        spoken = homes.hear(words)
        found = homes.judged(from_s=judged_from_s)
        yield Seen(
            homes, found, homes.leases.discharging(homes.now_s), homes.fleet.sampled_at_s.copy(), spoken
        )


@given(HISTORIES)
def test_every_commanded_home_has_exactly_one_state_and_no_other_home_has_it(
    history: list[tuple[int, list[Word]]],
) -> None:
    for seen in looks(history):
        states = [ProofState(int(state)) for state in seen.found.state]
        idle = [state in (ProofState.IDLE, ProofState.RELEASED) for state in states]

        assert idle == (~seen.running).tolist()
        assert sum(seen.found.count(state) for state in ProofState) == SITES


@given(HISTORIES)
def test_power_shown_and_counted_is_never_below_zero_nor_above_what_was_asked(
    history: list[tuple[int, list[Word]]],
) -> None:
    for seen in looks(history):
        most_w = np.where(seen.running, seen.homes.leases.setpoint_w, 0)
        for watts in (seen.found.effective_w, seen.found.counted_w):
            assert (watts >= 0).all()
            assert (watts <= most_w).all()


@given(HISTORIES)
def test_silent_home_that_is_told_nothing_and_answers_nothing_never_counts_for_more(
    history: list[tuple[int, list[Word]]],
) -> None:
    before = None
    for seen in looks(history):
        if before is not None:
            still = before.silent & seen.silent & ~seen.spoken & (seen.sampled_at_s == before.sampled_at_s)
            assert (seen.found.counted_w <= before.found.counted_w)[still].all()
            assert (seen.found.effective_w <= seen.found.counted_w)[seen.silent].all()
        before = seen


@given(HISTORIES, st.integers(0, EVENT_S))
def test_nobody_is_judged_before_judging_begins(
    history: list[tuple[int, list[Word]]], judged_from_s: int
) -> None:
    for seen in looks(history, judged_from_s=judged_from_s):
        if seen.homes.now_s < BEGIN_S + judged_from_s:
            gone = ~seen.homes.fleet.online & (seen.sampled_at_s > 0)
            # While the event winds down, who said goodbye stays silent until it samples.
            ending = seen.homes.now_s >= BEGIN_S + EVENT_S - RESPONSE.settling_s
            assert seen.found.count(ProofState.SHORT) == 0
            assert ending or not (seen.silent & ~gone).any(), "only who said goodbye is known to be silent"


@given(HISTORIES)
def test_silent_home_stays_silent_in_the_last_minutes_until_it_reports(
    history: list[tuple[int, list[Word]]],
) -> None:
    before = None
    for seen in looks(history):
        if before is not None and seen.homes.now_s >= BEGIN_S + EVENT_S - RESPONSE.settling_s:
            mute = before.silent & seen.running & (seen.sampled_at_s == before.sampled_at_s)
            assert seen.silent[mute & (seen.homes.leases.standing != Standing.REJECTED)].all()
        before = seen


@given(HISTORIES)
def test_we_are_blind_only_to_homes_that_hold_a_lease_and_are_more_than_half_of_many(
    history: list[tuple[int, list[Word]]],
) -> None:
    for seen in looks(history):
        unseen, now_s = seen.found.unseen, seen.homes.now_s
        assert (seen.running & (seen.homes.log.held_until_s > now_s))[unseen].all()
        if seen.found.blind:
            assert seen.running.sum() >= BLIND_FROM_SITES
            assert 2 * unseen.sum() > seen.running.sum()


@pytest.mark.parametrize(("apart_s", "blind"), [(5, True), (15, False)])
def test_we_are_blind_where_more_than_half_fall_silent_within_two_periods_and_not_one_by_one(
    apart_s: int, *, blind: bool
) -> None:
    homes = Homes()
    homes.hear(["accepted"] * SITES)
    found = []
    for _ in range(100):
        homes.now_s += 5
        since_s = homes.now_s - BEGIN_S - 200
        fell = range(max(0, since_s // apart_s))
        homes.hear([None if site in fell else Sampled(2_000) for site in range(SITES)])
        found.append(homes.judged().blind)

    assert any(found) is blind


def test_silent_home_fades_from_its_last_sample_and_not_from_when_that_was_heard() -> None:
    fleet, leases, log = FleetState(), Leases(1), ProofLog(1)
    fleet.grow(1)
    fleet.online[0], fleet.sampled_at_s[0], fleet.battery_w[0] = True, 1_000, 4_000
    leases.setpoint_w[0], leases.standing[0] = 4_000, int(Standing.ACCEPTED)
    leases.first_start_s[0], leases.expires_at_s[0], leases.event_ends_at_s[0] = 100, 1_900, 9_000
    log.back_since_s[0] = 1_010  # it was silent before, and its sample was heard ten seconds late

    found = assess(fleet, leases, log, RESPONSE, now_s=1_300, judged_from_s=0)

    assert found.sites_in(ProofState.SILENT).all()
    assert np.array_equal(found.counted_w, [4_000 * 600 // 900])


def test_silent_home_counts_to_the_end_of_the_lease_it_accepted_and_not_of_one_it_never_heard_of() -> None:
    homes = Homes()
    homes.hear(["accepted"] * SITES)
    homes.now_s += 300
    homes.hear([Sampled(2_000)] * SITES)
    homes.judged()
    homes.tell(dict.fromkeys(range(SITES), 2_000))  # renewed, and no home hears it

    homes.now_s = BEGIN_S + LEASE_S
    found = homes.judged()

    assert found.count(ProofState.SILENT) == SITES
    assert not found.counted_w.any()
    assert not found.blind


def test_homes_that_never_answered_are_not_out_of_sight_for_longer_than_their_first_lease() -> None:
    homes = Homes()
    homes.now_s += 180
    homes.hear([Sampled(2_000)] * SITES)
    blind = []
    for _ in range(10):
        homes.now_s += 62
        blind.append(homes.judged().blind)
        homes.tell(dict.fromkeys(range(SITES), 2_000))

    assert blind[1:9] == [True] * 8
    assert homes.now_s == BEGIN_S + LEASE_S
    assert not blind[9]


def test_what_people_are_told_of_a_silent_home_is_what_it_counts_at_and_of_others_what_they_give():
    fleet = FleetState(3)
    fleet.battery_w[:] = (4_000, 4_000, 3_000)
    state = column([ProofState.DELIVERING, ProofState.SILENT, ProofState.IDLE])
    nobody = flags([False] * 3)
    assessment = Assessment(state, column([4_000, 1_500, 0]), column([4_000, 1_500, 0]), nobody, nobody)

    told = output_of(fleet, assessment, flags([True, True, False]))
    before_the_first_look = output_of(fleet, None, flags([True, True, False]))

    assert told.measured_w.tolist() == [4_000, 1_500, 0]
    assert told.estimated_w.tolist() == [0, 1_500, 0]
    assert before_the_first_look.measured_w.tolist() == [4_000, 4_000, 0]
