"""Modelled homes: they start late, ramp, fall in charge and stop at the reserve."""

from datetime import timedelta

import numpy as np

from tests.stages.world import EVENING, a_request
from vpp.domain.command import Action, CommandBatch, Order, start_delay_s
from vpp.domain.enrollment import Enrollment
from vpp.domain.fleet import FleetState, Roster, enroll
from vpp.domain.home_model import HomeModel
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Leases, note_sent
from vpp.domain.quantities import column, flags

NOW_S = to_epoch(EVENING)


def homes(*, soc_permille: int = 900, reporting: tuple[bool, ...] = (True, True)) -> HomeModel:
    """Return homes of 13.5 kWh whose owners keep 20 %."""
    fleet, roster = FleetState(), Roster()
    names = a_request(0).__slots__
    requests = [a_request(site) for site in range(len(reporting))]
    enrolled = [
        Enrollment(site_no=site, enrolled_at=EVENING, **{name: getattr(request, name) for name in names})
        for site, request in enumerate(requests)
    ]
    enroll(fleet, roster, enrolled)
    fleet.soc_permille[:] = soc_permille
    fleet.discharge_limit_w[:] = 5_000
    return HomeModel(fleet, [each.site_id for each in enrolled], flags(reporting), now_s=NOW_S)


def an_order(
    power_w: int, *, action: Action = Action.DISCHARGE, spread_s: int = 0, sites: int = 2
) -> CommandBatch:
    order = Order(
        event_id="ev-1", revision=1, action=action, site_no=column(range(sites)), starts_at=EVENING,
        expires_at=EVENING + timedelta(minutes=15), event_ends_at=EVENING + timedelta(hours=2),
        ramp_s=30, spread_s=spread_s, test=False,
    )  # fmt: skip
    return CommandBatch(7, 1, EVENING, order, column([power_w] * sites), column([200] * sites))


def test_home_ramps_holds_and_ends_with_its_lease() -> None:
    model = homes()
    model.take(an_order(4_000))

    powers = []
    for seconds in (15, 30, 600, 900, 960):
        model.advance(NOW_S + seconds)
        powers.append(int(model.power_w[0]))

    assert 1_500 <= powers[0] <= 2_000
    assert powers[1:3] == [3_600, 4_000]
    assert powers[3:] == [4_000, 0]


def test_starts_are_spread_as_the_protocol_says() -> None:
    model = homes()
    model.take(an_order(4_000, spread_s=60))
    delays = [start_delay_s(f"s-{site:04d}", "ev-1", 60) for site in range(2)]
    assert delays[0] != delays[1]

    model.advance(NOW_S + min(delays) + 10)

    assert (model.power_w > 0).sum() == 1


def test_charge_falls_by_what_was_given_and_never_under_the_reserve() -> None:
    model = homes(soc_permille=210)
    model.take(an_order(5_000))

    model.advance(NOW_S + 900)

    assert model.soc_permille.tolist() == [200, 200]
    assert model.given_ws.tolist() == [10 * 13_500 * 342 // 100] * 2
    assert model.power_w.tolist() == [0, 0]


def test_release_ends_at_once_and_silent_homes_take_nothing() -> None:
    model = homes(reporting=(True, False))
    taken = model.take(an_order(4_000))
    model.advance(NOW_S + 120)
    gave = model.power_w.tolist()

    model.take(an_order(0, action=Action.RELEASE))

    assert taken.tolist() == [0]
    assert gave == [4_000, 0]
    assert model.power_w.tolist() == [0, 0]
    assert model.samples().site_no.tolist() == [0]


def test_as_many_homes_fail_as_is_expected_and_always_the_same() -> None:
    model, again = (homes(reporting=(True,) * 400) for _ in range(2))
    for each in (model, again):
        each.fail(np.full(400, 800), "ev-1")
        each.take(an_order(4_000, sites=400))
        each.advance(NOW_S + 120)

    gave = int((model.power_w == 4_000).sum())
    assert 290 <= gave <= 350
    assert int((model.power_w == 0).sum()) == 400 - gave
    assert model.power_w.tolist() == again.power_w.tolist()


def test_home_that_holds_a_command_goes_on_with_what_it_gives_until_its_lease_ends() -> None:
    model = homes()
    model._fleet.battery_w[:] = (3_000, 0)
    leases = Leases(2)
    note_sent(leases, an_order(3_000, spread_s=60), 0)

    model.hold(leases, ["ev-1"], spread_s=60, ramp_s=30)
    model.fail(column([0, 0]), "ev-2")

    assert model.power_w.tolist() == [3_000, 0]
    model.advance(NOW_S + 900)
    assert model.power_w.tolist() == [3_000, 0]
    model.advance(NOW_S + 960)
    assert model.power_w.tolist() == [0, 0]


def test_home_that_was_found_short_gives_no_more_when_it_is_asked_again() -> None:
    model = homes()
    model._fleet.battery_w[:] = 1_000
    leases = Leases(2)
    note_sent(leases, an_order(3_000), 0)
    model.hold(leases, ["ev-1"], spread_s=0, ramp_s=30)

    model.limit(flags((True, False)))
    model.take(an_order(4_000))
    model.advance(NOW_S + 300)

    assert model.power_w.tolist() == [1_000, 4_000]
