"""Signed messages: a JSON line, one LF, and a detached JWS over the exact bytes of the first line.

Knows keys, signatures and the two-line frame. Refuses to know what the first line says.

Source: RFC 7515 appendix F (detached), RFC 7797 (``b64=false``), RFC 9864 (alg ``Ed25519``).
"""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jws
from joserfc.jwk import OKPKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from vpp.wire.strict_json import MalformedMessage, encode, parse

KEY_BYTES = 32
LONGEST_JWS = 1_024
LONGEST_KID = 64

_JWS = re.compile(rb"([A-Za-z0-9_-]+)\.\.([A-Za-z0-9_-]{86})")


class BadSignature(Exception):
    """The signature was not made over these bytes by this key."""


class NotAKey(ValueError):
    """Raw bytes do not form an Ed25519 key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key: 32 raw bytes. It never shows itself in a repr."""

    seed: bytes

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_BYTES:
            raise NotAKey(f"a private key has {KEY_BYTES} raw bytes, not {len(self.seed)}")

    def __repr__(self) -> str:
        return "SigningKey(…)"

    @property
    def verifying_key(self) -> "VerifyingKey":
        """Return the public key that belongs to it."""
        return VerifyingKey(Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key: 32 raw bytes."""

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != KEY_BYTES:
            raise NotAKey(f"a public key has {KEY_BYTES} raw bytes, not {len(self.raw)}")

    @property
    def text(self) -> str:
        """Return the key as people exchange it: base64url without padding."""
        return urlsafe_b64encode(self.raw).rstrip(b"=").decode()

    @classmethod
    def from_text(cls, text: str) -> "VerifyingKey":
        """Return the key behind its base64url text, with or without padding.

        Raises:
            NotAKey: The text is not base64url of 32 bytes.
        """
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError) as error:
            raise NotAKey(f"{text[:60]!r} is not base64url of {KEY_BYTES} bytes") from error
        if len(raw) != KEY_BYTES or urlsafe_b64encode(raw).rstrip(b"=") != text.rstrip("=").encode():
            raise NotAKey(f"{text[:60]!r} is not base64url of {KEY_BYTES} bytes")
        return cls(raw)


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """A message split but not yet believed: its first line, who claims to have signed it, and the JWS."""

    body: bytes
    kid: str
    jws: bytes


def sign(body: bytes, key: SigningKey, kid: str) -> bytes:
    """Return the two-line message: the body, one LF, and its detached JWS."""
    header = _header_of(kid)
    signature = _ED25519.sign(header + b"." + body, _private(key.seed))
    return body + b"\n" + header + b".." + _base64url(signature)


def split(message: bytes, *, max_bytes: int) -> SignedMessage:
    """Return the parts of a two-line message, so that the key can be looked up by its ``kid``.

    Raises:
        MalformedMessage: Longer than ``max_bytes``, not exactly two lines, or a header other than alg
            Ed25519, b64 false, crit exactly ``["b64"]`` and a kid.
    """
    if len(message) > max_bytes:
        raise MalformedMessage(f"longer than {max_bytes} bytes")
    body, line_feed, signature = message.partition(b"\n")
    if not line_feed:
        raise MalformedMessage("not signed: no second line")
    parts = _JWS.fullmatch(signature) if len(signature) <= LONGEST_JWS else None
    if not parts:
        raise MalformedMessage("second line is not a detached JWS with an Ed25519 signature")
    return SignedMessage(body, _kid_of(parts[1]), signature)


def verify(message: SignedMessage, key: VerifyingKey) -> bytes:
    """Return the body after its signature was checked.

    Raises:
        BadSignature: The key did not sign these bytes.
    """
    header, _, encoded = message.jws.partition(b"..")
    signature = urlsafe_b64decode(encoded + b"==")
    # 86 characters carry four spare bits: only one spelling of a signature is taken.
    if _base64url(signature) != encoded:
        raise BadSignature(f"signature of {message.kid} is not canonical base64url")
    if not _ED25519.verify(header + b"." + message.body, signature, key.raw):
        raise BadSignature(f"signature does not match the key of {message.kid}")
    return message.body


def _base64url(raw: bytes) -> bytes:
    return urlsafe_b64encode(raw).rstrip(b"=")


@lru_cache(maxsize=65_536)  # one of each site that this process speaks for
def _header_of(kid: str) -> bytes:
    if not 1 <= len(kid) <= LONGEST_KID:
        raise NotAKey(f"a kid has 1 to {LONGEST_KID} characters, not {len(kid)}")
    return _base64url(encode({"alg": "Ed25519", "b64": False, "crit": ["b64"], "kid": kid}))


@lru_cache(maxsize=65_536)
def _kid_of(header: bytes) -> str:
    try:
        fields = parse(urlsafe_b64decode(header + b"=" * (-len(header) % 4)), max_bytes=LONGEST_JWS)
    except binascii.Error as error:
        raise MalformedMessage("JWS header is not base64url") from error
    if fields.get("alg") != "Ed25519" or fields.get("b64") is not False or fields.get("crit") != ["b64"]:
        raise MalformedMessage('JWS header has not alg Ed25519, b64 false and crit ["b64"]')
    kid = fields.get("kid")
    if type(kid) is not str or not 1 <= len(kid) <= LONGEST_KID:
        raise MalformedMessage("JWS header names no kid")
    return kid


@lru_cache(maxsize=65_536)
def _private(seed: bytes) -> OKPKey:
    return OKPKey.import_key(Ed25519PrivateKey.from_private_bytes(seed))


class _Ed25519:
    """The algorithm, as libraries have it; ``b64=false`` lets it run over the message as it stands."""

    # ``jws.serialize_compact`` reads, checks and encodes the same header for each message, which costs as
    # much as the signature. The algorithm object is joserfc's own; only the header's work is remembered.
    _signing = jws.JWSRegistry(algorithms=["Ed25519"]).get_alg("Ed25519")

    @classmethod
    def sign(cls, message: bytes, key: OKPKey) -> bytes:
        """Return the 64 bytes of the signature."""
        signature: bytes = cls._signing.sign(message, key)
        return signature

    @staticmethod
    def verify(message: bytes, signature: bytes, public_key: bytes) -> bool:
        """Return whether the key signed these bytes.

        A check is the dearest step of an acknowledgement, and libsodium's takes half the time of OpenSSL's.
        """
        try:
            crypto_sign_open(signature + message, public_key)
        except BadSignatureError:
            return False
        return True


_ED25519 = _Ed25519
