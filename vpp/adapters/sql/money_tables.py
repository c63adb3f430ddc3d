"""The rows of money, private to this package: settlements, the ledger, and what owners ask about both."""

from sqlalchemy import BigInteger, Index, UniqueConstraint, text
from sqlmodel import Field

from vpp.adapters.sql.tables import KEPT_BY_TRIGGER, Row, _big, _number

_PAID_OUT = "account = 'paid_out'"
ENDS_A_PAYOUT = "substr({}resolves, 1, 7) = 'payout-'"
"""What the index of payouts' ends holds, as a statement has to say it to be answered from there."""


class SettlementRunRow(Row, table=True):
    """One run of settlement for one event; the highest number of an event is the newest."""

    __tablename__ = "settlement_run"
    number: int | None = _number()
    event_id: str = Field(index=True)
    program_id: str
    state: str
    settled_at_us: int = _big()
    parts: str  # JSON
    totals: str  # JSON; empty in a run from before they were kept
    lines_sha256: str  # over the bodies of its lines in their order


class SettlementLineRow(Row, table=True):
    """One site's part of a run, with every number behind it in ``body``."""

    __tablename__ = "settlement_line"
    site_id: str = Field(primary_key=True)
    run_number: int = Field(
        sa_type=BigInteger, primary_key=True, foreign_key="settlement_run.number", index=True
    )
    place: int = _big()
    owner_id: str = Field(index=True)
    amount_micro_dollars: int = _big()
    body: str  # JSON


class JournalEntryRow(Row, table=True):
    """One immutable movement, numbered by its link in the chain; a pending entry ends at most once."""

    __tablename__ = "journal_entry"
    __table_args__ = (
        UniqueConstraint("resolves", name="uq_journal_entry_resolves"),
        Index("ix_journal_entry_period", "settles_program_id", "settles_period"),
        Index("ix_journal_entry_corrects", "corrects"),
        Index(
            "ix_journal_entry_payout_ended",
            "at_us",
            sqlite_where=text(ENDS_A_PAYOUT.format("")),
            postgresql_where=text(ENDS_A_PAYOUT.format("")),
        ),
    )
    number: int = _big(key=True)
    entry_id: str = Field(unique=True)
    at_us: int = _big()
    state: str
    memo: str
    settles_owner_id: str | None = Field(default=None, index=True)
    settles_site_id: str | None = None
    settles_program_id: str | None = None
    settles_period: str | None = None
    resolves: str | None = None
    corrects: str | None = None


class LiveSettlementRow(Row, table=True):
    """The one entry that stands for each (owner, site, program, period): pending, or posted.

    The database keeps it by a trigger on ``journal_entry``, and its key refuses a second one.
    """

    __tablename__ = "live_settlement"
    __table_args__ = ({"info": {KEPT_BY_TRIGGER: True}},)
    owner_id: str = Field(primary_key=True)
    site_id: str = Field(primary_key=True)
    program_id: str = Field(primary_key=True)
    period: str = Field(primary_key=True)
    entry_id: str = Field(foreign_key="journal_entry.entry_id", unique=True)


class PostingRow(Row, table=True):
    """One line of an entry; debits are positive, credits negative."""

    __tablename__ = "posting"
    __table_args__ = (
        Index(
            "ix_posting_paid_out", "party", "entry_id",
            sqlite_where=text(_PAID_OUT), postgresql_where=text(_PAID_OUT),
        ),
    )  # fmt: skip
    entry_id: str = Field(primary_key=True, foreign_key="journal_entry.entry_id")
    line_number: int = _big(key=True)
    account: str
    party: str = Field(index=True)
    amount_micro_dollars: int = _big()


class PayoutRunRow(Row, table=True):
    """What one payout run comes to; the database adds it up by a trigger on ``posting``."""

    __tablename__ = "payout_run"
    __table_args__ = ({"info": {KEPT_BY_TRIGGER: True}},)
    memo: str = Field(primary_key=True)  # of the entries that began it
    first_number: int = _big()  # of those entries
    begun_at_us: int = _big()
    owners: int = _big()
    amount_micro_dollars: int = _big()
    paid: int = _big()  # owners to whom it was confirmed
    called_back: int = _big()


class DisputeWordRow(Row, table=True):
    """One thing said about what one owner got for one event or period. Never changed."""

    __tablename__ = "dispute_word"
    number: int | None = _number()
    owner_id: str = Field(index=True)
    period: str
    kind: str
    at_us: int = _big()
    actor: str
    body: str


class WholesalePriceRow(Row, table=True):
    """The wholesale price of one clock hour for one program. Never changed; the last one stands."""

    __tablename__ = "wholesale_price"
    number: int | None = _number()
    program_id: str = Field(index=True)
    hour_starts_at_us: int = _big()
    micro_dollars_per_mwh: int = _big()
    imported_at_us: int = _big()


class NominationRow(Row, table=True):
    """The power nominated for one program and month. Never changed; the last one stands."""

    __tablename__ = "nomination"
    number: int | None = _number()
    program_id: str
    month: str
    power_w: int = _big()
    at_us: int = _big()
    actor: str
