"""The site's key and the pseudonyms made with it."""

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.consent.keys import PSEUDONYM, Key, keys_home
from fer_id.errors import ConfigError


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "home" / "keys"
    first = Key.load(home, create=True)
    assert (home / "key").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o077 == 0
    content = (home / "key").read_bytes()
    assert Key.load(home, create=True).pseudonym("subject", "Anna") == first.pseudonym("subject", "Anna")
    assert (home / "key").read_bytes() == content
    assert Key.load(tmp_path / "other", create=True).pseudonym("subject", "Anna") != first.pseudonym("subject", "Anna")


def test_a_pseudonym_is_the_keyed_hash_of_kind_and_name() -> None:
    secret = bytes(range(32))
    expected = hmac.new(secret, b"subject\0Anna", hashlib.sha256).hexdigest()[:16]
    assert Key(secret).pseudonym("subject", "Anna") == f"s{expected}"


@given(name=st.text(max_size=40))
def test_every_name_gets_a_pseudonym_that_is_not_linked_between_kinds(name: str) -> None:
    key = Key(b"k" * 32)
    made = [key.pseudonym(kind, name) for kind in ("subject", "clip", "video")]
    assert [bool(PSEUDONYM.fullmatch(pseudonym)) for pseudonym in made] == [True, False, False]
    assert all(len(pseudonym) == 17 for pseudonym in made)
    assert len({pseudonym[1:] for pseudonym in made}) == 3


def test_one_name_composed_in_two_ways_is_one_child() -> None:
    key = Key(b"k" * 32)
    assert key.pseudonym("subject", "Ren\u00e9e") == key.pseudonym("subject", "Rene\u0301e")


def test_a_missing_open_or_damaged_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no key there"):
        Key.load(tmp_path)
    Key.load(tmp_path, create=True)
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="others may read it"):
        Key.load(tmp_path)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "key").write_text("abc\n")
    with pytest.raises(ConfigError, match="damaged"):
        Key.load(tmp_path)


def test_where_the_key_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FER_ID_KEYS", str(tmp_path / "a"))
    assert keys_home() == tmp_path / "a"
    monkeypatch.delenv("FER_ID_KEYS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    assert keys_home() == tmp_path / "c" / "fer_id"
