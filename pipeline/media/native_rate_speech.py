"""Sound as the authors of the paper read it: the first channel at the file's own rate, taken as if that were 16 kHz."""

from pathlib import Path

import av
import numpy as np

from pipeline.media import containers
from pipeline.rejects import Rejected, RejectReason


def read_native(path: str | Path, most_samples: int) -> np.ndarray:
    """int16 (n,) of the left channel at the file's own rate, up to `most_samples` of them.

    The released code of the paper reads external corpora so (compute_audio_feats.m: `audioread` without resampling), so
    that sound of 48 kHz becomes three times as long and low. For comparison only; `read_speech` is the right way.
    Raises Rejected as `pipeline.media.speech.read_speech` does.
    """
    pieces, samples = [], 0
    with containers.open_container(path) as container:
        stream = containers.best_stream(container, "audio")
        to_int16 = av.AudioResampler(format="s16p")
        for packet in containers.packets(container, stream):
            for frame in _decoded(packet):
                pieces += [piece.to_ndarray()[0] for piece in to_int16.resample(frame)]
                samples = sum(map(len, pieces))
            if samples >= most_samples:
                break
    if not pieces:
        raise Rejected(RejectReason.DAMAGED_AUDIO, "the audio stream holds no samples")
    return np.concatenate(pieces)[:most_samples]


def _decoded(packet: av.Packet) -> list[av.AudioFrame]:
    """The frames of a packet; none where it is damaged."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return []
