"""timm backbones as encoders of 64x64 crops, and a survey of those that can be built.

At 64x64 a network made for 224x224 ends in a 2x2 map. With ``stride="halved"`` backbones are built with half the
stride at their entrance (the first strided layer of a convolutional stem, the patch of a transformer), so that the last
map is 4x4 or more and every pretrained layer sees the face at twice its usual resolution. A frame of ResNet-50 or
EfficientNet-B0 then takes four times the multiply-adds of ``stride="own"``, timm's own, which our ``resnet50`` and
``efficientnet_b0`` have. Dilating the last stage instead (timm's ``output_stride=16``) would take 1.2 to 2 times, but
leaves 16x16 cells after a ResNet's stem, where a brow or the corner of a mouth is one or two of them.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypedDict

import timm
import torch
from timm.models import model_entrypoint
from torch import Tensor, nn

from fer_id.errors import ConfigError, first_line
from fer_id.models.config import TIMM, suggestion, timm_problems
from fer_id.models.encoders import HALVES, Encoder
from fer_id.models.published import download, from_file
from fer_id.progress import say, track
from fer_id.types import CROP

MAP = 4  # smallest side of the last feature map of a backbone at 64x64
PATCH = 8  # largest patch side of a vision transformer: 64 tokens at 64x64


class TimmEncoder(Encoder):
    """A timm backbone by its name, with or without the tag of its weights (``vit_tiny_patch16_224.augreg_in21k``).

    It is fitted to 64x64 with ``stride`` (``halved`` or ``own``, see the module) and pooled as timm pools it;
    ``pretrained`` downloads timm's weights, ``weights`` is a local file of them instead, with ``weights_match="order"``
    one of the same network under other names. Raise ConfigError where the backbone cannot take 64x64, and
    CheckpointError where the weights cannot be downloaded, read, or fitted.
    """

    def __init__(
        self,
        name: str,
        stride: str = "halved",
        *,
        pretrained: bool = False,
        weights: str | None = None,
        weights_match: str = "names",
    ) -> None:
        fit = fit_to_crop(name, stride)
        if stride == "halved" and 0 < fit.side < MAP:
            say(f"timm:{name} ends in a map of {fit.side}x{fit.side} cells at {CROP}x{CROP}: coarser than a brow")
        published = timm.get_pretrained_cfg(name) if pretrained or weights is not None else None
        mean, std = (published.mean, published.std) if published is not None else (HALVES, HALVES)
        super().__init__(fit.dim, mean, std)
        self.any_size = not fit.sizes
        self.net: nn.Module
        if weights is not None:
            self.net = from_file(name, fit.sizes, weights, weights_match)
        elif pretrained:
            self.net = download(name, fit.sizes)
        else:
            self.net = timm.create_model(name, num_classes=0, **fit.sizes)
        if fit.halve:
            _halve_stem(self.net)

    def features(self, images: Tensor) -> Tensor:
        return self.net(images)  # type: ignore[no-any-return]

    def stages(self) -> list[nn.Module]:
        return list(self.net.children())

    def map_names(self) -> list[str]:
        """Return timm's own list of stages; for a transformer the first norm of each block. After a transformer's last
        block only the class token is read, and the patches have no gradient."""
        modules = dict(self.net.named_modules())
        listed = [info["module"] for info in getattr(self.net, "feature_info", ())]
        stages = [name for name in listed if name in modules]  # some lists name modules that do not exist
        return [f"net.{name}.norm1" if hasattr(modules[name], "norm1") else f"net.{name}" for name in stages]


class Sizes(TypedDict, total=False):
    """Keyword arguments of ``timm.create_model``."""

    img_size: int
    patch_size: int


class Fit(NamedTuple):
    """Construction of a timm backbone for 64x64."""

    sizes: Sizes  # none for a backbone that takes any size
    halve: bool  # True where the stride of its stem is halved
    dim: int  # D
    side: int  # cells a side of its last feature map; 0 where it ends in a row of tokens


@lru_cache(maxsize=64)
def fit_to_crop(name: str, stride: str = "halved") -> Fit:
    """Return how to build a backbone for 64x64, by trials on the meta device (nothing is allocated or computed).

    Unchanged where it ends in tokens or in a map of at least 4x4, else with half the stride where ``stride`` is
    ``halved``, else unchanged. Raise ConfigError where no way of building it takes a 64x64 image.
    """
    fits, failures = list[Fit](), list[Exception]()
    for sizes in _sizes(name, stride):
        for halve in (False, True) if stride == "halved" else (False,):
            try:
                fit = _try(name, sizes, halve)
            except Exception as error:  # every backbone has its own way of refusing a size
                failures.append(error)
                continue
            if fit.side == 0 or fit.side >= MAP:
                return fit
            fits.append(fit)
    if not fits:
        reason = _reason(failures[-1])
        with_own = " with model.stride=own" if stride == "own" else ""
        raise ConfigError(
            f"model.encoder: timm:{name}{with_own} takes no {CROP}x{CROP} images ({reason}); choose another"
        )
    return max(fits, key=lambda fit: fit.side)


def backbone_problems(encoder: str, stride: str) -> list[str]:
    """Return a line where timm has no such encoder (``timm:<name>``), no such weights, or it takes no 64x64 image."""
    if problems := timm_problems(encoder):
        return problems
    try:
        fit_to_crop(encoder.removeprefix(TIMM), stride)
    except ConfigError as refusal:
        return [str(refusal)]
    return []


def _sizes(name: str, stride: str) -> list[Sizes]:
    """Return the arguments to try, best first: for a fixed input size a smaller patch, else the image size alone."""
    published = timm.get_pretrained_cfg(name)
    if published is None or not published.fixed_input_size:
        return [{}]
    image: Sizes = {"img_size": CROP}
    if stride == "own":
        return [image]
    with torch.device("meta"):
        conv = _first_strided(timm.create_model(name, num_classes=0))
    if conv is None:
        return [image]
    return [{**image, "patch_size": min(PATCH, conv.stride[0] // 2)}, image]


def _try(name: str, sizes: Sizes, halve: bool) -> Fit:
    with torch.device("meta"), torch.no_grad():
        net: Any = timm.create_model(name, num_classes=0, **sizes).eval()
        if halve:
            _halve_stem(net)
        images = torch.zeros(1, 3, CROP, CROP)
        last = net.forward_features(images)
        side = min(last.shape[1:]) if last.ndim == 4 else 0  # (N, C, H, W), or (N, H, W, C) as in Swin
        return Fit(sizes, halve, net(images).shape[-1], side)


def _reason(error: Exception) -> str:
    """Return a backbone's own message of refusal, or else the place in its code."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return first_line(error, f"{type(error).__name__} in {place.name}()")[:200]


