"""The options that decide the crops of an utterance and its stored speech."""

from dataclasses import dataclass, field

from cluster.failures import UserError
from pipeline.decoding.deadline import Deadline
from pipeline.media.decoder_names import DECODER_NAMES

DETECTION_STRIDE = 4
"""Sampled frames from one detection to the next: 0.96 s."""


@dataclass(frozen=True, kw_only=True)
class CropOptions:
    """What decides the crops and the stored speech."""

    decoder: str = "pyav"
    """Video decoder: pyav or decord. decord 0.6.0 is good for H.264 in MP4 and little else; files of which it is known to show
    wrong pictures become rejects."""
    longest_side_px: int = 1280
    """Larger frames are scaled down to this many pixels on their longest side while decoding."""
    without_speech: bool = False
    """Label utterances that have no usable sound too (faces only); by default they are rejects."""
    deadline: Deadline = field(default_factory=Deadline)
    """How long the decoder may take before the utterance becomes a `decoder_timeout`."""
    look_every: int = DETECTION_STRIDE
    """The face detector runs on every N-th sampled frame, and on those between where faces move; 1: on each."""
    thumbnails: int = 8
    """Small pictures of the labelled face kept in each row, for people to look at (0: none)."""

    def __post_init__(self):
        if self.decoder not in DECODER_NAMES and ":" not in self.decoder:
            raise UserError(f"decoder {self.decoder!r} is not known; use one of {', '.join(DECODER_NAMES)}")
        if self.longest_side_px < 1 or self.look_every < 1 or self.thumbnails < 0:
            raise UserError(
                f"longest_side_px {self.longest_side_px} and look_every {self.look_every} must be 1 or more, "
                f"thumbnails {self.thumbnails} 0 or more"
            )
