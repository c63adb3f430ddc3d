"""What a grid operator asks of the fleet: one event, its versions, and what becomes of each signal.

Knows nothing of JSON or MQTT: ``wire/openadr.py`` makes a ``Signal`` of a message first. Refuses to
decide who discharges; that is ``dispatch_plan.py``.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts


class Operation(StrEnum):
    """What the operator does with the event."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class ReceiptState(StrEnum):
    """What the controller answers to a signal."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


class EventStatus(StrEnum):
    """Whether a version asks for anything."""

    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of an event. ``power`` is gross battery output of the fleet in watts.

    ``None`` asks for all that can be sustained, zero asks for nothing.
    """

    interval: Interval
    power: Watts | None


@dataclass(frozen=True, slots=True)
class SignalStep:
    """A step whose start may still be open: ``starts_at`` None means at the controller's first commit."""

    offset_s: int  # after the event's first start; meaningful only where ``starts_at`` is None
    starts_at: datetime | None
    duration_s: int
    power: Watts | None


@dataclass(frozen=True, slots=True)
class Signal:
    """One well-formed grid signal, before it is judged.

    ``steps`` is empty for a DELETE and for an explicit cancel by duration ``PT0S``
    (then ``cancels`` is true).
    """

    source: str
    event_id: str
    operation: Operation
    modified_at: datetime
    content_sha256: str  # of the object in RFC 8785 form
    program_id: str
    name: str
    priority: int | None
    targets: tuple[str, ...]
    steps: tuple[SignalStep, ...]
    cancels: bool
    test: bool = False


@dataclass(frozen=True, slots=True)
class RawSignal:
    """A grid message as it came, stored before anybody judges it."""

    key: str  # made by Ids, before the commit
    source: str
    topic: str
    payload: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class GridSource:
    """Somebody who may send grid signals: name, key (None: unsigned is taken), and how much power."""

    name: str
    public_key: bytes | None  # 32 raw bytes, Ed25519
    max_power_w: Watts
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one signal."""

    source: str
    event_id: str
    operation: Operation
    modified_at: datetime
    state: ReceiptState
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class GridEvent:
    """One accepted version of an event, immutable. ``version`` counts from 1 for each event id."""

    event_id: str
    version: int
    source: str
    operation: Operation
    modified_at: datetime
    content_sha256: str
    program_id: str
    name: str
    priority: int | None
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    status: EventStatus
    out_of_program: tuple[str, ...]  # reasons; empty when the signal lies inside the terms
    test: bool
    committed_at: datetime

    @property
    def interval(self) -> Interval | None:
        """Return the event from its first start to its last end, or None when it has no steps."""
        if not self.steps:
            return None
        return Interval(self.steps[0].interval.starts_at, self.steps[-1].interval.ends_at)


class GrantKind(StrEnum):
    """What a person allowed."""

    FORCE = "force"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's leave for one version of an event: forced out of program, or approved above a limit."""

    event_id: str
    version: int
    kind: GrantKind
    actor: str
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class EventHistory:
    """Everything the controller committed about one event id: versions in order, and grants."""

    versions: tuple[GridEvent, ...]
    grants: tuple[Grant, ...]

    @property
    def latest(self) -> GridEvent:
        """Return the newest version."""
        return self.versions[-1]
