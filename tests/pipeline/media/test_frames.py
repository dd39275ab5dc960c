"""Frames by time: against the ffmpeg program on real clips, and against the truth of stamped clips."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.media.frame_grid import FrameGrid, sample_times
from pipeline.media.frames import FrameRequest, SampledFrames, sample_frames
from pipeline.media.probe import probe
from pipeline.rejects import Rejected, RejectReason
from tests.support import clips

ORDINARY = [  # file, video stream that find_best_stream chooses
    ("unlabelled/EDTalk_pose_source1.mp4", 0),  # 25 fps
    ("labelled/RAVDESS_01-01-08-02-01-01-19_videoonly.mp4", 0),  # 29.97 fps, mpeg4
    ("unlabelled/LivePortrait_driving_d18.mp4", 0),  # 30 fps
    ("unlabelled/retalking_face_1.mp4", 0),  # 22.131 fps, uneven, and the video begins 33 ms after the sound
    ("odd/torchcodec_nasa_13013.mp4", 1),  # two video streams
    ("odd/torchcodec_h265_video.mp4", 0),
    ("odd/torchcodec_testsrc2_odd_height_and_width_444.mp4", 0),
    ("odd/torchcodec_testsrc2_vp9.webm", 0),
    ("odd/decord_unordered.mov", 0),
]
DERIVED_AND_ODD = {  # number of pictures on the grid, or the reason
    "derived/RAVDESS_01-01-08-02-01-01-19_muxed_with_03_wav.mp4": 17,
    "derived/audio_only_MEAD_W036_happy.mp4": RejectReason.NO_VIDEO_STREAM,
    "derived/text_file.mp4": RejectReason.NOT_A_VIDEO,
    "derived/truncated_half_MEAD_M030_angry.mp4": RejectReason.TRUNCATED,
    "derived/two_faces_W036happy_audio_M030angry_silent.mp4": 13,
    "derived/zero_byte.mp4": RejectReason.EMPTY_FILE,
    "odd/decord_unordered.mov": 1,
    "odd/decord_video_0.mov": 1,
    "odd/decord_video_180.mov": 1,
    "odd/decord_video_270.mov": 1,
    "odd/decord_video_90.mov": 1,
    "odd/torchcodec_discard_first_keyframe.mp4": 5,
    "odd/torchcodec_h265_video.mp4": 5,
    "odd/torchcodec_nasa_13013.mp4": 55,
    "odd/torchcodec_testsrc2_mpeg4.mp4": 1,
    "odd/torchcodec_testsrc2_odd_height_and_width_444.mp4": 5,
    "odd/torchcodec_testsrc2_odd_height_and_width_vp9.mp4": 5,
    "odd/torchcodec_testsrc2_vp9.webm": 5,
}
times = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)


def sampled_from(path, start_s: float, end_s: float | None, *, keep=np.ascontiguousarray, **request) -> SampledFrames:
    return sample_frames(path, FrameRequest(start_s=start_s, end_s=end_s, **request), keep=keep)


def on_display(times_s, at_s: float) -> int:
    """Index of the last frame that begins by then; time stamps in whole milliseconds may be up to 1 ms late."""
    return max(0, int(np.searchsorted(times_s, at_s + 1e-3, side="right")) - 1)


def expected_stamps(times_s, start_s: float, end_s: float) -> list[int]:
    return [on_display(times_s, t) for t in np.arange(start_s, end_s - 1e-6, 0.24)]


def test_one_second_has_five_grid_times():
    """Every sixth frame at 25 a second, as in the paper."""
    assert sample_times(0.0, 1.0) == pytest.approx([0, 0.24, 0.48, 0.72, 0.96])
    assert len(sample_times(3.0, 4.2)) == 5  # 4.2 itself belongs to what follows


@settings(deadline=None)  # a busy machine is no failure
@given(start_s=times, length_s=st.integers(0, 60_000).map(lambda ms: ms / 1000))
def test_grid_times_fill_the_span_and_stay_in_it(start_s, length_s):
    grid = sample_times(start_s, start_s + length_s)
    assert len(grid) == math.ceil(Fraction(round(length_s * 1000), 240))
    assert np.allclose(np.diff(grid), 0.24)
    assert all(start_s <= t < start_s + length_s for t in grid)


@settings(deadline=None)  # a busy machine is no failure
@given(start_s=times, cut=st.integers(0, 60), more=st.integers(0, 60))
def test_a_span_cut_on_the_grid_has_the_same_grid_times(start_s, cut, more):
    middle, end = start_s + 0.24 * cut, start_s + 0.24 * (cut + more)
    halves = np.concatenate([sample_times(start_s, middle), sample_times(middle, end)])
    assert halves == pytest.approx(sample_times(start_s, end))


@settings(deadline=None)  # a busy machine is no failure
@given(
    frame_times_us=st.lists(st.integers(0, 5_000_000), min_size=1, max_size=40, unique=True).map(sorted),
    start_us=st.integers(0, 4_000_000),
    length_us=st.integers(0, 4_000_000),
)
def test_every_grid_time_is_served_by_exactly_the_frame_on_display(frame_times_us, start_us, length_us):
    grid = FrameGrid(start_us, start_us + length_us)
    bounds = [*frame_times_us, 10_000_000]
    served = {k: i for i in range(len(frame_times_us)) for k in grid.positions(bounds[i], bounds[i + 1])}
    for k, t in enumerate(range(start_us, start_us + length_us, 240_000)):
        begun = [i for i, frame_us in enumerate(frame_times_us) if frame_us <= t + 1000]
        assert served.pop(k, None) == (begun[-1] if begun else None)
    assert not served


@pytest.mark.parametrize(("name", "stream"), ORDINARY)
def test_pictures_and_times_are_those_of_ffmpeg(data_dir, name, stream):
    path = data_dir / "video" / name
    times_s, reference = clips.ffmpeg_frames(path, stream)
    end_s = times_s[-1] + 1e-3
    for start_s in (0.0, 0.3 * end_s):
        sampled = sampled_from(path, start_s, end_s, longest_side_px=None)
        assert sampled.indices.tolist() == list(range(len(sample_times(start_s, end_s))))
        for image, k, time_s in zip(sampled.images, sampled.indices, sampled.times_s, strict=True):
            index = on_display(times_s, start_s + 0.24 * k)
            assert time_s == pytest.approx(times_s[index], abs=1e-3)
            assert image.shape == reference[index].shape
            assert np.abs(image.astype(int) - reference[index]).max() <= 2


def test_a_middle_span_of_a_large_clip_is_that_of_ffmpeg_scaled_down(data_dir):
    path = data_dir / "video" / "labelled" / "MEAD_M030_level_3_angry_016.mp4"
    sampled = sampled_from(path, 1.0, 1.5, longest_side_px=960)
    times_s, reference = clips.ffmpeg_frames(path)
    assert list(sampled.times_s) == pytest.approx([1.0, 1.24, 1.48])
    for image, time_s in zip(sampled.images, sampled.times_s, strict=True):
        assert image.shape == (540, 960, 3)
        halved = reference[on_display(times_s, time_s)].reshape(540, 2, 960, 2, 3).mean((1, 3))
        assert np.abs(image - halved).mean() < 1


def test_every_odd_and_derived_file_gives_its_expected_result(data_dir):
    found = {}
    for name in DERIVED_AND_ODD:
        try:
            found[name] = len(sampled_from(data_dir / "video" / name, 0.0, None).images)
        except Rejected as rejected:
            found[name] = rejected.reason
    assert found == DERIVED_AND_ODD


def test_a_damaged_file_gives_the_frames_that_decode(data_dir):
    path = data_dir / "video" / "labelled" / "EAMM_MEAD_sad.mp4"  # its header says 6.28 s, its bytes end at 4.44 s
    assert len(sampled_from(path, 0.0, None).images) == len(sample_times(0.0, 4.44))
    with pytest.raises(Rejected) as rejected:
        sampled_from(path, 5.0, 6.0)
    assert rejected.value.reason == RejectReason.TRUNCATED


def test_rotated_clips_stand_upright(data_dir):
    folder = data_dir / "video" / "odd"
    for degrees in (0, 90, 180, 270):
        path = folder / f"decord_video_{degrees}.mov"
        image = sampled_from(path, 0.0, None).images[0]
        assert np.array_equal(image, clips.ffmpeg_frames(path)[1][0])
        assert (probe(path).height, probe(path).width) == image.shape[:2]


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_rotation_metadata_is_applied(tmp_path, degrees, decoder):
    plain = clips.write_stamped_clip(tmp_path / "plain.mp4", np.arange(10) / 25)
    clips.ffmpeg("-display_rotation", degrees, "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    upright = sampled_from(plain, 0.0, None).images[1]
    turned = sampled_from(tmp_path / "turned.mp4", 0.0, None, decoder=decoder).images[1]
    assert np.abs(np.rot90(upright, degrees // 90).astype(int) - turned).mean() < 2


def uneven_times(count: int) -> np.ndarray:
    """Gaps of 20 to 700 ms, in whole milliseconds."""
    gaps_ms = np.random.default_rng(5).choice([20, 33, 40, 41, 100, 310, 700], count - 1)
    return np.concatenate([[0], np.cumsum(gaps_ms)]) / 1000


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts"])
@pytest.mark.parametrize("span", [(0.0, 9.0), (3.13, 6.5), (8.05, 8.06)])
def test_a_variable_rate_clip_shows_the_frame_on_display(tmp_path, suffix, span):
    times_s = uneven_times(100)
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    path = clips.write_stamped_clip(tmp_path / f"clip.{suffix}", times_s, codec)
    assert [clips.stamp(i) for i in sampled_from(path, *span).images] == expected_stamps(times_s, *span)


OLDER = [("avi", "mpeg4"), ("mpg", "mpeg2video"), ("flv", "libx264"), ("mov", "mpeg4")]


@pytest.mark.parametrize(("suffix", "codec"), OLDER)
def test_older_containers_show_the_frame_on_display(tmp_path, suffix, codec):
    times_s = np.arange(150) / 25
    stamped = clips.write_stamped_clip(tmp_path / "clip.mp4", times_s)
    path = tmp_path / f"other.{suffix}"
    clips.ffmpeg("-i", stamped, "-c:v", codec, "-q:v", "2", "-bf", "0", path)
    for span in ((0.0, 6.0), (3.1, 4.5)):
        assert [clips.stamp(i) for i in sampled_from(path, *span).images] == expected_stamps(times_s, *span)


def test_time_zero_is_where_the_earlier_stream_begins(tmp_path):
    path = clips.write_stamped_clip(tmp_path / "late.mp4", 0.5 + np.arange(50) / 25, tone_s=(0.0, 2.5))
    sampled = sampled_from(path, 0.0, None)
    assert sampled.indices[0] == 2  # nothing is on display at 0 and 0.24 s; at 0.48 the first frame is 20 ms away
    assert sampled.times_s[0] == pytest.approx(0.5, abs=1e-3)
    assert clips.stamp(sampled.images[1]) == on_display(0.5 + np.arange(50) / 25, 0.72)


def test_damage_costs_only_the_frames_in_it(tmp_path):
    path = clips.write_stamped_clip(tmp_path / "clip.mkv", np.arange(250) / 25, gop=25)
    data = bytearray(path.read_bytes())
    third = len(data) // 3
    data[third : 2 * third] = np.random.default_rng(1).bytes(third)
    path.write_bytes(data)
    sampled = sampled_from(path, 0.0, None)
    assert {0, 1, 2, 40, 41} <= set(sampled.indices.tolist())
    assert len(sampled.indices) < 42
    stamps = {k: clips.stamp(i) for k, i in zip(sampled.indices.tolist(), sampled.images, strict=True)}
    assert {k: stamps[k] for k in (0, 1, 2, 40, 41)} == {k: 6 * k for k in (0, 1, 2, 40, 41)}


def reason_of(path, start_s=0.0, end_s=None, **options) -> RejectReason:
    with pytest.raises(Rejected) as rejected:
        sampled_from(path, start_s, end_s, **options)
    return rejected.value.reason


def test_reasons_of_files_that_give_nothing(tmp_path):
    whole = clips.write_stamped_clip(tmp_path / "clip.mp4", np.arange(50) / 25)
    fast = tmp_path / "fast.mp4"
    clips.ffmpeg("-i", whole, "-c", "copy", "-movflags", "+faststart", fast)
    data = fast.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: data.index(b"mdat") + 8])
    (tmp_path / "codec.mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    mdat = data.index(b"mdat") + 4
    (tmp_path / "noise.mp4").write_bytes(data[:mdat] + b"\xff" * (len(data) - mdat))
    assert reason_of(tmp_path / "absent.mp4") == RejectReason.FILE_NOT_FOUND
    assert reason_of(tmp_path / "cut.mp4") == RejectReason.TRUNCATED
    assert reason_of(tmp_path / "codec.mp4") == RejectReason.UNSUPPORTED_CODEC
    assert reason_of(tmp_path / "noise.mp4") == RejectReason.DAMAGED_VIDEO
    assert reason_of(whole, 2.5, 3.0) == RejectReason.NO_FRAMES
    assert reason_of(whole, 1.0, 1.0) == RejectReason.NO_FRAMES


OPEN_HEVC = "odd/torchcodec_h265_video.mp4"
"""decord shows neighbours in it, which differ by two grey levels: it is refused there (`test_decord_check.py`)."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, _ in ORDINARY if name != OPEN_HEVC])
def test_decord_gives_the_same_frames(data_dir, name):
    path = data_dir / "video" / name
    end_s = min(4.0, probe(path).duration_s)
    for start_s in (0.0, 0.4 * end_s):
        ours, theirs = (sampled_from(path, start_s, end_s, decoder=decoder) for decoder in ("pyav", "decord"))
        assert ours.indices.tolist() == theirs.indices.tolist()
        assert ours.times_s == pytest.approx(theirs.times_s, abs=1e-3)
        for a, b in zip(ours.images, theirs.images, strict=True):
            assert np.abs(a.astype(int) - b).mean() < 3  # decord ignores the colour space that the file declares


