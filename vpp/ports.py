"""The sockets of the product: what stages may ask of the world.

Every store method is one transaction: it commits as a whole or raises and changes nothing. Batches go
through in one call. Appending a fact again under its natural key changes nothing; another fact under
the same key raises ``ConflictingFact``.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol

from vpp.domain.access import KeptAnswer, LoginLink, Session, TrailEntry, User
from vpp.domain.command import AckBatch, CommandBatch, DispatchTick, Pair, PlanRevision, Refusal
from vpp.domain.course import EventPower
from vpp.domain.delivery import MeterMessage, MeterReceipt, ReadingColumns, SiteStatus
from vpp.domain.enrollment import Enrollment, EnrollmentRequest, OptOut, ReserveChange, Withdrawal
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.grid_event import EventHistory, Grant, GridEvent, GridSource, RawSignal, Receipt, Signal
from vpp.domain.interval import Interval
from vpp.domain.tick_basis import TickBasis
from vpp.money_ports import Books, Disputes, MeteredHours, Nominations, WholesalePrices
from vpp.notice_ports import Notices


class ConflictingFact(Exception):
    """Another fact already stands under the same natural key."""


class NotEnrolled(Exception):
    """A fact names a site that has no enrolment, so no consent to store it; nothing was stored."""


class StaleEpoch(Exception):
    """A newer leader took over; nothing of this one may commit any more."""


class OwnerSpoke(Exception):
    """Owners of these sites said something after a tick was decided; nothing of it was committed."""

    def __init__(self, site_nos: frozenset[int]) -> None:
        super().__init__(f"the owners of sites {sorted(site_nos)[:10]} spoke while a tick was decided")
        self.site_nos = site_nos


class StoreUnavailable(Exception):
    """The database cannot be reached now; the fact stays pending and is tried again."""


class Clock(Protocol):
    """What time it is, as aware UTC."""

    def now(self) -> datetime:
        """Return the present instant."""
        ...


class Patience(Protocol):
    """Waits for a commit."""

    async def __call__(self, commit: Awaitable[None], meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Return or raise as the commit does; do something else first where it takes too long."""


class Ids(Protocol):
    """Fresh random identities."""

    def new(self, prefix: str) -> str:
        """Return ``prefix-`` and 128 random bits in hex."""
        ...


class Keys(Protocol):
    """The controller's signing key."""

    @property
    def kid(self) -> str:
        """Return the short name that gateways pin together with the public key."""
        ...

    @property
    def public_key(self) -> bytes:
        """Return the 32 raw bytes of the Ed25519 public key."""
        ...

    def sign(self, body: bytes) -> bytes:
        """Return the signed message: the body, one LF, and its detached JWS."""
        ...


@dataclass(frozen=True, slots=True)
class Packet:
    """One MQTT message, either way. Lower ``lane`` leaves first; zero is for stops."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    lane: int = 1


class Transport(Protocol):
    """A connection to a broker that comes back by itself. Sending never blocks on the broker."""

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending, in order within a lane. They are lost if this process dies."""
        ...

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet; at most ``limit``."""
        ...

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing, without waiting."""
        ...

    async def flush(self) -> None:
        """Return when everything taken so far was handed to the broker."""
        ...

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached now."""
        ...


@dataclass(slots=True)
class Heard:
    """A batch from the gateways, decoded and verified. ``refused`` counts (topic kind, reason)."""

    telemetry: TelemetryBatch
    acks: AckBatch
    meter: Sequence[MeterMessage]
    statuses: Sequence[SiteStatus]
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)  # by topic kind


class DeviceLink(Protocol):
    """The wire to the gateways, in batches of domain values."""

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Return what packets on gateway topics say; what cannot be trusted is only counted."""
        ...

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        """Sign and send one committed tick's commands, releases first."""
        ...

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        """Sign and send meter receipts."""
        ...


@dataclass(frozen=True, slots=True)
class Malformed:
    """A grid message that says nothing usable; ids are None where they could not be read.

    ``vouched`` is false where neither a broker nor a signature says whose message it is: then it is answered
    to nobody and kept nowhere.
    """

    reason: str
    source: str
    event_id: str | None = None
    operation: str | None = None
    modified_at: datetime | None = None
    vouched: bool = True


class SignalFeed(Protocol):
    """The wire to the grid operators."""

    def decode(
        self, raw: RawSignal, source: GridSource, unknown: Counter[str] | None = None
    ) -> Signal | Malformed:
        """Return the signal after size, shape and signature checks; ``unknown`` counts odd fields."""
        ...

    async def answer(self, receipts: Sequence[Receipt]) -> None:
        """Sign and send receipts to their sources."""
        ...


