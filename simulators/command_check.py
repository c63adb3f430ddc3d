"""The first three checks of a command at a gateway: its words, its signature, the clock."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from vpp.domain.command import Action, Refusal
from vpp.domain.interval import to_epoch
from vpp.wire.gateway import Command, command_key, decode_command
from vpp.wire.signed import BadSignature, VerifyingKey, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

CLOCK_SLACK_S = 30
LONGEST_LEASE_S = 1800


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that gets no answer, because nothing in it can be trusted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A command that could be named and is refused by name."""

    event_id: str
    epoch: int
    sequence: int
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Trusted:
    """A well-formed command of this site, signed by a pinned key."""

    command: Command
    kid: str
    body: bytes


@lru_cache(maxsize=4096)  # many packets come more than once, and those who judge a home read them as well
def command_in(body: bytes) -> tuple[Command, Mapping[str, int]]:
    """Return the command that a body says, and how many of its fields no command has, by kind of message.

    Raises:
        MalformedMessage: It says none.
    """
    odd_fields = Counter[str]()
    return decode_command(body, site_id=None, unknown=odd_fields), odd_fields


def read_command(
    payload: bytes, *, site_id: str, keys: Mapping[str, VerifyingKey], unknown: Counter[str] | None = None
) -> Dropped | Refused | Trusted:
    """Return what a message on the command topic is worth: steps 1 and 2 of the protocol, in order.

    Fields that a command does not have are passed over, and counted in ``unknown``.
    """
    try:
        message = split(payload, max_bytes=GATEWAY_MESSAGE_BYTES)
    except MalformedMessage as malformed:
        return Dropped(malformed.reason)
    try:
        command, odd_fields = command_in(message.body)
    except MalformedMessage as malformed:
        named = command_key(message.body)
        return Dropped(malformed.reason) if named is None else Refused(*named, Refusal.BAD_PARAMETER)
    if unknown is not None:
        unknown.update(odd_fields)
    key = keys.get(message.kid)
    if key is None:
        return Refused(command.event_id, command.epoch, command.sequence, Refusal.UNKNOWN_KEY)
    try:
        verify(message, key)
    except BadSignature:
        return Dropped("bad_signature")
    if command.site_id != site_id:
        return Dropped("wrong_site")
    return Trusted(command, message.kid, message.body)


def clock_refusal(command: Command, *, now_s: int, clock_offset_ms: int | None) -> Refusal | None:
    """Return why the gateway's clock forbids a discharge, or None. A release asks no clock.

    Args:
        command: The trusted command.
        now_s: The gateway's own clock, whole seconds since 1970.
        clock_offset_ms: What the gateway knows of its clock's error; None when it knows nothing.
    """
    if command.action is Action.RELEASE:
        return None
    if clock_offset_ms is None or abs(clock_offset_ms) > CLOCK_SLACK_S * 1000:
        return Refusal.CLOCK_UNSURE
    issued_s, expires_s = to_epoch(command.issued_at), to_epoch(command.expires_at)
    if issued_s - now_s > CLOCK_SLACK_S:
        return Refusal.CLOCK_UNSURE
    if expires_s <= now_s:
        return Refusal.EXPIRED
    if expires_s - issued_s > LONGEST_LEASE_S:
        return Refusal.LEASE_TOO_LONG
    return None
