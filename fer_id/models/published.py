"""Published weights of timm's backbones: downloaded, or from a file whose tensors are found by name or by order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any, cast

import timm
import torch
from timm.models import clean_state_dict
from torch import Tensor, nn

from fer_id.errors import CheckpointError, Problems, first_line
from fer_id.models.checkpoint import NOT_FINITE, SPOILT, is_finite, read_tensors, usable
from fer_id.progress import say

COUNTER = ".num_batches_tracked"  # of batch normalisation; older files lack it


def download(name: str, sizes: Mapping[str, Any]) -> nn.Module:
    """Return a backbone with timm's own weights; CheckpointError where they cannot be had."""
    try:
        with _silent():
            return timm.create_model(name, pretrained=True, num_classes=0, **sizes)
    except Exception as error:  # no network, a proxy, a full disk, no published weights: each in its own exception
        raise CheckpointError(
            f"timm:{name}: its pretrained weights cannot be had ({first_line(error)}). Without a network, fetch "
            f"{_published_file(name)} elsewhere and give it as model.weights=FILE with model.pretrained=false, or "
            "train from scratch with model.pretrained=false alone."
        ) from error


def from_file(name: str, sizes: Mapping[str, Any], path: str, match: str = "names") -> nn.Module:
    """Return a backbone with the weights of a file.

    ``match="names"`` takes a file of timm's names, ``order`` the same network's under other names (:func:`in_order`).
    Raise CheckpointError where the file cannot be read, or is not of this network, complete and finite.
    """
    tensors = clean_state_dict(read_tensors(path))  # refuses code and damage, with a clear message
    if match == "order":
        tensors = in_order(name, tensors, path)
    with torch.device("meta"):
        expected = timm.create_model(name, num_classes=0, **sizes).state_dict()
    tensors |= usable(expected, tensors, path)
    try:
        net, shifted = (_built(name, sizes, state) for state in (tensors, _shifted(tensors)))
    except Exception as error:  # timm converts the weights of many sources, with various errors
        raise CheckpointError(f"{path}: not the weights of timm:{name} ({first_line(error)})") from error
    # timm leaves what the file lacks as it was made, without a word: those values do not follow the file's
    pairs = zip(net.state_dict().items(), shifted.state_dict().values(), strict=True)
    missing = [key for (key, value), other in pairs if value.is_floating_point() and torch.equal(value, other)]
    problems = Problems(f"{path}: not the weights of timm:{name}", (f"{key}: missing" for key in missing))
    problems.raise_if_any(
        CheckpointError,
        f"Give timm's own file of {name}, or with model.weights_match=order one of other names for the same network.",
    )
    if spoilt := [key for key, value in net.named_parameters() if not is_finite(value)]:
        raise CheckpointError(f"{path}: not usable as weights: {spoilt[0]}: {NOT_FINITE}. {SPOILT}")
    if match == "order":
        say(f"{path}: {len(tensors)} tensors taken as those of timm:{name} by order, shape and kind")
    return net


def in_order(name: str, tensors: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return the tensors of a file under timm's names of the same network, the first for the first.

    In every place shape and last part of the name (``weight``, ``running_mean``) must be the expected ones, of the
    classifier only the latter, or there is none. Strides, padding and activations are those of timm's network. Raise
    CheckpointError with all places that differ, the first alone where the number of tensors does too, and for
    safetensors, which are sorted.
    """
    if path.endswith(".safetensors"):
        raise CheckpointError(
            f"{path}: safetensors keep no order, so that model.weights_match=order cannot match them. Give the file as "
            "torch saved it, or rename its tensors to timm's names and say model.weights_match=names."
        )
    with torch.device("meta"):
        whole = _without_counters(timm.create_model(name).state_dict())
        encoder = _without_counters(timm.create_model(name, num_classes=0).state_dict())
    tensors = _without_counters(tensors)
    expected = encoder if len(tensors) == len(encoder) else whole
    problems = Problems(f"{path}: not the tensors of timm:{name} in their order")
    for place, (theirs, ours) in enumerate(zip_longest(tensors, expected), 1):
        if theirs is None or ours is None or not _alike(theirs, tensors[theirs], ours, expected[ours], ours in encoder):
            there = f"{theirs} {tuple(tensors[theirs].shape)}" if theirs else "no tensor"
            problems.add(f"{place}. {there}, expected {f'{ours} {tuple(expected[ours].shape)}' if ours else 'no more'}")
            if len(tensors) != len(expected):  # the places that follow are shifted
                break
    if len(tensors) != len(expected):
        problems.add(f"{len(tensors)} tensors, expected {len(whole)}, or {len(encoder)} without the classifier")
    hint = f"Give the weights of the network that timm calls {name}, its tensors as they were made, not sorted."
    problems.raise_if_any(CheckpointError, hint)
    return dict(zip(expected, tensors.values(), strict=True))


def _alike(theirs: str, value: Tensor, ours: str, expected: Tensor, of_encoder: bool) -> bool:
    """Return whether two tensors agree in the last part of their names and, in the encoder, in their shape."""
    same_kind = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
    return same_kind and (not of_encoder or value.shape == expected.shape)


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def _built(name: str, sizes: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """Return a net that timm made with these weights. It resamples patches and positions only of published weights, so
    they are declared as such. What is not loaded is the same in every net, since the seed is."""
    overlay = {"state_dict": dict(state), "custom_load": False}
    with _silent(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: Any = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **sizes)
    net.pretrained_cfg.pop("state_dict", None)  # else timm's description of the net holds a second copy
    return cast("nn.Module", net)


def _shifted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}


def _published_file(name: str) -> str:
    """Return where the file of a backbone's published weights is."""
    published = timm.get_pretrained_cfg(name)
    if published is not None and published.hf_hub_id:
        return f"{published.hf_hub_filename or 'model.safetensors'} of https://huggingface.co/{published.hf_hub_id}"
    return str(published.url) if published is not None and published.url else "a file of them"


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the libraries' own logs, which list every key of a foreign file, from the terminal."""
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(disabled)
