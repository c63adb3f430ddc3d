"""MQTT 3.1.1 on the byte level, as far as speed asks for it: publishes are read here, all else is left whole.

A general client library spends more time on a publish's frame than everything after it. Knows frames;
refuses to know connections, sessions and topics.

Source: MQTT 3.1.1, sections 2.2 (fixed header) and 3.3 (PUBLISH).
"""

from dataclasses import dataclass

PUBLISH = 3
LONGEST_LENGTH = 4  # bytes of the remaining length


class NotMqtt(ValueError):
    """Bytes that no MQTT peer sends; the connection is worth nothing any more."""


@dataclass(frozen=True, slots=True)
class Publish:
    """One publish of quality of service 0 or 1; ``number`` is what its confirmation names, or None."""

    topic: bytes
    payload: bytes
    retain: bool
    number: bytes | None

    @property
    def confirmation(self) -> bytes:
        """Return the PUBACK frame; empty for a publish that wants none."""
        return b"" if self.number is None else b"\x40\x02" + self.number


class FrameReader:
    """Cuts a stream into publishes and the frames of every other kind, which stay as they came."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._needed = 2  # bytes, until the next frame can be whole

    def read(self, data: bytes) -> tuple[list[Publish], bytes]:
        """Return the publishes that are whole now, and every other whole frame, one after the other.

        Raises:
            NotMqtt: A length of more than four bytes, or a publish that is too short for its topic.
        """
        self._unread += data
        if len(self._unread) < self._needed:  # a frame of megabytes is not looked through at each piece
            return [], b""
        stream = bytes(self._unread)
        publishes: list[Publish] = []
        others = bytearray()
        at = 0
        while (found := _frame(stream, at)) is not None:
            body, ends = found
            if ends > len(stream):
                self._needed = ends - at
                break
            if stream[at] >> 4 == PUBLISH and stream[at] & 0x06 <= 0x02:
                publishes.append(_publish(stream[at], stream[body:ends]))
            else:
                others += stream[at:ends]
            at = ends
        else:
            self._needed = len(stream) - at + 1
        del self._unread[:at]
        return publishes, bytes(others)


def _frame(stream: bytes, begins: int) -> tuple[int, int] | None:
    """Return where a frame's body begins and ends, perhaps past the stream; None while its length is torn."""
    length = 0
    for place in range(LONGEST_LENGTH):
        at = begins + 1 + place
        if at >= len(stream):
            return None
        length |= (stream[at] & 0x7F) << 7 * place
        if stream[at] < 0x80:
            return at + 1, at + 1 + length
    raise NotMqtt("a frame's length has more than four bytes")


def _publish(first: int, body: bytes) -> Publish:
    topic_ends = 2 + int.from_bytes(body[:2], "big")
    payload = topic_ends + (2 if first & 0x02 else 0)
    if payload > len(body) or len(body) < 2:
        raise NotMqtt("a publish is shorter than its topic")
    number = body[topic_ends:payload] if first & 0x02 else None
    return Publish(body[2:topic_ends], body[payload:], bool(first & 0x01), number)
