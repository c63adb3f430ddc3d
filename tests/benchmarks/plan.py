"""How long the fleet's power takes to plan, beside the cheapest split that could be made at all."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from tests.benchmarks.frequenz_split import frequenz_split
from tests.benchmarks.measuring import Figure, medians, sizes_up_to_most
from vpp.domain.dispatch_plan import Offers, Profile, plan_dispatch, sustainable_w
from vpp.domain.fleet import FleetState
from vpp.domain.quantities import IntColumn

SIZES = sizes_up_to_most(1_000, 10_000, 100_000, 1_000_000)
FEEDERS = 1_000
TWO_HOURS = 7_200
NO_CAPS: IntColumn = np.zeros(0, dtype=np.int64)


def a_fleet(sites: int) -> Offers:
    """Return sites of every charge, three sizes of inverter, a thousand feeders."""
    drawn = np.random.default_rng(sites)
    return Offers(
        site_no=np.arange(sites),
        limit_w=drawn.choice(np.array([5_000, 10_000, 11_500]), sites),
        energy_full_wh=drawn.integers(12_000, 40_000, sites),
        soc_permille=drawn.integers(0, 1_001, sites),
        floor_permille=np.full(sites, 200),
        feeder_no=drawn.integers(0, FEEDERS, sites),
        zone_no=np.full(sites, -1),
    )


def proportional(offers: Offers, power_w: int) -> IntColumn:
    """Return everyone's equal share of the power: the floor of what any split costs in numpy."""
    able = sustainable_w(offers, TWO_HOURS)
    shares: IntColumn = able * power_w // int(able.sum())
    return shares


def run(sizes: Sequence[int] = SIZES) -> list[Figure]:
    """Return medians for each size, without and with feeder caps, and the memory of a million sites.

    Where frequenz-sdk is installed its published split stands beside them.
    """
    figures = []
    for sites in sizes:
        offers = a_fleet(sites)
        able_w = int(sustainable_w(offers, TWO_HOURS).sum())
        power_w = able_w * 6 // 10
        caps = np.full(FEEDERS, max(able_w * 8 // 10 // FEEDERS, 10_000))
        profile = Profile(power_w, power_w, TWO_HOURS)
        taken = medians(
            {
                "proportional": partial(proportional, offers, power_w),
                "plan": partial(plan_dispatch, profile, offers, feeder_caps_w=NO_CAPS, zone_caps_w=NO_CAPS),
                "capped": partial(plan_dispatch, profile, offers, feeder_caps_w=caps, zone_caps_w=NO_CAPS),
            }
        )
        floor = taken["proportional"]
        peer = frequenz_split(offers, power_w)
        if peer is not None:
            taken |= medians({"frequenz": peer}, rounds=1)
        beside = "numpy proportional split"
        for name, label in (
            ("plan", "level filling"),
            ("capped", f"level filling, {FEEDERS:,} feeder caps"),
            ("frequenz", "frequenz-sdk's split"),
        ):
            if name not in taken:
                continue
            seconds = taken[name]
            figures.append(
                Figure(f"{sites:>9,} sites, {label}", seconds * 1e3, "ms", beside, seconds / floor)
            )
    figures.append(Figure("fleet state of 1,000,000 sites", fleet_bytes(1_000_000) / 1e6, "MB"))
    return figures


def fleet_bytes(sites: int) -> int:
    """Return the bytes of a fleet's columns."""
    fleet = FleetState(sites)
    return sum(each.nbytes for each in vars(fleet).values() if isinstance(each, np.ndarray))
