"""The parts of a model that learn under each strategy, and how far they move."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer_id.errors import ConfigError
from fer_id.labels import TARGET
from fer_id.models.network import ClipClassifier
from fer_id.tasks.classification import ClipClassification
from fer_id.tasks.config import ALIGNING, BY_PICTURES, AdaptationConfig, LossConfig, OptimConfig
from fer_id.tasks.strategies import STRATEGIES, Critic, Strategy, coral, stages
from fer_id.types import COHORT, SOURCE, ClipBatch

from .conftest import fit, make_batch, small_model

Weights = dict[str, torch.Tensor]
pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
LEARNING = [name for name, kind in STRATEGIES.items() if kind(AdaptationConfig(), {}).learns]


def weights(module: nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def fitted(
    strategy: str, batches: list[ClipBatch], *, epochs: int = 2, l2sp: float = 0.01
) -> tuple[ClipClassifier, Weights]:
    """Return the model after a short training under a strategy, and the model before it."""
    model = small_model()
    before = weights(model)
    chosen = STRATEGIES[strategy](AdaptationConfig(strategy, l2sp=l2sp), before)
    task = ClipClassification(model, TARGET, OptimConfig(lr=0.05), LossConfig(), strategy=chosen)
    fit(task, batches, epochs=epochs)
    return model, before


def moved(model: nn.Module, before: Weights) -> set[str]:
    """The parts (encoder, head, classifier) of which anything changed, running statistics included."""
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


@pytest.fixture
def batches() -> list[ClipBatch]:
    return [make_batch([0, 1, 2, 3, 4, 0, 1, 2], seed=seed) for seed in range(3)]


@pytest.mark.parametrize("strategy", LEARNING)
def test_each_lowers_the_loss_of_what_it_learns_from(strategy: str, batches: list[ClipBatch]) -> None:
    model, before = fitted(strategy, batches, epochs=8)
    start = small_model()
    start.load_state_dict(before)
    frames, valid, label = batches[0]["frames"], batches[0]["valid"], batches[0]["label"]
    losses = []
    for network in (start, model):
        chosen = STRATEGIES[strategy](AdaptationConfig(strategy), {})
        chosen.begin_epoch(network.train(), 0.99)  # batch norms as it learns
        losses.append(nn.functional.cross_entropy(network(frames, valid), label).item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("strategy", "parts"),
    [("linear_probe", {"classifier"}), ("head", {"head", "classifier"}), ("full", {"encoder", "head", "classifier"})],
)
def test_the_parts_that_learn_move_and_no_other(strategy: str, parts: set[str], batches: list[ClipBatch]) -> None:
    assert moved(*fitted(strategy, batches)) == parts


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


@pytest.mark.parametrize("strategy", ["full", "gradual", "head", "l2sp"])
def test_the_encoder_may_learn_at_a_lower_rate(strategy: str) -> None:
    model = small_model()

    def rates(**optim: float) -> dict[int, float]:
        chosen = STRATEGIES[strategy](AdaptationConfig(strategy), {})
        task = ClipClassification(model, TARGET, OptimConfig(lr=0.08, **optim), LossConfig(), strategy=chosen)
        groups = task.configure_optimizers().param_groups
        return {id(p): group["lr"] for group in groups for p in group["params"]}

    usual, slower, encoder = rates(), rates(encoder_lr=0.1), {id(p) for p in model.encoder.parameters()}
    assert slower == pytest.approx({p: rate * (0.1 if p in encoder else 1) for p, rate in usual.items()})
    assert encoder.isdisjoint(slower) == (strategy == "head")


def test_only_a_clip_classifier_has_an_encoder() -> None:
    task = ClipClassification(nn.Linear(2, 5), TARGET, OptimConfig(encoder_lr=0.1))
    with pytest.raises(ConfigError, match="a Linear has no encoder"):
        task.configure_optimizers()


def test_the_pull_is_half_its_strength_times_the_squared_distance() -> None:
    model = small_model()
    start = {f"encoder.{name}": value for name, value in weights(model.encoder).items()}
    chosen = STRATEGIES["l2sp"](AdaptationConfig("l2sp", l2sp=0.3), start)
    count = sum(p.numel() for p in model.encoder.parameters())
    for distance, expected in ((0.0, 0.0), (0.1, 0.3 / 2 * 0.01 * count)):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(distance)
        penalty = chosen.penalty(model, torch.zeros(2, 8), None)
        assert penalty.item() == pytest.approx(expected, rel=1e-3, abs=0)


def test_weights_held_by_the_penalty_do_not_decay() -> None:
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
    torch.testing.assert_close(first.running_mean, torch.stack([each.mean(dim=1) for each in maps]).mean(dim=0))
    torch.testing.assert_close(first.running_var, torch.stack([each.var(dim=1) for each in maps]).mean(dim=0))
    for (name, parameter), two in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, two), name
    assert not model.training
    assert first.momentum == 0.1


def test_coral_is_the_distance_of_the_covariances() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) * 3
    expected = np.linalg.norm(np.cov(source.T) - np.cov(target.T)) ** 2 / (4 * 4 * 4)
    assert coral(torch.from_numpy(source), torch.from_numpy(target)).item() == pytest.approx(expected)


def test_the_critic_learns_and_the_features_become_alike() -> None:
    critic, features = Critic(4), torch.randn(6, 4, requires_grad=True)
    domain = torch.tensor([SOURCE] * 4 + [COHORT] * 2)
    critic(features, domain, 0.5).backward()
    plain = features.detach().clone().requires_grad_()
    logits = critic.net(plain)
    by_hand = (F.cross_entropy(logits[:4], domain[:4]) + F.cross_entropy(logits[4:], domain[4:])) / 2
    (gradient,) = torch.autograd.grad(by_hand, plain)
    torch.testing.assert_close(features.grad, -0.5 * gradient)


@pytest.mark.parametrize("strategy", ["coral", "dann"])
def test_a_batch_of_one_domain_is_not_aligned(strategy: str) -> None:
    chosen = STRATEGIES[strategy](AdaptationConfig(strategy), {})
    chosen.critic(8)
    model = small_model()
    assert chosen.penalty(model, torch.zeros(0, 8), torch.zeros(0, dtype=torch.int64)) is None
    assert chosen.penalty(model, torch.ones(3, 8), None) is None
    alone = chosen.penalty(model, torch.ones(3, 8), torch.full((3,), COHORT))
    assert alone is None if strategy == "coral" else torch.isfinite(alone)  # a critic learns from one domain, too


def test_strategies_that_read_pictures_alone_are_those_that_align_and_adabn() -> None:
    def aligns(strategy: Strategy) -> bool:
        strategy.critic(8)
        return strategy.penalty(small_model(), torch.randn(6, 8), torch.tensor([SOURCE, COHORT] * 3)) is not None

    assert {name for name, kind in STRATEGIES.items() if aligns(kind(AdaptationConfig(name), {}))} == set(ALIGNING)
    assert set(BY_PICTURES) == {*ALIGNING, "adabn"}


@pytest.mark.parametrize(("strategy", "scale", "offset"), [("coral", 3.0, 0.0), ("dann", 1.0, 1.0)])
def test_differences_between_domains_are_unlearned(strategy: str, scale: float, offset: float) -> None:
    """The cohort's features are the source's, stretched and moved by two numbers, which alone may change."""
    torch.manual_seed(0)
    source, cohort = torch.randn(2, 128, 8)
    domain = torch.tensor([SOURCE] * 128 + [COHORT] * 128)
    chosen = STRATEGIES[strategy](AdaptationConfig(strategy), {})
    critic, model = chosen.critic(8), small_model()
    chosen.begin_epoch(model, 0.9)
    stretched, moved = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(offset))
    optimisers: list[torch.optim.Optimizer] = [torch.optim.SGD([stretched, moved], lr=0.05)]
    if critic is not None:
        optimisers.append(torch.optim.Adam(critic.parameters(), lr=0.01))
    for _ in range(200):
        penalty = chosen.penalty(model, torch.cat([source, cohort * stretched + moved]), domain)
        for optimiser in optimisers:
            optimiser.zero_grad()
        penalty.backward()
        for optimiser in optimisers:
            optimiser.step()
    assert abs(stretched.item() - 1) + abs(moved.item()) < 0.5 * (abs(scale - 1) + abs(offset))
