"""Ed25519 signatures (RFC 8032) of bundles by the releaser's key, which is created once beside the site's key.

Checksums alone detect damage. A signature detects forgery too, but only for a recipient who has the key's fingerprint
from the releaser: a bundle contains its public key, and so does a forged one.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from fer_id.consent.keys import create_secret, read_secret
from fer_id.errors import ConfigError, FerIdError

NAME = "release_key.pem"
FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class SignatureError(FerIdError):
    """Missing signature, or one of another content or by another key."""


class Signer:
    """Private key of the releaser, created once by :meth:`load`."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def load(cls, home: Path, *, create: bool = False) -> Signer:
        """Read ``home/release_key.pem`` (PKCS 8, not encrypted: everybody who can read the file can release).
        ``create`` makes a missing key, readable by its owner only. Raises ConfigError where the key is missing,
        readable by others, or damaged."""
        path = home / NAME
        if create:
            key = Ed25519PrivateKey.generate()
            create_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        content = read_secret(path, "no key there; `fer-id release` makes one with the first bundle")
        try:
            private = load_pem_private_key(content, password=None)
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{path}: damaged, expected an Ed25519 key (PEM); bring the original back")
        return cls(private)

    @property
    def public(self) -> str:
        """Public key, 64 hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    @property
    def fingerprint(self) -> str:
        """:func:`fingerprint` of the public key."""
        return fingerprint(self.public)

    def sign(self, content: bytes) -> str:
        """Return the signature of ``content``, hexadecimal."""
        return self._private.sign(content).hex()


def own_fingerprint(home: Path) -> str | None:
    """Return the fingerprint of this machine's release key; None where the key is missing or damaged."""
    try:
        return Signer.load(home).fingerprint
    except ConfigError:
        return None


def fingerprint(public: str) -> str:
    """Return the SHA-256 of a public key (32 bytes, hexadecimal) as 64 hexadecimal digits, for people to compare."""
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()


def check_signature(content: bytes, signature: object, public: object, where: str) -> None:
    """Raise SignatureError unless a signature of ``content`` under a public key is right, both hexadecimal."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(public)))
        key.verify(bytes.fromhex(str(signature)), content)
    except (ValueError, InvalidSignature):
        raise SignatureError(
            f"{where}: the signature is not of this content; it was changed since it was signed"
        ) from None
