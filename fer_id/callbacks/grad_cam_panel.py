"""GradCamPanel: Grad-CAM attribution of a few clips during training, as film strips and as numbers over epochs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch

from fer_id.callbacks.step_outputs import evaluated, every_logger, label_space, private_loggers
from fer_id.callbacks.weight_average import averaged_weights
from fer_id.errors import ConfigError
from fer_id.evaluation.groups.suppression import FEWEST_SUBJECTS
from fer_id.explain.attribution import GRAD_CAM
from fer_id.explain.clips import Explained, explain_clips
from fer_id.explain.layers import choose_layer
from fer_id.explain.regions import REGIONS
from fer_id.explain.shares import SHARE, off_face_attribution
from fer_id.labels import LabelSpace
from fer_id.models.network import ClipClassifier
from fer_id.progress import say
from fer_id.tasks.parallel import of_all_processes
from fer_id.types import CROP, ClipBatch, StoredClip

KIND = "Inner validation"


class GradCamPanel(pl.Callback):
    """Callback that explains a few inner-validation clips, the same ones in every epoch, by Grad-CAM (Captum).

    Every logger gets ``val/attribution/<region>``, the mean share of the attribution that falls on a facial region, and
    ``val/attribution/off_face``, attribution on hairline and background relative to their area (1: as in a uniform
    map). ``PrivateWandbLogger`` gets the film strips ``val/grad_cam`` too: drawn faces, and with ``faces=True``
    those of children with ``media_sharing`` consent; no other logger gets a picture. Where the clips are of fewer than
    five real children nothing is logged, and a line says so. Batches are ``ClipBatch``; ``pl_module.model`` is a
    ``ClipClassifier`` whose encoder has a map.

    ``clips`` of as many children and classes as possible are chosen, the same ones in every run. ``every`` so many
    epochs there is a panel, and always in the last one. ``layer`` is one of the encoder; None: its latest map of 8x8
    cells or more.
    """

    def __init__(self, clips: int = 8, every: int = 1, *, layer: str | None = None) -> None:
        if clips < 1 or every < 1:
            raise ConfigError(f"GradCamPanel(clips={clips}, every={every}): expected both to be at least 1")
        self.clips, self.every, self.layer = clips, every, layer
        self.chosen: dict[str, ClipBatch] = {}
        self._complete = self._silent = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the layer; raise ConfigError where ``model`` is no ``ClipClassifier``, or its encoder has no such
        layer."""
        model = getattr(pl_module, "model", None)
        if not isinstance(model, ClipClassifier):
            raise ConfigError(
                f"GradCamPanel: `model` of the LightningModule is a {type(model).__name__}, expected a ClipClassifier "
                "(fer_id.build_model): leave this callback out"
            )
        data: Any = getattr(trainer, "datamodule", None)
        self.layer = choose_layer(model.encoder, self.layer, getattr(data, "crop", CROP))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: int
    ) -> None:
        """Collect candidates in the first validation."""
        if self._complete or trainer.sanity_checking:
            return
        for i in torch.nonzero(evaluated(batch)).flatten().tolist():
            self.chosen[batch["clip_id"][i]] = _one_clip(batch, i)
        self.chosen = _candidates(self.chosen, self.clips)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the clips after the first validation, and log nothing where they are of too few children."""
        if trainer.sanity_checking or self._complete:
            return
        self._complete = True
        self.chosen = _spread(_candidates(of_all_processes(self.chosen), self.clips), self.clips)
        self._silent = _few_children(trainer, self.chosen)
        if self._silent:
            say("GradCamPanel: the clips are of fewer than five children, so nothing is logged of them")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Explain the clips in every ``every``-th and in the last epoch; validation would disable gradients."""
        epoch = trainer.current_epoch + 1
        last = trainer.should_stop or epoch == trainer.max_epochs
        if self._silent or not self.chosen or not (last or epoch % self.every == 0):
            return
        with averaged_weights(trainer, pl_module):
            explained, confidences = self._explain(trainer, pl_module)
        rows = explained.rows.assign(leakage=off_face_attribution(explained.rows))
        numbers = {f"val/attribution/{name.replace(' ', '_')}": rows[f"{SHARE}{name}"].mean() for name in REGIONS}
        numbers["val/attribution/off_face"] = rows["leakage"].mean()
        known = {name: float(value) for name, value in numbers.items() if np.isfinite(value)}
        pl_module.log_dict(known, logger=every_logger(trainer, "validation"), batch_size=1)
        if loggers := private_loggers(trainer):
            labels = label_space(self, trainer, pl_module)
            strips = [self._strip(trainer, row, explained, confidences, labels) for row in rows.to_dict("records")]
            for logger in loggers:
                logger.log_panels({"val/grad_cam": strips})

    def _explain(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[Explained, dict[str, float]]:
        """Return Grad-CAM of the predicted class of each clip, and the probability of that class."""
        model: Any = pl_module.model
        training = {name: module.training for name, module in model.named_modules()}
        targets, confidences = dict[str, int](), dict[str, float]()
        batches = [_on(sample, pl_module.device) for sample in self.chosen.values()]
        try:
            model.eval()
            with trainer.precision_plugin.forward_context():
                for clip, batch in zip(self.chosen, batches, strict=True):
                    with torch.no_grad():
                        shares = model(batch["frames"], batch["valid"], batch["landmarks"]).float().softmax(dim=1)
                    confidences[clip], targets[clip] = float(shares.max()), int(shares.argmax())
                return explain_clips(model, batches, targets, str(self.layer)), confidences
        finally:
            for name, module in model.named_modules():
                module.training = training[name]

    def _strip(
        self,
        trainer: pl.Trainer,
        row: dict[Any, Any],
        explained: Explained,
        confidences: dict[str, float],
        labels: LabelSpace,
    ) -> Any:
        from fer_id.reporting.explanation import METHOD_NAMES
        from fer_id.reporting.gallery import film_strip

        clip = row["clip_id"]
        sample, card = self.chosen[clip], _card_of(trainer, clip)
        named = {"predicted": labels.names[row["target"]], "label": labels.names[int(sample["label"])]}
        return film_strip(
            KIND,
            _stored(sample),
            {METHOD_NAMES[GRAD_CAM]: explained.maps[clip].astype(np.float32)},
            {str(key): value for key, value in row.items()} | named | {"confidence": confidences[clip]},
            provenance="real" if card is None else card.provenance,
            shareable=card is not None and card.shareable(row["subject_id"]),
        )


def _digest(clip: str) -> str:
    return hashlib.blake2b(clip.encode()).hexdigest()


def _candidates(clips: dict[str, ClipBatch], count: int) -> dict[str, ClipBatch]:
    """Return at most ``count`` clips of each class, of as many subjects as possible. The candidates of several parts'
    candidates are those of all clips, however these are shared out."""
    same: Counter[tuple[int, str]] = Counter()
    ranks: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for clip in sorted(clips, key=_digest):
        label, subject = int(clips[clip]["label"]), clips[clip]["subject_id"][0]
        ranks[label].append((same[label, subject], clip))
        same[label, subject] += 1
    firsts = [sorted(of_class, key=lambda ranked: ranked[0])[:count] for of_class in ranks.values()]
    return {clip: clips[clip] for of_class in firsts for _, clip in of_class}


def _spread(clips: dict[str, ClipBatch], count: int) -> dict[str, ClipBatch]:
    """Return ``count`` clips of as many subjects and classes as possible, independent of the order of ``clips``."""
    left = sorted(clips, key=_digest)
    subjects, labels = Counter[str](), Counter[int]()
    chosen: dict[str, ClipBatch] = {}
    while left and len(chosen) < count:
        clip = min(left, key=lambda clip: (subjects[clips[clip]["subject_id"][0]], labels[int(clips[clip]["label"])]))
        left.remove(clip)
        chosen[clip] = clips[clip]
        subjects[clips[clip]["subject_id"][0]] += 1
        labels[int(clips[clip]["label"])] += 1
    return chosen


def _one_clip(batch: Any, i: int) -> ClipBatch:
    """Return one clip of a batch as a batch of its own on the CPU, without padding frames."""
    frames = int(batch["valid"][i].nonzero().max()) + 1
    return {
        "frames": batch["frames"][i : i + 1, :frames].detach().cpu().clone(),
        "valid": batch["valid"][i : i + 1, :frames].cpu().clone(),
        "landmarks": batch["landmarks"][i : i + 1, :frames].cpu().clone(),
        "label": batch["label"][i : i + 1].cpu().clone(),
        "clip_id": [batch["clip_id"][i]],
        "subject_id": [batch["subject_id"][i]],
    }


def _on(batch: ClipBatch, device: torch.device) -> ClipBatch:
    moved = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
    return cast("ClipBatch", moved)


def _stored(sample: ClipBatch) -> StoredClip:
    frames = (sample["frames"][0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return StoredClip(frames, sample["landmarks"][0].numpy(), sample["valid"][0].numpy())


def _card_of(trainer: pl.Trainer, clip: str) -> Any:
    """Return the card of the store that a clip lies in; None where the data module does not say."""
    data: Any = getattr(trainer, "datamodule", None)
    return data.card_of(clip) if hasattr(data, "card_of") else None


def _few_children(trainer: pl.Trainer, chosen: dict[str, ClipBatch]) -> bool:
    """Return whether the clips are of one to four real children."""
    cards = {clip: _card_of(trainer, clip) for clip in chosen}
    real = [clip for clip, card in cards.items() if card is None or card.provenance == "real"]
    return 0 < len({chosen[clip]["subject_id"][0] for clip in real}) < FEWEST_SUBJECTS
