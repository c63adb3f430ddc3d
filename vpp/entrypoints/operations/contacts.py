"""Where people are written to, in which language, and about what: their own choice, kept apart."""

import re
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType

from vpp.domain.notice import OPERATOR_KINDS, OWNER_KINDS, Contact, NoticeKind
from vpp.entrypoints.language import LANGUAGES
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none

MAIL = re.compile(r"[^\s@/:?#]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")
PUBLIC_SERVICES = re.compile(r"(ntfy|tgram|pover|discord|slack)://[A-Za-z0-9_@.:%/-]{3,200}")
"""What an owner may name: services at hosts of their own, so that no form makes us call a host of ours."""
RANK_MOST = 9
NAME_LETTERS_MOST = 40


async def contact_of(desk: Desk, party: str) -> Contact:
    """Return how somebody is written to; where nothing was ever kept: nowhere, in English."""
    return await desk.store.contact(party) or Contact(party)


async def speak(desk: Desk, *, owner_id: str, language: str) -> Json:
    """Choose an owner's language for pages and messages. Returns ``owner_id, language``."""
    if language not in LANGUAGES:
        raise OperationRefused(f"language {language[:20]!r} is none of {', '.join(LANGUAGES)}")
    await desk.store.keep_contact(replace(await contact_of(desk, owner_id), language=language))
    return {"owner_id": owner_id, "language": language}


async def name_home(desk: Desk, *, owner_id: str, site_id: str, name: str = "") -> Json:
    """Keep what an owner calls one of the homes; the owner's pages say it in place of the id.

    Args:
        owner_id: The owner.
        site_id: One of the owner's homes.
        name: Up to 40 letters on one line; empty: the id again.

    Returns:
        ``owner_id, site_id, name``.
    """
    homes = await desk.store.enrollments(owner_ids=[owner_id])
    if site_id not in {home.site_id for home in homes}:
        detail = f"owner {owner_id[:60]} has no home {site_id[:60]!r}; vpp site list names all owners"
        raise OperationRefused(detail, HTTPStatus.NOT_FOUND)
    name = name.strip()
    if len(name) > NAME_LETTERS_MOST or not name.isprintable():
        raise OperationRefused(f"name {name[:50]!r} is not up to {NAME_LETTERS_MOST} letters on one line")
    known = await contact_of(desk, owner_id)
    others = {site: called for site, called in known.home_names.items() if site != site_id}
    names = MappingProxyType(others | ({site_id: name} if name else {}))
    await desk.store.keep_contact(replace(known, home_names=names))
    return {"owner_id": owner_id, "site_id": site_id, "name": name}


async def keep_contact(
    desk: Desk, *, owner_id: str, address: str = "", language: str = "", muted: Sequence[str] = ()
) -> Json:
    """Keep where and about what an owner is written to, in place of what was kept.

    Args:
        owner_id: The owner.
        address: An e-mail address, or any address of apprise's, such as ``json://host``; empty: nowhere.
        language: ``en`` or ``es``; empty keeps it.
        muted: Kinds that are not written: ``scheduled, changed, starting, ended, paid``.

    Returns:
        What ``vpp owner messages`` has.
    """
    if not await desk.store.enrollments(owner_ids=[owner_id]):
        raise OperationRefused(f"owner {owner_id[:60]} has no home here; vpp site list names all owners")
    known = await contact_of(desk, owner_id)
    return await _keep(desk, known, address=address, language=language, muted=muted, kinds=OWNER_KINDS)


def _why_unsent(desk: Desk, address: str) -> str | None:
    """Return why nothing is sent there from here, ``no_messenger`` or ``no_mail``; None where it is."""
    if address and not desk.messenger:
        return "no_messenger"
    return "no_mail" if MAIL.fullmatch(address) and not desk.mail else None


def require_public_address(address: str) -> None:
    """Return only for what an owner may name on a page. Raises OperationRefused."""
    ours = address.startswith("ntfy://") and "/" in address.removeprefix("ntfy://")
    if address and (ours or not (MAIL.fullmatch(address) or PUBLIC_SERVICES.fullmatch(address))):
        raise OperationRefused(f"{address[:60]!r} is neither an e-mail address nor one of a known service")


async def keep_staff_contact(
    desk: Desk, *, name: str, address: str = "", language: str = "", muted: Sequence[str] = (), rank: int = 0
) -> Json:
    """Keep where somebody of the staff is told of alarms. Rank 0 first, the next when nobody answers.

    Args:
        name: Whom; any name.
        address: An e-mail address, or any address of apprise's; empty: nowhere.
        language: ``en`` or ``es``; empty keeps it.
        muted: Kinds that are not written: ``shortfall, feed_lost, approver_missing, mass_silence,
            signal_contested, two_gateways, record_lost, counters_doubted, question_waits, limit_waits``.
        rank: 0 to 9.

    Returns:
        What ``vpp owner messages`` has.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.@_-]{0,63}", name):
        raise OperationRefused(f"name {name[:70]!r} is not 1-64 of a-z, 0-9 and '.@_-'")
    if not 0 <= rank <= RANK_MOST:
        raise OperationRefused(f"rank {rank} is not 0 to {RANK_MOST}")
    known = replace(await contact_of(desk, f"staff:{name}"), rank=rank)
    return await _keep(desk, known, address=address, language=language, muted=muted, kinds=OPERATOR_KINDS)


async def _keep(
    desk: Desk,
    known: Contact,
    *,
    address: str,
    language: str,
    muted: Sequence[str],
    kinds: Sequence[NoticeKind],
) -> Json:
    words = [word for word in muted if word]
    unknown = [word for word in words if word not in kinds]
    if unknown:
        raise OperationRefused(f"{unknown[0][:30]!r} is none of {', '.join(kinds)}")
    if language and language not in LANGUAGES:
        raise OperationRefused(f"language {language[:20]!r} is none of {', '.join(LANGUAGES)}")
    if address and not MAIL.fullmatch(address) and not re.match(r"[a-z]{2,12}://\S{1,500}$", address):
        raise OperationRefused(f"address {address[:60]!r} is neither an e-mail address nor scheme://…")
    contact = replace(
        known,
        address=address,
        language=language or known.language,
        muted=frozenset(NoticeKind(word) for word in words),
    )
    await desk.store.keep_contact(contact)
    return contact_facts(contact)


def contact_facts(contact: Contact) -> Json:
    """Return one contact as JSON: ``party, address, language, muted, rank, home_names`` by site id."""
    return {
        "party": contact.party,
        "address": contact.address,
        "language": contact.language,
        "muted": sorted(contact.muted),
        "rank": contact.rank,
        "home_names": dict(contact.home_names),
    }


async def show_contact(desk: Desk, *, owner_id: str) -> Json:
    """Return where an owner is written to, and what was written.

    Returns:
        ``party, address, language, muted, rank, home_names``; ``unsent``: ``no_messenger`` or ``no_mail``
        where nothing is sent there from here, else null; ``time_zone``; ``notices``: ``at, kind, subject,
        facts, sent_at, trouble, given_up``, the newest first.
    """
    written = await desk.store.notices_of(owner_id, limit=50)
    contact = await contact_of(desk, owner_id)
    return contact_facts(contact) | {
        "unsent": _why_unsent(desk, contact.address),
        "time_zone": desk.staff_zone,
        "notices": [
            {
                "at": instant(notice.at),
                "kind": notice.kind.value,
                "subject": notice.subject,
                "facts": dict(notice.facts),
                "sent_at": instant_or_none(delivery.sent_at),
                "trouble": delivery.trouble,
                "given_up": delivery.given_up,
            }
            for notice, delivery in written
        ],
    }
