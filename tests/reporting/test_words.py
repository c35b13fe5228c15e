import pytest

from fer_id.evaluation.evaluate import subjects_are_people
from fer_id.evaluation.intervals import HEADLINE, HELD
from fer_id.reporting import words
from fer_id.runs.job import Store
from fer_id.runs.metrics import Calibration, SubjectScores
from fer_id.runs.records import Interval


@pytest.fixture
def metrics(make_run):
    return make_run().metrics()


def with_row(metrics, label, row):
    matrix = [
        row if name == label else old for name, old in zip(metrics["labels"], metrics["confusion_matrix"], strict=True)
    ]
    return metrics.model_copy(update={"confusion_matrix": matrix})


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ([0, 21, 9, 70, 0], "most often taken for sad (21\u202f% of its clips)"),
        ([5, 5, 0, 40, 0], "most often taken for happy or sad (10\u202f% of its clips each)"),
        ([1, 1, 1, 16, 1], "no one error prevails (5\u202f% of its clips at most)"),
        ([0, 0, 0, 9, 0], "never taken for another class"),
        ([0, 0, 0, 0, 0], "no test clip of this class"),
    ],
)
def test_error_pattern(metrics, row, sentence):
    assert words.error_pattern(with_row(metrics, "fear", row), "fear") == sentence


def test_ties_for_the_worst_class_are_named(metrics):
    assert len(words.worst_classes(metrics)) == 1
    rows = {
        label: row.model_copy(update={"recall": 0.0 if label != "sad" else 0.5})
        for label, row in metrics["per_class"].items()
    }
    tied = metrics.model_copy(update={"per_class": rows})
    assert words.worst_classes(tied) == ["happy", "angry", "fear", "neutral"]
    assert "Hardest are happy, angry and 2 more: 0\u202f% of their clips are recognised." in words.summary(
        tied, people=True
    )
    empty = {label: row.model_copy(update={"recall": None}) for label, row in rows.items()}
    assert words.worst_classes(metrics.model_copy(update={"per_class": empty})) == []


@pytest.mark.parametrize(
    ("names", "text"),
    [("", ""), ("a", "a"), ("ab", "a and b"), ("abc", "a, b and c"), ("abcde", "a, b and 3 more")],
)
def test_listed(names, text):
    assert words.listed(names) == text


def test_summary_of_a_run(metrics):
    text = " ".join(words.summary(metrics, people=True))
    assert f"right on {words.percent(metrics['accuracy'])} of 120 test clips of 6 subjects" in text
    assert words.interval_words(metrics, "accuracy") in text
    assert "a blind guess on 20.0\u202f%" in text
    assert f"serves subject {words.worst_subject(metrics)} worst" in text
    assert "drawn faces" in text


def test_summary_of_a_benchmark_names_no_subject_and_no_caveat(metrics):
    text = " ".join(words.summary(metrics.model_copy(update={"provenance": "real"}), people=False))
    assert "subject" not in text
    assert "drawn" not in text


def test_summary_admits_a_model_that_is_no_better_than_a_constant(make_run):
    useless = make_run(skill=-2.0).metrics()
    assert "no better than a constant answer" in " ".join(words.summary(useless, people=True))
    guessing = make_run("study/guess", skill=0.0).metrics()
    intervals = guessing.intervals | {"accuracy": Interval(low=0.15, high=0.35)}
    guessing = guessing.model_copy(update={"accuracy": 0.25, "intervals": intervals})
    assert "not shown that the model does better" in " ".join(words.summary(guessing, people=True))


def test_summary_without_a_judged_clip(make_run):
    run = make_run()
    metrics = make_run("study/none", table=run.predictions().assign(label=None)).metrics()
    assert words.summary(metrics, people=True)[0] == "There is no accuracy: no labelled test clip."


def test_missing_intervals_say_why(make_run):
    metrics = make_run(subjects=1).metrics()
    assert "only one subject" in words.interval_words(metrics, "accuracy")
    assert "of 1 subject " in words.summary(metrics, people=True)[0]


def test_subjects_of_a_benchmark_are_no_people(metrics):
    assert subjects_are_people(metrics, Store())
    assert subjects_are_people(metrics, Store(shard_by="subject_id"))
    assert not subjects_are_people(metrics, Store(shard_by="split"))
    pictures = metrics.model_copy(update={"per_subject": {str(i): SubjectScores(n_clips=1) for i in range(9)}})
    assert not subjects_are_people(pictures, Store())


@pytest.mark.parametrize(("subjects", "size"), [(2, 6), (6, 6), (13, 12), (39, 20), (40, 40), (3000, 40)])
def test_coverage_is_that_of_the_next_smaller_cohort(subjects, size):
    sentence = words.held(subjects)
    assert f"simulated cohorts of {size} children" in sentence
    assert ("fewer children were not tried" in sentence) == (subjects < 6)
    shares = [HELD[size][score] for score in HEADLINE]
    extent = " to ".join(dict.fromkeys(f"{100 * share:.0f}" for share in (min(shares), max(shares))))
    assert f"in {extent}\u202f% of the cohorts" in sentence
    assert f"calibration error in {100 * HELD[size]['ece']:.0f}\u202f%" in sentence


def note_of(calibration):
    return words.calibration_note(Calibration.model_validate(calibration))


def test_calibration_in_words():
    note = {"bins": 15, "ece": 0.05}  # as an older version wrote it
    assert note_of(note) == "15 equal-width bins of the raw probabilities; 0 is best"
    note |= {"overconfidence": -0.021, "intervals": {"ece": {"low": 0.02, "high": 0.09}, "overconfidence": None}}
    assert note_of(note).endswith("0 is best; 95\u202f%: 2.0 to 9.0\u202f%. On average not sure enough by 2.1 points")
    note |= {"overconfidence": 0.03, "intervals": {"overconfidence": {"low": -0.01, "high": 0.07}}}
    assert note_of(note).endswith("too sure by 3.0 points (confidence less accuracy −1.0 to +7.0)")
