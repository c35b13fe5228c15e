"""Checks of attribution maps, on models that read known places and on a model that ignores the picture."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor, nn

from fer_id.explain.attribution import GRAD_CAM, METHODS, blurred
from fer_id.explain.checks import STEPS, Checked, alike, cells, check_clips, randomised
from fer_id.explain.regions import REGIONS
from fer_id.explain.shares import SHARE
from fer_id.explain.verdicts import DECISIVE, RANDOM_WEIGHTS, verdicts
from fer_id.models.encoders import Encoder
from fer_id.models.heads import Mean
from fer_id.models.network import ClipClassifier
from fer_id.types import ClipBatch
from tests.explain.models import batch_of, small

PLACE = (2, 5)  # cell


class Reader(Encoder):
    """The brightness of every cell times a weight of its own."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__(dim=1)
        self.look = Look(weights)

    def features(self, images: Tensor) -> Tensor:
        return self.look(images).mean(dim=(2, 3))


class Look(nn.Module):
    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        bright = nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 8)
        return (bright + 1) / 2 * self.weights


def reader(weights: Tensor, gain: float = 400.0) -> ClipClassifier:
    """Return a model with two classes: bright at the weighted cells, and dark there."""
    model = ClipClassifier(Reader(weights), Mean(1, 1, 0.0), 2).eval()
    with torch.no_grad():
        model.classifier[-1].weight.copy_(torch.tensor([[gain], [-gain]]))
        model.classifier[-1].bias.copy_(torch.tensor([-0.004 * gain, 0.004 * gain]))
    return model


def one_place() -> Tensor:
    weights = torch.zeros(1, 1, 8, 8)
    weights[0, 0, PLACE[0], PLACE[1]] = 1
    return weights


def elsewhere() -> Tensor:
    return torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(7)) / 64


def clips(names: str = "abcdefgh", steps: int = 2) -> ClipBatch:
    """Dim noise with one bright cell; two clips of every subject; the last frame of every third has no face."""
    generator = torch.Generator().manual_seed(ord(names[0]))
    frames = 0.3 * torch.rand(len(names), steps, 3, 64, 64, generator=generator)
    rows, columns = (slice(8 * start, 8 * start + 8) for start in PLACE)
    frames[..., rows, columns] += 0.5 + 0.2 * torch.rand(len(names), steps, 1, 1, 1, generator=generator)
    valid = torch.ones(len(names), steps, dtype=torch.bool)
    valid[::3, -1] = False
    return batch_of(names, frames, valid, subjects=[f"s{ord(name) // 2}" for name in names])


def checked(model: ClipClassifier, fresh: ClipClassifier, seed: int = 0) -> Checked:
    """Return the checks of eight clips in two batches."""
    batches = [(batch, torch.zeros(len(batch["valid"]), dtype=torch.int64)) for batch in (clips(), clips("ijkl"))]
    return check_clips(model, fresh, batches, "look", seed=seed)


@pytest.fixture(scope="module")
def of_reader() -> Checked:
    return checked(reader(one_place()), reader(elsewhere()))


def test_the_maps_of_every_clip_bear_the_names_of_their_methods(of_reader: Checked) -> None:
    assert set(of_reader.maps) == set("abcdefghijkl")
    for maps in of_reader.maps.values():
        assert set(maps) == {GRAD_CAM, *METHODS, RANDOM_WEIGHTS}
        assert all(each.shape == (2, 8, 8) for each in maps.values())
        assert not np.allclose(maps[RANDOM_WEIGHTS], maps[GRAD_CAM])
        for name in (GRAD_CAM, *METHODS):
            assert np.unravel_index(maps[name][0].argmax(), (8, 8)) == PLACE, name


@given(st.integers(0, 2**20), st.integers(1, 4))
def test_rank_correlation_is_the_rank_correlation_over_the_valid_frames(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 6, (2, 3, steps, 4, 4)).astype(np.float32)
    valid = rng.random((3, steps)) < 0.7
    valid[:, 0] = True
    correlations = alike(torch.tensor(first), torch.tensor(second), torch.tensor(valid))
    for clip in range(3):
        a, b = (maps[clip][valid[clip]].ravel() for maps in (first, second))
        assert correlations[clip] == pytest.approx(stats.spearmanr(a, b).statistic)


def test_rank_correlation_is_of_ranks_and_of_valid_frames_alone() -> None:
    maps = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([[True, True, False], [True, True, True]])
    other = maps.exp()
    other[0, 2] = 1 - other[0, 2]
    assert alike(maps, other, valid) == pytest.approx([1, 1])
    assert alike(maps, -maps, valid) == pytest.approx([-1, -1])


