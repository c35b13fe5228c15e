"""The releaser's key is created once, for its owner only, and its signature fits one content and one key."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fer_id.errors import ConfigError
from fer_id.release.signing import NAME, SignatureError, Signer, check_signature, fingerprint, own_fingerprint

# RFC 8032, section 7.1, test 2.
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_it_signs_as_the_standard_says() -> None:
    signer = Signer(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET)))
    assert (signer.public, signer.sign(b"\x72")) == (PUBLIC, SIGNATURE)
    check_signature(b"\x72", SIGNATURE, PUBLIC, "here")


@pytest.mark.parametrize(
    ("content", "signature", "public"),
    [
        (b"\x73", SIGNATURE, PUBLIC),
        (b"\x72", SIGNATURE[:-2] + "01", PUBLIC),
        (b"\x72", SIGNATURE, PUBLIC[:-2] + "0d"),
        (b"\x72", None, PUBLIC),
        (b"\x72", SIGNATURE, "no key"),
        (b"\x72", "", ""),
    ],
)
def test_another_content_signature_or_key_is_refused(content: bytes, signature: object, public: object) -> None:
    with pytest.raises(SignatureError):
        check_signature(content, signature, public, "here")


def test_the_key_is_made_once_for_its_owner(tmp_path: Path) -> None:
    home = tmp_path / "keys"
    with pytest.raises(ConfigError, match="no key there"):
        Signer.load(home)
    assert own_fingerprint(home) is None
    made = Signer.load(home, create=True)
    assert Signer.load(home, create=True).public == made.public
    assert own_fingerprint(home) == made.fingerprint == fingerprint(made.public)
    assert (home / NAME).stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in home.iterdir()] == [NAME]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Signer.load(tmp_path, create=True)
    (tmp_path / NAME).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Signer.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    (tmp_path / NAME).chmod(0o600)
    with pytest.raises(ConfigError, match="damaged"):
        Signer.load(tmp_path, create=True)
    assert (tmp_path / NAME).read_bytes() == content
