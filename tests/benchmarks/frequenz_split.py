"""The published split of frequenz-sdk over the same sites, measured beside ours where it is installed.

It is no dependency: ``pip install --pre frequenz-sdk`` beside the tests brings it. Ids and readings are given
by name, as its own code reads them.
"""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from vpp.domain.dispatch_plan import Offers

ALGORITHM = (
    "frequenz.sdk.microgrid._power_distributing._distribution_algorithm._battery_distribution_algorithm"
)
LARGEST = 100_000  # a million sites take it more than half a minute


def frequenz_split(offers: Offers, power_w: int) -> Callable[[], object] | None:
    """Return a call that shares the power over the offers; None where frequenz-sdk is not installed."""
    if len(offers) > LARGEST:
        return None
    try:
        algorithm: Any = import_module(ALGORITHM)
    except ImportError:
        return None
    columns = (
        offers.energy_full_wh.tolist(),
        offers.soc_permille.tolist(),
        offers.floor_permille.tolist(),
        offers.limit_w.tolist(),
    )
    pairs = [
        algorithm.InvBatPair(
            algorithm.AggregatedBatteryData([_battery(2 * number, *row)]),
            [_inverter(2 * number + 1, row[-1])],
        )
        for number, row in enumerate(zip(*columns, strict=True), 1)
    ]
    power = algorithm.Power.from_watts(-float(power_w))  # it counts consumption
    distribute = algorithm.BatteryDistributionAlgorithm().distribute_power

    def split() -> object:
        return distribute(power, pairs)

    return split


def _battery(number: int, full_wh: int, soc_permille: int, floor_permille: int, limit_w: int) -> object:
    return SimpleNamespace(
        component_id=number,
        capacity=float(full_wh),
        soc=soc_permille / 10,
        soc_upper_bound=100.0,
        soc_lower_bound=floor_permille / 10,
        power_inclusion_upper_bound=float(limit_w),
        power_inclusion_lower_bound=-float(limit_w),
        power_exclusion_upper_bound=0.0,
        power_exclusion_lower_bound=0.0,
    )


def _inverter(number: int, limit_w: int) -> object:
    return SimpleNamespace(
        component_id=number,
        active_power_inclusion_upper_bound=float(limit_w),
        active_power_inclusion_lower_bound=-float(limit_w),
        active_power_exclusion_upper_bound=0.0,
        active_power_exclusion_lower_bound=0.0,
    )
