import numpy as np
import pytest

from fer_id.evaluation.duplicates import find_duplicates, fingerprint
from fer_id.evaluation.duplicates_summary import summarise
from fer_id.reporting.audit import MOST_CONFLICTS, Conflict, read_audit, reasons_words
from fer_id.runs.job import Store


@pytest.fixture
def published():
    """Audit of five pictures: three in training, the first of them twice, and two in the test, one of them new."""
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    plain = np.full((48, 48), 9, np.uint8)
    images = [noise[0], noise[0], plain, noise[0], noise[1]]
    duplicates = find_duplicates(fingerprint(images))
    return summarise(
        duplicates, list("abcde"), ["Training"] * 3 + ["PublicTest"] * 2, ["sad", "fear", "sad", None, "happy"]
    )


def store(audit, name="tiny"):
    return Store.model_validate({"name": name, "audit": audit})


def test_a_benchmark_in_sentences(published):
    findings = read_audit(store({"published": published, "left_out": {"no_face": 1200, "unreadable": 1}}))
    assert findings.sentences == [
        "As published, Training holds 1 of the 2 images of PublicTest byte for byte, and a near-identical one "
        "(re-encoded, re-cropped or re-lit) of none.",
        "Inside Training: 1 byte-identical repeat among 3 images, and 0 images with a near-identical one.",
        "Equal and near-identical images form 1 group, the largest of 3; more than one label stands in 1 of them.",
        "Of one single colour: 1 image of Training.",
        "Left out when the store was made: no face (1,200), unreadable (1).",
    ]
    assert findings.conflicts == [Conflict("byte for byte", {"sad": ["a"], "fear": ["b"], "unlabelled": ["d"]})]
    assert ("published, byte-identical, across splits, PublicTest in Training", 1) in findings.counts
    assert findings.images


def test_a_clean_benchmark(published):
    nothing = {"across": {}, "within": {"Training": {"repeats": 0, "images": 0}}}
    clean = published | {
        "constant": {"Training": 0},
        "byte_identical": nothing,
        "near_identical": nothing,
        "groups": {"of_two_or_more": 0, "largest": 1},
        "conflicts": [],
    }
    assert read_audit(store({"published": clean})).sentences == [
        "As published, Training holds no image of PublicTest, neither byte for byte nor nearly.",
        "Inside Training: 0 byte-identical repeats among 3 images, and 0 images with a near-identical one.",
        "Of one single colour: none.",
    ]


def test_only_the_first_conflicts_are_listed(published):
    many = published | {"conflicts": published["conflicts"] * 60}
    findings = read_audit(store({"published": many}))
    assert (len(findings.conflicts), findings.n_conflicts) == (MOST_CONFLICTS, 60)


def test_a_drawn_cohort_has_frames_without_a_face_and_no_pictures_to_repeat():
    findings = read_audit(store({"frames_without_face": 62}))
    assert findings.sentences == ["Frames of the store that show no face: 62."]
    assert not findings.images


@pytest.mark.parametrize("audit", [None, {}])
def test_no_audit(audit):
    assert read_audit(store(audit)) == read_audit(Store())
    assert not read_audit(store(audit)).counts


def test_an_unknown_audit_is_counted():
    findings = read_audit(store({"blinks": {"left": 3}}))
    assert (findings.sentences, findings.counts) == ([], [("blinks, left", 3)])


def test_several_stores_have_sentences_of_their_own(published):
    pooled = {"faces": {"published": published}, "drawn": {"frames_without_face": 2}, "bare": {}}
    findings = read_audit(store(pooled, "faces + drawn + bare"))
    assert findings.sentences[0].startswith("faces: As published, Training holds 1 of")
    assert findings.sentences[1:] == [
        "drawn: Frames of the store that show no face: 2.",
        "bare: no audit that is known.",
        "Images that these stores have in common were not looked for.",
    ]
    assert (findings.n_conflicts, findings.images) == (1, True)


def test_reasons_words():
    assert reasons_words({"no_face": 1234, "unreadable": 1}) == "no face (1,234), unreadable (1)"


def test_annotators_in_a_sentence():
    agreement = {"annotators": 3, "clips": 60, "alpha": 0.6234, "ceiling": 0.807}
    (sentence,) = read_audit(store({"annotators": agreement})).sentences
    for expected in ("3 annotators", "60 clips", "alpha 0.62", "81%"):
        assert expected in sentence
    alone = {**agreement, "alpha": None, "ceiling": None, "reason": "no clip was labelled by two people"}
    (sentence,) = read_audit(store({"annotators": alone})).sentences
    assert "undefined: no clip was labelled by two people" in sentence
