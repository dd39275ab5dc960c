"""Pictures from real clips, read without the project's own decoder."""

from pathlib import Path

import av
import numpy as np


def sampled_frames(path: Path, most: int, step_s: float = 0.24) -> list[np.ndarray]:
    """The first frames of a clip, `step_s` apart, in RGB."""
    frames, next_s = [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time >= next_s:
                frames.append(frame.to_ndarray(format="rgb24"))
                next_s += step_s
            if len(frames) == most:
                break
    return frames
