"""Simulated target domain: stores, their sources, and the absence of shortcuts to the label."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules import SimulatedDataModule
from experiments.cli import DONE, USERS_FAULT, main
from fer_id.errors import StoreError
from fer_id.evaluation.config import SPLITS
from fer_id.files import read_json, write_json
from fer_id.labels import TARGET
from fer_id.simulation.casting import cast, casting_of, deal, subject_of
from fer_id.simulation.child import Role, stage
from fer_id.simulation.domain import DomainConfig
from fer_id.simulation.drawn.acting import Performance
from fer_id.simulation.drawn.expression import AU_INDEX
from fer_id.simulation.drawn.scene import Light
from fer_id.simulation.drawn.traits import Movements
from fer_id.simulation.driving import Driven, Expression, difference, drive, inner_face, uncrossed
from fer_id.simulation.neutral_shape import to_crop
from fer_id.simulation.stills import Stills, choose_stills
from fer_id.store.card import SIMULATION
from fer_id.store.reader import ClipStore
from fer_id.types import CROP
from tests.conftest import FITTING

ARGUMENTS = ["subjects=[9,4,5]", "clips_per_emotion=2", *FITTING]
CONFIG = DomainConfig(
    subjects=[9, 4, 5], clips_per_emotion=2, max_turn=0.3, max_misfit=0.06, max_residual=9.0, max_base_residual=9.0
)
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
    assert clips.groupby("subject_id")["label"].agg(lambda labels: sorted(labels) == sorted(2 * TARGET.names)).all()
    strips = (simulated.path / "strips.png").stat()
    assert strips.st_size > 10_000
    assert strips.st_mode & 0o777 == 0o600


def lost_frames(path: Path) -> int:
    """Count the drawn stills of the five emotions without a detected face."""
    clips = ClipStore.open(path).clips
    return int(((clips["n_valid"] == 0) & (clips["clip_id"] != "lost")).sum())


def test_a_child_is_one_still_and_no_still_stands_in_two_splits(simulated: ClipStore) -> None:
    """Each child has each class equally often and each still at most once; the card names every still, by split."""
    clips, stills = simulated.clips, simulated.card.parameters["stills"]
    assert simulated.card.parameters["simulation"] == SIMULATION
    assert clips.groupby("split")["subject_id"].nunique().to_dict() == {"train": 9, "validation": 4, "test": 5}
    assert not clips.duplicated(["subject_id", "video_id"]).any()
    assert not any(set(stills[first]) & set(stills[second]) for first, second in combinations(SPLITS, 2))
    for split, part in clips.groupby("split"):
        assert set(part["video_id"]) <= set(stills[split])
        assert stills[split] == sorted(set(stills[split]))


def test_the_intensity_is_e_of_t_for_every_class(simulated: ClipStore) -> None:
    curves = np.stack(simulated.clips["intensity"].tolist())
    assert ((curves >= 0) & (curves <= 1)).all()
    assert curves.max(axis=1).min() > 0.05
    assert (curves.max(axis=1) > 0.3).mean() > 0.9


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


def test_interruptions_of_an_expression_are_visible() -> None:
    """Interruptions of every expression, without other involuntary movements, add movement to the face."""

    def beside(lapse: float) -> float:
        names = ("mild", "moderate", "severe")
        degrees = {name: replace(getattr(CONFIG, name), lapse=lapse, jerk=0.0) for name in names}
        config = replace(CONFIG, strays=0.0, **degrees)
        child = subject_of("train", 0, config)
        acts = [stage(child, "train", emotion, 0, config)[0] for emotion in TARGET.names]
        return float(np.mean([np.abs(act.activation).max() for act in acts]))

    assert beside(1.0) > 1.3 * beside(0.0)


@pytest.mark.parametrize(("setting", "name"), [("openings", "AU26"), ("speech", "AU25")])
def test_movements_that_are_no_emotion_have_rates_of_their_own(setting: str, name: str) -> None:
    """The unit moves beside the strays in about the share of clips that the rate says; ``strays=0`` stops all."""

    def moved(rate: float, strays: float = 1.0) -> float:
        config = replace(CONFIG, movements=Movements(**{setting: rate}), strays=strays)
        for degree in (config.mild, config.moderate, config.severe):
            degree.stray = degree.lapse = 0.0
        acts = [stage(subject_of("train", n, config), "train", "neutral", 0, config)[0] for n in range(120)]
        unit = AU_INDEX[int(name.removeprefix("AU"))]
        return float(np.mean([act.activation[..., unit].max() > 0.25 for act in acts]))

    assert moved(0.0) == moved(0.8, strays=0.0) == 0.0
    assert 0.3 < moved(0.8) < 0.9


def test_the_peak_scales_e_of_t_and_nothing_else() -> None:
    child = subject_of("train", 3, CONFIG)
    usual, weak, strong = (stage(child, "train", "happy", 0, replace(CONFIG, peak=peak))[0] for peak in (1.0, 0.3, 3.0))
    np.testing.assert_allclose(weak.intensity, 0.3 * usual.intensity)
    np.testing.assert_allclose(strong.intensity, np.minimum(3 * usual.intensity, 1))
    np.testing.assert_array_equal(weak.head, usual.head)


def test_classes_rise_alike_unless_the_speed_is_set() -> None:
    def mean(emotion: str, speed: float) -> float:
        """Return the mean number of frames on the way up, over 80 children."""
        config = replace(CONFIG, frames=60, fps=30.0, class_speed=speed, strays=0.0)
        for degree in (config.mild, config.moderate, config.severe):
            degree.lapse = 0.0
        curves = [stage(subject_of("train", n, config), "train", emotion, 0, config)[0].intensity for n in range(80)]
        return float(np.mean([((c > 0.1 * c.max()) & (np.arange(60) < c.argmax())).sum() for c in curves]))

    assert mean("sad", 0.0) == pytest.approx(mean("fear", 0.0), rel=0.25)
    assert mean("sad", 1.0) > 1.1 * mean("fear", 1.0)


def test_copies_of_a_picture_are_used_once(stills_store: Path, tmp_path: Path) -> None:
    source = changed(stills_store, tmp_path / "source")
    table = pd.read_parquet(source / "clips.parquet")
    tests = table.index[(table["split"] == "test") & (table["label"] == "neutral") & (table["n_valid"] > 0)][:3]
    table.loc[tests, "subject_id"] = "one"
    table.to_parquet(source / "clips.parquet")
    chosen = choose_stills(ClipStore.open(source), CONFIG)
    used = chosen.rows["test"]["neutral"]
    assert len(set(used) & set(tests)) == 1
    assert chosen.left_out["repeats"] == 2


def test_copies_in_two_splits_count_as_test(stills_store: Path, tmp_path: Path) -> None:
    """The majority of the copies decides the label; without a majority none is used."""
    source = changed(stills_store, tmp_path / "source")
    table = pd.read_parquet(source / "clips.parquet")
    faces = table[table["n_valid"] > 0]
    train, test = (
        faces.index[(faces["split"] == split) & (faces["label"] == "neutral")] for split in ("train", "test")
    )
    happy = faces.index[(faces["split"] == "train") & (faces["label"] == "happy")]
    table.loc[[*train[:2], test[0], happy[0]], "subject_id"] = "most are neutral"
    table.loc[[train[2], happy[1]], "subject_id"] = "undecided"
    table.to_parquet(source / "clips.parquet")
    rows = choose_stills(ClipStore.open(source), CONFIG).rows
    used = {split: set(np.concatenate(list(by.values()))) for split, by in rows.items()}
    assert len(used["test"] & {*train[:2], test[0]}) == 1
    assert not used["train"] & {*train[:3], *happy[:2]}


def test_test_takes_its_share_of_the_rarest_class(stills_store: Path) -> None:
    store = ClipStore.open(stills_store)
    few, more = (choose_stills(store, replace(CONFIG, test_share=share)).rows for share in (0.0, 0.7))
    whole = {name: sum(len(few[split][name]) for split in SPLITS) for name in TARGET.names}
    wanted = np.ceil(0.7 * min(whole.values()))
    for name in TARGET.names:
        assert len(more["test"][name]) == max(wanted, len(few["test"][name]))
        assert set(few["test"][name]) <= set(more["test"][name]) <= set(few["test"][name]) | set(few["train"][name])
        np.testing.assert_array_equal(more["validation"][name], few["validation"][name])


@pytest.mark.parametrize(
    ("seed", "children", "stills", "each"), [(0, 7, 5, 2), (1, 4, 30, 3), (2, 6, 2, 2), (3, 1, 9, 9)]
)
def test_every_still_is_dealt_before_any_is_dealt_again(seed: int, children: int, stills: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    dealt = deal(rng.random((children, stills)), each, rng)
    assert dealt.shape == (children, each)
    assert all(len(set(mine)) == each for mine in dealt.tolist())
    counts = np.bincount(dealt.ravel(), minlength=stills)
    assert counts.max() - counts.min() <= 1


def test_a_deal_takes_the_nearest_where_it_may() -> None:
    cost = 1.0 - np.eye(6)
    np.testing.assert_array_equal(deal(cost, 1, np.random.default_rng(0))[:, 0], np.arange(6))


def test_degenerate_landmarks_are_counted(stills_store: Path, tmp_path: Path) -> None:
    source = changed(stills_store, tmp_path / "source")
    table = pd.read_parquet(source / "clips.parquet")
    row = table[(table["split"] == "train") & (table["label"] == "happy") & (table["n_valid"] > 0)].iloc[0]
    points = np.load(source / "landmarks" / "train.npy")
    points[row["start"]] = 30.0  # every point in one place
    np.save(source / "landmarks" / "train.npy", points)
    before = choose_stills(ClipStore.open(stills_store), CONFIG).left_out.get("landmarks that are none", 0)
    assert choose_stills(ClipStore.open(source), CONFIG).left_out["landmarks that are none"] == before + 1


def expression(stills: Stills, split: str = "train", emotion: str = "happy") -> Expression:
    """Return the expression of the first child's first clip, aligned exactly."""
    role = next(iter(cast(stills, CONFIG, [split])))
    made = casting_of(stills, CONFIG, role).expressions[emotion][0][1]
    base = replace(made.base, points=to_crop(made.base.points))
    return replace(made, base=base, rest=to_crop(made.rest), apex=to_crop(made.apex))


