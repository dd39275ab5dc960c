"""Synthetic clips with known content, and what the ffmpeg program reads from any clip.

A stamped clip shows its frame number as eight black or white bars, the lowest bit on the left. Its tone sounds during a
given time. Frames are encoded with the given presentation times, whatever their spacing.
"""

import re
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

BARS = 8
SIDE_PX = 128
TONE_HZ = 440
TONE_RATE_HZ = 48_000


def write_stamped_clip(
    path: Path,
    times_s: Sequence[float],
    codec: str = "libx264",
    tone_s: tuple[float, float] | None = None,
    gop: int = 12,
) -> Path:
    """Frame i shows `i % 256` from times_s[i] on. `tone_s`: when the sound begins and ends; None for no sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        video.width = video.height = SIDE_PX
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000) if codec != "mpeg4" else Fraction(1, 25)
        video.codec_context.gop_size, video.codec_context.thread_count = gop, 1
        audio = container.add_stream("aac", rate=TONE_RATE_HZ, layout="mono") if tone_s else None
        for index, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(_bars(index), format="gray").reformat(format="yuv420p")
            frame.time_base = video.codec_context.time_base
            frame.pts = round(time_s / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            _write_tone(container, audio, *tone_s)
    return path


def _bars(index: int) -> np.ndarray:
    bits = [index >> bit & 1 for bit in range(BARS)]
    return np.repeat(np.repeat(np.array([bits], np.uint8) * 255, SIDE_PX // BARS, axis=1), SIDE_PX, axis=0)


def _write_tone(container, audio, begin_s: float, end_s: float) -> None:
    samples = np.arange(round((end_s - begin_s) * TONE_RATE_HZ))
    tone = (0.5 * np.sin(2 * np.pi * TONE_HZ * samples / TONE_RATE_HZ)).astype(np.float32)
    for start in range(0, len(tone), 1024):
        frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="flt", layout="mono")
        frame.sample_rate, frame.time_base = TONE_RATE_HZ, Fraction(1, TONE_RATE_HZ)
        frame.pts = round(begin_s * TONE_RATE_HZ) + start
        container.mux(audio.encode(frame))
    container.mux(audio.encode())


def stamp(image: np.ndarray) -> int:
    """The frame number that an HxWx3 picture of a stamped clip shows."""
    height, width = image.shape[:2]
    middles = [round((bar + 0.5) * width / BARS) for bar in range(BARS)]
    return sum(1 << bar for bar, x in enumerate(middles) if image[height // 2, x].mean() > 128)


def ffmpeg(*arguments: str) -> subprocess.CompletedProcess:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True)


def ffmpeg_frames(path: Path, video_stream: int = 0, seconds: float = 2.0) -> tuple[list[float], np.ndarray]:
    """The ffmpeg program's presentation times in s and frames (N, H, W, 3), uint8 RGB upright, of the first seconds of a
    file."""
    choice = ("-map", f"0:v:{video_stream}", "-fps_mode", "passthrough", "-t", seconds)
    run = ffmpeg("-i", path, *choice, "-vf", "showinfo", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    lines = [line for line in run.stderr.decode(errors="replace").splitlines() if "pts_time:" in line]
    times_s = [float(re.search(r"pts_time:\s*(-?[\d.]+)", line)[1]) for line in lines]
    width, height = map(int, re.search(r" s:(\d+)x(\d+)", lines[0]).groups())
    return times_s, np.frombuffer(run.stdout, np.uint8).reshape(-1, height, width, 3)


def ffmpeg_speech(path: Path, audio_stream: int = 0) -> np.ndarray:
    """The ffmpeg program's int16 (n,), mono 16 kHz, of the whole file."""
    choice = ("-map", f"0:a:{audio_stream}", "-ac", "1", "-ar", "16000", "-f", "s16le")
    return np.frombuffer(ffmpeg("-v", "error", "-i", path, *choice, "-").stdout, np.int16)
