"""Controls of ``fer-id controls`` on made-up features."""

import torch

from experiments.verbs.controls import read_moments
from fer_id.tasks.features import Features


def clips(number: int, seed: int) -> Features:
    """Clips of five frames, of which the fourth alone shows the class, in the feature of its number; a tenth of the
    frames has no face."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(number) % 3
    values = 0.3 * torch.randn(number, 5, 3, generator=generator)
    values[torch.arange(number), 3, label] += 2.0
    valid = torch.rand(number, 5, generator=generator) < 0.9
    return Features(values, valid, label, [f"{seed}-{clip}" for clip in range(number)])


def test_frames_at_rest_do_not_spoil_the_reader_of_the_apex() -> None:
    train, validation, test = clips(120, 0), clips(60, 1), clips(300, 2)
    _, logits = read_moments(train, validation, test)
    right = (logits.argmax(dim=-1) == test.label.unsqueeze(1)).float()
    seen = test.valid[:, 3]
    assert right[seen, 3].mean() > 0.98
    assert (right[:, [0, 1, 4]].mean(dim=0) < 0.5).all()
