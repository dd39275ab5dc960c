"""File endings that are taken for video or audio; each has its format in `pipeline.media.limits.DEMUXERS`."""

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".mp4v", ".qt"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".tod", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm"),
    *(".dv", ".divx", ".mxf", ".rm", ".rmvb"),
)

AUDIO_SUFFIXES = (
    *(
        ".wav",
        ".flac",
        ".mp3",
        ".m4a",
        ".aac",
        ".ogg",
        ".opus",
        ".wma",
        ".oga",
        ".spx",
        ".mp2",
        ".mpga",
        ".m4b",
        ".mka",
    ),
    *(
        ".weba",
        ".3ga",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
        ".bwf",
        ".amr",
        ".ac3",
        ".eac3",
    ),
    *(".dts", ".ape", ".wv", ".tta", ".voc", ".gsm", ".sph", ".nist", ".ra"),
)
