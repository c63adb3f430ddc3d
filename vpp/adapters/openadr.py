"""Grid signals over the broker or HTTP: OpenADR 3.1 notifications in, signed receipts out.

Knows the topics of grid sources and whose signature a source needs. Refuses to know what was said
before; that is the stage's and the store's.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from vpp.domain.grid_event import GridSource, RawSignal, Receipt, Signal
from vpp.ports import Keys, Malformed, Packet, Transport
from vpp.wire.openadr import decode_notification, encode_receipt, refuse_notification
from vpp.wire.signed import BadSignature, VerifyingKey, split, verify
from vpp.wire.strict_json import GRID_MESSAGE_BYTES, MalformedMessage

EVENT_FILTER = "grid/v1/+/event"
BAD_SIGNATURE = "bad_signature"
UNKNOWN_KEY = "unknown_key"
SOURCE_WITHOUT_KEY = "source_without_key"

_EVENT_TOPIC = re.compile(r"grid/v1/([^/+#]{1,64})/event")


def event_topic(source: str) -> str:
    """Return the topic on which a grid source signals."""
    return f"grid/v1/{source}/event"


def posted_topic(source: str) -> str:
    """Return what a signal that came over HTTP is kept under; it is no topic of the broker."""
    return f"http/v1/{source}/event"


def client_topic(source: str) -> str:
    """Return what an event told to the OpenADR API is kept under; the client was known when it came."""
    return f"openadr/v1/{source}/event"


def polled_topic(source: str) -> str:
    """Return what an event that was fetched from a VTN is kept under; TLS says whose VTN it was."""
    return f"vtn/v1/{source}/event"


def receipt_topic(source: str) -> str:
    """Return the topic on which a grid source is answered."""
    return f"grid/v1/{source}/receipt"


def source_of(topic: str) -> str | None:
    """Return the source that a signal's topic names, or None for any other topic."""
    found = _EVENT_TOPIC.fullmatch(topic)
    return found[1] if found else None


class OpenAdrFeed:
    """The wire to the grid operators, on a broker connection that it shares."""

    def __init__(self, transport: Transport, keys: Keys) -> None:
        self._transport = transport
        self._keys = keys

    def decode(
        self, raw: RawSignal, source: GridSource, unknown: Counter[str] | None = None
    ) -> Signal | Malformed:
        """Return the signal after size, shape and signature were checked.

        A source with a key must sign, under its own name as ``kid``. One without may send the bare
        JSON; a second line with a signature is then nobody's word and is passed over. ``unknown`` counts
        fields that the standard does not have.

        A broker knows whom it lets publish; HTTP lets in anybody who reaches the port, a foreign page in an
        operator's browser too. There a source must have a key, and nothing but its signature vouches for it.
        A client of the OpenADR API proved itself before its words were kept; without a key it has no other
        way to speak. What was fetched from a VTN came from there.
        """
        if raw.topic in (client_topic(source.name), polled_topic(source.name)):
            return decode_notification(raw.payload, source=source.name, unknown=unknown)
        if source.public_key is None and (source.client_sha256 is not None or not _by_broker(raw)):
            return Malformed(SOURCE_WITHOUT_KEY, source.name, vouched=False)
        try:
            message = split(raw.payload, max_bytes=GRID_MESSAGE_BYTES)
        except MalformedMessage as malformed:
            if source.public_key is None:
                return decode_notification(raw.payload, source=source.name, unknown=unknown)
            first_line = raw.payload.partition(b"\n")[0]
            # Of one that is too long the signature, right or wrong, was not looked at.
            too_long = len(raw.payload) > GRID_MESSAGE_BYTES
            return _refuse(first_line, raw, malformed.reason if too_long else BAD_SIGNATURE)
        if source.public_key is None:
            return decode_notification(message.body, source=source.name, unknown=unknown)
        if message.kid != source.name:
            return _refuse(message.body, raw, UNKNOWN_KEY)
        try:
            verify(message, VerifyingKey(source.public_key))
        except BadSignature:
            return _refuse(message.body, raw, BAD_SIGNATURE)
        return decode_notification(message.body, source=source.name, unknown=unknown)

    async def answer(self, receipts: Sequence[Receipt]) -> None:
        """Sign and send receipts to their sources."""
        await self._transport.send(
            [Packet(receipt_topic(each.source), signed_receipt(each, self._keys)) for each in receipts]
        )


def signed_receipt(receipt: Receipt, keys: Keys) -> bytes:
    """Return the answer as a source reads it; the same receipt gives the same bytes each time."""
    return keys.sign(encode_receipt(receipt))


def _refuse(body: bytes, raw: RawSignal, reason: str) -> Malformed:
    """Return why a signal is not believed; the broker vouches for whoever may publish on its topics."""
    return replace(refuse_notification(body, source=raw.source, reason=reason), vouched=_by_broker(raw))


def _by_broker(raw: RawSignal) -> bool:
    return source_of(raw.topic) is not None
