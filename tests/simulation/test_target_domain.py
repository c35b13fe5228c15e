"""Simulated target domain: stores, their sources, and the absence of shortcuts to the label."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli import DONE, USERS_FAULT, main
from fer_id.errors import StoreError
from fer_id.evaluation.config import SPLITS
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import Performance
from fer_id.simulation.drawn.scene import Light
from fer_id.simulation.driving import Driven, Still, drive, inner_face
from fer_id.simulation.neutral_shape import to_crop
from fer_id.simulation.stills import Stills, choose_stills
from fer_id.simulation.target_domain import cast, casting_of, stage, subject_of
from fer_id.store.reader import ClipStore
from fer_id.types import CROP

CONFIG = DomainConfig(clips_per_emotion=1, max_turn=0.3, max_misfit=0.06)
ARGUMENTS = ["clips_per_emotion=1", "max_turn=0.3", "max_misfit=0.06"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def stills(stills_store: Path) -> Stills:
    return choose_stills(ClipStore.open(stills_store), CONFIG)


@pytest.fixture(scope="module")
def simulated(stills_store: Path, tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    out = tmp_path_factory.mktemp("simulated") / "store"
    assert main(["simulate", f"source={stills_store}", f"out={out}", "workers=1", *ARGUMENTS]) == DONE
    return ClipStore.open(out)


def test_the_card_describes_the_simulated_store(simulated: ClipStore, stills_store: Path) -> None:
    card, clips = simulated.card, simulated.clips
    assert card.provenance == "simulated"
    assert card.geometry == ClipStore.open(stills_store).card.geometry
    assert card.landmarks_from == ClipStore.open(stills_store).card.landmarks_from == "mesh-1"
    assert card.parameters["severe"]["peak"] == 0.55
    left_out = card.audit["stills_left_out"]
    assert (left_out["label surprise"], left_out["no landmarks"]) == (1, 1 + lost_frames(stills_store))
    assert set(clips["split"]) == set(SPLITS)
    assert clips.groupby("subject_id")["label"].agg(lambda labels: sorted(labels) == sorted(TARGET.names)).all()
    strips = (simulated.path / "strips.png").stat()
    assert strips.st_size > 10_000
    assert strips.st_mode & 0o777 == 0o600


def lost_frames(path: Path) -> int:
    """Count the drawn stills of the five emotions without a detected face."""
    clips = ClipStore.open(path).clips
    return int(((clips["n_valid"] == 0) & (clips["clip_id"] != "lost")).sum())


def test_no_still_is_used_twice_or_in_two_splits(simulated: ClipStore) -> None:
    assert simulated.clips["video_id"].is_unique
    assert (simulated.clips.groupby("subject_id")["split"].nunique() == 1).all()


def test_the_intensity_is_that_of_the_expression(simulated: ClipStore) -> None:
    curves = np.stack(simulated.clips["intensity"].tolist())
    neutral = (simulated.clips["label"] == "neutral").to_numpy()
    assert not curves[neutral].any()
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (curves[~neutral].max(axis=1) > 0.2).all()


def test_neutral_clips_move_as_the_others_do(simulated: ClipStore) -> None:
    def motion(label: str) -> float:
        """Return the median motion of the points between frames, pixels; the eyes are fixed by the alignment."""
        rows = np.flatnonzero(simulated.clips["label"] == label)
        return float(np.nanmedian([np.abs(np.diff(simulated.read(row).landmarks, axis=0)) for row in rows]))

    assert motion("neutral") > 0.5 * np.mean([motion(label) for label in ("happy", "sad", "angry", "fear")])


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_the_store(
    stills_store: Path, simulated: ClipStore, tmp_path: Path
) -> None:
    arguments = ["simulate", f"source={stills_store}", f"out={tmp_path / 'two'}", "workers=2", *ARGUMENTS]
    assert main(arguments) == DONE
    other = ClipStore.open(tmp_path / "two")
    assert other.fingerprint == simulated.fingerprint
    for row in range(len(other)):
        assert all(
            np.array_equal(*pair, equal_nan=True) for pair in zip(other.read(row), simulated.read(row), strict=True)
        )


def test_shares_of_severities_are_those_of_the_config() -> None:
    config = DomainConfig(shares=[0, 1, 3])
    severities = [subject_of("train", number, config).traits.severity for number in range(400)]
    assert severities.count("mild") == 0
    assert severities.count("severe") / 400 == pytest.approx(0.75, abs=0.07)


def test_a_weak_peak_stays_weak() -> None:
    config = DomainConfig()
    config.severe.peak = 0.15
    peaks = [subject_of("train", number, config).traits for number in range(300)]
    mean = np.mean([person.dynamics.peak for person in peaks if person.severity == "severe"])
    assert mean == pytest.approx(0.15, abs=0.03)


def test_interruptions_of_an_expression_are_visible(stills: Stills) -> None:
    """Interruptions of every expression, without other involuntary movements, add movement to the face."""

    def beside(lapse: float) -> float:
        names = ("mild", "moderate", "severe")
        degrees = {name: replace(getattr(CONFIG, name), lapse=lapse, jerk=0.0) for name in names}
        config = replace(CONFIG, strays=0.0, **degrees)
        casting = casting_of(stills, config, *next(iter(cast(stills, config))))
        acts = [stage(casting, emotion, 0, config)[0] for emotion in TARGET.names]
        return float(np.mean([np.abs(act.activation).max() for act in acts]))

    assert beside(1.0) > 1.3 * beside(0.0)


def test_copies_of_a_picture_are_used_once(stills_store: Path, tmp_path: Path) -> None:
    source = changed(stills_store, tmp_path / "source")
    table = pd.read_parquet(source / "clips.parquet")
    tests = table.index[(table["split"] == "test") & (table["label"] == "neutral") & (table["n_valid"] > 0)][:3]
    table.loc[tests, "subject_id"] = "one"
    table.to_parquet(source / "clips.parquet")
    chosen = choose_stills(ClipStore.open(source), CONFIG)
    used = chosen.rows["test"]["neutral"]
    assert len(set(used) & set(tests)) == 1
    assert chosen.left_out["repeats within test"] == 2


def test_degenerate_landmarks_are_counted(stills_store: Path, tmp_path: Path) -> None:
    source = changed(stills_store, tmp_path / "source")
    table = pd.read_parquet(source / "clips.parquet")
    row = table[(table["split"] == "train") & (table["label"] == "happy") & (table["n_valid"] > 0)].iloc[0]
    points = np.load(source / "landmarks" / "train.npy")
    points[row["start"]] = 30.0  # every point in one place
    np.save(source / "landmarks" / "train.npy", points)
    before = choose_stills(ClipStore.open(stills_store), CONFIG).left_out.get("landmarks that are none", 0)
    assert choose_stills(ClipStore.open(source), CONFIG).left_out["landmarks that are none"] == before + 1


def test_the_apex_shows_the_still_and_the_start_the_face_at_rest(stills: Stills) -> None:
    """Without any movement but the expression, compared with the still."""
    still = stills.still(int(stills.rows["train"]["happy"][0]))
    still = replace(still, points=to_crop(still.points), rest=to_crop(still.rest))
    clip, folded = driven(still, np.array([0.0, 0.5, 1.0]))
    assert (folded == 0).all()
    np.testing.assert_allclose(clip.landmarks[2], still.points, atol=0.01)
    np.testing.assert_allclose(clip.landmarks[0], still.rest, atol=0.01)
    off = np.abs(clip.frames.astype(int) - still.picture).mean(axis=(1, 2, 3))
    assert off[2] < 1.0 < off[0]
    assert off[2] < off[1] < off[0]


def test_at_rest_no_pixel_within_the_outline_is_from_the_still(stills: Stills) -> None:
    """Traces of the expression in the picture (teeth, furrows) are invisible before its onset."""
    still = stills.still(int(stills.rows["test"]["happy"][0]))
    mouth = (inner_face(still.points)[..., 0] > 0.999) & (np.mgrid[:CROP, :CROP][0] > still.points[30, 1] + 3)
    assert mouth.sum() > 50
    marked = replace(still, picture=np.where(mouth[..., None], np.uint8(255), still.picture))
    sources = (still, marked)
    at_rest, at_apex = (
        [driven(source, np.full(2, level)).clip.frames.astype(int) for source in sources] for level in (0.0, 1.0)
    )
    spared = inner_face(still.rest)[..., 0] < 0.999  # a pixel that shows both faces may show the mark
    assert np.abs(np.subtract(*at_rest))[:, ~spared].max() <= 1
    assert np.abs(np.subtract(*at_apex))[:, mouth].max() > 40


def test_the_face_at_rest_is_a_neutral_face_of_the_same_split(stills: Stills) -> None:
    for split, by_emotion in stills.rows.items():
        for rows in by_emotion.values():
            for row in rows.tolist():
                other = stills.neutral_like(row)
                assert other in stills.rows[split]["neutral"]
                assert other != row


class Motionless(np.random.Generator):
    """Generator of zeros: a detector and a sensor without errors."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, *args: object, size: tuple[int, ...] = (), **kwargs: object) -> np.ndarray:  # type: ignore[override]
        return np.zeros(size)


