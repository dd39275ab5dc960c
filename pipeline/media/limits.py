"""How much of a file's word is taken: what no honest file of talking people goes beyond, and so what none may cost."""

DEMUXERS = (
    *("mov", "mp4", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts", "mpegvideo", "ogg", "dv", "mxf", "ivf"),
    *("h264", "hevc", "m4v", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "amr", "amrnb", "amrwb", "ape"),
    *("ac3", "eac3", "dts", "tta", "wv", "voc", "gsm", "nistsphere", "rm"),
)
"""ffmpeg's names of the formats that are opened. None of them reads another file or an address, as playlists and
concatenations do; an `.mp4` that is one is not opened."""

MOST_PIXELS = 2**26
"""Of one picture: twice 8K (7680 x 4320). A picture of it takes 200 MB as RGB."""

MOST_STREAMS = 100
"""A broadcast with all its programmes has some 50."""

MOST_CHANNELS = 256
"""Of sound: the largest microphone arrays. ffmpeg itself ends at 512."""

RATES_HZ = (1_000, 768_000)
"""Of sound: below, nothing of speech is left; above, no converter is."""

MOST_STRETCH = 4
"""Of a pixel, from its height to its width or back: DVD and HDV have up to 1.82. What claims more is shown unstretched."""

LONGEST_GAP_S = 600
"""A longer stretch without any packet is a clock that was set anew, and not a silence: the file goes on where it was."""

LONGEST_GAP_OF_STREAMS_S = 10
"""The same in formats that are made to be joined and cut (`DISCONTINUOUS`), as the ffmpeg program does (dts_delta_threshold)."""

DISCONTINUOUS = frozenset({"mpegts", "mpeg", "ogg", "flv"})
"""Formats whose clock may start again within a file: joined recordings, broadcasts, chained Ogg."""

RESTART_US = 500_000
"""Decoding times of one stream that go back by more are a clock that starts again; by less, they are careless."""

LEAST_SPEECH_S = 1.0
"""Shorter clips are not supported by the method: compute_audio_feats.m of mcnCrossModalEmotions, the authors' code, knows none
below 100 frames of 10 ms."""

LEAST_BYTES_PER_S = 100
"""A file that claims to be longer than its bytes at this rate is not believed. The thinnest honest ones, a still picture with a
silent AAC track, have about 300."""

LEAST_SOUND_BYTES_PER_S = 10
"""The same of sound: the thinnest speech codec takes 56 (Codec 2 at 450 bit/s), Opus keeping silent 5 to 10."""

CREDITED_BYTES_PER_S = 4_000
"""For the decoder's deadline a file counts as no longer than its bytes at this rate (32 kbit/s), whatever it claims: what has
fewer is decoded in far less than its time."""


def credited_s(claimed_s: float, size_bytes: int) -> float:
    """Seconds of media for which the decoder is given time."""
    return max(0.0, min(claimed_s, size_bytes / CREDITED_BYTES_PER_S))