class Registry(Protocol):
    """Who is enrolled, who may signal, and what owners said."""

    async def enroll(self, requests: Sequence[EnrollmentRequest], *, at: datetime) -> Sequence[Enrollment]:
        """Append all or none; numbers continue from the highest. A known site raises ConflictingFact."""
        ...

    async def enrollments(
        self, *, from_site_no: int = 0, owner_ids: Sequence[str] | None = None, limit: int | None = None
    ) -> Sequence[Enrollment]:
        """Return enrolments by ``site_no``, with reserve changes applied; with owners, those of these."""
        ...

    async def enrolled_programs(self) -> frozenset[str]:
        """Return the programs of all enrolments, those that ended included."""
        ...

    async def enrollment(self, site_id: str, *, at: datetime | None = None) -> Enrollment | None:
        """Return one site's enrolment with its newest reserve, or that of an instant; None for an unknown."""
        ...

    async def change_reserve(self, change: ReserveChange) -> None:
        """Append a new VPP reserve."""
        ...

    async def withdraw(self, withdrawal: Withdrawal) -> bool:
        """End a site's consent; False when it ended before. Its reserve becomes 100 %, so nothing follows."""
        ...

    async def opt_out(self, opt_out: OptOut) -> None:
        """Append an owner's no, ours or one heard at home; of each kind the first stands until taken back."""
        ...

    async def take_back_opt_out(
        self, site_id: str, event_id: str, *, at: datetime, heard_at_home: bool = False
    ) -> bool:
        """End a standing opt-out of ours, or one heard at home; False when there is none of that kind."""
        ...

    async def opt_outs(self, event_ids: Sequence[str]) -> Sequence[OptOut]:
        """Return every opt-out of the events, taken back or not."""
        ...

    async def last_words(self) -> tuple[int, int]:
        """Return the numbers of the newest opt-out and the newest reserve change, zero before any."""
        ...

    async def add_source(self, source: GridSource) -> None:
        """Add a source or replace the one of that name."""
        ...

    async def sources(self) -> Sequence[GridSource]:
        """Return every source by name."""
        ...


class SignalStore(Protocol):
    """Raw signals, event versions, grants and receipts."""

    async def keep(self, signals: Sequence[RawSignal]) -> None:
        """Store signals as they came; each stays pending until it is answered."""
        ...

    async def pending(self) -> Sequence[RawSignal]:
        """Return unanswered signals, oldest first."""
        ...

    async def history(self, event_id: str) -> EventHistory | None:
        """Return all versions and grants of an event, or None for an unseen id."""
        ...

    async def histories(self, *, ending_after: datetime | None = None) -> Sequence[EventHistory]:
        """Return events by id; with a time, those with a version ending after it; a cancel ends at once."""
        ...

    async def seen(self, signal: Signal) -> bool:
        """Return whether a signal of the same key was answered before (accepted or superseded)."""
        ...

    async def decide(
        self,
        raw_key: str,
        receipt: Receipt,
        *,
        signal: Signal | None = None,
        version: GridEvent | None = None,
    ) -> None:
        """Answer one raw signal: receipt, the signal's key where it was judged, the version if any."""
        ...

    async def append_version(self, version: GridEvent, *, actor: str, told: TrailEntry | None = None) -> None:
        """Append a person's version (such as a cancel), with its trail entry; a known one adds neither."""
        ...

    async def grant(self, grant: Grant, told: TrailEntry | None = None) -> None:
        """Append a person's leave with its trail entry; granting twice keeps the first and adds neither."""
        ...

    async def receipts(self, event_id: str) -> Sequence[Receipt]:
        """Return what was answered about an event, in order."""
        ...

    async def accepted_signals(
        self, source: str, *, event_id: str | None = None
    ) -> Sequence[tuple[Receipt, RawSignal]]:
        """Return a source's accepted signals, of one event or all, with their answers, in their order."""
        ...


class DispatchStore(Protocol):
    """Plans, ticks and acknowledgements; every commit checks the leader's epoch."""

    async def take_epoch(self, *, at: datetime) -> int:
        """Become leader: store and return ``max(stored + 1, seconds since 1970)``."""
        ...

    async def take_free_lead(self, *, at: datetime, holder: str, lease_s: int) -> int | None:
        """Become leader as ``take_epoch`` does, unless somebody else's lease runs: then None.

        The lease runs for so long on the database's clock. A holder takes over from itself at once.
        """
        ...

    async def renew_lead(self, epoch: int, *, lease_s: int) -> bool:
        """Let the lease of this epoch run for so long from now; False for a replaced leader.

        With zero seconds the lead is given up: the next who asks gets it.
        """
        ...

    async def last_tick(self) -> Pair:
        """Return epoch and number of the newest committed tick, zeros before any."""
        ...

    async def commit(
        self,
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        *,
        words: tuple[int, int] | None = None,
        basis: TickBasis | None = None,
    ) -> None:
        """Commit a tick, its revisions and what was known. Raises StaleEpoch for a replaced leader.

        ``words`` is what ``last_words`` said before anything was read that the tick was decided from:
        OwnerSpoke is raised when the owner of a site that it discharges spoke since.
        """
        ...

    async def revisions(self, event_id: str, *, after: int = 0) -> Sequence[PlanRevision]:
        """Return an event's plan revisions with a number above ``after``, in order."""
        ...

    async def ticks(self, *, since: datetime) -> Sequence[DispatchTick]:
        """Return ticks committed at or after a time, in order."""
        ...

    async def event_ticks(self, event_id: str, *, after: int = 0) -> Sequence[DispatchTick]:
        """Return the ticks that hold an order of the event, in order, with that event's orders only.

        Those with a number above ``after``.
        """
        ...

    async def bases(self, *, since: datetime, until: datetime | None = None) -> Sequence[TickBasis]:
        """Return what was known at the ticks committed from ``since`` through ``until``, in order."""
        ...

    async def add_course(self, powers: Sequence[EventPower]) -> None:
        """Store an event's power as it was seen; the first word about a moment stays."""
        ...

    async def course(self, event_id: str) -> Sequence[EventPower]:
        """Return an event's power as it was seen, in order."""
        ...

    async def record_acks(self, acks: AckBatch) -> None:
        """Store what gateways decided, keyed (site, epoch, sequence); the first word stays."""
        ...

    async def acks(self, *, since: datetime, site_no: int | None = None, refused: bool = False) -> AckBatch:
        """Return answers to commands issued at or after a time: all, of one site, or the refusals only."""
        ...

    async def count_acks(self, event_id: str) -> Mapping[Refusal | None, int]:
        """Return how many answers to an event's commands gave each refusal; None counts the accepted."""
        ...