def test_a_clip_begins_with_the_base_and_reaches_the_apex(stills: Stills) -> None:
    """Without any movement but the expression; every frame at e = 0 is the base, as photographed."""
    made = expression(stills)
    clip, folded = driven(made, np.array([0.0, 0.5, 1.0]))
    assert (folded == 0).all()
    np.testing.assert_allclose(clip.landmarks[[0, 2]], np.stack([made.rest, made.apex]), atol=0.01)
    off = np.abs(clip.frames.astype(int) - made.base.picture).mean(axis=(1, 2, 3))
    assert off[0] < 1.0 < off[1] < off[2]


def test_at_rest_nothing_is_from_the_other_still(stills: Stills) -> None:
    """A mark on the other still's mouth shows at the apex, and in no pixel before the onset."""
    made = expression(stills, "test")
    mouth = (
        np.linalg.norm(np.mgrid[:CROP, :CROP][::-1] - made.other.points[48:].mean(axis=0)[:, None, None], axis=0) < 6
    )
    marked = replace(made.other, picture=np.where(mouth[..., None], np.uint8(255), made.other.picture))
    pair = (made, replace(made, other=marked))
    at_rest, at_apex = ([driven(each, np.full(2, e)).clip.frames.astype(int) for each in pair] for e in (0.0, 1.0))
    np.testing.assert_array_equal(*at_rest)
    assert np.abs(np.subtract(*at_apex)).max() > 40


