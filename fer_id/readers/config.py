"""Names of the readers and of the questions that contrasts of them ask, without importing torch."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_id.errors import ConfigError

READERS = {
    "frame": "one frame: a linear classifier fitted on the apex frames of the training clips, its probabilities "
    "averaged over the frames of a clip",
    "mean": "the mean of the frames",
    "set": "mean, maximum, minimum and standard deviation over the frames: peak and contrast, whatever the order",
    "own_set": "the set, after the clip's own median is subtracted, about the face at rest; needs the whole clip",
    "both_sets": "the set with and without the clip's own median, side by side",
    "running_set": "the set, after the median of the frames so far is subtracted: what streams",
    "lstm": "an LSTM on the frames in order",
    "own_lstm": "an LSTM after the clip's own median is subtracted",
    "shuffled_lstm": "the same LSTM, trained and tested on frames in random order: the control of order",
    "attention": "a weighted mean of the frames, the weights learned",
    "child_set": "the set, after the median of the child's other clips is subtracted, of its earlier ones under "
    "protocol.mode=personalised, of those that are judged under transductive; under no other mode",
}
"""Name of a reader -> what it reads from the frame features of a clip."""

SEEDED = ("lstm", "own_lstm", "shuffled_lstm", "attention")
"""Readers that depend on a seed: networks. The others are convex problems with one solution."""

UPDATES = 120
"""Updates of a network, in batches of 128 clips, rounded up to whole passes over the training clips."""

OF_OTHER_CLIPS = ("child_set",)
"""Readers that look at other clips of the judged child."""

MODES = (
    "looks at other clips of the tested child: say protocol=holdout and protocol.mode=transductive, or "
    "mode=personalised where a video holds several clips (a drawn or simulated clip is a video of its own)"
)
"""Refusal of the readers :data:`OF_OTHER_CLIPS` under another protocol, after their names."""

QUESTIONS = {
    ("mean", "frame"): "Do more frames tell more than one?",
    ("set", "mean"): "Do peak and contrast tell more than the average?",
    ("both_sets", "set"): "Does the clip's own resting face as a baseline tell more?",
    ("own_set", "set"): "Does the clip's own resting face as a baseline tell more?",
    ("running_set", "set"): "Does a baseline that streams tell more?",
    ("child_set", "set"): "Does the resting face in the child's other clips tell more?",
    ("lstm", "shuffled_lstm"): "Does the order of the frames tell anything?",
    ("lstm", "set"): "Does the LSTM earn its place beside an order-free summary?",
    ("own_lstm", "both_sets"): "Does the LSTM earn its place where both know the resting face?",
}
"""Pair of readers of one encoder -> what their contrast asks."""

_CONTRAST = re.compile(r"\s*([^=]+?)\s*=\s*(\S+)/(\w+)\s+-\s+(\S+)/(\w+)\s*")


@dataclass(frozen=True)
class ReaderContrast:
    """A contrast ``NAME = ENCODER/READER - ENCODER/READER``, fixed before anything is judged."""

    name: str
    first: tuple[str, str]
    second: tuple[str, str]

    @classmethod
    def parse(cls, text: str) -> ReaderContrast:
        """Return the contrast of a configured line; raise ConfigError with what is expected."""
        match = _CONTRAST.fullmatch(text)
        if match is None:
            raise ConfigError(
                f"{text!r}: expected NAME = ENCODER/READER - ENCODER/READER, as order = conv4/lstm - conv4/set"
            )
        name, *parts = match.groups()
        return cls(name, (parts[0], parts[1]), (parts[2], parts[3]))

    @property
    def question(self) -> str:
        """Question that the contrast answers, a sentence."""
        (encoder, reader), (other, against) = self.first, self.second
        if encoder == other and (reader, against) in QUESTIONS:
            return QUESTIONS[reader, against]
        return f"Is {encoder}/{reader} better than {other}/{against}?"
