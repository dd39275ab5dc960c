"""How the ffmpeg program writes a file of each ending that is listed (`pipeline/media/file_types.py`)."""

MPEG4 = ("-c:v", "mpeg4", "-c:a", "aac")
H264 = ("-c:v", "libx264", "-c:a", "aac")
MPEG2 = ("-c:v", "mpeg2video", "-c:a", "mp2")
DV = (
    "-s",
    "720x576",
    "-r",
    "25",
    "-c:v",
    "dvvideo",
    "-pix_fmt",
    "yuv420p",
    "-c:a",
    "pcm_s16le",
    "-ar",
    "48000",
    "-ac",
    "2",
)
WMV = ("-c:v", "wmv2", "-c:a", "wmav2")
VIDEOS = {
    **dict.fromkeys(("mp4", "mov", "m4v", "qt", "3gp", "3g2", "mp4v", "f4v"), (*H264, "-f", "mov")),
    **dict.fromkeys(("ts", "mts", "m2ts", "m2t", "tod"), (*H264, "-f", "mpegts")),
    **dict.fromkeys(("mpg", "mpeg", "mpe", "vob"), (*MPEG2, "-f", "mpeg")),
    **dict.fromkeys(("wmv", "asf"), (*WMV, "-f", "asf")),
    **dict.fromkeys(("avi", "divx"), (*MPEG4, "-f", "avi")),
    **dict.fromkeys(("ogv", "ogm"), ("-c:v", "libtheora", "-c:a", "libvorbis", "-f", "ogg")),
    "mkv": (*H264, "-f", "matroska"),
    "webm": ("-c:v", "libvpx", "-c:a", "libopus"),
    "flv": (*H264, "-ar", "44100"),
    "dv": (*DV, "-f", "dv"),
    "mxf": ("-c:v", "mpeg2video", "-c:a", "pcm_s16le", "-ar", "48000", "-f", "mxf"),
}
SOUNDS = {
    **dict.fromkeys(("m4a", "m4b", "3ga"), ("-c:a", "aac", "-f", "ipod")),
    **dict.fromkeys(("aif", "aiff", "aifc"), ("-f", "aiff")),
    **dict.fromkeys(("au", "snd"), ("-f", "au")),
    **dict.fromkeys(("mp2", "mpga"), ("-c:a", "mp2", "-f", "mp2")),
    **dict.fromkeys(("ogg", "oga"), ("-c:a", "libvorbis", "-f", "ogg")),
    **dict.fromkeys(("wav", "bwf"), ("-f", "wav")),
    "rf64": ("-rf64", "always", "-f", "wav"),
    "opus": ("-c:a", "libopus"),
    "amr": ("-c:a", "libopencore_amrnb", "-ar", "8000"),
    "mka": ("-c:a", "flac"),
    "weba": ("-c:a", "libopus", "-f", "webm"),
    "dts": ("-c:a", "dca", "-strict", "-2"),
    "wma": ("-c:a", "wmav2"),
    **dict.fromkeys(("flac", "mp3", "aac", "caf", "w64", "ac3", "eac3", "wv", "tta", "voc"), ()),
}
