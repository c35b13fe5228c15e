"""Features of clips whose class shows in one way alone: in the order of the frames, or in the change against rest."""

from collections.abc import Callable

import pytest
import torch

from fer_id.tasks.features import Features

T, D = 6, 4


@pytest.fixture(scope="session")
def clips_of() -> Callable[..., Features]:
    """``clips_of(kind, number, seed)``: two classes; a tenth of the frames has no face.

    ``order``: a bump at the second or the last but one frame; ``change``: a raised feature at one frame, on a person's
    own level that differs far more between persons.
    """

    def make(kind: str, number: int, seed: int) -> Features:
        generator = torch.Generator().manual_seed(seed)
        label = torch.arange(number) % 2
        values = 0.2 * torch.randn(number, T, D, generator=generator)
        if kind == "order":
            values[torch.arange(number), torch.where(label == 0, 1, T - 2), 0] += 3
            valid = torch.ones(number, T, dtype=torch.bool)
        else:
            values += 8 * torch.randn(number, 1, D, generator=generator)
            values[torch.arange(number), T // 2, label] += 3
            valid = torch.rand(number, T, generator=generator) < 0.9
            valid[:, T // 2] = True
        values = values.masked_fill(~valid.unsqueeze(-1), 0.0)
        return Features(values, valid, label, [f"{seed}-{clip}" for clip in range(number)])

    return make
