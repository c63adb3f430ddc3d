"""Simulated homes live as plausibly before the first evening as during it, and the same for the same seed."""

from datetime import UTC, datetime, timedelta

import numpy as np

from simulators.battery import usable_tenths
from simulators.history import History, live_through, three_weeks_before
from simulators.household import MODELS, Neighbourhood, Surroundings, neighbourhood
from simulators.inverter import House, Inverter

EVENING = datetime(2026, 9, 10, 0, 30, tzinfo=UTC)  # 17:30 of 9 September in California


def homes_of(count: int = 150, seed: int = 1, year: int = 2026) -> Neighbourhood:
    return neighbourhood(count, seed, programs=["elrp-a4-pge"], year=year)


def lived(homes: Neighbourhood, until: datetime = EVENING) -> History:
    return live_through(homes, Surroundings(homes), starts_at=three_weeks_before(EVENING), ends_at=until)


def test_same_seed_gives_the_same_homes_and_the_same_weeks() -> None:
    first, second = lived(homes_of(20)), lived(homes_of(20))

    assert homes_of(20).site_id == homes_of(20).site_id
    assert np.array_equal(first.discharged_wh, second.discharged_wh)
    assert not np.array_equal(first.discharged_wh, lived(homes_of(20, seed=2)).discharged_wh)


def test_a_smaller_neighbourhood_is_the_beginning_of_a_larger_one() -> None:
    small, large = homes_of(10), homes_of(25)

    assert large.site_id[:10] == small.site_id
    assert np.array_equal(large.full_energy_wh[:10], small.full_energy_wh)
    day = EVENING.date()
    assert np.array_equal(Surroundings(large).net_load_w(day)[:10], Surroundings(small).net_load_w(day))


def test_counters_never_decrease_and_charge_stays_between_reserve_and_full() -> None:
    homes = homes_of()

    history = lived(homes)

    assert (np.diff(history.discharged_wh, axis=0) >= 0).all()
    assert (np.diff(history.charged_wh, axis=0) >= 0).all()
    assert (history.stored_tenths <= usable_tenths(homes.full_energy_wh, 1000)).all()
    assert (history.stored_tenths >= usable_tenths(homes.full_energy_wh, homes.home_reserve_permille)).all()


def test_most_batteries_are_well_charged_in_the_evening_and_some_are_low() -> None:
    homes = homes_of(1000)

    history = lived(homes)

    soc = history.stored_tenths / usable_tenths(homes.full_energy_wh, 1000)
    assert (soc >= 0.6).mean() > 0.7
    assert 0 < (soc < 0.35).mean() < 0.15
    assert 0 < (~homes.reachable).mean() < 0.05


def test_evening_baselines_differ_from_zero_and_from_home_to_home() -> None:
    history = lived(homes_of())
    net = history.discharged_wh - history.charged_wh
    evening = np.array([at % 86_400 == 2 * 3600 for at in history.read_at_s[:-1]])  # 19:00 local

    average = np.diff(net, axis=0)[evening].mean(axis=0)

    assert evening.sum() >= 20
    assert np.median(average) > 200
    assert (average == 0).any()


def test_weekends_are_lived_differently() -> None:
    homes = homes_of()
    surroundings = Surroundings(homes)
    noon = slice(19 * 12, 21 * 12)  # of the UTC day, in five minutes

    def load(day: datetime) -> float:
        return float(surroundings.net_load_w(day.date())[homes.sun_peak_w.argmin(), noon].mean())

    saturdays = [load(datetime(2026, 8, 15 + 7 * week, tzinfo=UTC)) for week in range(2)]
    wednesdays = [load(datetime(2026, 8, 12 + 7 * week, tzinfo=UTC)) for week in range(2)]
    assert sum(saturdays) != sum(wednesdays)


def test_live_home_goes_on_exactly_as_its_history_would_have() -> None:
    homes = homes_of(12)
    surroundings = Surroundings(homes)
    history, later = lived(homes), lived(homes, EVENING + timedelta(hours=6))

    for row in range(len(homes)):
        house = House(surroundings, row, int(homes.share_pct[row]), int(homes.export_limit_w[row]))
        inverter = Inverter(
            history.battery(homes, row),
            house,
            reserve_permille=int(homes.home_reserve_permille[row]),
            at_s=int(EVENING.timestamp()),
        )
        assert inverter.run_to(int(EVENING.timestamp()) + 6 * 3600) is None
        assert inverter.battery == later.battery(homes, row)


def test_no_home_of_2022_has_a_powerwall_3() -> None:
    old, new = homes_of(400, year=2022), homes_of(400, year=2026)

    assert 11_500 not in old.max_discharge_w
    assert 11_500 in new.max_discharge_w
    assert set(new.max_discharge_w.tolist()) <= {model.max_discharge_w for model in MODELS}