def driven(still: Still, intensity: np.ndarray) -> Driven:
    """Animate the expression alone, under neutral light."""
    frames = len(intensity)
    act = Performance(
        "happy", intensity, np.zeros((frames, 2, 14)), np.zeros((frames, 5)), np.zeros((frames, 2)),
        np.zeros(frames, bool), None, Light(1.0, 0.0, 0.0, 0.0), "therapy",
    )  # fmt: skip
    return drive(still, act, np.arange(frames) / 5, Motionless(), landmark_noise=0.0, noise=0.0)


def test_severity_gender_and_age_move_the_expression_by_what_the_config_says() -> None:
    people = [subject_of("train", number, DomainConfig()).traits for number in range(600)]

    def mean(value: str, **groups: str) -> float:
        chosen = [person for person in people if all(getattr(person, name) == group for name, group in groups.items())]
        return float(np.mean([getattr(person.dynamics, value) for person in chosen]))

    assert mean("peak", severity="mild") > mean("peak", severity="moderate") > mean("peak", severity="severe")
    gap = mean("peak", severity="severe", gender="female") - mean("peak", severity="severe", gender="male")
    assert gap == pytest.approx(0.06, abs=0.03)
    late = mean("onset_s", severity="severe", age_group="05-08") / mean("onset_s", severity="severe", age_group="13-17")
    assert late == pytest.approx(1.25, abs=0.1)


