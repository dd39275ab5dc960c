"""How sound and video are sampled: constants that every stage shares.

Albanie et al. 2018, section 4: face tracks of VoxCeleb have 25 frames a second, and every sixth frame is labelled. The
authors' getBatchEmoVoxCeleb.m (`time2idx`) uses the same grid of 0.24 s.
"""

SAMPLE_RATE_HZ = 16_000
"""Sample rate of all speech: VoxCeleb's own, and that of every front end in use."""

INT16_SCALE = 32_768.0
"""int16 value of a full-scale 1.0 (VGGVox mfcc/mfccspec.m: speech * 2^15)."""

VIDEO_FRAME_RATE = 25
"""Frames per second of a face track; a video with another rate is sampled at the times of this one."""

FRAME_STRIDE = 6
"""Every sixth frame is labelled."""

FRAME_PERIOD_S = FRAME_STRIDE / VIDEO_FRAME_RATE
"""0.24 s between labelled frames."""

FRAME_SAMPLES = 400  # 25 ms (Tw in mcnCrossModalEmotions run_distillation.m)
HOP_SAMPLES = 160  # 10 ms (Ts)
SPECTROGRAM_FRAMES_PER_SECOND = SAMPLE_RATE_HZ // HOP_SAMPLES  # 100, exact
WINDOW_SAMPLES = 64_384
"""A training window: 4.024 s = (0.01 * 400 + 0.025 - 0.001) s (mcnCrossModalEmotions getBatchEmoVoxCeleb.m)."""
