"""Sentences of the benchmark's page: they claim what the contrasts support and no more."""

import pytest

from fer_id.evaluation.contrasts import RecallEstimate, verdicts
from fer_id.readers.config import QUESTIONS, READERS, ReaderContrast
from fer_id.readers.results import Convergence
from fer_id.reporting.benchmark.page import verdict_sentence
from fer_id.reporting.benchmark.paper import TABLE4, TABLE5

CONTRAST = ReaderContrast.parse("own baseline = conv4/both_sets - conv4/set")


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (0.05, 0.01, "shown: conv4/both_sets is better than conv4/set, +5.0 points (+3.0 to +7.0), p < .001 (Holm)"),
        (-0.05, 0.01, "shown: conv4/set is better than conv4/both_sets, −5.0 points (−7.0 to −3.0)"),
        (0.002, 0.005, "shown to be smaller than 1.2 points in either direction: +0.2 points"),
        (
            0.02,
            0.02,
            "undecided, smaller than 6.0 points in either direction: +2.0 points (−2.0 to +6.0); a true difference "
            "of 5.7 points would have been found",
        ),
        (0.0, float("nan"), "undecided: no interval (fewer than two bases or stills)"),
    ],
)
def test_a_sentence_says_what_its_contrast_shows(value, error, sentence):
    results = verdicts({"own baseline": RecallEstimate(value, error**2, None, 100, 1)}, relevant=0.03)
    assert verdict_sentence(CONTRAST, results["own baseline"], 1).startswith(sentence)


def test_every_contrast_asks_a_question_in_a_sentence():
    assert CONTRAST.question == "Does the clip's own resting face as a baseline tell more?"
    other = ReaderContrast.parse("architecture = resnet50/set - conv4/set")
    assert other.question == "Is resnet50/set better than conv4/set?"
    assert {name for pair in QUESTIONS for name in pair} <= set(READERS)


@pytest.mark.parametrize(
    ("learned", "reason"),
    [
        (Convergence(2, 100, 0.8, 0.6, None), "2 passes"),
        (Convergence(10, 100, 0.8, 0.6, 0.1), "loss still falls by 10 %"),
        (Convergence(10, 100, 0.6, 0.4, 0.01), "75 % of the best accuracy on stills"),
        (Convergence(10, 100, 0.8, 0.6, 0.01), None),
    ],
)
def test_an_encoder_that_is_not_trained_to_its_end_says_why(learned, reason):
    assert learned.why_unfinished(0.8) == reason


def test_the_papers_numbers_contradict_themselves():
    assert sum(TABLE5.values()) / 5 == pytest.approx(0.809, abs=5e-4)
    assert TABLE4["cnn_lstm"]["macro_recall"] == 0.793
