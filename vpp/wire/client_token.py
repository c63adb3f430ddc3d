"""The access token of a client of the OpenADR API: signed by the controller, opaque to everybody else.

Knows what a token says and how it is written. Refuses to know whether its client is still welcome.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime

from vpp.wire.signed import BadSignature, VerifyingKey, split, verify
from vpp.wire.strict_json import (
    MalformedMessage,
    encode,
    parse,
    require_schema,
    require_text,
    require_time,
    time_text,
)

SCHEMA = "vpp.client-token/1"
TOKEN_BYTES = 2048


@dataclass(frozen=True, slots=True)
class ClientToken:
    """Who may speak until when, and by which secret: a token ends with the secret it was given for."""

    source: str
    secret_sha256: bytes
    expires_at: datetime


def encode_token(token: ClientToken) -> bytes:
    """Return what the controller signs."""
    return encode(
        {
            "schema": SCHEMA,
            "source": token.source,
            "secret_sha256": token.secret_sha256.hex(),
            "expires_at": time_text(token.expires_at),
        }
    )


def token_text(signed: bytes) -> str:
    """Return a signed token as it stands after ``Bearer``."""
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def read_token(text: str, key: VerifyingKey) -> ClientToken | None:
    """Return what a token says, or None where ``key`` never signed it."""
    try:
        signed = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        body = parse(verify(split(signed, max_bytes=TOKEN_BYTES), key), max_bytes=TOKEN_BYTES)
        require_schema(body, SCHEMA)
        return ClientToken(
            require_text(body, "source"),
            bytes.fromhex(require_text(body, "secret_sha256")),
            require_time(body, "expires_at"),
        )
    except (MalformedMessage, BadSignature, binascii.Error, ValueError):
        return None
