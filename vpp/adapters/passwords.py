"""Passwords as argon2id hashes."""

import argon2

_HASHER = argon2.PasswordHasher()  # its defaults are RFC 9106's low-memory choice


def hash_password(password: str) -> str:
    """Return a salted argon2id hash that names its own parameters."""
    return _HASHER.hash(password)


def password_matches(password_hash: str, password: str) -> bool:
    """Return whether the password made the hash; takes tens of milliseconds either way."""
    try:
        return _HASHER.verify(password_hash, password)
    except (argon2.exceptions.VerifyMismatchError, argon2.exceptions.InvalidHashError):
        return False
