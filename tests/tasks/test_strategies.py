"""What of a model learns under each strategy, and how far it moves."""

import copy
from collections.abc import Callable

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fer_id.labels import TARGET
from fer_id.models.build import ModelConfig, build_model
from fer_id.models.network import ClipClassifier
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import AdaptationConfig, LossConfig, OptimConfig
from fer_id.tasks.strategies import STRATEGIES, stages
from fer_id.types import ClipBatch

MakeBatch = Callable[..., ClipBatch]
Weights = dict[str, torch.Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
LEARNING = [name for name, kind in STRATEGIES.items() if kind(AdaptationConfig(), {}).learns]


def small_model() -> ClipClassifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(head="lstm", hidden=8, widths=[4, 4, 8, 8], convs=[1, 1, 1, 1]), len(TARGET))


def weights(module: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def fitted(
    strategy: str, batches: list[ClipBatch], *, epochs: int = 2, l2sp: float = 0.01
) -> tuple[ClipClassifier, Weights]:
    """The model after a short training under a strategy, and what it was before."""
    model = small_model()
    before = weights(model)
    chosen = STRATEGIES[strategy](AdaptationConfig(strategy, l2sp=l2sp), before)
    task = ClipClassification(model, TARGET, OptimConfig(lr=0.05), LossConfig(), strategy=chosen)
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=dict))  # type: ignore[arg-type]
    return model, before


def moved(model: nn.Module, before: Weights) -> set[str]:
    """The parts (encoder, head, classifier) of which anything changed, running statistics included."""
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.fixture
def batches(make_batch: MakeBatch) -> list[ClipBatch]:
    return [make_batch([0, 1, 2, 3, 4, 0, 1, 2], seed=seed) for seed in range(3)]


@pytest.mark.parametrize("strategy", LEARNING)
def test_each_lowers_the_loss_of_what_it_learns_from(strategy: str, batches: list[ClipBatch]) -> None:
    model, before = fitted(strategy, batches, epochs=8)
    start = small_model()
    start.load_state_dict(before)
    frames, valid, label = batches[0]["frames"], batches[0]["valid"], batches[0]["label"]
    losses = [nn.functional.cross_entropy(one.train()(frames, valid), label).item() for one in (start, model)]
    assert losses[1] < losses[0]


def test_a_probe_moves_the_classifier_alone(batches: list[ClipBatch]) -> None:
    assert moved(*fitted("linear_probe", batches)) == {"classifier"}


def test_full_fine_tuning_moves_everything(batches: list[ClipBatch]) -> None:
    assert moved(*fitted("full", batches)) == {"encoder", "head", "classifier"}


@pytest.mark.parametrize("epochs", [1, 3, 6, 12, 50])
def test_stages_wake_one_after_another_from_the_last(epochs: int) -> None:
    """Six stages wake in the first half: in epoch n of E 1 + 12 n / E of them learn."""
    model = small_model()
    chosen = STRATEGIES["gradual"](AdaptationConfig("gradual", unfreeze_until=0.5), {})
    parts = stages(model)
    assert len(parts) == 6
    for epoch in range(epochs):
        chosen.begin_epoch(model, epoch / epochs)
        awake = [any(p.requires_grad for p in part.parameters()) for part in parts]
        assert awake == sorted(awake)
        assert sum(awake) == min(1 + 12 * epoch // epochs, 6)
        assert [part.training for part in parts] == awake


def test_earlier_stages_learn_at_lower_rates() -> None:
    model = small_model()
    chosen = STRATEGIES["gradual"](AdaptationConfig("gradual", lr_decay=0.5), {})
    task = ClipClassification(model, TARGET, OptimConfig(lr=0.08), LossConfig(), strategy=chosen)
    optimiser = task.configure_optimizers()
    rate = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for depth, part in enumerate(reversed(stages(model))):
        assert {rate[id(p)] for p in part.parameters()} == {0.08 * 0.5**depth}
    assert rate.keys() == {id(p) for p in model.parameters()}


def test_the_pull_is_half_its_strength_times_the_squared_distance() -> None:
    model = small_model()
    start = {f"encoder.{name}": value for name, value in weights(model.encoder).items()}
    chosen = STRATEGIES["l2sp"](AdaptationConfig("l2sp", l2sp=0.3), start)
    at_start = chosen.penalty(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    away = chosen.penalty(model)
    assert at_start is not None
    assert away is not None
    assert at_start.item() == 0.0
    count = sum(p.numel() for p in model.encoder.parameters())
    assert away.item() == pytest.approx(0.3 / 2 * 0.01 * count, rel=1e-3)


def test_what_the_pull_holds_is_not_decayed() -> None:
    model = small_model()
    start = {f"encoder.{name}": value for name, value in weights(model.encoder).items()}
    chosen = STRATEGIES["l2sp"](AdaptationConfig("l2sp"), start)
    task = ClipClassification(model, TARGET, OptimConfig(weight_decay=0.3), LossConfig(), strategy=chosen)
    decay = {id(p): g["weight_decay"] for g in task.configure_optimizers().param_groups for p in g["params"]}
    assert {decay[id(p)] for p in model.encoder.parameters()} == {0.0}
    assert {decay[id(p)] for p in model.classifier.parameters() if p.ndim > 1} == {0.3}


def test_a_stronger_pull_keeps_weights_nearer_to_their_start(batches: list[ClipBatch]) -> None:
    distance = []
    for strength in (0.0, 10.0):
        model, before = fitted("l2sp", batches, epochs=4, l2sp=strength)
        distance.append(sum((p - before[name]).square().sum().item() for name, p in model.named_parameters()))
    assert distance[1] < distance[0] / 2


def test_new_batch_statistics_are_those_of_the_cohort(batches: list[ClipBatch]) -> None:
    model = small_model()
    before = copy.deepcopy(model)
    chosen = STRATEGIES["adabn"](AdaptationConfig("adabn"), {})
    chosen.settle(model, [(batch["frames"], batch["valid"]) for batch in batches])
    first = next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    conv = next(part for part in before.modules() if isinstance(part, nn.Conv2d))
    with torch.no_grad():
        maps = [conv((batch["frames"].flatten(0, 1) - 0.5) / 0.5).transpose(0, 1).flatten(1) for batch in batches]
    assert first.running_mean is not None
    assert first.running_var is not None
    torch.testing.assert_close(first.running_mean, torch.stack([one.mean(dim=1) for one in maps]).mean(dim=0))
    torch.testing.assert_close(first.running_var, torch.stack([one.var(dim=1) for one in maps]).mean(dim=0))
    for (name, one), two in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(one, two), name
    assert not model.training
    assert first.momentum == 0.1
