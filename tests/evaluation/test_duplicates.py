"""Leakage audit against brute force, on pictures changed on purpose, and on the real FER2013."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fer_id.evaluation.duplicates import (
    SHIFT,
    Duplicates,
    find_duplicates,
    fingerprint,
    hamming_pairs,
    shifted_correlation,
)
from fer_id.evaluation.duplicates_summary import label_conflicts, summarise

Gray = NDArray[np.uint8]


def photo(seed: int, side: int = 64) -> Gray:
    """Draw smooth noise with the coarse structure of a photograph."""
    coarse = np.random.default_rng(seed).normal(size=(7, 7))
    large = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(20 + 200 * (large - large.min()) / np.ptp(large), np.uint8)


def jpeg(image: Gray) -> Gray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)


def moved(image: Gray) -> Gray:
    return np.asarray(cv2.warpAffine(image, np.array([[1.0, 0, 1], [0, 1, -1]]), image.shape, borderMode=1))


def darker(image: Gray) -> Gray:
    return (image * 0.6).astype(np.uint8)


def marked(image: Gray) -> Gray:
    """Add a half-transparent watermark, as on previews of image banks."""
    text = np.zeros_like(image)
    cv2.putText(text, "stock", (8, 54), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255)
    return np.where(text > 0, 0.7 * image + 0.3 * text, image).astype(np.uint8)


def groups(images: list[Gray], **settings: float) -> list[int]:
    return find_duplicates(fingerprint(images), **settings).group.tolist()  # type: ignore[arg-type]


def test_equal_pixels_are_one_content_in_any_memory_layout() -> None:
    duplicates = find_duplicates(fingerprint([photo(0), photo(1), photo(0).copy(), np.asfortranarray(photo(1))]))
    assert duplicates.content.tolist() == [0, 1, 0, 1]
    assert not len(duplicates.near)


def test_one_changed_pixel_is_another_content_but_the_same_group() -> None:
    other = photo(0)
    other[3, 3] ^= 1
    duplicates = find_duplicates(fingerprint([photo(0), other]))
    assert duplicates.content.tolist() == [0, 1]
    assert duplicates.near.tolist() == [[0, 1]]
    assert duplicates.group.tolist() == [0, 0]


@pytest.mark.parametrize("change", [jpeg, moved, darker, marked])
@pytest.mark.parametrize("seed", range(5))
def test_a_changed_photograph_is_detected(change, seed: int) -> None:
    assert groups([photo(seed), photo(seed + 100), change(photo(seed))]) == [0, 1, 0]


def test_different_pictures_stay_apart() -> None:
    assert groups([photo(seed) for seed in range(200)]) == list(range(200))


def test_colour_and_gray_of_one_picture_are_near_but_not_identical() -> None:
    duplicates = find_duplicates(fingerprint([photo(0), np.repeat(photo(0)[..., None], 3, axis=2)]))
    assert duplicates.content.tolist() == [0, 1]
    assert duplicates.group.tolist() == [0, 0]


def test_constant_images_are_identical_to_their_like_and_near_to_nothing() -> None:
    images = [np.full((64, 64), value, np.uint8) for value in (0, 0, 255)]
    almost = images[0].copy()
    almost[0, 0] = 255  # no constant, but its centre is
    duplicates = find_duplicates(fingerprint([*images, almost, photo(0)]))
    assert duplicates.constant.tolist() == [True, True, True, False, False]
    assert duplicates.group.tolist() == [0, 0, 1, 2, 3]


def test_groups_are_transitive() -> None:
    chain = [photo(0)]
    for _ in range(4):
        chain.append(moved(chain[-1]))
    duplicates = find_duplicates(fingerprint(chain))
    assert (0, 4) not in {tuple(pair) for pair in duplicates.near.tolist()}
    assert set(duplicates.group.tolist()) == {0}


def test_between_compares_across_keys_only() -> None:
    images = [photo(0), moved(photo(0)), jpeg(photo(0))]
    duplicates = find_duplicates(fingerprint(images), between=["anna", "anna", "ben"])
    assert {tuple(pair) for pair in duplicates.near.tolist()} <= {(0, 2), (1, 2)}
    apart = find_duplicates(fingerprint(images[:2]), between=["anna", "anna"])
    assert apart.group.tolist() == [0, 1]


def test_between_sees_a_content_that_two_keys_share() -> None:
    """The twin has the key of a copy, not of the content's first appearance."""
    images = [photo(0), photo(0), jpeg(photo(0))]
    duplicates = find_duplicates(fingerprint(images), between=["anna", "ben", "anna"])
    assert duplicates.group.tolist() == [0, 0, 0]


def test_no_image_gives_no_group() -> None:
    duplicates = find_duplicates(fingerprint([]))
    assert duplicates.group.shape == (0,)
    summary = summarise(duplicates, [], [], [])
    assert (summary["groups"]["largest"], summary["conflicts"]) == (0, [])


