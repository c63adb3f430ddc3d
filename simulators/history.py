"""The weeks before the first evening: what every battery did of its own accord, for baselines.

Computed five minutes at a time over all homes at once; the live homes go on from exactly where it ends.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from simulators.battery import Battery, KeptBattery, self_consumption_w, usable_tenths
from simulators.household import SLOT_S, Neighbourhood, Surroundings, generator
from vpp.domain.interval import from_epoch, to_epoch
from vpp.domain.quantities import IntColumn

READ_EVERY_S = 3600


@dataclass(frozen=True, slots=True)
class History:
    """Lifetime counters of every home at each hour, and where each battery stands at the end.

    ``discharged_wh`` and ``charged_wh`` have one row per instant of ``read_at_s`` and one column per home.
    """

    ends_at: datetime
    read_at_s: IntColumn
    discharged_wh: IntColumn
    charged_wh: IntColumn
    stored_tenths: IntColumn
    discharged_ws: IntColumn
    charged_ws: IntColumn

    def battery(self, homes: Neighbourhood, row: int) -> Battery:
        """Return one home's battery as the history leaves it."""
        return Battery(
            full_energy_wh=int(homes.full_energy_wh[row]),
            max_discharge_w=int(homes.max_discharge_w[row]),
            max_charge_w=int(homes.max_charge_w[row]),
            stored_tenths=int(self.stored_tenths[row]),
            discharged_ws=int(self.discharged_ws[row]),
            charged_ws=int(self.charged_ws[row]),
        )


@dataclass(frozen=True, slots=True)
class Stock:
    """What the batteries of all homes hold and have counted at one instant."""

    stored_tenths: IntColumn
    discharged_ws: IntColumn
    charged_ws: IntColumn


def live_through(
    homes: Neighbourhood,
    surroundings: Surroundings,
    *,
    starts_at: datetime,
    ends_at: datetime,
    stock: Stock | None = None,
) -> History:
    """Return what all batteries did in ``[starts_at, ends_at)`` when nobody asked anything of them.

    Readings stand at each full hour, the two ends included where they are full hours. Both ends are cut
    to five minutes. Without ``stock`` the homes' seed says what the batteries held at the beginning.
    """
    first, last = to_epoch(starts_at) // SLOT_S * SLOT_S, to_epoch(ends_at) // SLOT_S * SLOT_S
    full = np.asarray(usable_tenths(homes.full_energy_wh, 1000))
    kept = np.asarray(usable_tenths(homes.full_energy_wh, homes.home_reserve_permille))
    begin = _drawn_stock(homes, full) if stock is None else stock
    stored, discharged, charged = begin.stored_tenths, begin.discharged_ws, begin.charged_ws
    read_at: list[int] = []
    counters: list[tuple[IntColumn, IntColumn]] = []
    for at_s in range(first, last + 1, SLOT_S):
        if at_s % READ_EVERY_S == 0:
            read_at.append(at_s)
            counters.append((discharged // 3600, charged // 3600))
        if at_s == last:
            break
        net = surroundings.net_load_w(from_epoch(at_s).date())[:, at_s % 86_400 // SLOT_S]
        power = self_consumption_w(
            net, homes.share_pct, stored, kept, full, homes.max_charge_w, homes.max_discharge_w, SLOT_S
        )
        out, taken = np.maximum(power, 0) * SLOT_S, np.maximum(-power, 0) * SLOT_S
        discharged, charged = discharged + out, charged + taken
        stored = stored - 10 * out + 9 * taken
    given, got = (
        np.array([each[side] for each in counters], dtype=np.int64).reshape(len(read_at), len(homes))
        for side in (0, 1)
    )
    return History(
        from_epoch(last), np.array(read_at, dtype=np.int64), given, got, stored, discharged, charged
    )


def _drawn_stock(homes: Neighbourhood, full_tenths: IntColumn) -> Stock:
    life = generator(homes.seed, "life").random((2, len(homes)))
    stored = (full_tenths * (0.4 + 0.5 * life[0])).astype(np.int64)
    discharged = (homes.full_energy_wh * 3600 * (100 + 900 * life[1])).astype(np.int64)
    return Stock(stored, discharged, discharged * 10 // 9 + stored // 10)


def go_on(
    history: History,
    homes: Neighbourhood,
    surroundings: Surroundings,
    *,
    kept: Mapping[str, KeptBattery],
    until: datetime,
) -> History:
    """Return the history up to an instant, with what an earlier process left of some batteries, by site.

    While no process played them they served their homes of their own accord; in the part of five minutes
    at either end they rested. So no counter ever stands lower than somebody has already read it.
    """
    rows = [row for row, site_id in enumerate(homes.site_id) if site_id in kept]
    if not rows:
        return history
    left = np.array([kept[homes.site_id[row]].numbers for row in rows], dtype=np.int64)
    stock = Stock(
        _with(history.stored_tenths, rows, left[:, 1]),
        _with(history.discharged_ws, rows, left[:, 2]),
        _with(history.charged_ws, rows, left[:, 3]),
    )
    rests_until_s = -(-int(left[:, 0].max()) // SLOT_S) * SLOT_S
    if rests_until_s < to_epoch(until) // SLOT_S * SLOT_S:
        since = from_epoch(rests_until_s)
        later = live_through(homes, surroundings, starts_at=since, ends_at=until, stock=stock)
        stock = Stock(later.stored_tenths, later.discharged_ws, later.charged_ws)
    return replace(
        history,
        ends_at=until,
        stored_tenths=_with(history.stored_tenths, rows, stock.stored_tenths[rows]),
        discharged_ws=_with(history.discharged_ws, rows, stock.discharged_ws[rows]),
        charged_ws=_with(history.charged_ws, rows, stock.charged_ws[rows]),
    )


def _with(column: IntColumn, rows: list[int], values: IntColumn) -> IntColumn:
    changed = column.copy()
    changed[rows] = values
    return changed


def three_weeks_before(at: datetime) -> datetime:
    """Return when a history should begin so that ten weekdays lie in it, whatever holidays there were."""
    return at - timedelta(days=21)
