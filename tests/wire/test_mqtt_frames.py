"""Publishes are cut out of a stream however it is torn; everything else passes unchanged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.wire.mqtt_frames import FrameReader, NotMqtt, Publish

PINGRESP, PUBACK, SUBACK = b"\xd0\x00", b"\x40\x02\x00\x07", b"\x90\x03\x00\x01\x01"
EXACTLY_ONCE = b"\x34\x07\x00\x01t\x00\x09hi"


def frame(publish: Publish) -> bytes:
    """Return a publish as a broker writes it."""
    first = 0x30 | (0x02 if publish.number is not None else 0) | publish.retain
    body = len(publish.topic).to_bytes(2, "big") + publish.topic + (publish.number or b"") + publish.payload
    length, size = bytearray(), len(body)
    while True:
        size, seven = divmod(size, 128)
        length.append(seven | (0x80 if size else 0))
        if not size:
            return bytes((first,)) + bytes(length) + body


publishes = st.builds(
    Publish,
    topic=st.binary(max_size=40),
    payload=st.binary(max_size=300),
    retain=st.booleans(),
    number=st.none() | st.binary(min_size=2, max_size=2),
)
frames = publishes | st.sampled_from([PINGRESP, PUBACK, SUBACK, EXACTLY_ONCE])


@given(sent=st.lists(frames, max_size=20), pieces=st.lists(st.integers(1, 50), min_size=1))
def test_a_stream_torn_anywhere_reads_as_it_was_sent(sent: list[Publish | bytes], pieces: list[int]) -> None:
    stream = b"".join(frame(each) if isinstance(each, Publish) else each for each in sent)
    reader, heard, others, at = FrameReader(), list[Publish](), b"", 0

    while at < len(stream):
        size = pieces[at % len(pieces)]
        some, rest = reader.read(stream[at : at + size])
        heard, others, at = heard + some, others + rest, at + size

    assert heard == [each for each in sent if isinstance(each, Publish)]
    assert others == b"".join(each for each in sent if isinstance(each, bytes))


def test_a_publish_that_wants_a_confirmation_names_it() -> None:
    assert Publish(b"t", b"x", False, b"\x01\x02").confirmation == b"\x40\x02\x01\x02"
    assert Publish(b"t", b"x", False, None).confirmation == b""


@pytest.mark.parametrize(
    "stream", [b"\x30\xff\xff\xff\xff\x01", b"\x30\x00", b"\x30\x03\x00\x09t", b"\x32\x03\x00\x01t"]
)
def test_what_no_peer_sends_is_refused(stream: bytes) -> None:
    with pytest.raises(NotMqtt):
        FrameReader().read(stream)
