import numpy as np
import pytest
import torch
from torch import nn

from fer_id.errors import CheckpointError
from fer_id.models.build import build_model
from fer_id.models.config import ModelConfig
from fer_id.models.dropout import dropout_layers, dropping, sampled_answers
from tests.tasks.conftest import make_batch


def small(head="lstm", dropout=0.3):
    torch.manual_seed(0)
    config = ModelConfig(name="a", encoder="conv4", head=head, hidden=8, dropout=dropout, widths=[4, 4, 8, 8])
    return build_model(config, 5).eval()


def batch():
    """Three clips, the second without a face."""
    valid = torch.tensor([True, False, True]).unsqueeze(1).expand(3, 4).clone()
    return make_batch([0, 0, 0], length=4, seed=1, valid=valid, clip_id=["c0", "c1", "c2"])


@pytest.mark.parametrize("head", ["lstm", "transformer"])
def test_members_differ_where_something_drops_and_repeat_with_their_seed(head):
    model = small(head)
    names, answers = sampled_answers(model, [batch()], 6, seed=3)
    assert names == ["c0", "c2"]
    assert answers.shape == (6, 2, 5)
    np.testing.assert_allclose(answers.sum(-1), 1)
    assert answers.std(0).min() > 0
    np.testing.assert_array_equal(sampled_answers(model, [batch()], 6, seed=3)[1], answers)
    assert not np.array_equal(sampled_answers(model, [batch()], 6, seed=4)[1], answers)


def test_only_dropout_is_on_and_the_model_is_as_it_was_afterwards():
    model = small()
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    with dropping(model):
        training = {type(layer) for layer in model.modules() if layer.training and not list(layer.children())}
        assert training == {nn.Dropout}
    sampled_answers(model, [batch()], 2, seed=0)
    assert not any(layer.training for layer in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())


def test_clips_are_encoded_once_unless_the_encoder_drops_something(monkeypatch):
    model = small()
    original, calls = model.encode, []
    monkeypatch.setattr(model, "encode", lambda *args: calls.append(1) or original(*args))
    sampled_answers(model, [batch()], 5, seed=0)
    assert len(calls) == 1
    model.encoder.dropout = nn.Dropout(0.2)
    sampled_answers(model, [batch()], 5, seed=0)
    assert len(calls) == 1 + 5


def test_a_model_without_dropout_is_refused():
    assert dropout_layers(small(dropout=0.0)) == []
    with pytest.raises(CheckpointError, match=r"model\.dropout=0"):
        sampled_answers(small(dropout=0.0), [batch()], 5, seed=0)


def test_no_clip_with_a_face_gives_no_answer():
    empty = batch()
    empty["valid"][:] = False
    assert sampled_answers(small(), [empty], 5, seed=0)[0] == []
