"""Transfer of weights from a model with other classes or another head."""

from pathlib import Path

import pytest
import torch

from fer_id.errors import CheckpointError
from fer_id.labels import FER7, TARGET, LabelSpace
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.network import ClipClassifier
from fer_id.models.transfer import transfer


def model(head: str, space: LabelSpace, seed: int, width: int = 8, *, affect: bool = False) -> ClipClassifier:
    torch.manual_seed(seed)
    config = ModelConfig(head=head, hidden=6, widths=[4, 4, 4, width], convs=[1, 1, 1, 1], affect=affect)
    return build_model(config, len(space)).eval()


def saved(source: ClipClassifier, path: Path) -> Path:
    torch.save({"state_dict": {f"model.{name}": value for name, value in source.state_dict().items()}}, path)
    return path


@pytest.mark.parametrize("head", ["lstm", "mean"])
def test_common_classes_keep_their_logits(head: str, tmp_path: Path) -> None:
    source, target = model(head, FER7, 1), model(head, TARGET, 2)
    taken = transfer(target, saved(source, tmp_path / "a.ckpt"), FER7, TARGET)
    frames, valid = torch.rand(3, 2, 3, 64, 64), torch.ones(3, 2, dtype=torch.bool)
    with torch.no_grad():
        before, after = source(frames, valid), target(frames, valid)
    torch.testing.assert_close(after, before[:, [FER7.index(name) for name in TARGET.names]])
    assert taken.head
    assert taken.classes == list(TARGET.names)
    assert taken.weights.keys() == target.state_dict().keys()


@pytest.mark.parametrize("had", [True, False])
def test_a_head_of_valence_and_arousal_is_transferred_where_both_have_it(had: bool, tmp_path: Path) -> None:
    source, target = model("mean", FER7, 1, affect=had), model("mean", TARGET, 2, affect=True)
    taken = transfer(target, saved(source, tmp_path / "a.ckpt"), FER7, TARGET)
    assert ("affect.1.weight" in taken.weights) == had
    if had:
        assert torch.equal(target.affect[1].weight, source.affect[1].weight)
    without = model("mean", TARGET, 2)
    assert not any(name.startswith("affect") for name in without.state_dict())
    transfer(without, saved(source, tmp_path / "a.ckpt"), FER7, TARGET)


def test_another_head_leaves_the_encoder_alone(tmp_path: Path) -> None:
    source, target = model("mean", FER7, 1), model("lstm", TARGET, 2)
    new = {name: value.clone() for name, value in target.state_dict().items() if not name.startswith("encoder.")}
    taken = transfer(target, saved(source, tmp_path / "a.ckpt"), FER7, TARGET)
    assert not taken.head
    assert taken.classes == []
    assert all(torch.equal(target.state_dict()[name], value) for name, value in new.items())
    assert all(torch.equal(a, b) for a, b in zip(target.encoder.parameters(), source.encoder.parameters(), strict=True))
    assert {name.split(".")[0] for name in taken.weights} == {"encoder"}


def test_a_class_the_source_does_not_know_stays_new(tmp_path: Path) -> None:
    few = LabelSpace("few", ("sad", "happy"))
    source, target = model("lstm", few, 1), model("lstm", TARGET, 2)
    before = target.state_dict()["classifier.1.weight"].clone()
    taken = transfer(target, saved(source, tmp_path / "a.ckpt"), few, TARGET)
    assert taken.classes == ["happy", "sad"]
    now, theirs = (model.state_dict()["classifier.1.weight"] for model in (target, source))
    torch.testing.assert_close(now[:2], theirs[[1, 0]])
    assert torch.equal(now[2:], before[2:])
    assert "classifier.1.weight" not in taken.weights  # it has new rows, which L2-SP must not hold back


def test_another_encoder_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    target = model("lstm", TARGET, 2)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="another model"):
        transfer(target, saved(model("lstm", TARGET, 1, width=12), tmp_path / "a.ckpt"), TARGET, TARGET)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
