"""Subtracts each speaker's resting face from the teacher's logits: a voice cannot tell how a face looks at rest.

What is subtracted is the mean of the logits of a speaker's utterances, shrunk towards the mean of all speakers as if there were
four more utterances of that mean: the mean of a few utterances shows their emotions as much as the face at rest. What is left
says how a face differs from itself at rest. The baseline is one constant for each speaker, so it may be subtracted from frames
or from what is pooled of them.
Shape letters: N utterances, S speakers, E = 8 emotions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from modeling.emotions import EMOTIONS, MASKED_BELOW

PRIOR_UTTERANCES = 4.0
"""How many utterances the mean of all speakers counts as, beside a speaker's own."""


@dataclass(frozen=True)
class SpeakerBaseline:
    """offsets: speaker -> what is taken off his logits, float32 (E,); unknown_E: off those of anybody else.

    Nothing is taken off emotions that the teacher does not know.
    """

    offsets: Mapping[str, np.ndarray]
    unknown_E: np.ndarray

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
        overall_E = means_SE.mean(axis=0)
        own_S1 = (count_S / (count_S + prior_utterances))[:, None]
        known_E = overall_E > MASKED_BELOW
        offsets_SE = (known_E * (own_S1 * means_SE + (1 - own_S1) * overall_E)).astype(np.float32)
        unknown_E = (known_E * overall_E).astype(np.float32)
        return cls(dict(zip(speakers.tolist(), offsets_SE, strict=True)), unknown_E)

    def offset(self, speaker: str) -> np.ndarray:
        """(E,); the mean of all speakers for one of whom nothing is known."""
        return self.offsets.get(speaker, self.unknown_E)

    def removed(self, logits_NE: np.ndarray, speakers_N: Sequence[str]) -> np.ndarray:
        """The logits (N, E) of utterances without their speakers' offsets."""
        offsets_NE = [self.offset(speaker) for speaker in speakers_N]
        return np.asarray(logits_NE) - np.array(offsets_NE, np.float32).reshape(-1, len(EMOTIONS))
