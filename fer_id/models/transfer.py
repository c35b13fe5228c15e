"""Initialisation of a model from the weights of another with other classes or another temporal head."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from fer_id.errors import CheckpointError
from fer_id.labels import LabelSpace
from fer_id.models.checkpoint import load_encoder, load_state, usable
from fer_id.models.network import ClipClassifier


class Transferred(NamedTuple):
    """Weights that a model took over."""

    weights: dict[str, Tensor]  # name -> copy of each transferred weight
    head: bool  # True where the temporal head was transferred; False where the source has another head
    classes: list[str]  # classes whose classifier row was transferred; the other rows are new


def transfer(model: ClipClassifier, path: Path, source: LabelSpace, target: LabelSpace) -> Transferred:
    """Load the encoder of a checkpoint with the same encoder, and as many of the later parts as fit.

    The temporal head is transferred where it is the same, and with it the classifier's rows of the classes common to
    both label spaces (``source`` of the checkpoint, ``target`` of the model), so that a model of seven emotions begins
    as a model of five of them; so is a head of valence and arousal that both have. Raise CheckpointError for a damaged
    file, or one of another encoder; the model is then unchanged.
    """
    state, own = load_state(path), model.state_dict()
    if missing := {f"encoder.{name}" for name in model.encoder.state_dict()} - set(state):
        raise CheckpointError(f"{path}: no weights of this encoder ({sorted(missing)[0]} is missing)")
    weight, bias = (state.get(f"classifier.1.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or (weight.ndim, bias.ndim, len(weight), len(bias)) != (2, 1, *[len(source)] * 2):
        raise CheckpointError(
            f"{path}: no classifier of {len(source)} classes; its training told {', '.join(source.names)}"
        )
    usable(own, {name: state[name] for name in state if not name.startswith("encoder.")}, path)
    load_encoder(model, path)
    names = {name for name in own if name.startswith("encoder.")}
    heads = ({name: weights[name].shape for name in weights if name.startswith("head.")} for weights in (own, state))
    mine, theirs = heads
    # Heads without weights, such as the mean, look the same; the classifier's input size then decides.
    same = mine == theirs and own["classifier.1.weight"].shape[1] == state["classifier.1.weight"].shape[1]
    classes = [name for name in target.names if name in source.names] if same else []
    if same:
        model.load_state_dict({**model.state_dict(), **{name: state[name].to(own[name]) for name in mine}})
        names |= set(mine)
        to, fro = [target.index(name) for name in classes], [source.index(name) for name in classes]
        now = model.state_dict()  # tensors that share the model's memory
        for name in ("classifier.1.weight", "classifier.1.bias"):
            now[name][to] = state[name][fro].to(now[name])
    affect = {name for name in own if name.startswith("affect.")}
    if same and affect <= set(state):
        model.load_state_dict({**model.state_dict(), **{name: state[name].to(own[name]) for name in affect}})
        names |= affect
    if classes == list(target.names):
        names |= {"classifier.1.weight", "classifier.1.bias"}
    now = model.state_dict()
    return Transferred({name: now[name].detach().clone() for name in names}, same, classes)
