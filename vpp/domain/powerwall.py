"""What a Powerwall says of itself, made comparable: two scales of charge, room to export, meters that agree.

For whoever builds a gateway. The controller speaks the owner's scale alone; mixing the two silently changes
an owner's reserve, so each conversion stands here and nowhere else. Everything is exact.
"""

from fractions import Fraction

from vpp.domain.quantities import WattHours, Watts

HIDDEN_SHARE = Fraction(5, 100)
"""The part of the pack under the owner's zero: the gateway's raw percentage counts it, the app does not."""
METERS_MAY_DIFFER_W = 50
METERS_MAY_DIFFER_SHARE = Fraction(3, 100)


def raw_charge_pct(app_pct: Fraction) -> Fraction:
    """Return the gateway's raw percentage for one on the owner's scale."""
    return app_pct * (1 - HIDDEN_SHARE) + HIDDEN_SHARE * 100


def app_charge_pct(raw_pct: Fraction) -> Fraction:
    """Return the percentage on the owner's scale for a raw one; negative in the hidden part."""
    return (raw_pct - HIDDEN_SHARE * 100) / (1 - HIDDEN_SHARE)


def energy_above_reserve_wh(
    full_energy: WattHours,
    *,
    raw_pct: Fraction,
    reserve_app_pct: Fraction,
    efficiency: Fraction = Fraction(1),
) -> Fraction:
    """Return the energy that a discharge may take, never below zero.

    Args:
        full_energy: Of the whole pack, the hidden part included; from telemetry, never the nameplate.
        raw_pct: Charge as the gateway says it.
        reserve_app_pct: The owner's reserve, on the owner's scale.
        efficiency: What of the stored energy leaves the inverter; one where the pack says AC energy.
    """
    above_pct = max(Fraction(0), raw_pct - raw_charge_pct(reserve_app_pct))
    return full_energy * above_pct / 100 * efficiency


def sustained_w(energy_wh: Fraction, limit: Watts, *, seconds: int) -> Fraction:
    """Return the power that an energy sustains for that long, at most the battery's limit."""
    return min(Fraction(limit), energy_wh * 3600 / seconds)


def export_headroom_w(load: Watts, solar: Watts, export_limit: Watts) -> Watts:
    """Return the most a battery may give before its home exports too much; a limit of zero is never."""
    return Watts(export_limit + load - solar)


def grid_power_w(load: Watts, solar: Watts, battery: Watts) -> Watts:
    """Return what the grid meter must show: positive imports, negative exports."""
    return Watts(load - solar - battery)


def meters_agree(*, grid: Watts, battery: Watts, solar: Watts, load: Watts) -> bool:
    """Return whether a gateway's four meters add up, within 50 W or 3 % of the load.

    Source: field samples of a Backup Gateway 2 add up to within about one percent.
    """
    gap_w = abs(grid + battery + solar - load)
    return gap_w <= METERS_MAY_DIFFER_W or gap_w <= METERS_MAY_DIFFER_SHARE * abs(load)


def round_trip(discharged: WattHours, charged: WattHours) -> Fraction:
    """Return the share of all energy ever charged that came out again.

    Raises:
        ValueError: Nothing was charged yet.
    """
    if charged <= 0:
        raise ValueError("nothing was charged yet, so there is no round trip")
    return Fraction(discharged, charged)
