"""A whole world around the real controller: in calm weather it does what was asked, and nothing else."""

import pytest

from simulators.faults import Climate
from simulators.history_of_seed import HistoryOfSeed, Outcome
from simulators.stand_ins import hashed_signatures


def calm(seed: int) -> tuple[HistoryOfSeed, Outcome]:
    history = HistoryOfSeed(seed, Climate.calm())
    with hashed_signatures():
        return history, history.play()


@pytest.mark.parametrize("seed", [1, 3])
def test_calm_events_command_homes_and_pay_owners(seed: int) -> None:
    history, outcome = calm(seed)

    assert not outcome.violations
    assert outcome.ticks > 10
    assert outcome.paid_micro_dollars > 0
    assert sum(sum(home.inverter.delivered_ws.values()) for home in history.world.homes.values()) > 0


def test_events_with_real_signatures_hold_as_well() -> None:
    outcome = HistoryOfSeed(3, Climate.calm()).play()

    assert not outcome.violations
    assert outcome.paid_micro_dollars > 0
