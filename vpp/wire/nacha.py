"""A payout run as a NACHA file: 94 characters a line, one batch of PPD credits, as US banks take by ACH.

The bank's numbers are not kept here: whoever pays brings them in a file, and they leave in the result only.
The accounts file is CSV: ``owner_id, name`` (of the account's holder)``, routing`` (nine digits)``, account``
(1 to 17 of 0-9, A-Z, a-z and -)``, kind`` (``checking`` or ``savings``). For example::

    owner_id,name,routing,account,kind
    o-19,Rosa Diaz,121000358,000123456789,checking

An entry's identification is the end of the payout's reference, so that a return finds its payout again. The
same run makes the same bytes.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vpp.wire.table import BadCell, BadFile, as_it_was, read_table

ACCOUNTS = ("owner_id", "name", "routing", "account", "kind")
WIDTH, BLOCK = 94, 10
MOST_CENTS = 10**10 - 1  # of one entry
_CREDIT = {"checking": "22", "savings": "32"}
_CREDITS_ONLY = "220"
_ACCOUNT = re.compile(r"[0-9A-Za-z-]{1,17}")
_SATURDAY = 5


class NotARoutingNumber(ValueError):
    """Nine digits that no US bank has: the last one checks the others."""


class NotNacha(ValueError):
    """A payout cannot be said in this format."""


@dataclass(frozen=True, slots=True)
class BankAccount:
    """Where an owner is paid. ``kind`` is ``checking`` or ``savings``."""

    name: str
    routing: str
    account: str
    kind: str


@dataclass(frozen=True, slots=True)
class Originator:
    """Who pays, and from which bank: its routing number, and the ten characters that it knows us by."""

    routing: str
    company_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Credit:
    """One owner's payout in cents."""

    owner_id: str
    cents: int
    reference: str


def require_routing(text: str) -> str:
    """Return a routing number. Raises NotARoutingNumber where its check digit does not fit."""
    if re.fullmatch(r"[0-9]{9}", text):
        weighed = sum(int(digit) * weight for digit, weight in zip(text, (3, 7, 1) * 3, strict=True))
        if weighed % 10 == 0 and text != "000000000":
            return text
        raise NotARoutingNumber(f"{text!r} is not a routing number: its last digit does not fit the others")
    raise NotARoutingNumber(f"{text[:20]!r} is not a routing number of nine digits")


def require_originator(routing: str, company_id: str, name: str) -> Originator:
    """Return who pays. Raises NotNacha, or NotARoutingNumber, where a bank could not know us by it."""
    if not re.fullmatch(r"[0-9A-Z]{10}", company_id):
        raise NotNacha(f"company id {company_id[:20]!r} is not ten of 0-9 and A-Z, as the bank gave it")
    if not _plain(name, 16).strip():
        raise NotNacha("the company's name is empty")
    return Originator(require_routing(routing), company_id, name)


def read_accounts(content: bytes, *, file_name: str) -> Mapping[str, BankAccount]:
    """Return where owners are paid, by owner.

    Raises:
        BadFile: A line cannot be used, or an owner stands twice.
    """
    table = read_table(content, file_name=file_name, required=ACCOUNTS)
    found: dict[str, BankAccount] = {}
    for line, row in table.rows():
        owner_id, name, routing, account, kind = (as_it_was(row[column].strip()) for column in ACCOUNTS)
        try:
            if not owner_id or owner_id in found:
                raise BadCell("owner_id", f"{owner_id[:40]!r} is empty or stands twice")
            if not _plain(name, 22).strip():
                raise BadCell("name", "is empty")
            if not _ACCOUNT.fullmatch(account):
                raise BadCell("account", "is not 1 to 17 of 0-9, A-Z, a-z and -")  # the number is not shown
            if kind not in _CREDIT:
                raise BadCell("kind", f"{kind[:40]!r} is not checking or savings")
            found[owner_id] = BankAccount(name, require_routing(routing), account, kind)
        except NotARoutingNumber as failure:
            table.refuse(line, "routing", str(failure))
        except BadCell as failure:
            table.refuse(line, failure.column_name, str(failure))
    table.require_faultless()
    return found


def write_nacha(
    paid: Sequence[Credit],
    accounts: Mapping[str, BankAccount],
    originator: Originator,
    *,
    begun_at: datetime,
) -> bytes:
    """Return the file for the bank, one entry for each owner, to be paid on the next weekday.

    Raises:
        BadFile: An owner has no account; each is named, and nothing is written.
        NotNacha: There is nobody to pay, or an amount that no entry holds.
    """
    absent = [each.owner_id for each in paid if each.owner_id not in accounts]
    if absent:
        raise BadFile([f"owner {owner_id} has no account in the file" for owner_id in absent])
    if not paid:
        raise NotNacha("nobody is paid in this run")
    for each in paid:
        if not 0 < each.cents <= MOST_CENTS:
            raise NotNacha(f"owner {each.owner_id}: {each.cents} cents are not an amount of one entry")
    entries = [
        _entry(number, each, accounts[each.owner_id], originator) for number, each in enumerate(paid, start=1)
    ]
    checked = sum(int(accounts[each.owner_id].routing[:8]) for each in paid) % 10**10
    cents = sum(each.cents for each in paid)
    control = f"{len(entries):06d}{checked:010d}{0:012d}{cents:012d}"
    lines = [
        _file_header(originator, begun_at),
        _batch_header(originator, begun_at),
        *entries,
        f"8{_CREDITS_ONLY}{control}{originator.company_id}{'':25}{originator.routing[:8]}{1:07d}",
    ]
    blocks = -(-(len(lines) + 1) // BLOCK)
    lines.append(f"9{1:06d}{blocks:06d}{len(entries):08d}{checked:010d}{0:012d}{cents:012d}".ljust(WIDTH))
    lines += ["9" * WIDTH] * (blocks * BLOCK - len(lines))
    assert all(len(line) == WIDTH for line in lines)
    return ("\n".join(lines) + "\n").encode("ascii")


def _file_header(originator: Originator, at: datetime) -> str:
    names = f"{'':23}{_plain(originator.name, 23)}"
    return f"101 {originator.routing}{originator.company_id}{at:%y%m%d%H%M}A094101{names}{'':8}"


def _batch_header(originator: Originator, at: datetime) -> str:
    paid_on = at.date() + timedelta(days=1)
    while paid_on.weekday() >= _SATURDAY:
        paid_on += timedelta(days=1)
    return (
        f"5{_CREDITS_ONLY}{_plain(originator.name, 16)}{'':20}{originator.company_id}PPD{'PAYOUT':10}"
        f"{at:%y%m%d}{paid_on:%y%m%d}   1{originator.routing[:8]}{1:07d}"
    )


def _entry(number: int, credit: Credit, account: BankAccount, originator: Originator) -> str:
    return (
        f"6{_CREDIT[account.kind]}{account.routing}{account.account:17}{credit.cents:010d}"
        f"{credit.reference[-15:]:15}{_plain(account.name, 22)}  0{originator.routing[:8]}{number:07d}"
    )


def _plain(text: str, width: int) -> str:
    """Return a text in the letters that ACH carries, as wide as its field."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^0-9A-Za-z .,&/'-]", " ", bare).upper()[:width].ljust(width)
