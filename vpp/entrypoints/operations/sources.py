"""Who may signal an emergency, and the key that gateways pin."""

import base64
import hashlib
import re
import secrets
from dataclasses import replace
from http import HTTPStatus

from vpp.domain.access import Right
from vpp.domain.grid_event import GridSource, LimitRaise
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.granting import Began, Waiting, person_of, second_person
from vpp.entrypoints.operations.paging import page
from vpp.entrypoints.operations.starting import CONSOLE, megawatts
from vpp.wire.enrollment_file import read_public_key

OPENADR_PATH = "/openadr/3.1"
_SOURCE_NAME = re.compile(r"[a-z0-9-]{1,64}")


def key_text(raw: bytes) -> str:
    """Return raw key bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def show_keys(desk: Desk) -> Json:
    """Return what gateways pin: the controller's ``kid`` and ``public_key`` (base64url of 32 raw bytes)."""
    return {"kid": desk.keys.kid, "public_key": key_text(desk.keys.public_key)}


async def add_source(
    desk: Desk,
    *,
    name: str,
    key: str | None = None,
    max_mw: str = "0",
    client: bool | None = None,
    actor: str = "api",
) -> Json:
    """Let somebody send grid signals; the same name again replaces what was set.

    Lowering a limit holds at once. Raising it lets power through that waited for a second person, so it
    waits for one too: ``vpp source approve NAME``. So does the limit of a new source, and of one under
    another key or with a new client secret. Only whoever sets the controller up sets first limits alone:
    until its first event.

    Args:
        name: Its topic level and the ``kid`` of its signatures.
        key: Base64url of 32 raw bytes; None takes unsigned signals, unless it has a client secret: without a
            key such a source speaks over HTTP only.
        max_mw: Megawatts up to which its events are dispatched without a second person's approval.
        client: True makes a client secret, by which the source uses this controller as an OpenADR 3.1 VTN;
            the one before ends with its tokens. False ends it. None changes nothing.
        actor: Who says so.

    Returns:
        ``name, public_key, max_w`` (the limit now), ``raise_to_w, raise_asked_by, raise_asked_at`` (of a
        higher one that waits for a second person; None where none does), ``event_topic, receipt_topic,
        signals_path, added_at``; the path takes over HTTP what the topic takes, from a source with a key;
        ``openadr_path``, the base of the OpenADR API, None without a client secret; and, only where one was
        made, ``client_id, client_secret``: nobody can show it again.
    """
    if not _SOURCE_NAME.fullmatch(name):
        raise OperationRefused(f"source name {name[:70]!r} is not 1-64 of a-z, 0-9 and '-'")
    asked_w, now = _watts(max_mw), desk.clock.now()
    known = await _known(desk, name)
    secret = secrets.token_urlsafe(32) if client else None
    client_sha256 = sha256_of(secret) if secret else None
    if client is None and known is not None:
        client_sha256 = known.client_sha256
    raw = _key(desk, name, key, client=client_sha256 is not None)
    alone_w = asked_w if await _sets_up(desk, known) else _granted_w(known, raw, client_sha256)
    waits = LimitRaise(asked_w, actor, now) if asked_w > alone_w else None
    if waits is not None and known is not None and known.raise_asked is not None:
        before = known.raise_asked
        # The same wish of somebody else is no approval, and takes the first person's place from nobody.
        same = before.max_power_w == asked_w and _proofs(known.public_key, known.client_sha256) == _proofs(
            raw, client_sha256
        )
        waits = before if same else waits
    source = GridSource(name, raw, Watts(min(asked_w, alone_w)), now, waits, client_sha256)
    what = f"{asked_w / 1e6:g} MW, {_before(known, source)}" + (
        ", waits for a second person" if waits else ""
    )
    if client is not None:
        what += ", a new client secret" if client else ", no client secret"
    await desk.store.leave_trail([desk.trail_entry(actor, "add source", f"source:{name}", what)])
    await desk.store.add_source(source)
    desk.changed()
    return source_facts(source) | ({} if secret is None else {"client_id": name, "client_secret": secret})


def sha256_of(secret: str) -> bytes:
    """Return what is kept of a client secret; it is random, so nobody can try all that have this sum."""
    return hashlib.sha256(secret.encode()).digest()


async def _known(desk: Desk, name: str) -> GridSource | None:
    return next((each for each in await desk.store.sources() if each.name == name), None)


async def _sets_up(desk: Desk, known: GridSource | None) -> bool:
    """Return whether this is a first limit, before the controller's first event."""
    first = known is None or (known.max_power_w == 0 and known.raise_asked is None)
    return first and not await desk.store.histories()


