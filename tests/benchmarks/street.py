"""Many enrolled homes whose keys follow from their names, for both sides of a benchmark."""

import hashlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from vpp.domain.enrollment import Consent, Enrollment, EnrollmentRequest, shard_of
from vpp.domain.quantities import Permille, WattHours, Watts
from vpp.wire.gateway import GatewayKind, GatewayTopic, topic
from vpp.wire.gateway_telemetry import GridState, Telemetry, encode_telemetry
from vpp.wire.signed import SigningKey

EVENING = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)  # 18:00 in California on 9 September
PROGRAM = "elrp-a4-pge"


@lru_cache(maxsize=65_536)
def key_of(name: str) -> SigningKey:
    """Return the private key that both sides know for a name; only a benchmark may do this."""
    return SigningKey(hashlib.sha256(f"benchmark {name}".encode()).digest())


def site_of(site_no: int) -> str:
    """Return the identity of a home."""
    return f"s-{site_no:07d}"


def topic_of(site_no: int, kind: GatewayKind) -> str:
    """Return one of a home's topics."""
    return topic(GatewayTopic(shard_of(site_no), site_of(site_no), kind))


def requests(sites: int) -> list[EnrollmentRequest]:
    """Return enrolment requests of homes that differ in nothing but name and key."""
    return [
        EnrollmentRequest(
            site_id=site_of(number),
            owner_id=f"o-{number:07d}",
            program_id=PROGRAM,
            utility="pge",
            county="Alameda",
            feeder=f"f-{number % 100}",
            full_energy_wh=WattHours(13_500),
            max_discharge_w=Watts(5_000),
            reserve_permille=Permille(200),
            gateway_public_key=key_of(site_of(number)).verifying_key.raw,
            consent=Consent("1", EVENING - timedelta(days=100)),
        )
        for number in range(sites)
    ]


def enrollments(sites: int) -> list[Enrollment]:
    """Return the same homes as a registry numbers them."""
    return [
        Enrollment(
            number, asked.site_id, asked.owner_id, asked.program_id, asked.utility, asked.county,
            asked.feeder, asked.full_energy_wh, asked.max_discharge_w, asked.reserve_permille,
            asked.gateway_public_key, asked.consent, EVENING - timedelta(days=90),
        )
        for number, asked in enumerate(requests(sites))
    ]  # fmt: skip


def sample_of(site_no: int, at: datetime, *, pair: tuple[int, int] = (0, 0), battery_w: int = 0) -> bytes:
    """Return a home's telemetry at an instant: connected, willing, between 60 and 99 % full.

    ``pair`` is the command that it names as in force.
    """
    return encode_telemetry(
        Telemetry(
            site_id=site_of(site_no),
            at=at,
            epoch=pair[0],
            sequence=pair[1],
            soc_permille=Permille(600 + site_no % 400),
            battery_w=Watts(battery_w),
            discharge_limit_w=Watts(5_000),
            energy_full_wh=WattHours(13_305),
            reserve_permille=Permille(200),
            discharged_wh=WattHours(12_319_921),
            charged_wh=WattHours(13_853_641),
            grid=GridState.CONNECTED,
            storm_mode=False,
            opted_out=False,
            fault=None,
        )
    )
