"""Speech of a span: against the ffmpeg program on real clips, and against the truth of synthetic ones."""

import numpy as np
import pytest
import soundfile

from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.media import speech
from pipeline.media.frame_grid import sample_times
from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.probe import probe
from pipeline.media.speech import mean_level_db, read_speech, require_speech
from pipeline.rejects import Rejected, RejectReason
from tests.support import clips

REAL = [  # file, audio stream that find_best_stream chooses
    ("labelled/MEAD_W036_level_3_happy_007.mp4", 0),  # 48 kHz
    ("labelled/MEAD_W040_level_3_happy_029.mp4", 0),  # the last frame is shorter than its packet
    ("unlabelled/LivePortrait_driving_d12.mp4", 0),  # 44.1 kHz
    ("unlabelled/SadTalker_WDA_EdMarkey0_000.mp4", 0),  # 16 kHz
    ("multiface/facenet_video.mp4", 0),  # begins 10 ms after the video
    ("odd/torchcodec_nasa_13013.mp4", 1),  # 8 kHz and 16 kHz; the second belongs to the chosen video
    ("derived/audio_only_MEAD_W036_happy.mp4", 0),
]
ROUNDING = 4  # of 32,768: two builds of the resampler differ in their last bits
EDGE = 16  # samples at the file's very end, where the resampler's filter looks beyond it


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    sweep = 0.5 * np.sin(2 * np.pi * (200 + 300 * t) * t)
    return np.stack([sweep * (1 - 0.1 * channel) for channel in range(channels)], axis=1)


@pytest.mark.parametrize(("name", "stream"), REAL)
def test_samples_are_those_of_ffmpeg(data_dir, name, stream):
    path = data_dir / "video" / name
    reference = clips.ffmpeg_speech(path, stream)
    late = 160 if "facenet" in name else 0  # zeros before the sound begins
    whole = read_speech(path, 0.0, None)
    # ffmpeg counts the empty 10 ms at the head into the track's length, and so ends it that much too early
    assert len(reference) + late <= len(whole) <= len(reference) + 2 * late + 1
    assert not whole[:late].any()
    seconds = len(whole) / SAMPLE_RATE_HZ
    for start_s, end_s in ((0.0, None), (0.61 * seconds, 0.61 * seconds + 1), (0.1234, 0.9), (0.8 * seconds, None)):
        span = read_speech(path, start_s, end_s)
        start = round(start_s * SAMPLE_RATE_HZ)
        if end_s is not None:
            assert len(span) == round(end_s * SAMPLE_RATE_HZ) - start
        expected = np.concatenate([np.zeros(late, np.int16), reference])[start : start + len(span)]
        difference = np.abs(span[: len(expected)].astype(int) - expected)
        assert (difference if end_s else difference[:-EDGE]).max() <= ROUNDING


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("wav", "-ar 8000"),
        ("wav", "-ar 44100 -ac 2 -c:a pcm_f32le"),
        ("wav", "-ar 48000 -c:a pcm_s24le"),
        ("wav", "-ar 22050 -c:a pcm_u8"),
        ("wav", "-ar 48000 -ac 6"),
        ("flac", "-ar 44100 -ac 2"),
        ("mp3", "-ar 44100 -ac 2"),
        ("m4a", "-ar 48000"),
        ("m4a", "-ar 22050"),
        ("ogg", "-ar 48000"),
        ("mka", "-ar 44100 -c:a flac"),
    ],
)
def test_audio_files_of_any_kind(tmp_path, suffix, options):
    soundfile.write(tmp_path / "sweep.wav", tone(6.0, 48_000), 48_000)
    path = tmp_path / f"sound.{suffix}"
    clips.ffmpeg("-i", tmp_path / "sweep.wav", *options.split(), path)
    reference = clips.ffmpeg_speech(path)
    for start_s, end_s in ((0.0, None), (2.3, 4.7)):
        span = read_speech(path, start_s, end_s)
        expected = reference[round(start_s * SAMPLE_RATE_HZ) :][: len(span)]
        assert len(span) == (len(reference) if end_s is None else round(2.4 * SAMPLE_RATE_HZ))
        assert np.abs(span.astype(int) - expected)[:-EDGE].max() <= ROUNDING