def test_without_gaps_groups_are_alike() -> None:
    config = DomainConfig(gaps=0.0)
    assert len({str(degree) for degree in config.degrees.values()}) == 1
    assert len({str(place) for place in config.contexts.values()}) == 1
    people = [subject_of("train", number, config).traits for number in range(600)]
    assert {person.restless for person in people} == {1.0}
    assert len({round(person.dynamics.jerk, 9) for person in people}) == 1
    peaks = {group: np.mean([p.dynamics.peak for p in people if p.gender == group]) for group in ("female", "male")}
    assert peaks["female"] == pytest.approx(peaks["male"], abs=0.015)


def test_a_subject_is_a_function_of_seed_split_and_number(stills: Stills) -> None:
    fewer = replace(CONFIG, subjects=1)
    first = [deal for deal in cast(stills, CONFIG) if deal[1] == 0]
    assert list(cast(stills, fewer)) == first
    casting = casting_of(stills, CONFIG, *first[0])
    acts = [stage(casting, "sad", 0, CONFIG)[0].intensity for _ in range(2)]
    np.testing.assert_array_equal(*acts)
    assert subject_of("test", 0, CONFIG).traits != subject_of("train", 0, CONFIG).traits


def changed(source: Path, out: Path, **card: object) -> Path:
    """Copy a store and change entries of its card."""
    shutil.copytree(source, out)
    write_json(out / "card.json", {**read_json(out / "card.json", StoreError), **card})
    return out


def refusal(source: Path, out: Path, capsys: Capture, *arguments: str) -> str:
    """Return the message of a simulation that is refused and writes nothing."""
    assert main(["simulate", f"source={source}", f"out={out}", *arguments]) == USERS_FAULT
    assert not out.exists()
    return capsys.readouterr().err


def test_an_unsuitable_source_is_refused_with_every_reason(
    tiny_store: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    source = changed(tiny_store(), tmp_path / "source", geometry={"eyes": None, "colour": "rgb"})
    message = refusal(source, tmp_path / "out", capsys)
    for reason in ("is synthetic; expected real faces", "holds clips of people", "its faces are not aligned"):
        assert reason in message


def test_a_simulated_store_is_refused_as_source(stills_store: Path, tmp_path: Path, capsys: Capture) -> None:
    source = changed(stills_store, tmp_path / "source", provenance="simulated")
    assert "is simulated; expected real faces" in refusal(source, tmp_path / "out", capsys)


def test_splits_without_a_usable_still_are_named(stills_store: Path, tmp_path: Path, capsys: Capture) -> None:
    message = refusal(stills_store, tmp_path / "out", capsys, "max_turn=0.0001")
    assert "validation has no usable stills of" in message
    assert "test has no usable stills of" in message


def test_too_many_clips_for_the_stills_are_refused(stills_store: Path, tmp_path: Path, capsys: Capture) -> None:
    message = refusal(stills_store, tmp_path / "out", capsys, *ARGUMENTS[1:], "clips_per_emotion=7")
    assert "expected 7 of each for one subject" in message
    assert "clips_per_emotion=" in message


def test_impossible_distributions_are_listed_together(stills_store: Path, tmp_path: Path, capsys: Capture) -> None:
    wrong = ["shares=[0,0,0]", "home.gain=[1,0.5]", "severe.onset_s=5", "mild.peak=1.5"]
    message = refusal(stills_store, tmp_path / "out", capsys, *wrong)
    for key in ("shares", "home.gain", "severe.onset_s", "mild.peak"):
        assert key in message


def test_frames_without_a_face_are_black_and_counted(simulated: ClipStore) -> None:
    clips = [simulated.read(row) for row in range(len(simulated))]
    lost = sum(int((~clip.valid).sum()) for clip in clips)
    assert simulated.card.audit["frames_without_face"] == lost
    for clip in clips:
        assert not clip.frames[~clip.valid].any()
        assert np.isnan(clip.landmarks[~clip.valid]).all()
        assert clip.frames.shape[1:] == (CROP, CROP, 3)


def test_a_still_has_the_picture_and_landmarks_of_its_row(stills: Stills) -> None:
    row = int(stills.rows["test"]["neutral"][0])
    still: Still = stills.still(row)
    np.testing.assert_array_equal(still.picture, stills.store.read(row).frames[0])
    np.testing.assert_array_equal(still.points, stills.store.read(row).landmarks[0])
