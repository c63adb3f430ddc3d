"""What sites and the network can still give beside what they give already."""

from dataclasses import dataclass, replace

import numpy as np

from vpp.domain.brake import Brake, Numbers
from vpp.domain.dispatch_plan import MIN_COMMAND_W, Offers, held_w
from vpp.domain.fleet import FleetState
from vpp.domain.quantities import IntColumn


@dataclass(frozen=True, slots=True)
class Limits:
    """Most power each feeder and zone (county) may carry, by the fleet's numbers; empty without limits."""

    feeder_caps_w: IntColumn
    zone_caps_w: IntColumn

    def less(self, setpoint_w: IntColumn, fleet: FleetState) -> "Limits":
        """Return what is left of the caps beside these setpoints, one per site of the fleet."""
        return Limits(
            _less(self.feeder_caps_w, fleet.feeder_no, setpoint_w),
            _less(self.zone_caps_w, fleet.county_no, setpoint_w),
        )

    def within(self, zone_ceiling_w: IntColumn) -> "Limits":
        """Return these limits with no more in any zone than its ceiling; empty without ceilings."""
        if not len(zone_ceiling_w):
            return self
        caps_w = np.minimum(self.zone_caps_w, zone_ceiling_w) if len(self.zone_caps_w) else zone_ceiling_w
        return replace(self, zone_caps_w=caps_w)

    def kept(self, setpoint_w: IntColumn, fleet: FleetState) -> IntColumn:
        """Return setpoints cut where a cap fell below them, the emptiest homes first."""
        for caps_w, group_no in (
            (self.feeder_caps_w, fleet.feeder_no),
            (self.zone_caps_w, fleet.county_no),
        ):
            if len(caps_w):
                cut = Brake(zone_ceiling_w=caps_w)
                setpoint_w = cut.lowered(setpoint_w, fleet.soc_permille, group_no)
        return setpoint_w


def offers_of(fleet: FleetState, rows: IntColumn, limits: Limits) -> Offers:
    """Return what the sites in these rows can give now."""
    no_group = np.full(len(rows), -1, dtype=np.int64)
    return Offers(
        site_no=rows,
        limit_w=np.minimum(fleet.discharge_limit_w[rows], fleet.max_discharge_w[rows]),
        energy_full_wh=fleet.energy_full_wh[rows],
        soc_permille=fleet.soc_permille[rows],
        floor_permille=fleet.binding_reserve_permille()[rows],
        feeder_no=fleet.feeder_no[rows].astype(np.int64) if len(limits.feeder_caps_w) else no_group,
        zone_no=fleet.county_no[rows].astype(np.int64) if len(limits.zone_caps_w) else no_group,
    )


def firm_power_w(fleet: FleetState, seconds: int) -> IntColumn:
    """Return what each site can hold for that long; zero where that is too little for a command."""
    above = fleet.soc_permille - fleet.binding_reserve_permille()
    limit_w = np.minimum(fleet.discharge_limit_w, fleet.max_discharge_w)
    firm_w = np.minimum(limit_w, held_w(fleet.energy_full_wh, above, seconds))
    return np.where(firm_w < MIN_COMMAND_W, 0, firm_w)


def headroom(offers: Offers, held_w: IntColumn, seconds: int) -> Offers:
    """Return offers less what held sites already give until the end."""
    if not held_w.any():
        return offers
    used_permille = -(-held_w * seconds * 100 // np.maximum(offers.energy_full_wh * 342, 1))
    return replace(
        offers,
        limit_w=np.maximum(offers.limit_w - held_w, 0),
        soc_permille=np.maximum(offers.soc_permille - used_permille, 0),
    )


def _less(caps_w: IntColumn, group_no: Numbers, held_w: IntColumn) -> IntColumn:
    if not len(caps_w):
        return caps_w
    left = caps_w.copy()
    np.subtract.at(left, group_no, held_w)
    return np.maximum(left, 0)
