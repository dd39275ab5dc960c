"""Each speaker's resting face, taken off the teacher's logits: a voice cannot hear how a face looks at rest.

A speaker's baseline is the mean of the logits of his utterances. What is taken off is how far it lies from the mean of all
speakers, so that logits keep their place; and of that only a part, n / (n + 4) for n utterances, because a mean of few
utterances holds what they express as much as the face at rest. It is a constant for each speaker, so it may be taken off frames
or off what is pooled from them. Shape letters: N utterances, E = 8 emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from modeling.emotions import EMOTIONS

PRIOR_UTTERANCES = 4.0
"""How many utterances the mean of all speakers counts as, beside a speaker's own."""


@dataclass(frozen=True)
class SpeakerBaseline:
    """offsets: speaker -> what is taken off his logits, float32 (E,)."""

    offsets: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, logits_NE: np.ndarray, speakers_N: Sequence[str], prior_utterances: float = PRIOR_UTTERANCES) -> Self:
        """From the logits of all utterances that the teacher has labelled, whatever their split.

        prior_utterances: 0 takes off a speaker's whole mean. Raises ValueError if it is negative or a logit is not finite.
        """
        if not prior_utterances >= 0:
            raise ValueError(f"{prior_utterances = }: give 0 or more")
        logits_NE = np.asarray(logits_NE, np.float64).reshape(-1, len(EMOTIONS))
        if not np.isfinite(logits_NE).all():
            raise ValueError("logits are NaN or infinite; label those utterances again")
        speakers, speaker_N, count_S = np.unique(np.asarray(speakers_N, str), return_inverse=True, return_counts=True)
        sums_SE = np.zeros((len(speakers), len(EMOTIONS)))
        np.add.at(sums_SE, speaker_N, logits_NE)
        means_SE = sums_SE / count_S[:, None]
        kept_S1 = (count_S / (count_S + prior_utterances))[:, None]
        offsets_SE = (kept_S1 * (means_SE - means_SE.mean(axis=0))).astype(np.float32)
        return cls(dict(zip(speakers.tolist(), offsets_SE, strict=True)))

    def offset(self, speaker: str) -> np.ndarray:
        """(E,); zeros for a speaker of whom nothing is known."""
        return self.offsets.get(speaker, np.zeros(len(EMOTIONS), np.float32))

    def removed(self, logits_NE: np.ndarray, speakers_N: Sequence[str]) -> np.ndarray:
        """The logits (N, E) of utterances without their speakers' offsets."""
        offsets_NE = [self.offset(speaker) for speaker in speakers_N]
        return np.asarray(logits_NE) - np.array(offsets_NE, np.float32).reshape(-1, len(EMOTIONS))
