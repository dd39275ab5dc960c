"""The student's answers over the time of a file or an utterance, in short windows.

Shape letters: T samples at 16 kHz, W windows, E = 8 emotions, D embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cluster.failures import UserError
from modeling.sampling import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE_HZ
from pipeline.media.limits import LEAST_SPEECH_S

if TYPE_CHECKING:
    from modeling.students.build import Student

WINDOW_S = 2.0
HOP_S = 0.5
LONGEST_WINDOW_S = 10.0  # the most of a clip that the student uses (Albanie et al. 2018, section 4.2)
SHORTEST_HOP_S = 0.01  # one frame of its spectrogram

FRAME_OVERHANG = FRAME_SAMPLES - HOP_SAMPLES
"""240 samples, 15 ms. A window of S seconds includes this much of the following sound, so that it has 100 S whole frames and
the paper's student, which uses whole seconds, uses all of it."""


@dataclass(frozen=True, kw_only=True)
class TimelineOptions:
    """Windows of `window_s` seconds, one every `hop_s` seconds."""

    window_s: float = WINDOW_S
    hop_s: float = HOP_S

    def __post_init__(self):
        if not LEAST_SPEECH_S <= self.window_s <= LONGEST_WINDOW_S:
            raise UserError(
                f"window-s is {self.window_s:g}; give {LEAST_SPEECH_S:g} to {LONGEST_WINDOW_S:g} seconds, which is "
                "what the student can judge at once"
            )
        if not SHORTEST_HOP_S <= self.hop_s <= self.window_s:
            raise UserError(
                f"hop-s is {self.hop_s:g}; give {SHORTEST_HOP_S:g} s to the length of a window ({self.window_s:g} s), so "
                "that no sound is left out"
            )

    @property
    def window(self) -> int:
        """Samples."""
        return round(self.window_s * SAMPLE_RATE_HZ)

    @property
    def hop(self) -> int:
        """Samples."""
        return round(self.hop_s * SAMPLE_RATE_HZ)


class WindowCutter:
    """Cuts a stream of samples into windows; holds at most one window and the last piece.

    Window k begins at sample k * hop and has window + 240 samples. After the last piece, `rest()` gives the samples of a
    window that the stream did not fill.
    """

    def __init__(self, window: int, hop: int):
        self.length, self.hop = window + FRAME_OVERHANG, hop
        self.start = 0  # of the next window
        self.held = np.zeros(0, np.int16)  # samples from `start` on

    def push(self, samples: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(first sample, window) of each window that is now complete."""
        held, at = np.concatenate([self.held, samples]), 0
        while len(held) - at >= self.length:
            yield self.start, held[at : at + self.length]
            self.start += self.hop
            at += self.hop
        self.held = held[at:].copy()

    def rest(self) -> tuple[int, np.ndarray]:
        return self.start, self.held


def is_last_window(options: TimelineOptions, start: int, samples: int) -> bool:
    """Whether the `samples` from `start` to the end, too few for a whole window, form a last window.

    They do if they last a second and the window before does not cover all of them, or if there is no other window.
    """
    if not start:
        return samples > 0
    return samples > options.window + FRAME_OVERHANG - options.hop and samples >= LEAST_SPEECH_S * SAMPLE_RATE_HZ


def student_timeline(student: "Student", speech_T: np.ndarray) -> dict:
    """int16 speech at 16 kHz -> {"times_s": middle of each window, "probabilities": n x 8}; windows of 2 s, every 0.5 s."""
    import torch

    options = TimelineOptions()
    starts = range(0, max(1, len(speech_T) - options.window + 1), options.hop)
    pieces = [torch.from_numpy(speech_T[start : start + options.window]) for start in starts]
    return {
        "times_s": [(start + len(piece) / 2) / SAMPLE_RATE_HZ for start, piece in zip(starts, pieces, strict=True)],
        "probabilities": [student.logits_of_clip(piece).softmax(0).tolist() for piece in pieces],
    }
