"""Attribution of a clip's logit to places and moments, by captum: Grad-CAM, integrated gradients, occlusion.

Every method answers for the logit of one class per clip and gives maps that are not negative: how much each place of
each frame speaks for (Grad-CAM, occlusion) or moves (integrated gradients) that logit. A frame without a face is not
seen by the model, and its map is zero.

References: Selvaraju et al. (2017, doi:10.1109/ICCV.2017.74); Sundararajan et al. (2017, arXiv:1703.01365); Zeiler and
Fergus (2014, doi:10.1007/978-3-319-10590-1_53).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch import Tensor

from fer_id.explain.layers import as_map
from fer_id.models.network import ClipClassifier
from fer_id.types import CROP, ClipBatch

WINDOW, STRIDE = 16, 12
"""Pixels: side and step of the square that occlusion hides, a mouth or an eye."""

STEPS = 10
"""Of the path of integrated gradients; captum's rule is Gauss-Legendre, which needs few."""


def grad_cam(model: ClipClassifier, batch: ClipBatch, target: Tensor, layer: str) -> Tensor:
    """Grad-CAM of every frame: with a temporal head the gradient comes through it, so late frames know of early ones.

    Args:
        model: in evaluation mode.
        batch: B clips of T frames; at least one frame of the batch is valid.
        target: (B,) the class asked about.
        layer: of the encoder, from ``fer_id.explain.layers.choose_layer``.

    Returns:
        (B, T, h, w) float32, the layer's cells, at least 0.
    """
    with as_map(model.encoder, layer) as window, _questioned(model):
        cam = LayerGradCam(model, window).attribute(
            batch["frames"],
            target=target,
            additional_forward_args=(batch["valid"], batch["landmarks"]),
            relu_attributions=True,
        )
    seen = batch["valid"].flatten()
    cells: Tensor = cam[:, 0].detach().float()
    maps = cells.new_zeros(len(seen), *cells.shape[1:])
    maps[seen] = cells  # the model encodes valid frames alone, in this order
    return maps.view(*batch["valid"].shape, *cells.shape[1:])


def integrated_gradients(model: ClipClassifier, batch: ClipBatch, target: Tensor) -> Tensor:
    """|integrated gradients| from the blurred clip to the clip, summed over the colours, (B, T, 64, 64)."""
    frames = batch["frames"]
    with _questioned(model):
        found = IntegratedGradients(model).attribute(
            frames,
            baselines=blurred(frames),
            target=target,
            additional_forward_args=(batch["valid"], batch["landmarks"]),
            n_steps=STEPS,
            internal_batch_size=len(frames),
        )
    return _seen(found.detach().float().abs().sum(dim=2), batch["valid"])


def occlusion(model: ClipClassifier, batch: ClipBatch, target: Tensor) -> Tensor:
    """How far the logit falls when a square is blurred in all frames at once, (B, T, 64, 64), alike in all frames."""
    frames = batch["frames"]
    count = frames.shape[1]
    with torch.inference_mode(), _questioned(model):
        found = Occlusion(model).attribute(
            frames,
            sliding_window_shapes=(count, 3, WINDOW, WINDOW),
            strides=(count, 3, STRIDE, STRIDE),
            baselines=blurred(frames),
            target=target,
            additional_forward_args=(batch["valid"], batch["landmarks"]),
        )
    return _seen(found.float().mean(dim=2).clamp(min=0), batch["valid"])


def frame_occlusion(model: ClipClassifier, batch: ClipBatch, target: Tensor, features: Tensor | None = None) -> Tensor:
    """How far the logit falls when a frame is taken for one without a face, (B, T); NaN where it was one already.

    Each frame is encoded once; the head is asked again. Negative where the clip speaks more clearly without the frame;
    NaN too for the only valid frame of a clip, without which there is no answer.

    Args:
        features: what the head was given (:func:`heads_input`), where the clips were encoded before.
    """
    valid = batch["valid"]
    with torch.inference_mode():
        if features is None:
            features = model.encode(batch["frames"], valid, batch["landmarks"])
        whole = _of(model.classify(model.pool(features, valid)), target)
        found = torch.full(valid.shape, torch.nan)
        for t in range(valid.shape[1]):
            without = valid.clone()
            without[:, t] = False
            can = (valid[:, t] & without.any(dim=1)).cpu()
            drop = whole - _of(model.classify(model.pool(features, without)), target)
            found[can, t] = drop.float().cpu()[can]
    return found


GRAD_CAM = "grad_cam"


@contextmanager
def heads_input(model: ClipClassifier) -> Iterator[list[Tensor]]:
    """Gathers the features (B, T, D) that the head is given meanwhile, so that nothing is encoded twice."""
    seen: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()


METHODS: dict[str, Callable[[ClipClassifier, ClipBatch, Tensor], Tensor]] = {
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}
"""What stands beside Grad-CAM, by name."""


def importance(maps: Tensor) -> Tensor:
    """Share of each frame in a clip's attribution, (B, T) from (B, T, h, w); NaN where all of it is zero."""
    mass = maps.sum(dim=(2, 3))
    return mass / mass.sum(dim=1, keepdim=True)  # 0 / 0 is NaN: nothing spoke for the class


def enlarged(maps: Tensor) -> Tensor:
    """Maps (B, T, h, w) at the size of the crop, (B, T, 64, 64), bilinearly."""
    if maps.shape[-1] == CROP:
        return maps
    return torch.nn.functional.interpolate(maps, size=(CROP, CROP), mode="bilinear", align_corners=False)


def blurred(frames: Tensor) -> Tensor:
    """Frames (B, T, 3, 64, 64) in which no feature of a face is left, only light and skin: the mean of 16x16 pixels,
    bilinearly in between. What "nothing to see here" looks like."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), CROP // 16)
    soft = torch.nn.functional.interpolate(coarse, size=(CROP, CROP), mode="bilinear", align_corners=False)
    return soft.view(frames.shape)


@contextmanager
def _questioned(model: ClipClassifier) -> Iterator[None]:
    """No gradient for the weights, which nobody asks for; and a backward pass of an LSTM that is not in training."""
    wanted = [one for one in model.parameters() if one.requires_grad]
    try:
        for one in wanted:
            one.requires_grad_(False)
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no backward in evaluation mode
            yield
    finally:
        for one in wanted:
            one.requires_grad_(True)


def _seen(maps: Tensor, valid: Tensor) -> Tensor:
    return maps * valid[..., None, None]


def _of(logits: Tensor, target: Tensor) -> Tensor:
    return logits.gather(1, target.unsqueeze(1)).squeeze(1)
