"""Builders for facts that stores keep; each takes only what matters to a test."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from vpp.domain.brake import Brake, RampCaps
from vpp.domain.command import AckBatch, Action, DispatchTick, Order, PlanRevision, Refusal
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.enrollment import Consent, EnrollmentRequest
from vpp.domain.grid_event import (
    EventStatus,
    GridEvent,
    Operation,
    RawSignal,
    Receipt,
    ReceiptState,
    Signal,
    Step,
)
from vpp.domain.headroom import Limits
from vpp.domain.interval import Interval
from vpp.domain.known_leases import LeaseNews
from vpp.domain.ledger import Account, EntryState, JournalEntry, Posting
from vpp.domain.quantities import IntColumn, MicroDollars, Permille, WattHours, Watts, column
from vpp.domain.settlement import (
    BaselineDays,
    HourLine,
    Settlement,
    SettlementLine,
    SettlementState,
    SiteQuality,
)
from vpp.domain.telling import Asked, Telling, TellingTerms
from vpp.domain.tick_basis import LastSamples, PlanBasis, TickBasis

NOON = datetime(2026, 9, 9, 12, tzinfo=UTC)
EVENING = Interval(datetime(2026, 9, 10, 1, tzinfo=UTC), datetime(2026, 9, 10, 3, tzinfo=UTC))
BOOT = "b91c5e7702d144f8b91c5e7702d144f8"
EVENT = "ev-2026-09-09-1"


def after(minutes: float) -> datetime:
    """Return the instant that many minutes after the world's noon."""
    return NOON + timedelta(minutes=minutes)


def a_request(site_id: str, *, owner_id: str = "o-ada", reserve_permille: int = 200) -> EnrollmentRequest:
    return EnrollmentRequest(
        site_id=site_id,
        owner_id=owner_id,
        program_id="elrp-a4-pge",
        utility="PGE",
        county="Alameda",
        feeder="f-12",
        full_energy_wh=WattHours(13_500),
        max_discharge_w=Watts(5_000),
        reserve_permille=Permille(reserve_permille),
        gateway_public_key=bytes(range(32)),
        consent=Consent("2026-01", NOON - timedelta(days=30)),
    )


def a_raw_signal(key: str, *, at: datetime = NOON, payload: bytes = b"{}") -> RawSignal:
    return RawSignal(key, "caiso", "grid/v1/caiso/event", payload, at)


def a_signal(*, content: str = "a", at: datetime = NOON) -> Signal:
    return Signal(
        source="caiso",
        event_id=EVENT,
        operation=Operation.CREATE,
        modified_at=at,
        content_sha256=content * 64,
        program_id="elrp-a4-pge",
        name="Emergency",
        priority=None,
        targets=(),
        steps=(),
        cancels=False,
    )


def a_receipt(
    state: ReceiptState = ReceiptState.ACCEPTED, *, event_id: str = EVENT, at: datetime = NOON
) -> Receipt:
    return Receipt("caiso", event_id, Operation.CREATE, NOON, state, None, at)


def a_version(
    version: int = 1,
    *,
    event_id: str = EVENT,
    interval: Interval | None = EVENING,
    power: int | None = 700_000,
) -> GridEvent:
    steps = () if interval is None else (Step(interval, None if power is None else Watts(power)),)
    return GridEvent(
        event_id=event_id,
        version=version,
        source="caiso",
        operation=Operation.CREATE,
        modified_at=NOON,
        content_sha256="c" * 64,
        program_id="elrp-a4-pge",
        name="Emergency “EEA 2”",
        priority=None,
        targets=("PGE", "Alameda"),
        steps=steps,
        status=EventStatus.SCHEDULED,
        out_of_program=("outside the window",),
        test=False,
        committed_at=NOON + timedelta(microseconds=version),
    )


def an_order(sites: Sequence[int], *, event_id: str = EVENT, action: Action = Action.DISCHARGE) -> Order:
    return Order(
        event_id=event_id,
        revision=1,
        action=action,
        site_no=column(sites),
        starts_at=EVENING.starts_at,
        expires_at=EVENING.starts_at + timedelta(minutes=15),
        event_ends_at=EVENING.ends_at,
        ramp_s=30,
        spread_s=60,
        test=False,
    )


def a_tick(number: int, epoch: int, *orders: Order, at: datetime = NOON) -> DispatchTick:
    return DispatchTick(number, epoch, at, orders or (an_order([0, 1, 5]),))


def a_revision(
    revision: int = 1, *, event_id: str = EVENT, setpoints: Sequence[int] = (4_200, 0)
) -> PlanRevision:
    return PlanRevision(
        event_id=event_id,
        revision=revision,
        version=1,
        at=NOON,
        requested_w=700_000,
        shortfall_w=0,
        level_permille=610,
        site_no=column(range(len(setpoints))),
        setpoint_w=column(setpoints),
        reserve_floor_permille=column([200] * len(setpoints)),
        reason_code=column([0] * len(setpoints)),
    )


