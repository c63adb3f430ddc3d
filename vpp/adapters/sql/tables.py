"""The rows of the database, private to this package: one set of tables for SQLite and PostgreSQL.

Instants are whole microseconds since 1970 (``_us``) or whole seconds where the wire carries no more
(``_s``), so both engines store and compare the same integers. Energy, power and money are BIGINT.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

SITE = "enrollment.site_id"
KEPT_BY_TRIGGER = "kept_by_trigger"
"""Marks a table that the database fills itself while another is filled."""


class Row(SQLModel):
    """The base of all rows; the product's tables stand in a catalogue of their own."""

    metadata = MetaData()


def table_of(row: type[Row]) -> Table:
    """Return the table behind a row class."""
    return Row.metadata.tables[str(row.__tablename__)]


def _number() -> Any:
    """Return a key that the database counts up; only INTEGER does that on SQLite."""
    kind = BigInteger().with_variant(Integer, "sqlite")
    return Field(default=None, sa_column=Column(kind, primary_key=True, autoincrement=True))


def _big(*, key: bool = False, unique: bool = False) -> Any:
    given = {"autoincrement": False} if key else {}
    return Field(sa_type=BigInteger, primary_key=key, unique=unique, sa_column_kwargs=given)


def _maybe_big() -> Any:
    return Field(default=None, sa_type=BigInteger)


class ConsentRow(Row, table=True):
    """The text an owner agreed to for one site. Never changed."""

    __tablename__ = "consent"
    site_id: str = Field(primary_key=True)
    version: str = Field(primary_key=True)
    given_at_us: int = _big()


class EnrollmentRow(Row, table=True):
    """One home in one program, under a consent."""

    __tablename__ = "enrollment"
    __table_args__ = (
        ForeignKeyConstraint(["site_id", "consent_version"], ["consent.site_id", "consent.version"]),
    )
    site_id: str = Field(primary_key=True)
    site_no: int = _big(unique=True)
    owner_id: str = Field(index=True)
    program_id: str
    utility: str
    county: str
    feeder: str
    full_energy_wh: int = _big()
    max_discharge_w: int = _big()
    reserve_permille: int = _big()
    gateway_public_key: bytes = Field(sa_type=LargeBinary)
    consent_version: str
    enrolled_at_us: int = _big()
    withdrawn_at_us: int | None = _maybe_big()
    meter_accuracy_permille: int | None = _maybe_big()


class ReserveChangeRow(Row, table=True):
    """A new VPP reserve; the highest number of a site binds."""

    __tablename__ = "reserve_change"
    number: int | None = _number()
    site_id: str = Field(foreign_key=SITE, index=True)
    reserve_permille: int = _big()
    changed_at_us: int = _big()
    actor: str


def _standing_once(name: str, where: str) -> Index:
    return Index(
        name, "site_id", "event_id", unique=True, sqlite_where=text(where), postgresql_where=text(where)
    )


class OptOutRow(Row, table=True):
    """An owner's no to one event; at most one said at the home, and one said to us, stands."""

    __tablename__ = "opt_out"
    __table_args__ = (
        _standing_once("uq_opt_out_at_home", "taken_back_at_us IS NULL AND origin = 'home'"),
        _standing_once("uq_opt_out_to_us", "taken_back_at_us IS NULL AND origin <> 'home'"),
    )
    number: int | None = _number()
    site_id: str = Field(foreign_key=SITE)
    event_id: str = Field(index=True)
    opted_out_at_us: int = _big()
    origin: str
    taken_back_at_us: int | None = _maybe_big()


class GridSourceRow(Row, table=True):
    """Somebody who may send grid signals."""

    __tablename__ = "grid_source"
    name: str = Field(primary_key=True)
    public_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    max_power_w: int = _big()
    added_at_us: int = _big()
    raise_to_w: int | None = _maybe_big()
    raise_actor: str | None = None
    raise_asked_at_us: int | None = _maybe_big()
    client_sha256: bytes | None = Field(default=None, sa_type=LargeBinary)


class RawSignalRow(Row, table=True):
    """A grid message as it came."""

    __tablename__ = "raw_signal"
    number: int | None = _number()
    key: str = Field(unique=True)
    source: str
    topic: str
    payload: bytes = Field(sa_type=LargeBinary)
    received_at_us: int = _big()


class SignalReceiptRow(Row, table=True):
    """The answer to one raw signal; a signal without one is pending."""

    __tablename__ = "signal_receipt"
    number: int | None = _number()
    raw_key: str = Field(foreign_key="raw_signal.key", unique=True)
    source: str = Field(index=True)
    event_id: str = Field(index=True)
    operation: str
    modified_at_us: int = _big()
    state: str
    reason: str | None = None
    at_us: int = _big()


class JudgedSignalRow(Row, table=True):
    """The key of a signal that was accepted or superseded; the same again is a duplicate."""

    __tablename__ = "judged_signal"
    source: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    operation: str = Field(primary_key=True)
    modified_at_us: int = _big(key=True)
    content_sha256: str = Field(primary_key=True)


