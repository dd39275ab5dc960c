"""How sound and video are sampled: constants that every stage shares, and nothing else.

Albanie et al. 2018, section 4: face tracks of VoxCeleb at 25 frames a second, of which every sixth is labelled; the
authors' getBatchEmoVoxCeleb.m (`time2idx`) counts on the same grid of 0.24 s.
"""

SAMPLE_RATE_HZ = 16_000
"""Of speech, everywhere: VoxCeleb's own rate, and the rate of every front end in use."""

INT16_SCALE = 32_768.0
"""int16 samples a full scale of 1.0 (VGGVox mfcc/mfccspec.m: speech * 2^15)."""

VIDEO_FRAME_RATE = 25
"""Frames a second of a face track; a video of another rate is sampled at the times of this one."""

FRAME_STRIDE = 6
"""Every sixth frame is labelled."""

FRAME_PERIOD_S = 0.24
"""FRAME_STRIDE / VIDEO_FRAME_RATE: seconds between labelled frames."""