def a_basis(number: int, *, sites: Sequence[int] = (0, 4)) -> TickBasis:
    """Return what was known of these homes, each with numbers of its own, and one plan's basis."""
    rows = column(sites)
    samples = LastSamples(
        site_no=rows,
        sampled_at_s=int(NOON.timestamp()) + rows % 30,
        soc_permille=900 - rows % 500,
        battery_w=4_000 - rows,
        discharge_limit_w=rows * 250,
        energy_full_wh=rows + 13_500,
        home_reserve_permille=rows % 300,
        in_force_sequence=rows,
        max_discharge_w=rows + 5_000,
        vpp_reserve_permille=rows % 250,
        flags=rows % 128,
    )
    nobody = column([])
    plan = PlanBasis(
        event_id=EVENT,
        revision=number,
        version=1,
        answered=number > 1,
        stretches=((5_000, 3_600), (None, 60)),
        authorized_w=None,
        starts_at=NOON,
        ends_at=after(60),
        limits=Limits(nobody, column([7, 10**12])),
        brake=Brake(rise_w=5, slows=True),
        eligible_code=rows % 17,
        counted_w=rows * 3,
        proof=rows % 8,
    )
    return TickBasis(number, samples, (plan,), a_telling(number, rows))


def a_telling(number: int, sites: IntColumn) -> Telling:
    """Return what was known of the leases of these homes; an odd tick begins afresh."""
    news = LeaseNews(
        site_no=sites,
        sequence=sites % 5,
        issued_at_s=int(NOON.timestamp()) + sites % 2,
        running_until_s=int(NOON.timestamp()) + sites % 900,
        standing=sites % 6,
        resends=sites % 4,
        flags=sites % 4,
    )
    return Telling(
        afresh=number % 2 == 1,
        news=news,
        asked=(Asked(EVENT, number, NOON, after(60)), Asked("ev-2", 7, NOON, after(30))),
        left_out=sites[:2],
        tests=("ev-2",),
        terms=TellingTerms(900, 10, 60, 30, RampCaps(5_000, column([7, 10**12]))),
    )


def acks(*words: tuple[int, int, int, Refusal | None], at: datetime = NOON) -> AckBatch:
    """Return acknowledgements, each given as (site number, epoch, sequence, refusal)."""
    return AckBatch(
        site_no=column(word[0] for word in words),
        epoch=column(word[1] for word in words),
        sequence=column(word[2] for word in words),
        at_s=column(int(at.timestamp()) for _ in words),
        event_id=tuple(EVENT for _ in words),
        refusal=tuple(word[3] for word in words),
    )


def a_reading(
    site_id: str,
    index: int,
    discharged_wh: int,
    *,
    at: datetime | None = None,
    boot_id: str = BOOT,
    quality: Quality = Quality.OK,
) -> MeterReading:
    """Return a reading five minutes after the one of the index before, unless a time is given."""
    return MeterReading(
        site_id=site_id,
        boot_id=boot_id,
        index=index,
        at=after(5 * index) if at is None else at,
        discharged_wh=WattHours(discharged_wh),
        charged_wh=WattHours(9_000),
        soc_permille=Permille(800),
        quality=quality,
        reason=None if quality is Quality.OK else "counter_backwards",
    )


def a_message(site_id: str, *indices: int, oldest: int = 1, boot_id: str = BOOT) -> MeterMessage:
    """Return a message whose readings count 100 Wh for each index."""
    readings = tuple(a_reading(site_id, index, 100 * index, boot_id=boot_id) for index in indices)
    return MeterMessage(site_id, boot_id, oldest, readings)


def a_settlement(*, event_id: str = EVENT, amount: int = 16_000_000, at: datetime = NOON) -> Settlement:
    hour = HourLine(
        hour=Interval(EVENING.starts_at, EVENING.starts_at + timedelta(hours=1)),
        fraction=Fraction(3, 4),
        metered_wh=WattHours(8_000),
        baseline_wh=Fraction(1, 3),
        incremental_wh=Fraction(23_999, 3),
        quality=Quality.ESTIMATED,
    )
    line = SettlementLine(
        site_id="s-ada",
        owner_id="o-ada",
        settled=EVENING,
        hours=(hour,),
        baseline_days=BaselineDays((date(2026, 9, 8),), ((date(2026, 9, 7), "holiday"),)),
        incremental_wh=Fraction(23_999, 3),
        paid_wh=Fraction(23_999, 3),
        amount=MicroDollars(amount),
        gross=MicroDollars(amount),
        quality=SiteQuality.ESTIMATED,
        reason=None,
    )
    return Settlement(event_id, "elrp-a4-pge", SettlementState.PROVISIONAL, at, (line,))


def an_entry(
    entry_id: str,
    *,
    owner_id: str = "o-ada",
    amount: int = 16_000_000,
    state: EntryState = EntryState.PENDING,
    resolves: str | None = None,
    period: str | None = None,
    at: datetime = NOON,
) -> JournalEntry:
    """Return an entry; unless a period is given, it settles something that no other entry does."""
    return JournalEntry(
        entry_id=entry_id,
        at=at,
        state=state,
        memo=f"event {EVENT}",
        postings=(
            Posting(Account.PROGRAM_RECEIVABLE, "elrp-a4-pge", MicroDollars(amount)),
            Posting(Account.OWNER_PAYABLE, owner_id, MicroDollars(-amount)),
        ),
        settles=None if resolves else (owner_id, "s-ada", "elrp-a4-pge", period or f"for-{entry_id}"),
        resolves=resolves,
    )
