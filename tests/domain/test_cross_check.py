"""Counters and power samples of the same stretch are compared, and only where both are known."""

import numpy as np

from vpp.domain.delivery import NOT_METERED, CounterTrack, ReadingColumns, counter_track
from vpp.domain.power_integral import CrossCheck, PowerColumns, cross_check
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import column


def readings(*of_site: list[tuple[int, int]]) -> CounterTrack:
    rows = [(site, at_s, wh) for site, each in enumerate(of_site) for at_s, wh in each]
    site, at_s, wh = (column(part) for part in zip(*rows, strict=True))
    nothing, absent = np.zeros_like(wh), np.full_like(wh, NOT_METERED)
    return counter_track(
        ReadingColumns(site, at_s, wh, nothing, absent, absent, nothing), MeterOfRecord.DEVICE
    )


def steady(watts: int, *, site: int = 0, every_s: int = 30, until_s: int = 3_600) -> PowerColumns:
    at_s = np.arange(0, until_s + 1, every_s, dtype=np.int64)
    return PowerColumns(np.full_like(at_s, site), at_s, np.full_like(at_s, watts))


def both(*parts: PowerColumns) -> PowerColumns:
    return PowerColumns(
        *(np.concatenate([getattr(each, name) for each in parts]) for name in PowerColumns.__slots__)
    )


def hourly(full_wh: int) -> list[tuple[int, int]]:
    return [(at_s, full_wh * at_s // 3_600) for at_s in range(0, 3_601, 300)]


def only(found: CrossCheck) -> tuple[int, int, bool, bool]:
    return (
        int(found.counted_wh[0]), int(found.integrated_mwh[0]), bool(found.known[0]), bool(found.agrees[0])
    )  # fmt: skip


def test_counters_and_samples_of_a_steady_hour_agree():
    assert only(cross_check(steady(5_000), readings(hourly(5_000)), 1)) == (5_000, 5_000_000, True, True)


def test_half_a_percent_or_fifty_watt_hours_is_the_most_they_may_differ():
    at_the_edge = cross_check(steady(5_000), readings(hourly(4_950)), 1)
    beyond = cross_check(steady(5_000), readings(hourly(4_949)), 1)
    of_much = cross_check(steady(20_000), readings(hourly(19_900)), 1)
    too_much = cross_check(steady(20_000), readings(hourly(19_899)), 1)

    assert [bool(each.agrees[0]) for each in (at_the_edge, beyond, of_much, too_much)] == [
        True, False, True, False,
    ]  # fmt: skip
    assert beyond.known.all()


def test_a_mean_holds_back_to_the_sample_before_and_is_cut_at_the_readings():
    means = PowerColumns(column([0, 0, 0]), column([0, 200, 400]), column([9_999, 3_000, 4_000]))

    found = cross_check(means, readings([(100, 0), (300, 194)]), 1)

    # 100 s of 3,000 W, then 100 s of 4,000 W: 83.333 + 111.111 Wh; what was before the first is not known.
    assert only(found) == (194, 194_444, True, True)
    assert (found.from_s[0], found.until_s[0]) == (100, 300)


def test_copies_and_order_of_samples_change_nothing():
    once = steady(5_000)
    shuffled = both(once, once)
    turned = PowerColumns(*(getattr(shuffled, name)[::-1] for name in PowerColumns.__slots__))

    assert only(cross_check(turned, readings(hourly(5_000)), 1)) == (5_000, 5_000_000, True, True)


def test_nothing_is_said_of_homes_with_too_little_to_compare():
    samples = both(
        steady(5_000), steady(5_000, site=1, every_s=600), PowerColumns(column([2]), column([0]), column([5]))
    )
    track = readings(hourly(4_000), hourly(4_000), hourly(4_000), [(0, 0), (3_600, 4_000)])

    found = cross_check(samples, track, 5)

    assert found.known.tolist() == [True, False, False, False, False]
    assert not found.agrees.any()
    assert not cross_check(PowerColumns(*[column([])] * 3), track, 2).known.any()
    assert not cross_check(samples, readings([(-5, 0)]), 3).known.any()


def test_each_home_is_compared_with_its_own_meter():
    samples = both(steady(5_000, site=1), steady(3_000))

    found = cross_check(samples, readings(hourly(3_000), hourly(5_000)), 2)

    assert (found.counted_wh.tolist(), found.agrees.tolist()) == ([3_000, 5_000], [True, True])


def test_counters_are_refuted_only_beyond_what_lost_samples_leave_open():
    steady_hour = steady(5_000)
    rising = PowerColumns(column([0, 0, 0]), column([0, 60, 300]), column([0, 0, 6_000]))

    beyond = cross_check(steady_hour, readings(hourly(4_949)), 1)
    at_the_edge = cross_check(steady_hour, readings(hourly(4_950)), 1)
    # 240 s of 6,000 W are 400 Wh; before them nothing: a sample lost in between may explain all of it.
    explained = cross_check(rising, readings([(60, 0), (300, 0)]), 1)
    too_much = cross_check(rising, readings([(60, 0), (300, 851)]), 1)

    assert [bool(each.refuted[0]) for each in (beyond, at_the_edge, explained, too_much)] == [
        True, False, False, True,
    ]  # fmt: skip
    assert not explained.agrees[0]
    assert not cross_check(PowerColumns(*[column([])] * 3), readings([(0, 0)]), 1).refuted.any()


def test_where_a_sample_was_lost_the_battery_may_have_rested_though_power_was_the_same_around_it():
    at_s = np.delete(np.arange(0, 3_601, 30, dtype=np.int64), [60, 61])
    samples = PowerColumns(np.zeros_like(at_s), at_s, np.full_like(at_s, 6_000))

    rested = cross_check(samples, readings(hourly(6_000 - 200)), 1)
    too_little = cross_check(samples, readings(hourly(6_000 - 201)), 1)

    assert rested.open_mwh.tolist() == [150_000]
    assert (rested.refuted.tolist(), too_little.refuted.tolist()) == ([False], [True])
