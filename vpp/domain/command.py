"""Commands as leases: absolute, short, renewed, and a pure function of what was committed.

One ``DispatchTick`` is committed before its batch leaves; its number is the sequence of every command
in it. A command's body follows from the tick's order, the plan revision it names and the site, so one
small row covers a million commands and any body can be made again years later.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from vpp.domain.quantities import IntColumn, column

LONGEST_LEASE = timedelta(minutes=30)
"""A gateway refuses a command that lives longer from its issue on, the lead before a start included."""


class Action(StrEnum):
    """What a gateway is told to do."""

    DISCHARGE = "discharge"
    RELEASE = "release"


class Refusal(StrEnum):
    """Why a gateway did not take a command (``protocol`` order of checks)."""

    BAD_PARAMETER = "bad_parameter"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SITE = "wrong_site"
    CLOCK_UNSURE = "clock_unsure"
    EXPIRED = "expired"
    LEASE_TOO_LONG = "lease_too_long"
    STALE_SEQUENCE = "stale_sequence"
    OPTED_OUT = "opted_out"
    ISLANDED = "islanded"
    STORM_MODE = "storm_mode"
    BELOW_RESERVE = "below_reserve"
    EXPORT_NOT_PERMITTED = "export_not_permitted"
    DWELL = "dwell"
    FAULTED = "faulted"


@dataclass(frozen=True, slots=True)
class Order:
    """The same thing told to many sites in one tick. Power and floor stand in the plan revision.

    ``site_no`` is sorted and has no site twice; no site stands in two orders of one tick.
    ``revision`` is the event's newest plan revision at commit: a site's setpoint and floor are those
    of the newest revision not above it that names the site.
    """

    event_id: str
    revision: int
    action: Action
    site_no: IntColumn
    starts_at: datetime
    expires_at: datetime
    event_ends_at: datetime
    ramp_s: int
    spread_s: int
    test: bool


class Pair(NamedTuple):
    """What orders the commands of one home: the leader's epoch, and the number of its tick."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class DispatchTick:
    """One committed decision to send. ``number`` counts over all events and is the command sequence."""

    number: int
    epoch: int
    at: datetime  # whole second; every command's ``issued_at``
    orders: tuple[Order, ...]

    def by_event(self) -> Iterator[tuple[str, "DispatchTick"]]:
        """Yield each event of the orders, in their order, and the tick with that event's orders only."""
        event_ids = dict.fromkeys(order.event_id for order in self.orders)
        for event_id in event_ids:
            mine = tuple(order for order in self.orders if order.event_id == event_id)
            yield event_id, self if len(event_ids) == 1 else replace(self, orders=mine)


def discharges(ticks: Iterable[DispatchTick]) -> Iterator[Order]:
    """Yield the orders that asked homes for power, in the order of the ticks."""
    return (order for tick in ticks for order in tick.orders if order.action is Action.DISCHARGE)


def commanded_sites(ticks: Iterable[DispatchTick]) -> IntColumn:
    """Return the numbers of the sites that were given at least one discharge, in order."""
    given = [order.site_no for order in discharges(ticks)]
    return np.unique(np.concatenate(given)) if given else column([])


@dataclass(frozen=True, slots=True)
class PlanRevision:
    """The part of an event's plan that changed: new setpoint and reserve floor of each changed site.

    A setpoint of zero releases the site. ``level_permille`` is the charge down to which the fleet is
    taken, for the sentence owners read. ``reason_code`` has one entry for every site of the fleet at
    that time, indexed by ``site_no``: a position in ``dispatch_plan.REASONS``.
    """

    event_id: str
    revision: int  # from 1 for each event
    version: int  # of the grid event it answers
    at: datetime
    requested_w: int
    shortfall_w: int
    level_permille: int
    site_no: IntColumn
    setpoint_w: IntColumn
    reserve_floor_permille: IntColumn
    reason_code: IntColumn


@dataclass(frozen=True, slots=True)
class CommandBatch:
    """Commands ready for the wire: one order of one committed tick, with each site's numbers."""

    epoch: int
    sequence: int
    issued_at: datetime
    order: Order
    setpoint_w: IntColumn  # zero for a release; aligned with ``order.site_no``
    reserve_floor_permille: IntColumn


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Releases that left before the database knew of them, to be committed as soon as it is back.

    ``stopped_by`` is who stopped everything: the events that were on are then cancelled too.
    """

    tick: DispatchTick
    revisions: tuple[PlanRevision, ...]
    batches: tuple[CommandBatch, ...]
    stopped_by: str | None = None


@dataclass(frozen=True, slots=True)
class AckBatch:
    """What gateways decided about commands, in order of arrival. It is never proof of power.

    ``refusal`` holds None for an accepted command.
    """

    site_no: IntColumn
    epoch: IntColumn
    sequence: IntColumn
    at_s: IntColumn
    event_id: tuple[str, ...]
    refusal: tuple[Refusal | None, ...]

    def __len__(self) -> int:
        return len(self.site_no)

    def of_rows(self, rows: IntColumn) -> "AckBatch":
        """Return some of the answers, in the order of the rows."""
        return AckBatch(
            self.site_no[rows],
            self.epoch[rows],
            self.sequence[rows],
            self.at_s[rows],
            tuple(self.event_id[row] for row in rows.tolist()),
            tuple(self.refusal[row] for row in rows.tolist()),
        )


def first_words(acks: AckBatch) -> AckBatch:
    """Return of each site and command the answer that came first, in order of arrival."""
    keys = list(zip(acks.site_no.tolist(), acks.epoch.tolist(), acks.sequence.tolist(), strict=True))
    if len(set(keys)) == len(keys):
        return acks
    first = dict(zip(reversed(keys), reversed(range(len(keys))), strict=True))
    return acks.of_rows(column(sorted(first.values())))


def discharged_against(tick: DispatchTick, words: Iterable[tuple[int, str | None]]) -> frozenset[int]:
    """Return the sites that a tick discharges although their owner has spoken.

    Args:
        tick: What is about to be committed.
        words: Site number, and the event that was refused; None where the reserve was changed, which
            concerns every event.
    """
    spoken = list(words)
    return frozenset(
        site_no
        for site_no, event_id in spoken
        for order in tick.orders
        if order.action is Action.DISCHARGE
        and event_id in (None, order.event_id)
        and bool((order.site_no == site_no).any())
    )


def releases_only(tick: DispatchTick) -> DispatchTick:
    """Return the tick without any discharge."""
    return replace(tick, orders=tuple(order for order in tick.orders if order.action is Action.RELEASE))


def start_delay_s(site_id: str, event_id: str, spread_s: int) -> int:
    """Return how many seconds past its start (or before its ramp down) a site of an event moves.

    The same for every copy of a command, spread evenly over the fleet below ``spread_s``, zero where
    there is no spread: controller and gateway compute it without telling each other.
    """
    if spread_s == 0:
        return 0
    digest = hashlib.sha256(f"{site_id}\n{event_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % spread_s
