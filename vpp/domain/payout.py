"""Money that leaves and money that comes in: payout runs, and what programs really paid.

A payout is pending while the bank has it, posted when it is paid, voided when it is called back. What an
owner can be paid is the posted balance less what is already on its way, so nothing is paid twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from vpp.domain.ledger import Account, EntryState, JournalEntry, Posting, confirm, identity, owed_by, void
from vpp.domain.quantities import MICRO_DOLLARS_PER_CENT, MicroDollars


class PayoutState(StrEnum):
    """Where a payout stands."""

    ON_ITS_WAY = "on_its_way"
    PAID = "paid"
    CALLED_BACK = "called_back"


@dataclass(frozen=True, slots=True)
class Payout:
    """One owner's part of one run. ``entry`` is the pending entry that began it."""

    run_id: str
    owner_id: str
    amount: MicroDollars
    state: PayoutState
    entry: JournalEntry
    ended_at: datetime | None


def pay_out(
    run_id: str, owner_id: str, balance: MicroDollars, *, at: datetime, after: str | None = None
) -> JournalEntry:
    """Return the pending entry that sends an owner's balance on its way in one payout run.

    ``after`` names the owner's payout before this one. The id follows from the owner and from it alone,
    so of two runs made at once only one can be stored.

    Raises:
        ValueError: There is nothing to pay.
    """
    if balance <= 0:
        raise ValueError(f"owner {owner_id} is owed {balance} micro-dollars; only a credit is paid out")
    return JournalEntry(
        entry_id=identity("payout", owner_id, after),
        at=at,
        state=EntryState.PENDING,
        memo=f"{_RUN}{run_id}",
        postings=(
            Posting(Account.OWNER_PAYABLE, owner_id, balance),
            Posting(Account.PAID_OUT, owner_id, MicroDollars(-balance)),
        ),
    )


_RUN = "Payout run "
_UTC = ZoneInfo("UTC")


def run_of(memo: str) -> str:
    """Return the run that a payout's memo names."""
    return memo.removeprefix(_RUN)


def payouts(entries: Iterable[JournalEntry]) -> tuple[Payout, ...]:
    """Return every payout in the order of the books."""
    begun: dict[str, JournalEntry] = {}
    ended: dict[str, JournalEntry] = {}
    for entry in entries:
        if not entry.entry_id.startswith("payout-") and entry.resolves not in begun:
            continue
        if entry.resolves is None:
            begun[entry.entry_id] = entry
        else:
            ended[entry.resolves] = entry
    return tuple(_payout(entry, ended.get(entry_id)) for entry_id, entry in begun.items())


def _payout(entry: JournalEntry, ending: JournalEntry | None) -> Payout:
    state = PayoutState.ON_ITS_WAY
    if ending is not None:
        state = PayoutState.PAID if ending.state is EntryState.POSTED else PayoutState.CALLED_BACK
    return Payout(
        run_id=run_of(entry.memo),
        owner_id=entry.postings[0].party,
        amount=entry.postings[0].amount,
        state=state,
        entry=entry,
        ended_at=ending.at if ending is not None else None,
    )


@dataclass(frozen=True, slots=True)
class PayoutRun:
    """What one run comes to. ``state`` is on its way while anything of it is."""

    run_id: str
    owners: int
    amount: MicroDollars
    state: PayoutState
    begun_at: datetime


def payout_runs(made: Iterable[Payout]) -> tuple[PayoutRun, ...]:
    """Return every run in the order begun."""
    runs: dict[str, list[Payout]] = {}
    for payout in made:
        runs.setdefault(payout.run_id, []).append(payout)
    return tuple(
        PayoutRun(
            run_id=run_id,
            owners=len(parts),
            amount=MicroDollars(sum(each.amount for each in parts)),
            state=min((each.state for each in parts), key=list(PayoutState).index),
            begun_at=parts[0].entry.at,
        )
        for run_id, parts in runs.items()
    )