def test_what_is_brought_in_keeps_the_tone_of_the_base(stills: Stills) -> None:
    """A darker and a flatter picture of the same still bring in the same; outside the face nothing changes."""
    made = expression(stills)
    dim = replace(made.other, picture=(made.other.picture * 0.7).round().astype(np.uint8))
    first, second = difference(made), difference(replace(made, other=dim))
    assert np.abs(first - second).mean() < 0.25 * np.abs(first).mean()
    outside = inner_face(made.apex)[..., 0] < 1e-3
    assert outside.sum() > 300
    assert np.abs(first[outside]).max() < 0.3


def test_a_neutral_still_brought_into_itself_changes_nothing(stills: Stills) -> None:
    made = expression(stills)
    itself = replace(made, other=made.base, apex=made.base.points)
    assert np.abs(difference(itself)).max() < 1e-3


def test_lids_and_lips_never_cross(stills: Stills) -> None:
    face = expression(stills).rest.copy()
    face[[62, 66], 1] = face[[66, 62], 1] + [2.0, -2.0]
    met = uncrossed(face)
    assert met[62, 1] == met[66, 1]
    np.testing.assert_array_equal(np.delete(met, [62, 66], axis=0), np.delete(face, [62, 66], axis=0))


@pytest.mark.parametrize(("name", "value"), [("resting", 0.0), ("resting", 2.0), ("own_way", 1.0)])
def test_settings_move_rest_and_apex_by_what_they_say(stills: Stills, name: str, value: float) -> None:
    """``resting`` scales how far a child's rest lies from a neutral shape; ``own_way`` moves the apexes alone, by the
    same for every clip of a child and class."""
    role = next(iter(cast(stills, CONFIG)))
    usual, other = (casting_of(stills, config, role) for config in (CONFIG, replace(CONFIG, **{name: value})))
    for (_, before), (_, after) in zip(usual.expressions["sad"], other.expressions["sad"], strict=True):
        neutral = before.base.neutral
        scale = value if name == "resting" else 1.0
        np.testing.assert_allclose(after.rest - neutral, scale * (before.rest - neutral), atol=1e-9)
    shifts = [
        after.apex - before.apex
        for (_, before), (_, after) in zip(usual.expressions["sad"], other.expressions["sad"], strict=True)
    ]
    assert np.abs(shifts[0]).max() > 0.1
    np.testing.assert_allclose(shifts[0][:17], shifts[1][:17], atol=1e-9)