def _granted_w(known: GridSource | None, key: bytes | None, client_sha256: bytes | None) -> Watts:
    """Return up to where a limit needs nobody else: what stands, for whoever could speak for it before."""
    if known is None:
        return Watts(0)
    before, after = _proofs(known.public_key, known.client_sha256), _proofs(key, client_sha256)
    anybody_before, anybody_after = not before, not after
    somebody_new = not anybody_before and (anybody_after or not after <= before)
    return Watts(0) if somebody_new else known.max_power_w


def _proofs(key: bytes | None, client_sha256: bytes | None) -> frozenset[bytes]:
    """Return by what a source proves itself; by nothing, anybody whom the broker lets may be it."""
    return frozenset(each for each in (key, client_sha256) if each is not None)


async def approve_source(
    desk: Desk, *, name: str, actor: str, login: str = "", password: str = "", claimed: bool = False
) -> Json:
    """Be the second person: let a source's higher limit hold.

    Whoever asked for it is the first person, under whatever name they came in; somebody else approves, with
    --as NAME and the password on standard input. Without a running service another user of the system will
    do.

    Args:
        name: The source.
        actor: Who asks.
        login: Login of whoever approves, with the right to; given after the limit was asked for it does not
            count.
        password: What proves the login.
        claimed: Nobody but the caller says who the actor is.

    Returns:
        What ``vpp source add`` answers, and ``approved_by``.
    """
    known = await _known(desk, name)
    if known is None:
        raise OperationRefused(
            f"source {name[:70]} is not known; vpp source list names all sources", HTTPStatus.NOT_FOUND
        )
    asked = known.raise_asked
    if asked is None:
        raise OperationRefused(
            f"no higher limit of source {name} waits for approval; nothing changed", HTTPStatus.CONFLICT
        )
    limit = Waiting(
        f"the limit of {asked.max_power_w / 1e6:g} MW for source {name}",
        f"vpp source approve {name}",
        {person_of(asked.actor): Began(asked.actor, "asked for", asked.asked_at)},
        anew="ask for another limit",
    )
    by = await second_person(
        desk, limit, right=Right.APPROVE, actor=actor, claimed=claimed, login=login, password=password
    )
    now = desk.clock.now()
    source = replace(known, max_power_w=asked.max_power_w, added_at=now, raise_asked=None)
    what = f"{asked.max_power_w / 1e6:g} MW, asked for by {asked.actor}, {_before(known, source)}"
    await desk.store.leave_trail([desk.trail_entry(by, "approve source", f"source:{name}", what)])
    await desk.store.add_source(source)
    desk.changed()
    return source_facts(source) | {"approved_by": by}


def _key(desk: Desk, name: str, text: str | None, *, client: bool) -> bytes | None:
    try:
        raw = None if text is None else read_public_key(text)
    except ValueError as failure:
        raise OperationRefused(f"--key {failure}") from failure
    if name == CONSOLE:
        # Whoever could sign as the console would be a person whom nobody sees.
        if raw not in (None, desk.keys.public_key) or client:
            detail = "source console signs with this controller's own key; leave --key and --client away"
            raise OperationRefused(detail)
        return desk.keys.public_key
    if raw is None and desk.production and not client:
        detail = f"source {name} has no key; in production every source signs: add --key, or --client"
        raise OperationRefused(detail)
    return raw


def _before(known: GridSource | None, source: GridSource) -> str:
    if known is None:
        return "new" if source.public_key is not None else "new, unsigned"
    key = "the same key" if known.public_key == source.public_key else "another key"
    return f"before {known.max_power_w / 1e6:g} MW, {key}"


def _watts(text: str) -> Watts:
    exact = megawatts(text)
    if exact is None:
        raise OperationRefused(f"--max-mw {text[:30]!r} is not a number of megawatts")
    if not exact.is_finite() or not 0 <= exact <= 10**11:
        raise OperationRefused(f"--max-mw {text[:30]} is not 0 to 100000 MW")
    return Watts(int(exact))


def source_facts(source: GridSource) -> Json:
    """Return one source as JSON; ``max_w`` in watts."""
    asked = source.raise_asked
    return {
        "name": source.name,
        "public_key": None if source.public_key is None else key_text(source.public_key),
        "max_w": source.max_power_w,
        "raise_to_w": None if asked is None else asked.max_power_w,
        "raise_asked_by": None if asked is None else asked.actor,
        "raise_asked_at": None if asked is None else instant(asked.asked_at),
        "event_topic": f"grid/v1/{source.name}/event",
        "receipt_topic": f"grid/v1/{source.name}/receipt",
        "signals_path": f"/api/v1/sources/{source.name}/signals",
        "openadr_path": None if source.client_sha256 is None else OPENADR_PATH,
        "added_at": instant(source.added_at),
    }


async def list_sources(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``sources``: everybody who may signal, by name; and ``next_cursor``."""
    found, following = page(await desk.store.sources(), lambda each: each.name, cursor=cursor, limit=limit)
    return {"sources": [source_facts(source) for source in found], "next_cursor": following}
