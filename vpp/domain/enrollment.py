"""An owner's place in a program: which home, under whose consent, how much is kept for the owner."""

import re
from dataclasses import dataclass
from datetime import datetime

from vpp.domain.quantities import Permille, WattHours, Watts

SHARDS = 256
_SITE_ID = re.compile(r"[a-z0-9-]{1,36}")


class NotASiteId(ValueError):
    """A site id is not 1 to 36 of ``a-z``, ``0-9`` and ``-``."""


def require_site_id(text: str) -> str:
    """Return the text if it can name a site.

    Raises:
        NotASiteId: It has another character, or is empty or longer than 36.
    """
    if not _SITE_ID.fullmatch(text):
        raise NotASiteId(f"site id {text[:60]!r} is not 1-36 of a-z, 0-9 and '-'")
    return text


def shard_of(site_no: int) -> str:
    """Return the two hex digits under which a site's topics live."""
    return f"{site_no % SHARDS:02x}"


@dataclass(frozen=True, slots=True)
class Consent:
    """The text an owner agreed to, and when. Without one no data of the home is taken."""

    version: str
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Enrollment:
    """One home in one program. ``site_no`` is its dense index in every fleet column.

    ``meter_accuracy_permille`` is how far a reading of the meter that the program pays by may be off, by the
    meter's class: 5 for a Powerwall 3 (0.5 %), 20 for a Powerwall 2; None where nobody said.
    """

    site_no: int
    site_id: str
    owner_id: str
    program_id: str
    utility: str
    county: str
    feeder: str
    full_energy_wh: WattHours
    max_discharge_w: Watts
    reserve_permille: Permille
    gateway_public_key: bytes  # 32 raw bytes, Ed25519
    consent: Consent
    enrolled_at: datetime
    withdrawn_at: datetime | None = None
    meter_accuracy_permille: Permille | None = None

    @property
    def shard(self) -> str:
        """Return the shard assigned at enrolment."""
        return shard_of(self.site_no)


@dataclass(frozen=True, slots=True)
class EnrollmentRequest:
    """What a row of an enrolment file asks for, checked, before the registry gives it a number."""

    site_id: str
    owner_id: str
    program_id: str
    utility: str
    county: str
    feeder: str
    full_energy_wh: WattHours
    max_discharge_w: Watts
    reserve_permille: Permille
    gateway_public_key: bytes
    consent: Consent
    meter_accuracy_permille: Permille | None = None


@dataclass(frozen=True, slots=True)
class OptOut:
    """An owner's no to one event. ``taken_back_at`` set means it no longer binds.

    One said at the home and one said to us are two: each is taken back where it was said.
    """

    site_id: str
    event_id: str
    opted_out_at: datetime
    origin: str  # "portal", "home" or "operator": who heard the owner
    taken_back_at: datetime | None = None

    @property
    def said_at_home(self) -> bool:
        """Return whether telemetry told of it."""
        return self.origin == "home"


@dataclass(frozen=True, slots=True)
class ReserveChange:
    """A new VPP reserve for one site, from an instant on. The home's own reserve is another number."""

    site_id: str
    reserve_permille: Permille
    changed_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """An owner's end of consent for one site: from then on nothing of it is collected or commanded."""

    site_id: str
    withdrawn_at: datetime
    actor: str
