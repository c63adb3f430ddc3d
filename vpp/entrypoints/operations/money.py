"""Money as owners and auditors see it: settlements, statements, and books that can be checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus

from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, GridEvent, is_test
from vpp.domain.interval import Interval
from vpp.domain.ledger import (
    HOME_CURRENCY,
    Account,
    JournalEntry,
    MixedCurrencies,
    balances,
    currencies,
    live_settlements,
    owed_by,
)
from vpp.domain.payout import payout_runs, payouts
from vpp.domain.program import Program, Terms
from vpp.domain.season_netting import in_order_of_time
from vpp.domain.settled_event import NoTerms
from vpp.domain.settlement import HourLine, Settlement, SettlementLine, totals_of
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.adjusting import adjusted_by
from vpp.entrypoints.operations.baseline_days import days_behind
from vpp.entrypoints.operations.carried import carried_wh
from vpp.entrypoints.operations.changed_amounts import corrections_of, with_corrections, write_off_facts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, percent_or_none, usd
from vpp.entrypoints.operations.disputes import own_disputes
from vpp.entrypoints.operations.events import departures_ever, event_state, settlement_facts
from vpp.entrypoints.operations.hour_reasons import reasons_of
from vpp.entrypoints.operations.owner_words import Counts, counting_sentence, what_counts
from vpp.entrypoints.operations.periods import period_facts
from vpp.entrypoints.operations.season_sums import season_facts
from vpp.money_ports import AlteredBooks
from vpp.stages.pay import accrue, pay
from vpp.stages.settle import UnknownProgram, settle, settle_later
from vpp.wire.evidence_check import exact
from vpp.wire.facts import GENESIS

ENGLISH = Language("en")

UNSUMMED = (AlteredBooks, MixedCurrencies)
"""What says that somebody changed the books, so that nothing of them may be summed."""


async def settle_event(desk: Desk, *, event_id: str) -> Json:
    """Settle one event from the readings there are now, and book it. Again changes nothing by itself.

    Returns:
        ``event_id`` and the settlement's totals as in ``vpp event show``.
    """
    history = await desk.history(event_id)
    state = event_state(history, desk.clock.now())
    if state in ("scheduled", "active"):
        raise OperationRefused(
            f"event {event_id} is {state}; it is settled after its end", HTTPStatus.CONFLICT
        )
    try:
        settlement = await settle(history, store=desk.store, programs=desk.programs, clock=desk.clock)
    except (NoTerms, UnknownProgram) as failure:
        raise OperationRefused(str(failure), HTTPStatus.CONFLICT) from failure
    if settlement is None:
        why = "is a test, which is never paid" if is_test(history) else "commanded no home"
        raise OperationRefused(f"event {event_id} {why}: there is nothing to settle", HTTPStatus.CONFLICT)
    later = await settle_later(settlement, store=desk.store, programs=desk.programs, clock=desk.clock)
    for run in (settlement, *later):
        await pay(run, books=desk.store, clock=desk.clock)
    await accrue(desk.programs, store=desk.store, clock=desk.clock)
    return {"event_id": event_id} | settlement_facts(desk, totals_of(settlement))


async def settle_ended(desk: Desk) -> Json:
    """Settle every event that is over, from the readings there are now, and book it.

    Returns:
        ``events``: one object as of ``vpp settle EVENT`` for each that has a settlement. ``unsettled``:
        ``event_id`` and ``reason`` of each that could not be; it stops no other.
    """
    settled: list[Json] = []
    unsettled: list[Json] = []
    for history in in_order_of_time(await desk.store.histories()):
        event_id = history.latest.event_id
        if event_state(history, desk.clock.now()) not in ("ended", "cancelled"):
            continue
        try:
            settlement = await settle(history, store=desk.store, programs=desk.programs, clock=desk.clock)
        except (NoTerms, UnknownProgram) as failure:
            unsettled.append({"event_id": event_id, "reason": str(failure)})
            continue
        if settlement is not None:
            await pay(settlement, books=desk.store, clock=desk.clock)
            settled.append({"event_id": event_id} | settlement_facts(desk, totals_of(settlement)))
    await accrue(desk.programs, store=desk.store, clock=desk.clock)
    return {"events": settled, "unsettled": unsettled}


async def show_statement(desk: Desk, *, owner_id: str, with_days: bool = True) -> Json:
    """Return all that an owner earned, with every number behind it.

    Args:
        owner_id: The owner.
        with_days: Whether to look up what each day behind a baseline metered.

    Returns:
        ``owner_id``, ``currency`` (that of every amount here, whose names end in ``_usd`` in any currency),
        ``sites``, and ``what_counts``, one sentence for each program (``counts``: the
        keys of its parts, and its cycles a year at most).
        ``events``: ``event_id, name, site_id, program_id, currency, time_zone, state, settled_at,
        starts_at, ends_at, meter, tariff, baseline_method, negative_policy, rate_usd_per_kwh,
        bonus_multiplier, owner_share, cap_kwh, cap_amount, minimum_amount`` (None: none),
        ``meter_accuracy_pct`` (how far what was metered may be off by the meter's class; None: unknown),
        ``event_s`` (its settled length), ``counts``,
        ``adjustment`` (what a grid meter's baseline was multiplied by) and ``adjusted_by`` (``hours``, what
        they ``metered_wh`` that day, ``usual_wh`` on the days behind the baseline, and ``lowest`` and
        ``highest``, the bounds of their ratio), ``carried_wh`` (of the season's earlier events, where it
        nets); both None where there is nothing to say or readings came since.
        ``hours, baseline_days, dropped_days, days_behind`` (``date`` and ``metered_wh`` of each hour: what
        the baseline is the average of; empty where readings came since); ``incremental_wh, paid_wh``
        (exact Wh, a fraction such as ``"37/3"`` as text); ``amount_usd``; ``booked_usd`` (what the ledger
        says); ``quality, reason, test, out_of_program``.
        ``hours`` of an event: ``starts_at``, ``fraction`` (part of the clock hour that counts),
        ``metered_wh, baseline_wh, incremental_wh`` (exact Wh), ``quality`` and, where it is not
        OK, ``reason`` (a sentence, such as ``no reading from`` one instant ``to`` another) with its parts
        ``because`` (``fault, from_at, until_at``).
        ``periods`` for programs that pay by the month, season or year: ``period, program_id, currency,
        site_id, state, paid_wh, amount_usd, booked_usd, how`` (a sentence), and the factors: ``average_kw``
        (exact) and its ``parts`` (``event_id, weight, kw``), ``rate_usd`` for each ``paid_for`` (``kW`` or
        ``Powerwall``), ``bonus_multiplier, owner_share, cap_amount, minimum_amount``; of a year's credit that
        is paid by the month ``month_of_year`` (1 to 12), ``to_date_usd`` (what the year has come to by its
        end) and ``before_usd`` (by its beginning), else None. ``seasons``: ``program_id, currency,
        season_starts_on, events, periods`` (numbers), and sums over both: ``incremental_wh``, ``paid_wh``
        (what counts, of events) and ``amount_usd``.
        ``corrections`` of an event or period: ``at, before_usd, after_usd, why`` (who, and what they said).
        ``disputes``: what was asked and answered, each as ``vpp dispute list`` shows it.
        ``write_offs``, debts that were borne: ``at, amount_usd, why``; ``entries`` of the ledger.
        ``pending_usd`` (not final), ``posted_usd`` (owed), ``on_its_way_usd`` (the part of it that a payout
        run has sent), ``paid_out_usd``; ``chain_head`` of the books, and ``chain_link``, which link of the
        chain it is: ``vpp ledger verify --head`` finds it there.
    """
    entries = await desk.store.entries(owner_id=owner_id)
    homes = await desk.store.enrollments(owner_ids=[owner_id])
    if not homes and not entries:
        raise OperationRefused(f"owner {owner_id} has no home and no entry here", HTTPStatus.NOT_FOUND)
    live = live_settlements(entries)
    lines, of_events = await _event_lines(desk, owner_id, live, with_days=with_days)
    counted = _what_counts(desk, homes, of_events)
    booked = {settles: owed_by(entry, owner_id) for settles, entry in live.items()}
    periods = await period_facts(desk, owner_id, homes, booked)
    corrected = corrections_of(entries, owner_id)
    link, head = await desk.store.newest_link()
    return {
        "owner_id": owner_id,
        "currency": next(iter(_by_currency(desk, entries)), None) or await _currency_of(desk, owner_id),
        "sites": [each.site_id for each in homes],
        "what_counts": " ".join(counting_sentence(ENGLISH, each) for each in counted),
        "counts": counted,
        "events": with_corrections(lines, owner_id, corrected),
        "periods": with_corrections(periods, owner_id, corrected),
        "seasons": season_facts(desk, lines, periods),
        "disputes": list(await own_disputes(desk, owner_id)),
        **_of_the_books(entries, owner_id),
        "chain_head": head,
        "chain_link": link,
    }


def _of_the_books(entries: Sequence[JournalEntry], owner_id: str) -> Json:
    found = balances(entries)
    owed = found.get((Account.OWNER_PAYABLE, owner_id))
    paid = found.get((Account.PAID_OUT, owner_id))
    sent = -paid.pending if paid else 0
    return {
        "entries": [_entry_facts(entry, owner_id) for entry in entries],
        "write_offs": write_off_facts(entries, owner_id),
        "pending_usd": usd((-owed.pending if owed else 0) + sent),
        "posted_usd": usd(-owed.posted if owed else 0),
        "on_its_way_usd": usd(sent),
        "paid_out_usd": usd(-paid.posted if paid else 0),
    }


async def _event_lines(
    desk: Desk,
    owner_id: str,
    live: Mapping[tuple[str, str, str, str], JournalEntry],
    *,
    with_days: bool,
) -> tuple[list[Json], list[Terms | None]]:
    """Return a statement's lines by event and home, and the terms of each event."""
    lines: list[Json] = []
    of_events: list[Terms | None] = []
    settlements = await desk.store.settlements(owner_id=owner_id)
    for settlement in settlements:
        history = await desk.history(settlement.event_id)
        version = _last_asking(history)
        program = desk.programs.get(settlement.program_id)
        terms = _terms(program, version.interval)
        of_events.append(terms)
        for line in settlement.lines:
            behind = await days_behind(desk, program, terms, line) if with_days else []
            carried = carried_wh(program, terms, line, settlements)
            reasons = await reasons_of(desk, terms, settlement, line)
            facts = {
                "hours": [_hour_facts(hour) | why for hour, why in zip(line.hours, reasons, strict=True)],
                "days_behind": behind,
                "adjusted_by": await adjusted_by(desk, program, terms, line, history, behind),
                "carried_wh": None if carried is None else exact(carried),
            }
            lines.append(_line_facts(desk, settlement, line, version, live) | facts)
    return lines, of_events


def _what_counts(desk: Desk, homes: Sequence[Enrollment], of_events: Sequence[Terms | None]) -> list[Counts]:
    """Return each sentence once: of the events' terms, or before the first event of today's."""
    said = [what_counts(each) for each in of_events if each is not None]
    if not said:
        today = (
            (program, desk.clock.now().astimezone(program.zone).date())
            for home in homes
            if (program := desk.programs.get(home.program_id)) is not None
        )
        terms = (program.terms_on(day) for program, day in today)
        said = [what_counts(each) for each in terms if each is not None]
    return list(dict.fromkeys(said))


async def _currency_of(desk: Desk, owner_id: str) -> str:
    """Return what an owner is paid in: enrolment keeps all homes of an owner to one currency."""
    homes = await desk.store.enrollments(owner_ids=[owner_id])
    return desk.currency(homes[0].program_id) if homes else HOME_CURRENCY


def _last_asking(history: EventHistory) -> GridEvent:
    """Return the last version that asked for something, flagged by what is true of the whole event."""
    version = next((each for each in reversed(history.versions) if each.steps), history.latest)
    return replace(version, out_of_program=departures_ever(history), test=is_test(history))


def _line_facts(
    desk: Desk,
    settlement: Settlement,
    line: SettlementLine,
    version: GridEvent,
    live: Mapping[tuple[str, str, str, str], JournalEntry],
) -> Json:
    key = (line.owner_id, line.site_id, settlement.program_id, settlement.event_id)
    booked = live.get(key)
    terms = _terms(desk.programs.get(settlement.program_id), version.interval)
    return {
        "event_id": settlement.event_id,
        "name": version.name,
        "site_id": line.site_id,
        "program_id": settlement.program_id,
        "currency": desk.currency(settlement.program_id),
        "time_zone": desk.time_zone(settlement.program_id),
        "state": settlement.state.value,
        "settled_at": instant(settlement.settled_at),
        "starts_at": instant(line.settled.starts_at) if line.settled else None,
        "ends_at": instant(line.settled.ends_at) if line.settled else None,
        **_terms_facts(terms),
        "counts": None if terms is None else what_counts(terms),
        "meter_accuracy_pct": percent_or_none(line.meter_accuracy_permille),
        "event_s": line.event_s,
        "adjustment": str(line.adjustment),
        "baseline_days": [day.isoformat() for day in line.baseline_days.chosen],
        "dropped_days": [
            {"date": day.isoformat(), "reason": reason} for day, reason in line.baseline_days.dropped
        ],
        "incremental_wh": exact(line.incremental_wh),
        "paid_wh": exact(line.paid_wh),
        "amount_usd": usd(line.amount),
        "booked_usd": usd(owed_by(booked, line.owner_id)) if booked else usd(0),
        "quality": line.quality.value,
        "reason": line.reason,
        "test": version.test,
        "out_of_program": list(version.out_of_program),
    }


def _terms_facts(terms: Terms | None) -> Json:
    """Return what of the terms leads from energy to money; None for each where they are not here."""
    if terms is None:
        return dict.fromkeys(_OF_TERMS)
    tariff = terms.tariff
    found = (
        terms.meter.value, tariff.rule.value, terms.baseline_method, terms.negative_policy.value,
        terms.rate.dollars_per_kwh, tariff.bonus, terms.owner_share, tariff.cap_kwh, tariff.cap_amount,
        tariff.minimum_amount or None,
    )  # fmt: skip
    return {name: None if each is None else str(each) for name, each in zip(_OF_TERMS, found, strict=True)}


_OF_TERMS = (
    "meter", "tariff", "baseline_method", "negative_policy", "rate_usd_per_kwh", "bonus_multiplier",
    "owner_share", "cap_kwh", "cap_amount", "minimum_amount",
)  # fmt: skip


def _terms(program: Program | None, interval: Interval | None) -> Terms | None:
    if program is None or interval is None:
        return None
    return program.terms_on(interval.starts_at.astimezone(program.zone).date())


def _hour_facts(hour: HourLine) -> Json:
    return {
        "starts_at": instant(hour.hour.starts_at),
        "fraction": str(hour.fraction),
        "metered_wh": hour.metered_wh,
        "baseline_wh": None if hour.baseline_wh is None else exact(hour.baseline_wh),
        "incremental_wh": exact(hour.incremental_wh),
        "quality": hour.quality.value,
    }


def _entry_facts(entry: JournalEntry, owner_id: str) -> Json:
    return {
        "entry_id": entry.entry_id,
        "at": instant(entry.at),
        "state": entry.state.value,
        "memo": entry.memo,
        "amount_usd": usd(owed_by(entry, owner_id)),
        "resolves": entry.resolves,
        "corrects": entry.corrects,
    }


async def verify_ledger(desk: Desk, *, head: str = "") -> Json:
    """Check the books: every entry and every account's sum, and the hash chain from its first link.

    Whoever deletes the newest facts together with their links leaves a chain that holds. A head that was
    published before then (``chain_head`` of a statement, an export or a bundle's ``manifest.json``) is in
    no link any more; while the books only grow it stays where it was.

    Args:
        head: A published head to look for; its first 16 digits, as a printed statement shows them, do.

    Returns:
        ``balanced`` (in each currency), ``entries, accounts`` (``posted_usd`` and ``pending_usd`` by account,
        of what is booked in US dollars), ``other_currencies`` (by currency: ``posted`` and ``pending`` by
        account), ``chain_holds, chain_head, differs`` (the first difference, or None). Where somebody
        changed an entry in the database so that the books cannot be added up, they are not ``balanced``,
        ``entries`` is None, and no account is summed. ``head_stands`` (whether the chain has that head) and
        ``published`` (``head``; ``link``, which one it is, from 1, or None; ``links``, how many there are
        now; ``says``, a sentence), both None where no head was asked for.
    """
    if head and not _HEAD.fullmatch(head.lower()):
        raise OperationRefused(
            f"head {head[:70]!r} is not 16 to 64 hexadecimal digits; "
            "it is chain_head of a statement, of vpp ledger export or of a bundle's manifest.json"
        )
    found = await _books_hold(desk)
    if not head:
        return found | {"head_stands": None, "published": None}
    published = await _published(desk, head.lower(), holds=bool(found["chain_holds"]))
    return found | {"head_stands": published["link"] is not None, "published": published}


_HEAD = re.compile(r"[0-9a-f]{16,64}")


async def _published(desk: Desk, head: str, *, holds: bool) -> Json:
    """Say where in the chain a head stands that somebody was given before."""
    number, links = await desk.store.link_with(head)
    if GENESIS.startswith(head):
        number = 0  # published before there was any link
    if number is None:
        says = (
            f"head {head[:16]} is not in these books of {links} links: since it was published something was "
            "deleted or changed, or it is of other books. Look for it in your backups: vpp restore FILE into "
            "an empty database, ask there again, and compare what vpp ledger export gives of both"
        )
    elif holds:
        says = (
            f"head {head[:16]} is link {number} of {links}: the books have only grown since it was published"
        )
    else:
        says = f"head {head[:16]} is link {number} of {links}, but what stands behind the links was changed"
    return {"head": head, "link": number, "links": links, "says": says}


async def _books_hold(desk: Desk) -> Json:
    differs = await desk.store.verify_chain()
    chain_holds = differs is None
    head = await desk.store.chain_head()
    try:
        entries = await desk.store.entries()
        in_currency = _by_currency(desk, entries)
    except UNSUMMED as failure:
        return {
            "balanced": False,
            "entries": None,
            "accounts": {},
            "other_currencies": {},
            "chain_holds": chain_holds,
            "chain_head": head,
            "differs": differs or str(failure),
        }
    balanced = all(sum(posting.amount for posting in entry.postings) == 0 for entry in entries) and all(
        sum(balance.posted for balance in found.values()) == sum(b.pending for b in found.values()) == 0
        for found in map(balances, in_currency.values())
    )
    if list(await desk.store.payout_runs()) != list(payout_runs(payouts(entries))):
        differs = differs or "what the database keeps of payout runs is not what was booked"
    return {
        "balanced": balanced,
        "entries": len(entries),
        "accounts": _account_facts(in_currency.pop(HOME_CURRENCY, []), "_usd"),
        "other_currencies": {
            currency: _account_facts(booked, "") for currency, booked in sorted(in_currency.items())
        },
        "chain_holds": chain_holds,
        "chain_head": head,
        "differs": differs,
    }


def _by_currency(desk: Desk, entries: Sequence[JournalEntry]) -> dict[str, list[JournalEntry]]:
    currency_of = {program_id: program.currency for program_id, program in desk.programs.items()}
    found: dict[str, list[JournalEntry]] = {}
    for entry, currency in zip(entries, currencies(entries, currency_of).values(), strict=True):
        found.setdefault(currency, []).append(entry)
    return found


def _account_facts(entries: Sequence[JournalEntry], unit: str) -> Json:
    found = balances(entries)
    return {
        account.value: {
            f"posted{unit}": usd(sum(each.posted for (name, _), each in found.items() if name is account)),
            f"pending{unit}": usd(sum(each.pending for (name, _), each in found.items() if name is account)),
        }
        for account in Account
    }