class GridEventRow(Row, table=True):
    """One accepted version of an event. ``actor`` is the person who made it, if no signal did."""

    __tablename__ = "grid_event"
    event_id: str = Field(primary_key=True)
    version: int = _big(key=True)
    source: str
    operation: str
    modified_at_us: int = _big()
    content_sha256: str
    program_id: str
    name: str
    priority: int | None = _maybe_big()
    targets: str  # JSON
    steps: str  # JSON
    status: str
    out_of_program: str  # JSON
    test: bool
    committed_at_us: int = _big()
    ends_at_us: int | None = Field(default=None, sa_type=BigInteger, index=True)
    actor: str | None = None


class EventGrantRow(Row, table=True):
    """A person's leave for one version of an event."""

    __tablename__ = "event_grant"
    event_id: str = Field(primary_key=True)
    version: int = _big(key=True)
    kind: str = Field(primary_key=True)
    actor: str
    granted_at_us: int = _big()


class LeaderRow(Row, table=True):
    """The epoch of whoever may commit ticks, and until when nobody else may take the lead; one row."""

    __tablename__ = "leader"
    role: str = Field(primary_key=True)
    epoch: int = _big()
    holder: str = ""
    lead_until_us: int = Field(default=0, sa_type=BigInteger)


class PlanRevisionRow(Row, table=True):
    """The changed sites of one plan revision, as compressed columns in ``body``."""

    __tablename__ = "plan_revision"
    event_id: str = Field(primary_key=True)
    revision: int = _big(key=True)
    at_us: int = _big()
    body: bytes = Field(sa_type=LargeBinary)


class DispatchTickRow(Row, table=True):
    """One committed decision to send; ``orders`` is compressed."""

    __tablename__ = "dispatch_tick"
    number: int = _big(key=True)
    epoch: int = _big()
    at_us: int = Field(sa_type=BigInteger, index=True)
    orders: bytes = Field(sa_type=LargeBinary)


class TickBasisRow(Row, table=True):
    """What was known when a tick was decided, as compressed columns in ``body``.

    Not append-only: samples of homes may be deleted when nothing needs them any more.
    """

    __tablename__ = "tick_basis"
    number: int = _big(key=True)
    body: bytes = Field(sa_type=LargeBinary)


class EventPowerRow(Row, table=True):
    """The power of an event as people were told it at one moment."""

    __tablename__ = "event_power"
    event_id: str = Field(primary_key=True)
    at_us: int = _big(key=True)
    asked_w: int = _big()
    planned_w: int = _big()
    measured_w: int = _big()
    estimated_w: int = _big()
    shortfall_w: int = _big()
    sites: int = _big()


class TickEventRow(Row, table=True):
    """Which ticks hold an order of an event."""

    __tablename__ = "tick_event"
    event_id: str = Field(primary_key=True)
    number: int = _big(key=True)


class AcknowledgementRow(Row, table=True):
    """What a gateway decided about one command; the first word stays."""

    __tablename__ = "acknowledgement"
    __table_args__ = (
        Index("ix_acknowledgement_command", "epoch", "sequence"),
        {"sqlite_with_rowid": False},
    )
    site_no: int = _big(key=True)
    epoch: int = _big(key=True)
    sequence: int = _big(key=True)
    at_s: int = _big()
    event_id: str
    refusal: str | None = None


class AnswerCountRow(Row, table=True):
    """How many gateways said one thing of the commands of a tick; counting them each time takes seconds.

    ``refusal`` is empty for the accepted.
    """

    __tablename__ = "answer_count"
    __table_args__ = ({"sqlite_with_rowid": False},)
    event_id: str = Field(primary_key=True)
    epoch: int = _big(key=True)
    sequence: int = _big(key=True)
    refusal: str = Field(primary_key=True)
    answers: int = _big()


class MeterBootRow(Row, table=True):
    """How far one boot's readings are complete: all of ``[run_from, run_through]`` are stored."""

    __tablename__ = "meter_boot"
    __table_args__ = ({"sqlite_with_rowid": False},)
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    boot_id: str = Field(primary_key=True)
    run_from: int = _big()
    run_through: int = _big()
    highest_index: int = _big()
    first_s: int | None = _maybe_big()  # of the readings whose time can be believed
    last_s: int | None = _maybe_big()


class ContestedSpanRow(Row, table=True):
    """A stretch of one boot, both ends included, in which its readings do not count beside another's.

    Known from ``received_at_us`` on. It only grows: each row adds to those before it.
    """

    __tablename__ = "contested_span"
    __table_args__ = ({"sqlite_with_rowid": False},)
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    boot_id: str = Field(primary_key=True)
    from_s: int = _big(key=True)
    until_s: int = _big(key=True)
    reason: str
    received_at_us: int = _big()


