"""The two-line frame: what is signed, who signed it, and what is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from vpp.wire.signed import BadSignature, NotAKey, SigningKey, VerifyingKey, sign, split, verify
from vpp.wire.strict_json import MalformedMessage, encode

BYTES = 16_384
HOME = SigningKey(bytes(range(32)))
STRANGER = SigningKey(bytes(range(1, 33)))
BODY = b'{"schema":"vpp.ack/1","site_id":"s-7f3a"}'


def signature_line(header: dict[str, object], body: bytes = BODY, key: SigningKey = HOME) -> bytes:
    """Return what a sender with its own idea of the header would put on line 2."""
    from vpp.wire.signed import _ED25519, _base64url, _private

    head = _base64url(encode(header))
    return head + b".." + _base64url(_ED25519.sign(head + b"." + body, _private(key.seed)))


def test_signed_message_is_the_body_a_line_feed_and_what_joserfc_writes() -> None:
    message = sign(BODY, HOME, "s-7f3a")

    header = {"alg": "Ed25519", "b64": False, "crit": ["b64"], "kid": "s-7f3a"}
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": HOME.verifying_key.text, "d": d_of(HOME)})
    expected = jws.serialize_compact(header, BODY, key, algorithms=["Ed25519"])
    assert message == BODY + b"\n" + expected.encode()


def d_of(key: SigningKey) -> str:
    """Return a private key as a JWK spells it."""
    return VerifyingKey(key.seed).text


def test_signed_message_is_read_by_joserfc() -> None:
    body, line = sign(BODY, HOME, "s-7f3a").split(b"\n")

    public = OKPKey.import_key(Ed25519PublicKey.from_public_bytes(HOME.verifying_key.raw))
    read = jws.deserialize_compact(line, public, payload=body, algorithms=["Ed25519"])
    assert read.headers() == {"alg": "Ed25519", "b64": False, "crit": ["b64"], "kid": "s-7f3a"}


def test_message_names_its_signer_before_it_is_believed() -> None:
    message = split(sign(BODY, HOME, "s-7f3a"), max_bytes=BYTES)

    assert (message.kid, message.body) == ("s-7f3a", BODY)
    assert verify(message, HOME.verifying_key) == BODY


def test_another_key_or_another_body_is_a_bad_signature() -> None:
    message = sign(BODY, HOME, "s-7f3a")

    with pytest.raises(BadSignature):
        verify(split(message, max_bytes=BYTES), STRANGER.verifying_key)
    with pytest.raises(BadSignature):
        verify(split(message.replace(b"7f3a", b"7f3b"), max_bytes=BYTES), HOME.verifying_key)


def test_key_that_is_no_point_of_the_curve_verifies_nothing() -> None:
    with pytest.raises(BadSignature):
        verify(split(sign(BODY, HOME, "s-7f3a"), max_bytes=BYTES), VerifyingKey(b"\xff" * 32))


def test_one_signature_has_one_spelling() -> None:
    message = sign(BODY, HOME, "s-7f3a")
    # The last of 86 characters carries four spare bits; the other spellings decode to the same bytes.
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(message[-1])
    respelled = message[:-1] + alphabet[last ^ 1 : (last ^ 1) + 1]

    with pytest.raises(BadSignature, match="canonical"):
        verify(split(respelled, max_bytes=BYTES), HOME.verifying_key)


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA", "b64": False, "crit": ["b64"], "kid": "s-7f3a"},
        {"alg": "none", "b64": False, "crit": ["b64"], "kid": "s-7f3a"},
        {"alg": "Ed25519", "b64": True, "crit": ["b64"], "kid": "s-7f3a"},
        {"alg": "Ed25519", "b64": 0, "crit": ["b64"], "kid": "s-7f3a"},
        {"alg": "Ed25519", "crit": ["b64"], "kid": "s-7f3a"},
        {"alg": "Ed25519", "b64": False, "kid": "s-7f3a"},
        {"alg": "Ed25519", "b64": False, "crit": ["b64", "exp"], "kid": "s-7f3a"},
        {"alg": "Ed25519", "b64": False, "crit": ["b64"]},
        {"alg": "Ed25519", "b64": False, "crit": ["b64"], "kid": 7},
        {"alg": "Ed25519", "b64": False, "crit": ["b64"], "kid": ""},
    ],
)
def test_header_that_asks_for_something_else_is_malformed(header: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        split(BODY + b"\n" + signature_line(header), max_bytes=BYTES)


def test_header_in_another_order_is_taken() -> None:
    header: dict[str, object] = {"kid": "s-7f3a", "crit": ["b64"], "b64": False, "alg": "Ed25519"}

    message = split(BODY + b"\n" + signature_line(header), max_bytes=BYTES)

    assert verify(message, HOME.verifying_key) == BODY


@pytest.mark.parametrize(
    "message",
    [
        BODY,
        BODY + b"\n",
        sign(BODY, HOME, "s-7f3a") + b"\n",
        sign(BODY, HOME, "s-7f3a") + b"\nmore",
        sign(BODY, HOME, "s-7f3a").replace(b"\n", b"\r\n"),
        b"\n".join([BODY, sign(BODY, HOME, "s-7f3a")]),
        sign(BODY, HOME, "s-7f3a").replace(b"..", b".e30."),
        BODY + b"\n" + b"A" * 2_000 + b".." + b"A" * 86,
        b"x" * (BYTES + 1),
    ],
)
def test_frame_of_other_than_two_lines_is_never_believed(message: bytes) -> None:
    with pytest.raises((MalformedMessage, BadSignature)):
        verify(split(message, max_bytes=BYTES), HOME.verifying_key)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_never_a_signed_message(noise: bytes) -> None:
    for message in (noise, BODY + b"\n" + noise, noise + b"\n" + signature_line({})):
        with pytest.raises((MalformedMessage, BadSignature)):
            verify(split(message, max_bytes=BYTES), HOME.verifying_key)


def test_keys_travel_as_base64url_of_thirty_two_bytes() -> None:
    text = HOME.verifying_key.text

    assert VerifyingKey.from_text(text) == VerifyingKey.from_text(text + "=") == HOME.verifying_key
    for other in (text[:-1], text + "AAAA", "not a key", "", "ä" * 43, text[:-1] + "_"):
        with pytest.raises(NotAKey):
            VerifyingKey.from_text(other)
    with pytest.raises(NotAKey):
        SigningKey(b"short")
    with pytest.raises(NotAKey):
        VerifyingKey(b"short")


def test_private_key_never_shows_itself() -> None:
    assert repr(HOME) == "SigningKey(…)"


def test_signer_without_a_name_cannot_sign() -> None:
    with pytest.raises(NotAKey):
        sign(BODY, HOME, "")
