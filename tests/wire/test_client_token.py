"""Access tokens of the OpenADR API: what was signed here is read again, and nothing else is."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.wire.client_token import ClientToken, encode_token, read_token, token_text
from vpp.wire.signed import SigningKey, sign

OURS, THEIRS = SigningKey(b"o" * 32), SigningKey(b"t" * 32)
TOKEN = ClientToken("caiso", bytes(range(32)), datetime(2026, 9, 10, 1, tzinfo=UTC))


def a_text(body: bytes | None = None, key: SigningKey = OURS) -> str:
    return token_text(sign(encode_token(TOKEN) if body is None else body, key, "vpp-1"))


def test_a_token_is_read_as_it_was_written() -> None:
    assert read_token(a_text(), OURS.verifying_key) == TOKEN


def test_a_changed_letter_or_another_key_makes_it_nobodys() -> None:
    text = a_text()
    signed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    assert read_token(a_text(key=THEIRS), OURS.verifying_key) is None
    for place in range(0, len(signed), 7):
        changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        assert read_token(token_text(changed), OURS.verifying_key) is None


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"schema":"vpp.command/1","source":"caiso"}',
        b'{"schema":"vpp.client-token/1","source":"caiso","secret_sha256":"zz","expires_at":"2026-09-10T01:00:00Z"}',
        b'{"schema":"vpp.client-token/1","source":"caiso","secret_sha256":"00","expires_at":"soon"}',
    ],
)
def test_what_the_controller_signs_for_others_is_no_token(body: bytes) -> None:
    assert read_token(a_text(body), OURS.verifying_key) is None


@given(st.text(max_size=400))
def test_any_text_is_no_token(text: str) -> None:
    assert read_token(text, OURS.verifying_key) is None
