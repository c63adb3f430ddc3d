"""How this fleet is driven: what is configured once and holds for every tick."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vpp.domain.brake import UNBOUNDED_W, RampCaps
from vpp.domain.fleet import Names, Roster
from vpp.domain.headroom import Limits
from vpp.domain.orders import OrderTerms
from vpp.domain.quantities import IntColumn
from vpp.domain.telling import TellingTerms


@dataclass(frozen=True, slots=True)
class DispatchTerms:
    """How this fleet is driven: leases, spread and ramp in seconds, and the limits of the network.

    ``fleet_ramp_w_per_min`` None and zones without a ramp cap rise and end as fast as asked. A home that was
    asked for ``site_season_cap_s`` in a season is asked no more; None: as often as its program allows.
    """

    lease_s: int
    spread_s: int
    ramp_s: int
    ack_timeout_s: int
    sample_period_s: int
    feeder_caps_w: Mapping[str, int] = field(default_factory=dict)
    zone_caps_w: Mapping[str, int] = field(default_factory=dict)
    tick_s: int = 15
    fleet_ramp_w_per_min: int | None = None
    zone_ramp_w_per_min: Mapping[str, int] = field(default_factory=dict)
    site_season_cap_s: int | None = None

    @property
    def orders(self) -> OrderTerms:
        """Return what goes into every order."""
        return OrderTerms(self.lease_s, self.spread_s, self.ramp_s)

    def telling(self, caps: RampCaps) -> TellingTerms:
        """Return what decides whom a tick tells what, with the ramp caps by the fleet's numbers."""
        return TellingTerms(self.lease_s, self.ack_timeout_s, self.spread_s, self.ramp_s, caps)

    def ramp_caps(self, zones: Names) -> RampCaps:
        """Return the ramp caps by the fleet's numbers."""
        return RampCaps(
            fleet_w_per_min=UNBOUNDED_W if self.fleet_ramp_w_per_min is None else self.fleet_ramp_w_per_min,
            zone_w_per_min=_caps(self.zone_ramp_w_per_min, zones),
            pace_s=self.tick_s,
        )


def network_limits(terms: DispatchTerms, roster: Roster) -> Limits:
    """Return the limits of feeders and zones by the fleet's numbers."""
    return Limits(_caps(terms.feeder_caps_w, roster.feeders), _caps(terms.zone_caps_w, roster.counties))


def _caps(by_name: Mapping[str, int], names: Names) -> IntColumn:
    """Return caps indexed by the fleet's numbers; what no configuration limits is practically unbounded."""
    if not by_name:
        return np.zeros(0, dtype=np.int64)
    caps = np.full(len(names), UNBOUNDED_W, dtype=np.int64)
    for name, cap_w in by_name.items():
        number = names.find(name)
        if number is not None:
            caps[number] = cap_w
    return caps