def test_rank_correlation_with_a_map_that_is_the_same_everywhere_is_unknown() -> None:
    maps = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    flat = maps.clone()
    flat[0], flat[1, 0] = 0, 3  # the second clip only in the frame that counts
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    for first, second in ((maps, flat), (flat, maps)):
        assert np.isnan(alike(first, second, valid)).tolist() == [True, True, True]
    assert not np.isnan(alike(maps, maps, valid)[:2]).any()


def test_cells_are_means() -> None:
    maps = torch.rand(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cells(maps)[0, 1, 3, 4], maps[0, 1, 24:32, 32:40].mean())
    assert torch.equal(cells(maps[..., :8, :8]), maps[..., :8, :8])


@pytest.mark.parametrize(
    ("head", "parts"),
    [
        ("lstm", ["classifier", "head", "encoder 3", "encoder 2", "encoder 1", "everything"]),
        ("mean", ["classifier", "encoder 3", "encoder 2", "encoder 1", "everything"]),
    ],
)
def test_weights_are_randomised_from_the_classifier_down(head: str, parts: list[str]) -> None:
    model, fresh = small(head, 0, landmarks=3), small(head, 1, landmarks=3)
    own, new = ({key: value.clone() for key, value in network.state_dict().items()} for network in (model, fresh))
    differing = {key for key in own if not torch.equal(own[key], new[key])}
    named = {"classifier": "classifier.", "head": "head.", **{f"encoder {i}": f"encoder.blocks.{i}." for i in range(4)}}
    seen: list[str] = []
    for name, drawn in randomised(model, fresh):
        seen.append(name)
        renewed = tuple(named.get(part, "") for part in seen)
        state = drawn.state_dict()
        for key in differing:
            assert torch.equal(state[key], (new if key.startswith(renewed) else own)[key]), (name, key)
        assert not drawn.training
    assert seen == parts
    assert all(torch.equal(state[key], new[key]) for key in new)
    for network, before in ((model, own), (fresh, new)):
        assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_model_that_reads_one_place_passes(of_reader: Checked) -> None:
    verdict = verdicts(of_reader.rows)
    assert {name: verdict[name]["passed"] for name in DECISIVE} == dict.fromkeys(DECISIVE, True)
    for name in ("deletion", "insertion"):
        assert verdict[name]["low"] > 0.1
    assert verdict["stability"]["value"] > 0.9


def test_the_columns_of_every_clip(of_reader: Checked) -> None:
    rows = of_reader.rows
    assert rows["clip_id"].tolist() == list("abcdefghijkl")
    assert rows["subject_id"].nunique() == 7
    expected = {"stability", "effect", "deletion", "insertion", "random classifier", "random everything"}
    assert set(rows.columns) == {"clip_id", "subject_id", *expected, *(f"agreement {name}" for name in METHODS)}
    assert set(of_reader.methods) == {GRAD_CAM, *METHODS, RANDOM_WEIGHTS}
    for table in of_reader.methods.values():
        assert len(table) == 12
        assert table[[f"{SHARE}{name}" for name in REGIONS]].isna().all(axis=None)  # no landmarks
        assert table["reason"].nunique() == 1


def test_curves_run_between_the_clip_and_the_blurred_clip(of_reader: Checked) -> None:
    model, batch = reader(one_place()), clips()
    with torch.no_grad():
        pictures = (batch["frames"], blurred(batch["frames"]))
        full, blank = (model(frames, batch["valid"]).softmax(dim=1)[:, 0].numpy() for frames in pictures)
    for name, ends in {"deletion": (full, blank), "insertion": (blank, full), "at random": (full, blank)}.items():
        curve = of_reader.curves[name]
        assert curve.shape == (12, STEPS + 1)
        np.testing.assert_allclose(curve[:8, 0], ends[0], rtol=1e-5)
        np.testing.assert_allclose(curve[:8, -1], ends[1], rtol=1e-5)
    # The place is one of the first cells to be blurred or restored, and nothing else matters.
    np.testing.assert_allclose(of_reader.curves["deletion"][:8, 1], blank, rtol=1e-5)
    np.testing.assert_allclose(of_reader.curves["insertion"][:8, 1], full, rtol=1e-5)
    assert (full - blank).min() > 0.3


def test_scores_are_areas_between_the_curves(of_reader: Checked) -> None:
    curves, rows = of_reader.curves, of_reader.rows
    fall, rise = curves["at random"] - curves["deletion"], curves["insertion"] - curves["at random"][:, ::-1]
    np.testing.assert_allclose(rows["deletion"], fall.mean(axis=1))
    np.testing.assert_allclose(rows["insertion"], rise.mean(axis=1))


def test_checks_are_repeatable_and_leave_the_model_alone(of_reader: Checked) -> None:
    model = reader(one_place())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    again, other = (checked(model, reader(elsewhere()), seed) for seed in (0, 1))
    pd.testing.assert_frame_equal(again.rows, of_reader.rows)
    assert not np.array_equal(other.curves["at random"], again.curves["at random"])
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_a_model_that_does_not_look_at_the_picture_passes_nothing() -> None:
    verdict = verdicts(checked(reader(one_place(), gain=0.0), reader(elsewhere(), gain=0.0)).rows)
    assert set(DECISIVE) <= verdict.keys()
    assert not any(check["passed"] for check in verdict.values())
    assert verdict["stability"] == {"value": None, "low": None, "high": None, "passed": None}