def test_hashes_equal_those_of_imagehash() -> None:
    prints = fingerprint([photo(3)])
    expected = imagehash.phash(Image.fromarray(prints.thumbnails[0])).hash
    assert np.unpackbits(prints.hashes.view(np.uint8)).tolist() == expected.ravel().tolist()


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 64), st.integers(1, 4))
def test_hamming_pairs_equal_brute_force(values: list[int], radius: int, kinds: int) -> None:
    hashes, keys = np.array(values, np.uint64), np.arange(len(values)) % kinds
    pairs = itertools.combinations(range(len(values)), 2)
    brute = {(i, j) for i, j in pairs if (values[i] ^ values[j]).bit_count() <= radius}
    assert set(hamming_pairs(hashes, radius)) == brute
    assert set(hamming_pairs(hashes, radius, keys)) == {(i, j) for i, j in brute if keys[i] != keys[j]}


def test_hamming_pairs_work_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.arange(50, dtype=np.uint64)
    whole = set(hamming_pairs(hashes, 2))
    monkeypatch.setattr("fer_id.evaluation.duplicates._COMPARED_AT_ONCE", 130)
    pairs = list(hamming_pairs(hashes, 2))
    assert (set(pairs), len(pairs)) == (whole, len(whole))


@pytest.mark.parametrize("seed", range(3))
def test_shifted_correlation_is_the_best_pearson_correlation(seed: int) -> None:
    image, other = photo(seed, 32), photo(seed + 50, 32)
    inner = other[SHIFT:-SHIFT, SHIFT:-SHIFT]
    windows = np.lib.stride_tricks.sliding_window_view(image, inner.shape).reshape(-1, inner.size)
    best = max(np.corrcoef(window, inner.ravel())[0, 1] for window in windows)
    assert shifted_correlation(image, other) == pytest.approx(best, abs=1e-4)


def test_shifted_correlation_sees_half_pixels() -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8), (0, 0), 1.2)
    halves = [cv2.resize(noise[y : y + 60, 1:61], (30, 30), interpolation=cv2.INTER_AREA) for y in (1, 2)]
    assert shifted_correlation(*halves) > 0.97


def hand_made() -> Duplicates:
    """Return contents 0 0 0 1 2 3, of which 1 and 2 are near; image 5 is constant."""
    return Duplicates(
        content=np.array([0, 0, 0, 1, 2, 3]),
        near=np.array([[1, 2]]),
        group=np.array([0, 0, 0, 1, 1, 2]),
        constant=np.array([False] * 5 + [True]),
    )


def test_summary_counts_by_kind_and_split() -> None:
    splits = ["train", "train", "test", "test", "train", "train"]
    labels = ["happy", "sad", "happy", "fear", "fear", None]
    summary = summarise(hand_made(), list("abcdef"), splits, labels)
    assert summary["images"] == {"test": 2, "train": 4}
    assert summary["constant"] == {"test": 0, "train": 1}
    kinds = ("repeats", "repeated", "repeated_under_two_labels")
    assert summary["byte_identical"]["within"] == {"test": dict.fromkeys(kinds, 0), "train": dict.fromkeys(kinds, 1)}
    assert summary["byte_identical"]["across"] == {"test in train": 1, "train in test": 2}
    assert summary["near_identical"]["across"] == {"test in train": 1, "train in test": 1}
    assert summary["near_identical"]["within"] == {"test": {"images": 0}, "train": {"images": 0}}
    assert summary["groups"] == {"of_two_or_more": 2, "largest": 3}
    assert [entry["images"][0]["id"] for entry in summary["conflicts"]] == ["a"]


def test_conflicts_tell_equal_from_similar_and_ignore_the_unlabelled() -> None:
    def kinds(labels: list[str | None]) -> list[str]:
        return [entry["kind"] for entry in label_conflicts(hand_made(), list("abcdef"), ["train"] * 6, labels)]

    assert kinds(["happy", "happy", None, "sad", "fear", "fear"]) == ["near_identical"]
    assert kinds(["happy", None, "sad", "sad", "sad", "fear"]) == ["byte_identical"]
    assert kinds([None, None, None, "sad", None, None]) == []


@pytest.fixture(scope="module")
def fer2013(shared_data: Path) -> tuple[dict, Duplicates]:
    from data_modules.fer2013 import read_csv
    from fer_id.preprocessing.alignment import align

    names: list[tuple[str, str, str]] = []

    def crops() -> Iterator[Gray]:
        for _, still in read_csv(shared_data / "fer2013" / "fer2013.csv.gz"):
            names.append((still.clip_id, still.split, still.label))
            yield align(still.image, None)[0]

    duplicates = find_duplicates(fingerprint(crops()))
    return summarise(duplicates, *zip(*names, strict=True)), duplicates


@pytest.mark.slow
def test_real_byte_identical_images_are_those_known(fer2013: tuple[dict, Duplicates]) -> None:
    summary, _ = fer2013
    identical = summary["byte_identical"]
    assert identical["across"]["PublicTest in Training"] == 280
    assert identical["within"]["Training"] == {"repeats": 1234, "repeated": 1033, "repeated_under_two_labels": 39}
    assert summary["constant"] == {"Training": 11, "PublicTest": 1}


@pytest.mark.slow
def test_real_near_identical_images_are_plausible(fer2013: tuple[dict, Duplicates]) -> None:
    """Hundreds of these pairs were inspected: each is one photograph; the largest group is a picture of a baby."""
    summary, duplicates = fer2013
    assert 2300 <= summary["near_identical"]["pairs"] <= 2800
    assert summary["groups"]["largest"] < 40
    assert len(duplicates.group) == 32298
