"""Who may signal an emergency, and the key that gateways pin."""

import base64
import re

from vpp.domain.grid_event import GridSource
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.paging import page
from vpp.entrypoints.operations.starting import CONSOLE, megawatts
from vpp.wire.enrollment_file import read_public_key

_SOURCE_NAME = re.compile(r"[a-z0-9-]{1,64}")


def key_text(raw: bytes) -> str:
    """Return raw key bytes as base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def show_keys(desk: Desk) -> Json:
    """Return what gateways pin: the controller's ``kid`` and ``public_key`` (base64url of 32 raw bytes)."""
    return {"kid": desk.keys.kid, "public_key": key_text(desk.keys.public_key)}


async def add_source(
    desk: Desk, *, name: str, key: str | None = None, max_mw: str = "0", actor: str = "api"
) -> Json:
    """Let somebody send grid signals; the same name again replaces what was set.

    Who set which limit, and what it was before, stands in the trail: a higher one lets power through that
    waited for a second person.

    Args:
        name: Its topic level and the ``kid`` of its signatures.
        key: Base64url of 32 raw bytes; None takes unsigned signals.
        max_mw: Megawatts up to which its events are dispatched without a second person's approval.
        actor: Who says so.

    Returns:
        ``name, public_key, max_w, event_topic, receipt_topic, signals_path, added_at``; the path takes over
        HTTP what the topic takes, from a source with a key.
    """
    if not _SOURCE_NAME.fullmatch(name):
        raise OperationRefused(f"source name {name[:70]!r} is not 1-64 of a-z, 0-9 and '-'")
    max_power_w = _watts(max_mw)
    raw = _key(desk, name, key)
    source = GridSource(name, raw, max_power_w, desk.clock.now())
    known = {each.name: each for each in await desk.store.sources()}.get(name)
    what = f"{max_power_w / 1e6:g} MW, {_before(known, source)}"
    await desk.store.leave_trail([desk.trail_entry(actor, "add source", f"source:{name}", what)])
    await desk.store.add_source(source)
    desk.changed()
    return source_facts(source)


def _key(desk: Desk, name: str, text: str | None) -> bytes | None:
    try:
        raw = None if text is None else read_public_key(text)
    except ValueError as failure:
        raise OperationRefused(f"--key {failure}") from failure
    if name == CONSOLE:
        # Whoever could sign as the console would be a person whom nobody sees.
        if raw not in (None, desk.keys.public_key):
            raise OperationRefused("source console signs with this controller's own key; leave --key away")
        return desk.keys.public_key
    if raw is None and desk.production:
        raise OperationRefused(f"source {name} has no key; in production every source signs: add --key")
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
    return {
        "name": source.name,
        "public_key": None if source.public_key is None else key_text(source.public_key),
        "max_w": source.max_power_w,
        "event_topic": f"grid/v1/{source.name}/event",
        "receipt_topic": f"grid/v1/{source.name}/receipt",
        "signals_path": f"/api/v1/sources/{source.name}/signals",
        "added_at": instant(source.added_at),
    }


async def list_sources(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``sources``: everybody who may signal, by name; and ``next_cursor``."""
    found, following = page(await desk.store.sources(), lambda each: each.name, cursor=cursor, limit=limit)
    return {"sources": [source_facts(source) for source in found], "next_cursor": following}