def test_decord_gives_the_same_frames_of_an_uneven_clip(tmp_path):
    times_s = uneven_times(60)
    path = clips.write_stamped_clip(tmp_path / "clip.mp4", times_s)
    for span in ((0.0, 6.0), (3.13, 5.0)):
        images = sampled_from(path, *span, decoder="decord").images
        assert [clips.stamp(image) for image in images] == expected_stamps(times_s, *span)


def test_decord_is_refused_where_its_pictures_would_be_others(tmp_path):
    plain = clips.write_stamped_clip(tmp_path / "plain.mp4", np.arange(100) / 25)
    made = {
        "b_frames.avi": ("-i", plain, "-c:v", "mpeg4", "-bf", 2),
        "broadcast.ts": ("-i", plain, "-c", "copy"),
        "edited.mp4": ("-ss", 1.3, "-i", plain, "-c", "copy"),
        "mirrored.mp4": ("-display_hflip", "-i", plain, "-c", "copy"),
    }
    for name, options in made.items():
        path = tmp_path / name
        at = options.index("-i") + 2
        clips.ffmpeg(*options[:at], *options[at:], path)
        with pytest.raises(Rejected, match="decord .*--crops.decoder pyav"):
            sampled_from(path, 0.0, None, decoder="decord")
    (tmp_path / "noise.mp4").write_bytes(plain.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(Rejected):
        sampled_from(tmp_path / "noise.mp4", 0.0, None, decoder="decord")


def test_a_folder_of_pictures_is_a_video_of_25_per_second(tmp_path):
    import cv2

    for index in range(60):
        cv2.imwrite(str(tmp_path / f"{index + 1:07d}.jpg"), np.repeat(clips._bars(index)[..., None], 3, 2))
    sampled = sampled_from(tmp_path, 0.5, 2.0)
    assert [clips.stamp(image) for image in sampled.images] == [12, 18, 24, 30, 36, 42, 48]
    assert sampled.times_s == pytest.approx(np.array([12, 18, 24, 30, 36, 42, 48]) / 25)
    assert len(sampled_from(tmp_path, 0.0, None).images) == 10
    (tmp_path / "0000013.jpg").write_bytes(b"not a picture")
    assert sampled_from(tmp_path, 0.5, 2.0).indices.tolist() == [1, 2, 3, 4, 5, 6]
    assert reason_of(tmp_path, 3.0) == RejectReason.NO_FRAMES


def test_pictures_go_where_the_caller_keeps_them_each_once(tmp_path):
    """The first frame is on display at five grid times, the next at one."""
    clips.write_stamped_clip(tmp_path / "slides.mp4", [0.0, 1.0, 1.5])
    kept = []

    def keep(image):
        kept.append(image.copy())
        return kept[-1]

    plain = sampled_from(tmp_path / "slides.mp4", 0.0, 1.5)
    sampled = sampled_from(tmp_path / "slides.mp4", 0.0, 1.5, keep=keep)
    assert len(kept) == 2 < len(sampled.images) and {id(image) for image in sampled.images} == set(map(id, kept))
    assert all((ours == given).all() for ours, given in zip(sampled.images, plain.images, strict=True))


@pytest.mark.parametrize("codec", ["libsvtav1", "libaom-av1"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_av1_shows_the_frame_on_display(tmp_path, codec, suffix):
    """Its decoder heeds no wish to skip pictures; what downloaders fetch has a key frame each five seconds."""
    fast = ("-preset", 12) if codec == "libsvtav1" else ("-cpu-used", 8)
    path = tmp_path / f"clip.{suffix}"
    stamped = clips.write_stamped_clip(tmp_path / "plain.mp4", np.arange(150) / 25)
    clips.ffmpeg("-i", stamped, "-c:v", codec, *fast, "-g", 125, path)
    for span in ((0.0, 6.0), (1.3, 3.3), (4.4, 6.0)):
        images = sampled_from(path, *span).images
        assert [clips.stamp(image) for image in images] == expected_stamps(np.arange(150) / 25, *span)


def test_a_span_behind_the_last_picture_of_a_whole_file_is_not_truncated(tmp_path):
    """`truncated` sends people to download it again."""
    plain = clips.write_stamped_clip(tmp_path / "plain.mp4", np.arange(50) / 25, tone_s=(0.0, 2.0))
    for suffix in ("mp4", "mkv"):
        path = tmp_path / f"radio.{suffix}"
        clips.ffmpeg("-i", plain, "-af", "apad=pad_dur=10", "-c:v", "copy", path)
        assert reason_of(path, 5.0, 8.0) == RejectReason.NO_FRAMES


def test_a_file_that_goes_on_in_another_size_gives_each_picture_in_its_own(tmp_path):
    for name, side in (("large", 256), ("small", 128)):
        source = clips.write_stamped_clip(tmp_path / f"{name}_source.mp4", np.arange(50) / 25)
        scaled = ("-vf", f"scale={side}:{side}:flags=neighbor", "-bsf:v", "h264_mp4toannexb")
        clips.ffmpeg("-i", source, *scaled, "-c:v", "libx264", tmp_path / f"{name}.h264")
    joined = b"".join((tmp_path / f"{name}.h264").read_bytes() for name in ("large", "small"))
    (tmp_path / "joined.h264").write_bytes(joined)
    sampled = sampled_from(tmp_path / "joined.h264", 0.0, None)
    assert [image.shape[0] for image in sampled.images] == [256] * 9 + [128] * 8
    assert [clips.stamp(image) for image in sampled.images] == [i % 50 for i in range(0, 100, 6)]
