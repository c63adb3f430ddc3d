"""Signatures that cost nothing, for histories that are about something else than cryptography.

A stand-in signature is a hash of the message keyed with the public key: as long as a real one, wrong
for every other message and every other key, and refused everywhere a real one would be. Only what
of ``vpp.wire.signed`` touches Ed25519 is replaced, and only while the context lasts.
"""

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from vpp.wire import signed
from vpp.wire.signed import SigningKey


class HashedSignatures:
    """Signs and verifies as an algorithm object does; keys are their 32 raw public bytes."""

    @staticmethod
    def sign(message: bytes, public_key: bytes) -> bytes:
        """Return 64 bytes that depend on every bit of the message and the key."""
        return hashlib.blake2b(message, key=public_key).digest()

    @staticmethod
    def verify(message: bytes, signature: bytes, public_key: bytes) -> bool:
        """Return whether these bytes were made over the message with the key."""
        return hmac.compare_digest(hashlib.blake2b(message, key=public_key).digest(), signature)


@lru_cache(maxsize=4096)
def _public_of(seed: bytes) -> bytes:
    return SigningKey(seed).verifying_key.raw


@contextmanager
def hashed_signatures() -> Iterator[None]:
    """Let every signature of this process be a stand-in until the context ends."""
    replaced = {
        "_ED25519": HashedSignatures,
        "_private": _public_of,
    }
    before = {name: getattr(signed, name) for name in replaced}
    try:
        for name, stand_in in replaced.items():
            setattr(signed, name, stand_in)
        yield
    finally:
        for name, original in before.items():
            setattr(signed, name, original)