def test_maps_that_mark_the_wrong_places_fail() -> None:
    """The gradient does not see that the logit falls where the marked cells are bright."""

    class Upside(Reader):
        def features(self, images: Tensor) -> Tensor:
            total = self.look(images)
            return total.mean(dim=(2, 3)) - 3 * total.detach().mean(dim=(2, 3))

    model = reader(one_place())
    model.encoder.__class__ = Upside
    rows = checked(model, reader(elsewhere())).rows
    assert verdicts(rows)["deletion"]["passed"] is None  # the class has next to no probability to lose
    for name in ("deletion", "insertion"):
        assert verdicts(rows.assign(effect=0.5))[name]["passed"] is False


@pytest.mark.parametrize("head", ["lstm", "mean"])
def test_all_checks_run_on_a_convolutional_network(head: str) -> None:
    batch = clips("abc")
    batch["landmarks"] = 64 * torch.rand(3, 2, 68, 2, generator=torch.Generator().manual_seed(0))
    checks = check_clips(small(head, 0), small(head, 1), [(batch, torch.tensor([0, 1, 2]))], "blocks.3.map", seed=0)
    numbers = checks.rows.drop(columns=["clip_id", "subject_id"])
    assert numbers.abs().max(axis=None) <= 1
    assert numbers.notna().mean(axis=None) > 0.5
    for table in checks.methods.values():
        known = table[table["reason"].isna()]
        np.testing.assert_allclose(known[[f"{SHARE}{name}" for name in REGIONS]].sum(axis=1), 1, atol=1e-4)


def test_a_model_compared_with_itself_is_quite_like_itself() -> None:
    batch, model = clips("abc"), small()
    rows = check_clips(model, small(), [(batch, torch.tensor([0, 1, 2]))], "blocks.3.map", seed=0).rows
    known = rows["random everything"].dropna()
    assert len(known) > 0
    assert known.to_numpy() == pytest.approx(1)
    assert verdicts(rows)["random everything"]["passed"] is False


def table(**columns: list[float]) -> pd.DataFrame:
    """Return a table of the checks with one clip per subject."""
    size = len(next(iter(columns.values())))
    names = [f"c{i}" for i in range(size)]
    return pd.DataFrame({"clip_id": names, "subject_id": names, **{k.replace("_", " "): v for k, v in columns.items()}})


@pytest.mark.parametrize(
    ("name", "values", "passed"),
    [
        ("random_everything", [0.25, 0.30, 0.28], True),
        ("random_everything", [0.55, 0.60, 0.58], False),
        ("random_everything", [0.2, 0.7, 0.5], None),
        ("random_everything", [-0.9, -0.95, -0.92], True),
        ("random_everything", [float("nan"), 0.2], None),
        ("random_everything", [float("nan")] * 2, None),
        ("stability", [0.90, 0.91, 0.92], True),
        ("stability", [0.50, 0.52, 0.51], False),
        ("stability", [0.5, 0.9], None),
        ("stability", [float("nan")] * 2, None),
        ("deletion", [0.10, 0.11, 0.12], True),
        ("deletion", [-0.3, 0.1, 0.5], None),
        ("deletion", [-0.1, 0.0, 0.05], None),
        ("deletion", [0.0, 0.0, 0.0], False),
        ("insertion", [0.10, 0.11, 0.12], True),
        ("insertion", [-0.10, -0.11, -0.12], False),
        ("insertion", [0.3], None),
        ("agreement_occlusion", [0.9, 0.8], None),
        ("random_head", [0.9, 0.8], None),
    ],
)
def test_the_verdict_follows_from_the_values(name: str, values: list[float], passed: bool | None) -> None:
    verdict = verdicts(table(**{name: values}))
    assert list(verdict) == [name.replace("_", " ")]
    check = verdict[name.replace("_", " ")]
    assert check["passed"] is passed
    assert check["value"] == (None if np.isnan(values).all() else pytest.approx(np.nanmean(values)))


def test_a_verdict_counts_subjects_and_not_clips() -> None:
    """Twelve clips of two children that disagree decide nothing, nor do deletion and insertion without an effect."""
    values = [0.01, 0.6] * 6
    rows = table(deletion=values)
    assert verdicts(rows)["deletion"]["passed"] is True
    assert verdicts(rows.assign(subject_id=["a", "b"] * 6))["deletion"]["passed"] is None
    assert verdicts(rows.assign(effect=0.5))["deletion"]["passed"] is True
    assert verdicts(rows.assign(effect=0.01))["deletion"]["passed"] is None
