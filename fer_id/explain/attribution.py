"""Attribution of a clip's class logit to pixels and frames, with captum: Grad-CAM, integrated gradients, occlusion.

Every method explains the logit of one class per clip with nonnegative maps: how much each pixel of each frame raises
(Grad-CAM, occlusion) or changes (integrated gradients) that logit. The model does not see a frame without a face, and
its map is zero.

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

WINDOW, STRIDE = 16, 12  # side and step in pixels of the square that occlusion blurs, the size of a mouth or an eye
STEPS = 10  # steps on the path of integrated gradients; captum's Gauss-Legendre rule needs few


def grad_cam(model: ClipClassifier, batch: ClipBatch, target: Tensor, layer: str) -> Tensor:
    """Return the Grad-CAM of every frame, (B, T, h, w) float32 at the layer's resolution, at least 0.

    Through a temporal head maps of late frames depend on early frames. At least one frame of the batch is valid;
    ``layer`` is the name of an encoder layer, from ``fer_id.explain.layers.choose_layer``.
    """
    with as_map(model.encoder, layer) as window, _attributing(model):
        cam = LayerGradCam(model, window).attribute(**_inputs(batch, target), relu_attributions=True)
    seen = batch["valid"].flatten()
    cells: Tensor = cam[:, 0].detach().float()
    maps = cells.new_zeros(len(seen), *cells.shape[1:])
    maps[seen] = cells  # the model encodes only the valid frames, in this order
    return maps.view(*batch["valid"].shape, *cells.shape[1:])


def integrated_gradients(model: ClipClassifier, batch: ClipBatch, target: Tensor) -> Tensor:
    """Return absolute integrated gradients from the blurred clip to the clip, summed over colours, (B, T, S, S)."""
    with _attributing(model):
        attribution = IntegratedGradients(model).attribute(
            **_inputs(batch, target),
            baselines=blurred(batch["frames"]),
            n_steps=STEPS,
            internal_batch_size=len(batch["frames"]),
        )
    return _seen(attribution.detach().float().abs().sum(dim=2), batch)


def occlusion(model: ClipClassifier, batch: ClipBatch, target: Tensor) -> Tensor:
    """Return the fall of the logit when a square is blurred in all frames, (B, T, S, S), equal in all frames."""
    count = batch["frames"].shape[1]
    with torch.inference_mode(), _attributing(model):
        attribution = Occlusion(model).attribute(
            **_inputs(batch, target),
            sliding_window_shapes=(count, 3, WINDOW, WINDOW),
            strides=(count, 3, STRIDE, STRIDE),
            baselines=blurred(batch["frames"]),
        )
    return _seen(attribution.float().mean(dim=2).clamp(min=0), batch)


def frame_occlusion(model: ClipClassifier, batch: ClipBatch, target: Tensor, features: Tensor | None = None) -> Tensor:
    """Return the fall of the logit when a frame counts as one without a face, (B, T).

    Only the head is repeated: frames are encoded once, or before, where ``features`` is the input of the head
    (:func:`heads_input`). Negative where the logit is higher without the frame; NaN for a frame without a face and for
    the only valid frame of a clip, without which there is no prediction.
    """
    valid = batch["valid"]
    with torch.inference_mode():
        if features is None:
            features = model.encode(batch["frames"], valid, batch["landmarks"])
        whole = _of(model.classify(model.pool(features, valid)), target)
        drops = torch.full(valid.shape, torch.nan)
        for t in range(valid.shape[1]):
            without = valid.clone()
            without[:, t] = False
            can = (valid[:, t] & without.any(dim=1)).cpu()
            drop = whole - _of(model.classify(model.pool(features, without)), target)
            drops[can, t] = drop.float().cpu()[can]
    return drops


@contextmanager
def heads_input(model: ClipClassifier) -> Iterator[list[Tensor]]:
    """Yield a list that collects the head's input features (B, T, D), so that nothing is encoded twice."""
    seen: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    try:
        yield seen
    finally:
        handle.remove()


GRAD_CAM = "grad_cam"

METHODS: dict[str, Callable[[ClipClassifier, ClipBatch, Tensor], Tensor]] = {
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}
"""Attribution methods beside Grad-CAM, by name."""


def importance(maps: Tensor) -> Tensor:
    """Return each frame's share of a clip's attribution, (B, T) from (B, T, h, w); NaN without attribution."""
    mass = maps.sum(dim=(2, 3))
    return mass / mass.sum(dim=1, keepdim=True)  # 0 / 0 is NaN: no attribution at all


def enlarged(maps: Tensor, size: int = CROP) -> Tensor:
    """Return maps (B, T, h, w) at the size of the crop, (B, T, S, S), by bilinear interpolation."""
    if maps.shape[-1] == size:
        return maps
    return torch.nn.functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def blurred(frames: Tensor) -> Tensor:
    """Return frames (B, T, 3, S, S) without facial features, only light and skin: means of 16x16 pixels, interpolated
    bilinearly. The baseline of integrated gradients and occlusion."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), frames.shape[-1] // 16)
    soft = torch.nn.functional.interpolate(coarse, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    return soft.view(frames.shape)


@contextmanager
def _attributing(model: ClipClassifier) -> Iterator[None]:
    """Freeze the weights, and allow the backward pass of an LSTM in evaluation mode."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no backward in evaluation mode
            yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def _inputs(batch: ClipBatch, target: Tensor) -> dict[str, object]:
    """Return the arguments that all of captum's methods take."""
    others = (batch["valid"], batch["landmarks"])
    return {"inputs": batch["frames"], "target": target, "additional_forward_args": others}


def _seen(maps: Tensor, batch: ClipBatch) -> Tensor:
    return maps * batch["valid"][..., None, None]


def _of(logits: Tensor, target: Tensor) -> Tensor:
    return logits.gather(1, target.unsqueeze(1)).squeeze(1)