def test_a_tone_is_where_the_picture_clock_says(tmp_path):
    """The sound begins half a second after the picture; so it does in the samples, and in any span of them."""
    path = clips.write_stamped_clip(tmp_path / "late.mp4", np.arange(100) / 25, tone_s=(0.5, 3.5))
    whole = read_speech(path, 0.0, 4.0)
    onset, last = (int(i) for i in np.flatnonzero(np.abs(whole) > 3000)[[0, -1]])
    assert onset / SAMPLE_RATE_HZ == pytest.approx(0.5, abs=0.025)  # AAC smears an onset over one frame
    assert last / SAMPLE_RATE_HZ == pytest.approx(3.5, abs=0.025)
    assert len(whole) == pytest.approx(3.5 * SAMPLE_RATE_HZ, abs=1024)  # shorter than asked: the sound has ended
    assert np.array_equal(read_speech(path, 0.25, 1.25), whole[4000:20000])


def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    """Sound from 0 to 1 s and from 3 to 4 s, in a file whose time stamps leave the middle out."""
    for name, begin_s in (("a", 0.0), ("b", 3.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(1.0, 44_100), 44_100)
        shifted = ("-c:a", "flac", "-output_ts_offset", begin_s, tmp_path / f"{name}.mkv")
        clips.ffmpeg("-i", tmp_path / f"{name}.wav", *shifted)
    (tmp_path / "list.txt").write_text("file 'a.mkv'\nduration 3.0\nfile 'b.mkv'\ninpoint 3.0\n")
    clips.ffmpeg("-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", tmp_path / "gap.mkv")
    samples = read_speech(tmp_path / "gap.mkv", 0.0, None)
    assert len(samples) == pytest.approx(4 * SAMPLE_RATE_HZ, abs=40)
    levels = [mean_level_db(samples[s * SAMPLE_RATE_HZ + 200 : (s + 1) * SAMPLE_RATE_HZ - 200]) for s in range(4)]
    assert [level > -20 for level in levels] == [True, False, False, True]


@pytest.mark.parametrize("span", [(0.0, None), (0.5, 2.5), (1.3, 2.04)])
@pytest.mark.parametrize("name", ["labelled/MEAD_M030_level_3_angry_016.mp4", "unlabelled/retalking_face_3.mp4"])
def test_frames_and_speech_cover_the_same_interval(data_dir, name, span):
    path = data_dir / "video" / name
    frames, samples = (
        sample_frames(path, FrameRequest(start_s=span[0], end_s=span[1], longest_side_px=128)),
        read_speech(path, *span),
    )
    assert 0.24 * len(frames.images) == pytest.approx(len(samples) / SAMPLE_RATE_HZ, abs=0.24)
    end_s = probe(path).duration_s if span[1] is None else span[1]
    assert len(frames.images) == len(sample_times(span[0], end_s))


def test_reasons_of_files_that_give_no_speech(tmp_path):
    video = clips.write_stamped_clip(tmp_path / "video.mp4", np.arange(50) / 25)
    sound = clips.write_stamped_clip(tmp_path / "sound.mp4", np.arange(50) / 25, tone_s=(0.0, 2.0))
    data = sound.read_bytes()
    flac = tmp_path / "flac.mka"
    clips.ffmpeg("-i", sound, "-c:a", "flac", flac)
    (tmp_path / "codec.mka").write_bytes(flac.read_bytes().replace(b"A_FLAC", b"A_NONE"))
    mdat, moov = data.index(b"mdat") + 4, data.index(b"moov") - 4
    (tmp_path / "noise.mp4").write_bytes(data[:mdat] + b"\xff" * (moov - mdat) + data[moov:])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("these are words")
    expected = {
        video: RejectReason.NO_AUDIO_STREAM,
        tmp_path / "codec.mka": RejectReason.DAMAGED_AUDIO,
        tmp_path / "noise.mp4": RejectReason.DAMAGED_AUDIO,
        tmp_path / "empty.wav": RejectReason.EMPTY_FILE,
        tmp_path / "text.wav": RejectReason.NOT_A_VIDEO,
        tmp_path / "absent.wav": RejectReason.FILE_NOT_FOUND,
    }
    found = {}
    for path in expected:
        with pytest.raises(Rejected) as rejected:
            read_speech(path, 0.0, None)
        found[path] = rejected.value.reason
    assert found == expected
    assert len(read_speech(sound, 5.0, 6.0)) == 0


def test_mean_level_is_that_of_ffmpeg(data_dir):
    for name in ("labelled/MEAD_M030_level_3_angry_016.mp4", "unlabelled/LivePortrait_driving_d18.mp4"):
        path = data_dir / "video" / name
        measured = ("-af", "aresample=16000:ochl=mono,volumedetect", "-vn", "-f", "null", "-")
        report = clips.ffmpeg("-i", path, *measured).stderr
        expected = float(report.decode().split("mean_volume: ")[1].split(" dB")[0])
        assert mean_level_db(read_speech(path, 0.0, None)) == pytest.approx(expected, abs=0.11)


def test_speech_must_be_long_and_loud_enough():
    second = np.full(SAMPLE_RATE_HZ, 33, np.int16)  # 33 / 32768 is -59.9 dB
    require_speech(second)
    for samples, reason in (
        (second[:-1], RejectReason.TOO_SHORT),
        (second[:0], RejectReason.TOO_SHORT),
        (second * 0, RejectReason.SILENT),
        (second - 1, RejectReason.SILENT),  # -60.2 dB
    ):
        with pytest.raises(Rejected) as rejected:
            require_speech(samples)
        assert rejected.value.reason == reason
    assert mean_level_db(second * 0) == speech.DIGITAL_SILENCE_DB


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_sound_with_nan_is_rejected_and_the_loudest_number_is_not(tmp_path, kind):
    wave = tone(2.0, 16_000).reshape(-1)
    for value in (np.nan, np.inf, -np.inf):
        broken = wave.copy()
        broken[12_345] = value
        soundfile.write(tmp_path / "broken.wav", broken, 16_000, subtype=kind)
        with pytest.raises(Rejected, match="NaN or infinity"):
            read_speech(tmp_path / "broken.wav", 0, None)
    wave[12_345] = 1e30  # its square is beyond float32
    soundfile.write(tmp_path / "loud.wav", wave, 16_000, subtype=kind)
    assert len(read_speech(tmp_path / "loud.wav", 0, None)) == 32_000


@pytest.mark.parametrize("codec", ["g722", "adpcm_yamaha", "adpcm_ms", "adpcm_ima_wav", "pcm_mulaw"])
def test_a_span_of_a_wav_of_any_codec_is_from_its_place(tmp_path, codec):
    """The container counts no packets of some of them, so that a place cannot be sought."""
    sweep = ("-f", "lavfi", "-i", "aevalsrc=0.4*sin(2*PI*(200+150*t)*t):d=4:s=16000")
    clips.ffmpeg(*sweep, "-c:a", codec, tmp_path / "sweep.wav")
    whole, span = (read_speech(tmp_path / "sweep.wav", *times) for times in ((0.0, None), (1.2, 2.8)))
    expected = whole[19_200:44_800].astype(float)
    assert len(span) == len(expected)
    assert np.corrcoef(span, expected)[0, 1] > 0.99


def test_sound_whose_time_stamps_are_useless_is_counted(tmp_path):
    """RealAudio 14.4, all of whose packets are at 0, and a FLAC behind other bytes, which hide its header."""
    sweep = ("-f", "lavfi", "-i", "aevalsrc=0.4*sin(2*PI*(200+150*t)*t):d=4:s=16000")
    clips.ffmpeg(*sweep, "-c:a", "real_144", "-ar", 8000, tmp_path / "old.rm")
    clips.ffmpeg(*sweep, tmp_path / "plain.flac")
    (tmp_path / "junk.flac").write_bytes(np.random.default_rng(0).bytes(300) + (tmp_path / "plain.flac").read_bytes())
    for name in ("old.rm", "junk.flac"):
        whole, span = (read_speech(tmp_path / name, *times) for times in ((0.0, None), (1.2, 2.8)))
        assert len(whole) / 16_000 == pytest.approx(4, abs=0.1)
        assert np.corrcoef(span, whole[19_200:44_800])[0, 1] > 0.99