def owed_to_owners(entries: Iterable[JournalEntry]) -> Mapping[str, MicroDollars]:
    """Return each owner's posted balance, by owner: what is on its way to them included, what is paid not."""
    owed: defaultdict[str, int] = defaultdict(int)
    for entry in entries:
        if entry.state is EntryState.POSTED:
            for posting in entry.postings:
                if posting.account is Account.OWNER_PAYABLE:
                    owed[posting.party] -= posting.amount
    return {owner_id: MicroDollars(amount) for owner_id, amount in sorted(owed.items())}


def payable(
    owed_to: Mapping[str, MicroDollars], entries: Iterable[JournalEntry]
) -> Mapping[str, MicroDollars]:
    """Return what each owner can be paid now, by owner: more than zero, and not on its way already.

    Args:
        owed_to: Each owner's posted balance.
        entries: All entries of payouts at least, in the order of the books.
    """
    owed = Counter(dict(owed_to))
    for payout in payouts(entries):
        if payout.state is PayoutState.ON_ITS_WAY:
            owed[payout.owner_id] -= payout.amount
    return {owner_id: MicroDollars(owed[owner_id]) for owner_id in sorted(owed) if owed[owner_id] > 0}


def begin_run(
    run_id: str, owed_to: Mapping[str, MicroDollars], entries: Sequence[JournalEntry], *, at: datetime
) -> tuple[JournalEntry, ...]:
    """Return the entries that begin a run, by owner; none when the run was begun before.

    ``owed_to`` and ``entries`` are as for ``payable``.
    """
    made = payouts(entries)
    if any(payout.run_id == run_id for payout in made):
        return ()
    newest = {payout.owner_id: payout.entry.entry_id for payout in made}
    return tuple(
        pay_out(run_id, owner_id, balance, at=at, after=newest.get(owner_id))
        for owner_id, balance in payable(owed_to, entries).items()
    )


def end_run(
    run_id: str, entries: Sequence[JournalEntry], *, paid: bool, at: datetime
) -> tuple[JournalEntry, ...]:
    """Return the entries that end what is still on its way in a run: paid, or called back."""
    end = confirm if paid else void
    return tuple(
        end(payout.entry, at=at)
        for payout in payouts(entries)
        if payout.run_id == run_id and payout.state is PayoutState.ON_ITS_WAY
    )


def write_off(
    owner_id: str, entries: Sequence[JournalEntry], *, at: datetime, memo: str
) -> JournalEntry | None:
    """Return the posted entry by which we bear what an owner owes us, None where nothing is owed.

    It goes against the margin of the program that settled with the owner last. ``entries`` are the owner's.
    The id follows from the write-off before it, so of two made at once only one can be stored.
    """
    owed = sum(owed_by(each, owner_id) for each in entries if each.state is EntryState.POSTED)
    programs = [each.settles[2] for each in entries if each.settles is not None]
    if owed >= 0 or not programs:
        return None
    before = [each.entry_id for each in write_offs(entries)]
    return JournalEntry(
        entry_id=identity(_WRITTEN_OFF, owner_id, before[-1] if before else None),
        at=at,
        state=EntryState.POSTED,
        memo=memo,
        postings=(
            Posting(Account.OWNER_PAYABLE, owner_id, MicroDollars(owed)),
            Posting(Account.AGGREGATOR_MARGIN, programs[-1], MicroDollars(-owed)),
        ),
    )


_WRITTEN_OFF = "written_off"


def write_offs(entries: Sequence[JournalEntry]) -> tuple[JournalEntry, ...]:
    """Return the entries by which we bore what an owner owed, in the order of the books."""
    return tuple(each for each in entries if each.entry_id.startswith(f"{_WRITTEN_OFF}-"))


def paid_in_year(
    entries: Sequence[JournalEntry], year: int, zone_of: Mapping[str, ZoneInfo]
) -> Mapping[str, MicroDollars]:
    """Return what each owner was really paid in a calendar year where they live, by owner, for tax.

    ``zone_of`` is by owner; the year of one who is not named there is that of UTC.
    """
    paid: defaultdict[str, int] = defaultdict(int)
    for payout in payouts(entries):
        ended_at = payout.ended_at
        zone = zone_of.get(payout.owner_id, _UTC)
        if payout.state is PayoutState.PAID and ended_at and ended_at.astimezone(zone).year == year:
            paid[payout.owner_id] += payout.amount
    return {owner_id: MicroDollars(paid[owner_id]) for owner_id in sorted(paid)}