def _first_strided(net: nn.Module) -> nn.Conv2d | None:
    return next((m for m in net.modules() if isinstance(m, nn.Conv2d) and max(m.stride) > 1), None)


def _halve_stem(net: nn.Module) -> None:
    """Halve the stride of the first strided convolution; its weights do not change."""
    conv = _first_strided(net)
    if conv is None:
        return
    stride = conv.stride[0] // 2
    conv.stride = (stride, stride)
    conv.padding = tuple((k - stride + 1) // 2 for k in conv.kernel_size)


class Backbone(NamedTuple):
    """A timm model at 64x64."""

    name: str
    family: str  # module of timm that defines it, such as ``resnet``
    side: int | None  # cells a side of its last feature map; 0 where it ends in tokens; None where it cannot be built
    reason: str  # reason why it cannot be built, or empty


def survey(pattern: str) -> Iterator[Backbone]:
    """Try every timm model whose name matches a pattern with ``*``, on the meta device; ConfigError where none does."""
    names = timm.list_models(pattern)
    if not names:
        raise ConfigError(f"{TIMM}{pattern}: timm has no model of such a name{suggestion(pattern, 'nearest: ')}")
    for name in track(names, "timm at 64x64"):
        family = model_entrypoint(name).__module__.rpartition(".")[2]
        try:
            yield Backbone(name, family, fit_to_crop(name).side, "")
        except ConfigError as refusal:
            yield Backbone(name, family, None, str(refusal).partition(" images (")[2].removesuffix("); choose another"))


def backbone_rows(backbones: Iterable[Backbone]) -> Iterator[list[str]]:
    """Yield a row for each backbone: name, last map, and the reason why it cannot be built."""
    for name, _, side, reason in backbones:
        yield [f"{TIMM}{name}", "" if side is None else _map_words(side), reason.replace("|", "/")]


def _map_words(side: int) -> str:
    return f"{side}x{side}{' (coarse)' if side < MAP else ''}" if side else "tokens"


def family_rows(backbones: Iterable[Backbone]) -> Iterator[list[str]]:
    """Yield a row for each family, by name: number that can be built, last maps, and the others with their reasons."""
    families = groupby(sorted(backbones, key=attrgetter("family")), attrgetter("family"))
    for family, members in ((family, list(members)) for family, members in families):
        sides = [member.side for member in members if member.side is not None]
        maps = map(_map_words, sorted({*sides}))
        refused: dict[str, list[str]] = {}
        for member in members:
            if member.side is None:
                refused.setdefault(member.reason, []).append(member.name)
        reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in refused.items())
        yield [family, f"{len(sides)} of {len(members)}", ", ".join(maps), reasons.replace("|", "/")]
