"""Who may see and do what: people, their roles, their sessions, and the trail they leave.

Knows no password and no cookie: a session or a login link is known by the hash of its secret only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

ANSWERS_KEPT = timedelta(days=1)
"""How long a command's answer is kept for a resend."""


class Role(StrEnum):
    """What somebody is here for."""

    OPERATOR = "operator"
    APPROVER = "approver"
    VIEWER = "viewer"
    AUDITOR = "auditor"
    SUPPORT = "support"
    OWNER = "owner"


class Right(StrEnum):
    """What a page or a command asks of its visitor."""

    WATCH = "watch"  # events, board and fleet, without personal data
    DISPATCH = "dispatch"  # start, cancel, force, stop
    APPROVE = "approve"  # be the second person above a source's limit
    READ_HOMES = "read_homes"  # one home with its owner, for a reason
    ANSWER = "answer"  # what owners ask about their money, and staff's answer
    READ_TRAIL = "read_trail"  # who did what
    OWN_HOME = "own_home"  # one's own homes and money


RIGHTS: Mapping[Role, frozenset[Right]] = MappingProxyType(
    {
        Role.OPERATOR: frozenset(
            (Right.WATCH, Right.DISPATCH, Right.READ_HOMES, Right.ANSWER, Right.READ_TRAIL)
        ),
        Role.APPROVER: frozenset((Right.WATCH, Right.DISPATCH, Right.APPROVE, Right.READ_TRAIL)),
        Role.VIEWER: frozenset((Right.WATCH,)),
        Role.AUDITOR: frozenset((Right.WATCH, Right.READ_HOMES, Right.READ_TRAIL)),
        Role.SUPPORT: frozenset((Right.WATCH, Right.READ_HOMES, Right.ANSWER)),
        Role.OWNER: frozenset((Right.OWN_HOME,)),
    }
)
"""An owner sees nothing of the fleet, and nobody of the staff stands in for an owner."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in. ``owner_id`` names whose homes an owner sees; None for staff."""

    name: str
    role: Role
    owner_id: str | None
    password_hash: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class Session:
    """One login that lasts until ``expires_at``. ``key`` is the sha256 of the secret in the cookie."""

    key: str
    user_name: str
    started_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A link that logs somebody in once. ``key`` is the sha256 of the secret in the link."""

    key: str
    user_name: str
    made_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """Who did or read what, and why. ``subject`` is what it was about, such as ``event:ev-1``."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What a command answered, kept under its caller's key so that a resend gets the same.

    ``request_sha256`` tells a resend from another command under the same key. ``body`` is None where the
    answer held a secret that is told once.
    """

    key: str
    request_sha256: str
    status: int
    body: bytes | None
    at: datetime
