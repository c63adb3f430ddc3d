"""The books as files: CSV with one posting per line, and text for beancount; and payments read back.

CSV of the ledger: ``entry_id, at`` (RFC 3339, UTC), ``state`` (``pending``, ``posted``, ``voided``),
``memo, account, party, amount`` (six decimals, debits positive), ``currency, owner_id, site_id,
program_id, period`` (where the entry settles), ``resolves, corrects``. CSV of a payout run: ``run_id,
owner_id, amount`` (two decimals), ``currency, reference`` (to be carried through the bank), ``state``.

A payments file, from the program: ``program_id, period`` (event id, month, season or year as the ledger
names it), ``reference`` (the payer's, once per payment), ``paid`` (money with at most two decimals). For
example::

    program_id,period,reference,paid
    elrp-a4-pge,ev-2026-09-09-1,ACH-20270331-17,1234.50
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from vpp.domain.ledger import Account, EntryState, JournalEntry, Posting, currencies
from vpp.domain.payout import Payout, ProgramPayment
from vpp.domain.quantities import MICRO_DOLLARS_PER_CENT, MicroDollars, dollars
from vpp.wire.strict_json import time_text
from vpp.wire.table import BadCell, BadFile, as_it_was, harmless, read_table, write_table

LEDGER = (
    "entry_id", "at", "state", "memo", "account", "party", "amount", "currency", "owner_id", "site_id",
    "program_id", "period", "resolves", "corrects",
)  # fmt: skip
PAYOUTS = ("run_id", "owner_id", "amount", "currency", "reference", "state")
PAYMENTS = ("program_id", "period", "reference", "paid")

_MONEY = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,2})?")
_BEANCOUNT = {
    Account.PROGRAM_RECEIVABLE: "Assets:Receivable",
    Account.RECEIVED: "Assets:Received",
    Account.PAID_OUT: "Assets:PaidOut",
    Account.OWNER_PAYABLE: "Liabilities:Payable",
    Account.AGGREGATOR_MARGIN: "Income:Margin",
    Account.ROUNDING: "Income:Rounding",
}


def exact_money(amount: int) -> str:
    """Return micro-dollars as money with all six decimals."""
    whole, part = divmod(abs(amount), 1_000_000)
    return f"{'-' if amount < 0 else ''}{whole}.{part:06d}"


def write_ledger_csv(entries: Sequence[JournalEntry], currency_of: Mapping[str, str]) -> bytes:
    """Return every posting of the books in their order. ``currency_of`` is by program id; else USD."""
    rows = []
    currency = currencies(entries, currency_of)
    for entry in entries:
        settles = entry.settles or ("", "", "", "")
        ends = (entry.resolves or "", entry.corrects or "")
        for posting in entry.postings:
            texts = (entry.memo, posting.account.value, posting.party)
            rows.append(
                (
                    entry.entry_id,
                    time_text(entry.at),
                    entry.state.value,
                    *(harmless(text) for text in texts),
                    exact_money(posting.amount),
                    currency[entry.entry_id],
                    *(harmless(text) for text in settles),
                    *ends,
                )
            )
    return write_table(LEDGER, rows)


def write_beancount(entries: Sequence[JournalEntry], currency_of: Mapping[str, str]) -> bytes:
    """Return the books as beancount text: what is posted with ``*``, what is pending still with ``!``.

    Pending entries that were posted or voided since are left out: their ends say what counts. An entry's
    time stands in its metadata; dates are those of UTC.
    """
    currency = currencies(entries, currency_of)
    ended = {entry.resolves for entry in entries if entry.resolves is not None}
    shown = [
        entry
        for entry in entries
        if entry.state is EntryState.POSTED
        or (entry.state is EntryState.PENDING and entry.entry_id not in ended)
    ]
    opened = {_account(posting): entry.at for entry in reversed(shown) for posting in entry.postings}
    lines = ['option "title" "VPP"', 'option "operating_currency" "USD"']
    lines += [f"{at:%Y-%m-%d} open {name}" for name, at in sorted(opened.items())]
    for entry in shown:
        flag = "*" if entry.state is EntryState.POSTED else "!"
        lines += ["", f'{entry.at:%Y-%m-%d} {flag} "{_quoted(entry.memo)}"']
        lines.append(f'  entry: "{entry.entry_id}"')
        lines.append(f'  at: "{time_text(entry.at)}"')
        for posting in entry.postings:
            money = f"{exact_money(posting.amount)} {currency[entry.entry_id]}"
            lines.append(f"  {_account(posting)}  {money}")
    return ("\n".join(lines) + "\n").encode()


def _account(posting: Posting) -> str:
    return f"{_BEANCOUNT[posting.account]}:{_component(posting.party)}"


def _component(party: str) -> str:
    """Return a party as part of an account's name, with a digest where a character had to be replaced."""
    plain = re.sub(r"[^A-Za-z0-9-]", "-", party)
    digest = "" if plain == party else f"-{hashlib.sha256(party.encode()).hexdigest()[:8]}"
    return f"P-{plain}{digest}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def write_payouts_csv(payouts: Iterable[Payout], currency_of: Mapping[str, str]) -> bytes:
    """Return the payouts of a run for the bank, one per owner. ``currency_of`` is by owner; else USD."""
    return write_table(
        PAYOUTS,
        (
            (
                harmless(each.run_id),
                harmless(each.owner_id),
                dollars(each.amount),
                currency_of.get(each.owner_id, "USD"),
                each.entry.entry_id,
                each.state.value,
            )
            for each in payouts
        ),
    )


def read_payments(content: bytes, *, file_name: str) -> dict[int, ProgramPayment]:
    """Return what a program says it paid, by the line of the file, in its order.

    Raises:
        BadFile: A line cannot be used, a reference stands twice, or there is no line at all.
    """
    table = read_table(content, file_name=file_name, required=PAYMENTS)
    found: dict[int, ProgramPayment] = {}
    keys: set[tuple[str, str, str]] = set()
    for line, row in table.rows():
        texts = {name: as_it_was(row[name].strip()) for name in PAYMENTS[:3]}
        try:
            for name, text in texts.items():
                if not (1 <= len(text) <= 128 and text.isprintable()):
                    raise BadCell(name, f"{text[:40]!r} is not a text of 1 to 128 printable characters")
            payment = ProgramPayment(**texts, amount=_money(row["paid"].strip()))
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
            continue
        key = (payment.program_id, payment.period, payment.reference)
        if key in keys:
            table.refuse(line, "reference", f"{payment.reference[:40]!r} stands twice for {payment.period}")
        keys.add(key)
        found[line] = payment
    table.require_faultless()
    if not found:
        raise BadFile([f"{file_name}:1: has a header and no payments below it"])
    return found


def _money(text: str) -> MicroDollars:
    if not _MONEY.fullmatch(text):
        raise BadCell("paid", f"{text[:40]!r} is not money such as 1234.50")
    whole, _, part = text.lstrip("-").partition(".")
    cents = int(whole) * 100 + int(part.ljust(2, "0"))
    return MicroDollars((-cents if text.startswith("-") else cents) * MICRO_DOLLARS_PER_CENT)
