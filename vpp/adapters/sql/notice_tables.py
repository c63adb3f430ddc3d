"""Rows of notices and of what owners decided about their data: apart from the tables of the dispatch.

An address stands in ``contact`` and nowhere else; nothing refers to it by a key.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Integer
from sqlmodel import Field

from vpp.adapters.sql.tables import SITE, Row


def _big() -> Any:
    return Field(sa_type=BigInteger)


def _maybe_big() -> Any:
    return Field(default=None, sa_type=BigInteger)


def _number() -> Any:
    kind = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER counts up on SQLite
    return Field(default=None, sa_column=Column(kind, primary_key=True, autoincrement=True))


class ContactRow(Row, table=True):
    """Where and how somebody is written to. Replaced when it changes: an old address is forgotten."""

    __tablename__ = "contact"
    party: str = Field(primary_key=True)
    language: str
    address: str
    muted: str  # JSON
    rank: int = _big()
    home_names: str  # JSON


class NoticeRow(Row, table=True):
    """One message, written with its key once; how far its delivery came is the only thing that changes."""

    __tablename__ = "notice"
    number: int | None = _number()
    key: str = Field(unique=True)
    party: str = Field(index=True)
    kind: str
    subject: str = Field(index=True)
    at_us: int = _big()
    facts: str  # JSON
    tries: int = _big()
    next_try_at_us: int | None = Field(default=None, sa_type=BigInteger, index=True)
    """When it is tried next; None once it was sent or given up."""
    sent_at_us: int | None = _maybe_big()
    trouble: str | None = None


class AlarmRow(Row, table=True):
    """Something operators must answer."""

    __tablename__ = "alarm"
    key: str = Field(primary_key=True)
    kind: str
    subject: str
    raised_at_us: int = Field(sa_type=BigInteger, index=True)
    facts: str  # JSON
    told_rank: int = _big()
    told_at_us: int | None = _maybe_big()
    answered_by: str | None = None
    answered_at_us: int | None = _maybe_big()
    cleared_at_us: int | None = _maybe_big()


class CalendarFeedRow(Row, table=True):
    """An address that shows an owner's events, known by the hash of its secret."""

    __tablename__ = "calendar_feed"
    key: str = Field(primary_key=True)
    owner_id: str = Field(unique=True)
    made_at_us: int = _big()


class ConsentWithdrawalRow(Row, table=True):
    """An owner's end of consent for one site. Never changed."""

    __tablename__ = "consent_withdrawal"
    site_id: str = Field(primary_key=True, foreign_key=SITE)
    withdrawn_at_us: int = _big()
    actor: str
