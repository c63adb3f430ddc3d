"""A home battery's energy, exact: whatever is asked of it, counters, power and charge agree.

Knows energy. Refuses to know commands, time of day and the house around it. All amounts are integers:
energy in watt-seconds for the counters, and in tenths of them for what is stored, because nine tenths of
what is charged can be taken out again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpp.domain.quantities import IntColumn

Amount = int | IntColumn  # one home or a column of them

CHARGED_TENTHS_KEPT = 9  # of ten watt-seconds into the battery nine come out: 90 % round trip
_TENTHS_PER_WH = 36_000
_USABLE_TENTHS_PER_WH = _TENTHS_PER_WH * 95 // 100  # the lowest 5 % of the pack are never seen


def usable_tenths(full_energy_wh: Amount, permille: Amount) -> Amount:
    """Return the energy between empty and a charge on the owner's scale, in tenths of a watt-second.

    Rounded up, so that a floor made of it is never a little under the percentage asked for.
    """
    return -(-full_energy_wh * _USABLE_TENTHS_PER_WH * permille // 1000)


def self_consumption_w(
    net_load_w: Amount,
    share_pct: Amount,
    stored_tenths: Amount,
    kept_tenths: Amount,
    full_tenths: Amount,
    max_charge_w: Amount,
    max_discharge_w: Amount,
    seconds: int,
) -> IntColumn:
    """Return the battery's power of its own accord for the next seconds; positive discharges.

    It takes the sun that the house leaves over, and serves a share of the load that the sun does not,
    never filling above full nor drawing below ``kept_tenths`` within those seconds.

    Args:
        net_load_w: The house's load minus its sun.
        share_pct: How much of the uncovered load this owner lets the battery serve, 0 to 100.
        stored_tenths: Energy now; like the next two in tenths of a watt-second above empty.
        kept_tenths: The owner's reserve.
        full_tenths: A full battery.
        max_charge_w: Inverter limit.
        max_discharge_w: Inverter limit.
        seconds: How long the power will be held.
    """
    return np.asarray(
        _of_its_own_w(
            net_load_w, share_pct, stored_tenths, kept_tenths, full_tenths, max_charge_w, max_discharge_w,
            seconds, least=np.minimum, most=np.maximum,
        ),
        dtype=np.int64,
    )  # fmt: skip


def one_home_w(
    net_load_w: int,
    share_pct: int,
    stored_tenths: int,
    kept_tenths: int,
    full_tenths: int,
    max_charge_w: int,
    max_discharge_w: int,
    seconds: int,
) -> int:
    """Return the same of one home, in a tenth of the time that a column of one takes."""
    return int(
        _of_its_own_w(
            net_load_w, share_pct, stored_tenths, kept_tenths, full_tenths, max_charge_w, max_discharge_w,
            seconds, least=min, most=max,
        )
    )  # fmt: skip


def _of_its_own_w(
    net_load_w: Amount,
    share_pct: Amount,
    stored_tenths: Amount,
    kept_tenths: Amount,
    full_tenths: Amount,
    max_charge_w: Amount,
    max_discharge_w: Amount,
    seconds: int,
    *,
    least: Callable[..., Any],
    most: Callable[..., Any],
) -> Amount:
    room_w = most(full_tenths - stored_tenths, 0) // (CHARGED_TENTHS_KEPT * seconds)
    above_w = most(stored_tenths - kept_tenths, 0) // (10 * seconds)
    charge_w = least(least(most(-net_load_w, 0), max_charge_w), room_w)
    wanted_w = most(net_load_w, 0) * share_pct // 100
    discharge_w = least(least(wanted_w, max_discharge_w), above_w)
    power_w: Amount = discharge_w - charge_w
    return power_w


@dataclass(frozen=True, slots=True)
class KeptBattery:
    """What a battery held and had counted at an instant in whole seconds since 1970, as ``Battery`` does."""

    at_s: int
    stored_tenths: int
    discharged_ws: int
    charged_ws: int

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Return the four in their order."""
        return self.at_s, self.stored_tenths, self.discharged_ws, self.charged_ws


@dataclass(slots=True)
class Battery:
    """One home's packs as one battery: what it can do, what it holds, what it has done in its life."""

    full_energy_wh: int
    max_discharge_w: int
    max_charge_w: int
    stored_tenths: int  # above empty on the owner's scale
    discharged_ws: int = 0
    charged_ws: int = 0

    @property
    def full_tenths(self) -> int:
        """Return what it holds at 100 % on the owner's scale."""
        return self.full_energy_wh * _USABLE_TENTHS_PER_WH

    def above_tenths(self, floor_permille: int) -> int:
        """Return the energy above a charge; negative below it."""
        return self.stored_tenths - int(usable_tenths(self.full_energy_wh, floor_permille))

    def run(self, battery_w: int, seconds: int) -> None:
        """Hold a power for whole seconds; positive discharges. Nothing is created or lost but by charging."""
        if battery_w >= 0:
            self.discharged_ws += battery_w * seconds
            self.stored_tenths -= 10 * battery_w * seconds
        else:
            self.charged_ws -= battery_w * seconds
            self.stored_tenths -= CHARGED_TENTHS_KEPT * battery_w * seconds

    @property
    def net_discharged_ws(self) -> int:
        """Return what it has given out in its life less what it has taken in."""
        return self.discharged_ws - self.charged_ws

    @property
    def soc_permille(self) -> int:
        """Return the charge on the owner's scale, rounded down."""
        return min(1000, max(0, self.stored_tenths * 1000 // self.full_tenths))

    @property
    def discharged_wh(self) -> int:
        """Return the lifetime counter of energy given out."""
        return self.discharged_ws // 3600

    @property
    def charged_wh(self) -> int:
        """Return the lifetime counter of energy taken in."""
        return self.charged_ws // 3600
