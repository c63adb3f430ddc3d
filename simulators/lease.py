"""When a command makes a battery move: its start, its ramps and its last second, from its own words alone."""

from dataclasses import dataclass

from vpp.domain.command import start_delay_s
from vpp.domain.interval import to_epoch
from vpp.wire.gateway import Command

SLOWEST_FULL_START_S = 30  # no battery starts faster, whatever ramp the command asks for
RECHARGE_SPREAD_S = 1800


@dataclass(frozen=True, slots=True)
class Lease:
    """A discharge command as moments: the ramp up begins at ``starts_s``, the ramp down at ``stops_s``."""

    event_id: str
    epoch: int
    sequence: int
    discharge_w: int
    floor_permille: int
    ramp_s: int
    starts_s: int
    stops_s: int
    event_ends_s: int


def lease_of(command: Command, *, waiting: Lease | None, discharging: bool) -> Lease:
    """Return a discharge command's moments.

    From rest it starts after the site's own delay; a change of power of a home that already discharges
    has none. The ramp down is complete when the event ends; when the lease ends before, it begins then,
    after the same delay.

    Args:
        command: An accepted ``discharge``.
        waiting: The lease it replaces if that had not started yet: of one event the earlier start stays.
        discharging: Whether the battery discharges for us now.
    """
    delay_s = start_delay_s(command.site_id, command.event_id, command.spread_s)
    starts_s = to_epoch(command.starts_at) + (0 if discharging else delay_s)
    if waiting is not None and waiting.event_id == command.event_id:
        starts_s = min(starts_s, waiting.starts_s)
    event_ends_s = to_epoch(command.event_ends_at)
    return Lease(
        event_id=command.event_id,
        epoch=command.epoch,
        sequence=command.sequence,
        discharge_w=command.discharge_w,
        floor_permille=command.reserve_floor_permille,
        ramp_s=command.ramp_s,
        starts_s=starts_s,
        stops_s=min(to_epoch(command.expires_at) + delay_s, event_ends_s - command.ramp_s - delay_s),
        event_ends_s=event_ends_s,
    )


def recharge_delay_s(site_id: str, event_id: str) -> int:
    """Return how long after an event the home waits before it may charge from the grid."""
    return start_delay_s(site_id, event_id, RECHARGE_SPREAD_S)