class MeterStore(MeteredHours, Protocol):
    """Meter evidence, keyed (site_id, boot_id, index); two values of a key are both kept, and BAD."""

    async def append(self, messages: Sequence[MeterMessage], *, at: datetime) -> Sequence[MeterReceipt]:
        """Store readings and return, after the commit, how far each boot's readings are complete."""
        ...

    async def readings(
        self, site_ids: Sequence[str], intervals: Sequence[Interval], *, before: datetime | None = None
    ) -> ReadingColumns:
        """Return readings with ``starts_at <= at <= ends_at`` of any interval, by site and time.

        ``site`` is the position in ``site_ids``. ``before``: as if nothing had been received since then.
        """
        ...

    async def newest_reading_at(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return the time of each site's newest usable reading; sites without any are absent."""
        ...

    async def own_readings_since(self, site_ids: Sequence[str]) -> Mapping[str, datetime]:
        """Return when each site's own gateways began to speak; imports since then are read by nobody."""
        ...

    async def exclude_day(self, site_id: str, day: date, reason: str, *, at: datetime) -> None:
        """Keep a local day out of a site's baselines; ``*`` names every site."""
        ...

    async def include_day(self, site_id: str, day: date, *, at: datetime) -> None:
        """Let a day count again that was kept out under that name, from then on."""
        ...

    async def excluded_days(self, *, before: datetime | None = None) -> Sequence[tuple[str, date, str]]:
        """Return (site id or ``*``, local day, reason); with ``before``, as it stood before then."""
        ...


class Accounts(Protocol):
    """Who may log in, who is logged in, and the trail of what people did and read."""

    async def keep_user(self, user: User) -> None:
        """Add somebody, or replace the one of that name; a replaced one's sessions and links end."""
        ...

    async def user(self, name: str) -> User | None:
        """Return somebody by name, None for an unknown one."""
        ...

    async def users(self) -> Sequence[User]:
        """Return everybody by name."""
        ...

    async def begin_session(self, session: Session) -> None:
        """Store a login; sessions that ended before it began are forgotten."""
        ...

    async def session(self, key: str) -> Session | None:
        """Return a session by its key, None for an unknown or ended one; it may have expired."""
        ...

    async def end_session(self, key: str) -> None:
        """End a session; an unknown one is ended already."""
        ...

    async def add_login_link(self, link: LoginLink) -> None:
        """Store a link that logs in once."""
        ...

    async def use_login_link(self, key: str) -> LoginLink | None:
        """Return the link and forget it, None for an unknown or used one: of two at once one gets it."""
        ...

    async def leave_trail(self, entries: Sequence[TrailEntry]) -> None:
        """Append what people did or read; nothing of it is ever changed."""
        ...

    async def read_homes(self, owner_id: str, entry: TrailEntry) -> Sequence[Enrollment]:
        """Return an owner's homes, with the entry that says who reads them stored in the same transaction."""
        ...

    async def trail(self, *, subject: str | None = None, limit: int = 200) -> Sequence[TrailEntry]:
        """Return the newest entries first, with a subject those about it."""
        ...

    async def keep_answer(self, answer: KeptAnswer) -> None:
        """Keep a command's answer; the first under a key stays. Those older than a day are forgotten."""
        ...

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        """Return the answer kept under a key, None where there is none or it is forgotten."""
        ...


class Store(
    Registry, SignalStore, DispatchStore, MeterStore, Books, Disputes, Nominations, WholesalePrices, Accounts,
    Notices, Protocol,
):  # fmt: skip
    """All stores of one database."""

    async def ready(self) -> None:
        """Return when the database answers. Raises StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