@dataclass(frozen=True, slots=True)
class ProgramPayment:
    """What a program paid us for one event or period; ``reference`` is the payer's, once per payment."""

    program_id: str
    period: str
    reference: str
    amount: MicroDollars  # negative where the program took money back


def receive(payment: ProgramPayment, *, at: datetime) -> JournalEntry:
    """Return the posted entry that clears the receivable by what really came in."""
    return JournalEntry(
        entry_id=identity("received", payment.program_id, payment.period, payment.reference),
        at=at,
        state=EntryState.POSTED,
        memo=f"Received for {payment.period}: {payment.reference}",
        postings=(
            Posting(Account.RECEIVED, received_for(payment.program_id, payment.period), payment.amount),
            Posting(Account.PROGRAM_RECEIVABLE, payment.program_id, MicroDollars(-payment.amount)),
        ),
    )


def received_for(program_id: str, period: str) -> str:
    """Return the party under which money for one event or period of a program is booked."""
    return f"{program_id}/{period}"


@dataclass(frozen=True, slots=True)
class Receivable:
    """What a program owed for one event or period, and what came in."""

    program_id: str
    period: str
    due: MicroDollars  # posted settlements; what is pending is not due yet
    received: MicroDollars
    rounded: MicroDollars  # what the payer's cents left, booked to the rounding account
    roundings: int  # how often that was booked

    @property
    def difference(self) -> MicroDollars:
        """Return what is still open; negative where more came in than was due."""
        return MicroDollars(self.due - self.received - self.rounded)

    @property
    def within_a_cent(self) -> bool:
        """Return whether what is open is less than any payer can pay or take back."""
        return 0 < abs(self.difference) < MICRO_DOLLARS_PER_CENT


def round_off(receivable: Receivable, *, at: datetime) -> JournalEntry:
    """Return the posted entry that clears what is open of a receivable by the rounding account.

    The id follows from how often that was done before, so of two made at once only one can be stored.

    Raises:
        ValueError: A cent or more is open, or nothing: that is no rounding.
    """
    program_id, period, rest = receivable.program_id, receivable.period, receivable.difference
    if not receivable.within_a_cent:
        raise ValueError(f"{rest} micro-dollars of {period} are no rounding; that is under one cent")
    return JournalEntry(
        entry_id=identity(_ROUNDED, program_id, period, str(receivable.roundings)),
        at=at,
        state=EntryState.POSTED,
        memo=f"Rounding to the payer's cent for {period}",
        postings=(
            Posting(Account.ROUNDING, received_for(program_id, period), rest),
            Posting(Account.PROGRAM_RECEIVABLE, program_id, MicroDollars(-rest)),
        ),
    )


_ROUNDED = "rounded"


def receivables(entries: Sequence[JournalEntry]) -> tuple[Receivable, ...]:
    """Return what was due, what came in and what was rounded off, by program and event or period."""
    due: defaultdict[tuple[str, str], int] = defaultdict(int)
    received: defaultdict[tuple[str, str], int] = defaultdict(int)
    rounded: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    settles_of = {entry.entry_id: entry.settles for entry in entries if entry.settles is not None}
    for entry in entries:
        if entry.state is not EntryState.POSTED:
            continue
        settles = entry.settles or settles_of.get(entry.corrects or "")
        for posting in entry.postings:
            if posting.account is Account.RECEIVED:
                program_id, _, period = posting.party.partition("/")
                received[program_id, period] += posting.amount
            elif posting.account is Account.ROUNDING and entry.entry_id.startswith(f"{_ROUNDED}-"):
                program_id, _, period = posting.party.partition("/")
                rounded[program_id, period].append(posting.amount)
            elif posting.account is Account.PROGRAM_RECEIVABLE and settles is not None:
                due[settles[2], settles[3]] += posting.amount
    return tuple(
        Receivable(
            *key,
            due=MicroDollars(due[key]),
            received=MicroDollars(received[key]),
            rounded=MicroDollars(sum(rounded[key])),
            roundings=len(rounded[key]),
        )
        for key in sorted(set(due) | set(received))
    )
