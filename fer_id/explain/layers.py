"""Choice of the encoder layer for Grad-CAM: the latest feature map that is not too coarse.

At 64x64 pixels a network made for photographs ends in a map of 4x4 or 2x2 cells, each larger than a mouth; so the
latest map of at least :data:`SIDE` cells a side is used (cells of 8 pixels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fer_id.errors import ConfigError
from fer_id.models.encoders import Encoder
from fer_id.types import CROP

SIDE = 8  # minimum number of cells a side of the chosen map, where the network has such a map


def choose_layer(encoder: Encoder, wanted: str | None = None, size: int = CROP) -> str:
    """Return the name of the encoder layer for Grad-CAM: the requested layer, or the latest useful one.

    Where the encoder names no maps (``Encoder.map_names``) every module to a depth of three is tried; ``wanted`` is a
    module's name as ``named_modules`` gives it; ``size`` is the side of the crops in pixels.
    ConfigError: no such layer, or its output is no map; the possible layers are listed.
    """
    if hasattr(getattr(encoder, "net", None), "unroll"):  # Hiera
        raise ConfigError("the encoder's tokens are not in the order of the picture, so there is no Grad-CAM of it")
    sides = map_sides(encoder, [wanted] if wanted else [], size)
    if wanted is not None:
        if sides.get(wanted, 0) > 1:
            return wanted
        known = ", ".join(f"{name} ({side}x{side})" for name, side in map_sides(encoder, size=size).items()) or "none"
        raise ConfigError(
            f"layer={wanted}: the encoder has no map of that name. Known: {known}; or any other module whose "
            "output has a height and a width"
        )
    useful = {name: side for name, side in sides.items() if side > 1}
    if not useful:
        raise ConfigError("the encoder has no layer whose output is a map of the face, so there is no Grad-CAM of it")
    enough = min(SIDE, max(useful.values()))
    return [name for name, side in useful.items() if side >= enough][-1]


def map_sides(encoder: Encoder, names: list[str] | None = None, size: int = CROP) -> dict[str, int]:
    """Return the cells a side of the modules' output maps, in order of computation; modules without a map are left out.

    Without ``names``, of the encoder's own list (``map_names``), or of all modules to a depth of three.
    """
    modules = dict(encoder.named_modules())
    if not names:
        own = encoder.map_names()
        if own and (sides := map_sides(encoder, own, size)):
            return sides
        names = [name for name in modules if name and name.count(".") < 3]
    sides = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and (side := _side(output, encoder)) > 1:
            sides.pop(name, None)
            sides[name] = side

    handles = [
        modules[name].register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name in names
        if name in modules
    ]
    training = encoder.training
    try:
        with torch.inference_mode():
            encoder.eval()(torch.zeros(1, 3, size, size, device=encoder.mean.device))
    finally:
        encoder.train(training)
        for handle in handles:
            handle.remove()
    return sides


@contextmanager
def as_map(encoder: Encoder, name: str) -> Iterator[nn.Module]:
    """Yield a module whose output is the layer's as a map (N, C, h, w), also for tokens and channels-last layers.

    The output is passed on through the network, so its gradient is the layer's. Captum's Grad-CAM expects such a map;
    for a transformer's tokens (N, L, D) it would average the gradient over the channels instead of the positions.
    """
    layer, window = encoder.get_submodule(name), nn.Identity()

    def look(_: nn.Module, __: object, output: Tensor) -> Tensor:
        seen: Tensor
        if output.ndim == 4 and _channels_last(output):
            seen = window(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        elif output.ndim == 3:
            side = _side(output, encoder)
            prefix, patches = output[:, : -side * side], output[:, -side * side :]
            tokens = patches.transpose(1, 2)
            seen = window(tokens.reshape(*tokens.shape[:2], side, side))
            seen = torch.cat([prefix, seen.flatten(2).transpose(1, 2)], dim=1)
        else:
            # a clone: the next module may overwrite its input (in-place ReLU), and the map must not change
            seen = window(output).clone()
        return seen

    handle = layer.register_forward_hook(look)
    try:
        yield window
    finally:
        handle.remove()


def _side(output: Tensor, encoder: Encoder) -> int:
    """Return the cells a side of a layer's output; 0 where the output is no square map."""
    if output.ndim == 4:
        sides = output.shape[1:3] if _channels_last(output) else output.shape[2:4]
        return int(min(sides)) if sides[0] == sides[1] else 0
    if output.ndim == 3:
        prefix = getattr(getattr(encoder, "net", encoder), "num_prefix_tokens", 0)
        for count in (output.shape[1] - prefix, output.shape[1]):  # a class token may join late
            side = math.isqrt(max(0, count))
            if side * side == count:
                return side
    return 0


def _channels_last(output: Tensor) -> bool:
    """Return True for (N, h, w, C), as in Swin; a convolution gives (N, C, h, w)."""
    return output.shape[1] == output.shape[2] != output.shape[3]
