"""The fleet's links: answers, clocks, gaps in readings, certificates; on the page and for a program."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from tests.entrypoints.pages.world import Suburb, a_suburb, logged_in
from vpp.domain.access import Role
from vpp.domain.command import AckBatch
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.interval import to_epoch
from vpp.domain.lease import Leases
from vpp.domain.link_health import LinkHealth
from vpp.domain.quantities import WattHours, column
from vpp.entrypoints.operations.health import certificate_facts, show_health

NOW = datetime(2026, 9, 10, 1, tzinfo=UTC)


def readings(*indices: int, boot: str = "b-1", oldest: int = 0) -> MeterMessage:
    rows = (
        MeterReading("s-1", boot, index, NOW, WattHours(0), WattHours(0), None, Quality.OK)
        for index in indices
    )
    return MeterMessage("s-1", boot, oldest, tuple(rows))


def test_a_reading_that_was_passed_over_is_missing_until_it_comes() -> None:
    health = LinkHealth()
    health.note_readings([readings(7, 8), readings(11)])
    between = health.gaps()
    health.note_readings([readings(9, 10)])

    assert between == {"s-1": 2}
    assert health.gaps() == {}


def test_what_a_home_no_longer_holds_or_held_before_it_started_again_is_no_gap_to_be_filled() -> None:
    lost, restarted = LinkHealth(), LinkHealth()
    lost.note_readings([readings(1), readings(9, oldest=9)])
    restarted.note_readings([readings(1), readings(9), readings(0, boot="b-2")])

    assert (lost.gaps(), restarted.gaps()) == ({}, {})


def test_a_gap_of_millions_is_bounded() -> None:
    health = LinkHealth()
    health.note_readings([readings(1), readings(9_000_000)])

    assert health.gaps() == {"s-1": 1_000}


def test_an_answer_is_timed_once_and_only_to_the_newest_command() -> None:
    leases, health = Leases(2), LinkHealth()
    leases.sequence[:] = 5
    leases.issued_at_s[:] = 100
    acks = AckBatch(
        column([0, 1]), column([3, 3]), column([5, 4]), column([101, 101]), ("e", "e"), (None, None)
    )

    health.note_answers(acks, leases, 3, 102)
    leases.acked_sequence[0] = 5
    health.note_answers(acks, leases, 3, 109)

    assert health.answer_s.tolist() == [2]


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def test_the_health_page_names_the_homes_whose_clock_is_off_and_whose_readings_miss(
    suburb: Suburb,
) -> None:
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")
    health, now_s = suburb.controller.health, to_epoch(suburb.clock.now())
    suburb.report()
    assert "Furthest off" not in (await ana.get("/operator/health")).text

    health.ahead_s = np.array([0, -2, 45] + [1] * 9, dtype=np.int64)
    health.note_readings([readings(1), readings(4)])
    health.answer_s = column([1] * 99 + [30])
    page = await ana.get("/operator/health")
    found = await show_health(suburb.desk)

    assert "s-002</a> 45 s ahead" in page.text
    assert "s-1</a> 2" in page.text
    assert "Half of the commands answered</dt><dd>under 2 s" in page.text  # whole seconds are known
    assert "▲ Clocks off by more than 5 s</dt><dd>1 of 12" in page.text
    assert found["answers"] == {"count": 100, "p50_s": 1, "p99_s": 30, "slowest_s": 30}
    assert found["clocks"] == {"heard": 12, "off": 1, "worst": [{"site_id": "s-002", "ahead_s": 45}]}
    assert now_s == to_epoch(suburb.clock.now())


def a_certificate(path: Path, ends_at: datetime) -> Path:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "controller")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(ends_at - timedelta(days=365))
        .not_valid_after(ends_at)
        .sign(key, None)
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_says_how_many_days_it_holds_and_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    soon = certificate_facts(a_certificate(tmp_path / "soon.pem", NOW + timedelta(days=9)), NOW)
    over = certificate_facts(a_certificate(tmp_path / "over.pem", NOW - timedelta(hours=1)), NOW)
    (tmp_path / "none.pem").write_text("nothing")
    none = certificate_facts(tmp_path / "none.pem", NOW)

    assert (soon["ends_at"], soon["days_left"]) == ("2026-09-19T01:00:00Z", 9)
    assert over["days_left"] == -1
    assert "holds no certificate" in str(none["fault"])
