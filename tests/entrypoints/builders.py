"""Worlds for the entrypoints' tests: a desk on memory, an enrolment file, an event."""

import base64
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.grid_event import (
    EventStatus,
    GridEvent,
    GridSource,
    Operation,
    RawSignal,
    Receipt,
    ReceiptState,
)
from vpp.domain.grid_event import Step as EventStep
from vpp.domain.interval import Interval
from vpp.domain.program import MeterOfRecord, NegativePolicy, Program, Terms
from vpp.domain.quantities import Price, Watts
from vpp.entrypoints.operations.desk import Desk
from vpp.wire.enrollment_file import HEADER

NOON = datetime(2026, 9, 9, 19, tzinfo=UTC)  # in California
STARTS_AT = datetime(2026, 9, 10, 1, tzinfo=UTC)
ENDS_AT = STARTS_AT + timedelta(hours=2)


def a_program(program_id: str = "elrp-a4-pge") -> Program:
    terms = Terms(
        effective_from=date(2024, 1, 1),
        effective_to=None,
        season_first=(5, 1),
        season_last=(10, 31),
        window_opens=time(16),
        window_closes=time(21),
        event_min_s=3600,
        event_max_s=10800,
        season_cap_s=216_000,
        season_minimum_s=72_000,
        rate=Price(Decimal("2.00")),
        owner_share=Decimal("1.00"),
        meter=MeterOfRecord.DEVICE,
        baseline_method="ten_of_ten",
        negative_policy=NegativePolicy.NET_EVENT_FLOOR_ZERO,
        holidays="NERC",
    )
    return Program(
        program_id=program_id,
        name="ELRP A.4, PG&E",
        utility="PGE",
        groups=("a4",),
        zone=ZoneInfo("America/Los_Angeles"),
        close_after_days=8,
        editions=(terms,),
    )


def a_desk(state_dir: Path, *, now: datetime = NOON, production: bool = False) -> Desk:
    return Desk(
        store=MemoryStore(),
        clock=SteppedClock(now),
        keys=FileKeys(state_dir),
        programs={"elrp-a4-pge": a_program()},
        production=production,
    )


def an_enrollment_file(*site_ids: str, **cells: str) -> bytes:
    """Return a file with one home for each id; ``cells`` hold for all of them."""
    lines = [",".join(HEADER)]
    for site_id in site_ids:
        row = {
            "site_id": site_id,
            "owner_id": f"o-{site_id}",
            "program_id": "elrp-a4-pge",
            "utility": "PGE",
            "county": "Alameda",
            "feeder": "f-1",
            "full_energy_wh": "13305",
            "max_discharge_w": "5000",
            "reserve_pct": "20",
            "gateway_public_key": base64.urlsafe_b64encode(bytes(range(32))).decode().rstrip("="),
            "consent_version": "2026-1",
            "consent_at": "2026-05-01T09:00:00Z",
        } | cells
        lines.append(",".join(row[name] for name in HEADER))
    return ("\n".join(lines) + "\n").encode()


def an_event(event_id: str = "ev-1", *, out_of_program: tuple[str, ...] = (), version: int = 1) -> GridEvent:
    return GridEvent(
        event_id=event_id,
        version=version,
        source="caiso",
        operation=Operation.CREATE,
        modified_at=NOON,
        content_sha256="00" * 32,
        program_id="elrp-a4-pge",
        name="EEA 2 CAISO Grid",
        priority=0,
        targets=("pge",),
        steps=(EventStep(Interval(STARTS_AT, ENDS_AT), Watts(400_000)),),
        status=EventStatus.SCHEDULED,
        out_of_program=out_of_program,
        test=False,
        committed_at=NOON,
    )


async def take_event(desk: Desk, event: GridEvent) -> None:
    """Let the store hold an event as intake would have left it."""
    await desk.store.add_source(GridSource("caiso", None, Watts(1_000_000), NOON))
    raw = RawSignal(f"raw-{event.event_id}-{event.version}", "caiso", "grid/v1/caiso/event", b"{}", NOON)
    receipt = Receipt(
        "caiso", event.event_id, event.operation, event.modified_at, ReceiptState.ACCEPTED, None, NOON
    )
    await desk.store.keep([raw])
    await desk.store.decide(raw.key, receipt, version=event)