class MeterReadingRow(Row, table=True):
    """The first value that came under a reading's key."""

    __tablename__ = "meter_reading"
    __table_args__ = (
        Index("ix_meter_reading_time", "site_id", "at_s"),
        {"sqlite_with_rowid": False},
    )
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    boot_id: str = Field(primary_key=True)
    reading_index: int = _big(key=True)
    at_s: int = _big()
    discharged_wh: int = _big()
    charged_wh: int = _big()
    soc_permille: int | None = _maybe_big()
    imported_wh: int | None = _maybe_big()
    exported_wh: int | None = _maybe_big()
    quality: int = _big()
    reason: str | None = None
    received_at_us: int = _big()


class DoubtedReadingRow(Row, table=True):
    """A further, different value under a reading's key: from then on all its values are BAD."""

    __tablename__ = "doubted_reading"
    __table_args__ = (Index("ix_doubted_reading_time", "site_id", "at_s"),)
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    boot_id: str = Field(primary_key=True)
    reading_index: int = _big(key=True)
    value_sha256: str = Field(primary_key=True)
    at_s: int = _big()
    discharged_wh: int = _big()
    charged_wh: int = _big()
    soc_permille: int | None = _maybe_big()
    imported_wh: int | None = _maybe_big()
    exported_wh: int | None = _maybe_big()
    quality: int = _big()
    reason: str | None = None
    received_at_us: int = _big()


RECEIVED_WHENEVER_US = 2**62
"""Stands for the time of the newest reading of an hour that was written before that was kept."""


class MeterHourRow(Row, table=True):
    """What one clock hour of UTC metered, computed from the readings; it can always be computed again.

    ``hour_s`` is the hour's start. Net energy is signed: discharge less charge of the battery, export
    less import of the grid meter; zero where the quality says MISSING or BAD. ``received_at_us`` is when
    the readings came that it was last computed for.
    """

    __tablename__ = "meter_hour"
    __table_args__ = ({"sqlite_with_rowid": False},)
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    hour_s: int = _big(key=True)
    device_wh: int = _big()
    device_quality: int = _big()
    grid_wh: int = _big()
    grid_quality: int = _big()
    received_at_us: int = Field(
        sa_type=BigInteger, sa_column_kwargs={"server_default": str(RECEIVED_WHENEVER_US)}
    )


class DayWordRow(Row, table=True):
    """Since when a local day is kept out of baselines, or counts again; ``*`` names every site."""

    __tablename__ = "day_word"
    site_id: str = Field(primary_key=True)
    day: str = Field(primary_key=True)  # ISO
    said_at_us: int = Field(primary_key=True, sa_type=BigInteger)
    reason: str | None  # None: it counts again


class ChainLinkRow(Row, table=True):
    """One link of the hash chain: which fact, and the head after it."""

    __tablename__ = "chain_link"
    __table_args__ = (UniqueConstraint("kind", "fact_id", "fact_number", name="uq_chain_link_fact"),)
    position: int = _big(key=True)
    kind: str
    fact_id: str
    fact_number: int = _big()
    head: str


APPEND_ONLY = (
    "consent",
    "consent_withdrawal",
    "reserve_change",
    "grid_event",
    "event_grant",
    "plan_revision",
    "dispatch_tick",
    "tick_event",
    "journal_entry",
    "posting",
    "chain_link",
    "dispute_word",
    "wholesale_price",
    "event_power",
    "day_word",
)
"""Tables on which a trigger refuses UPDATE and DELETE."""


class PersonRow(Row, table=True):
    """Somebody who may log in. Named person because ``user`` is a word of SQL."""

    __tablename__ = "person"
    name: str = Field(primary_key=True)
    role: str
    owner_id: str | None = None
    password_hash: str
    added_at_us: int = _big()


class LoginSessionRow(Row, table=True):
    """One login, known by the hash of its secret."""

    __tablename__ = "login_session"
    key: str = Field(primary_key=True)
    user_name: str = Field(foreign_key="person.name", index=True)
    started_at_us: int = _big()
    expires_at_us: int = _big()


class LoginLinkRow(Row, table=True):
    """A link that logs in once, known by the hash of its secret."""

    __tablename__ = "login_link"
    key: str = Field(primary_key=True)
    user_name: str = Field(foreign_key="person.name", index=True)
    made_at_us: int = _big()
    expires_at_us: int = _big()


class TrailRow(Row, table=True):
    """Who did or read what, and why. Never changed."""

    __tablename__ = "trail_entry"
    number: int | None = _number()
    at_us: int = _big()
    actor: str
    action: str
    subject: str = Field(index=True)
    reason: str
    request_id: str


class KeptAnswerRow(Row, table=True):
    """What a command answered, for a resend; forgotten after a day."""

    __tablename__ = "kept_answer"
    key: str = Field(primary_key=True)
    request_sha256: str
    status: int = _big()
    body: bytes | None = Field(default=None, sa_type=LargeBinary)
    at_us: int = Field(sa_type=BigInteger, index=True)