class Motionless(np.random.Generator):
    """Generator of zeros: a detector and a sensor without errors."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def normal(self, *args: object, size: tuple[int, ...] = (), **kwargs: object) -> np.ndarray:  # type: ignore[override]
        return np.zeros(size)


def driven(made: Expression, intensity: np.ndarray) -> Driven:
    """Animate the expression alone, under neutral light."""
    frames = len(intensity)
    act = Performance(
        "happy", intensity, np.zeros((frames, 2, 14)), np.zeros((frames, 5)), np.zeros((frames, 2)),
        np.zeros(frames, bool), None, Light(1.0, 0.0, 0.0, 0.0), "therapy",
    )  # fmt: skip
    return drive(made, act, np.arange(frames) / 5, Motionless(), landmark_noise=0.0, noise=0.0)


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


def test_a_child_is_a_function_of_seed_split_and_number(stills: Stills) -> None:
    first: Role = next(iter(cast(stills, CONFIG)))
    assert next(iter(cast(stills, CONFIG))) == first
    acts = [stage(subject_of("train", 0, CONFIG), "train", "sad", 0, CONFIG)[0].intensity for _ in range(2)]
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
    message = refusal(stills_store, tmp_path / "out", capsys, *FITTING, "clips_per_emotion=9")
    assert "expected 9 of each for one subject" in message
    assert "clips_per_emotion=" in message


def test_impossible_distributions_are_listed_together(stills_store: Path, tmp_path: Path, capsys: Capture) -> None:
    wrong = ["subjects=[3]", "shares=[0,0,0]", "home.gain=[1,0.5]", "severe.onset_s=5", "mild.peak=1.5"]
    message = refusal(stills_store, tmp_path / "out", capsys, *wrong)
    for key in ("subjects", "shares", "home.gain", "severe.onset_s", "mild.peak"):
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
    still = stills.still(row)
    np.testing.assert_array_equal(still.picture, stills.store.read(row).frames[0])
    np.testing.assert_array_equal(still.points, stills.store.read(row).landmarks[0])


def test_a_store_of_the_earlier_simulation_is_refused_for_training(simulated: ClipStore, tmp_path: Path) -> None:
    """Its runs can still be evaluated: only the training loader refuses, with the command that makes it again."""
    card = read_json(simulated.path / "card.json", StoreError)
    parameters = {key: value for key, value in card["parameters"].items() if key != "simulation"}
    earlier = changed(simulated.path, tmp_path / "earlier", parameters=parameters)
    data = SimulatedDataModule(earlier)
    data.setup()
    assert len(data.test_dataloader())
    with pytest.raises(StoreError, match=f"fer-id simulate source=STORE out={earlier} overwrite=true"):
        data.train_dataloader()
    assert len(SimulatedDataModule(simulated.path).train_dataloader())
