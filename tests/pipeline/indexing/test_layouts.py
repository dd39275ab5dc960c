"""Manifests of folders built to the published layouts, and of real clips."""

import csv
import logging
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from cluster.failures import UserError
from cluster.storage import StoredFile
from pipeline.dataset.manifest import check_manifest
from pipeline.indexing.clips import ClipsOptions, cut
from pipeline.indexing.layouts import LAYOUTS, build_manifest
from pipeline.indexing.splits import hash_share
from pipeline.indexing.voxceleb1 import VoxCeleb1Options
from pipeline.indexing.voxceleb2 import VoxCeleb2Options, read_voxceleb2

SHORT_CLIP = "odd/decord_video_0.mov"


def by_id(table) -> dict[str, dict]:
    check_manifest(table, "test")
    return {row["utterance_id"]: row for row in table.to_pylist()}


# clips


@pytest.mark.parametrize(
    ("duration_s", "spans"),
    [
        (20.0, [(0, 8), (8, 16), (16, 20)]),
        (16.0, [(0, 8), (8, 16)]),
        (16.9, [(0, 8), (8, 16.9)]),
        (17.0, [(0, 8), (8, 16), (16, 17)]),
        (8.5, [(0, 8.5)]),
        (0.4, [(0, 0.4)]),
        (None, [(0, None)]),
    ],
)
def test_a_video_is_cut_without_gap_and_short_rests_join_the_last(duration_s, spans):
    assert cut(duration_s, 8.0) == spans


def test_every_real_clip_is_listed_with_its_duration(data_dir, caplog):
    rows = by_id(build_manifest(str(data_dir / "video"), "clips"))
    ends = defaultdict(list)
    for row in rows.values():
        ends[row["video_id"]].append(row["end_s"])
    with open(data_dir / "video" / "manifest.csv", newline="") as file:
        seconds = {line["file"]: line["seconds"] for line in csv.DictReader(file)}
    assert set(ends) == set(seconds)
    seconds["odd/torchcodec_nasa_13013.mp4"] = "13.056"  # 16.57 there counts its subtitles; ffmpeg says 13.06 as well
    for name, measured in seconds.items():
        if measured:  # a header can count up to two frames more than the streams have
            assert max(ends[name]) == pytest.approx(float(measured), abs=0.07), name
        else:  # truncated, empty, or text: one row that the labelling will reject
            assert ends[name] == [None], name
    assert "3 of 57 files cannot be opened" in caplog.text
    assert {row["speaker_id"] for row in rows.values()} == {"derived", "labelled", "multiface", "odd", "unlabelled"}
    assert all(Path(row["video_uri"]).is_file() and row["audio_uri"] == row["video_uri"] for row in rows.values())


def test_names_that_differ_only_in_suffix_or_case_stay_apart(data_dir, tmp_path):
    for name in ("anna/a.mp4", "anna/a.MOV", "top.webm", "anna/deep/a.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data_dir / "video" / SHORT_CLIP, tmp_path / name)
    rows = by_id(build_manifest(str(tmp_path), "clips"))
    assert {(row["video_id"], row["speaker_id"]) for row in rows.values()} == {
        ("anna/a.mp4", "anna"),
        ("anna/a.MOV", "anna"),
        ("anna/deep/a.mp4", "anna"),
        ("top.webm", "top"),
    }


def test_splits_hold_when_files_are_added(tmp_path):
    """Empty files will do: each is one utterance."""

    def splits_of(speakers: int) -> dict[str, str]:
        for speaker in range(speakers):
            for clip in range(30):
                (tmp_path / f"s{speaker}").mkdir(exist_ok=True)
                (tmp_path / f"s{speaker}" / f"{clip}.mp4").touch()
        return {name: row["split"] for name, row in by_id(build_manifest(str(tmp_path), "clips")).items()}

    few = splits_of(4)
    assert set(few.values()) == {"train", "val", "heard"}
    shares = Counter(few.values())
    assert 0.1 < shares["heard"] / 120 < 0.3 and 0.04 < shares["val"] / 120 < 0.2
    some = splits_of(20)
    more = splits_of(24)
    assert {name: more[name] for name in some} == some
    unheard = {name.split("/")[0] for name, split in some.items() if split == "unheard"}
    assert unheard == {f"s{n}" for n in range(20) if hash_share("speaker", f"s{n}") < 0.2}
    assert unheard
    assert all(few[name] == split for name, split in some.items() if name in few and split != "unheard")


def test_a_speaker_with_one_utterance_is_learnt_from(tmp_path):
    for clip in range(40):
        (tmp_path / f"{clip}.mp4").touch()
    rows = by_id(build_manifest(str(tmp_path), "clips"))
    assert {row["split"] for row in rows.values()} == {"train", "unheard"}


# VoxCeleb1

META = (
    "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n"
    "id10001\tA.J._Buckley\tm\tIreland\tdev\n"
    "id10002\tA.R._Rahman\tm\tIndia\tdev\n"
    "id10003\tAamir_Khan\tm\tIndia\tdev\n"
    "id10270\tEartha_Kitt\tf\tUSA\ttest\n"
)
FACE_TRACK = (
    "Identity  : \tA.J._Buckley\nReference : \t{video}\nOffset    : \t-1\nFV Conf   : \t17.713\t(1)\n"
    "ASD Conf  : \t5.263\t(1)\n\nFRAME \tX \tY \tW \tH\n"
)
V1, V2, V3 = "1zcIwhmdeo4", "Y8hIVOBuels", "5r0dWxy17C8"


def voxceleb1(root: Path, split_lines: list[str], files: list[str]) -> str:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "vox1_meta.csv").write_text(META)
    (root / "iden_split.txt").write_text("".join(f"{line}.wav\n" for line in split_lines))
    return str(root)


def write_face_track(path: Path, first: int, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{first + k:06d} \t{223 + k} \t80 \t130 \t140 \n" for k in range(count))
    path.write_text(FACE_TRACK.format(video=path.parent.name) + rows)


def test_voxceleb1_face_pictures_join_the_wav_by_name_and_track(tmp_path):
    uri = voxceleb1(
        tmp_path,
        [f"1 id10001/{V1}/00001", f"3 id10001/{V2}/00007", f"2 id10002/{V3}/00002", f"1 id10270/{V3}/00003"],
        [
            f"wav/id10001/{V1}/00001.wav",
            f"voxceleb_all/A.J._Buckley/{V2}_0000007.wav",
            f"wav/id10002/{V3}/00002.wav",
            f"wav/id10270/{V3}/00003.wav",
            *(f"unzippedIntervalFaces/data/A.J._Buckley/1.6/{V1}/1/{k:02d}.jpg" for k in range(33)),
            f"unzippedIntervalFaces/A.J._Buckley/1.6/{V2}/7/01.jpg",
            f"faces/A.R._Rahman/1.6/{V3}/2/01.jpg",
            f"faces/Eartha_Kitt/1.6/{V3}/3/01.jpg",
        ],
    )
    rows = by_id(build_manifest(uri, "voxceleb1"))
    assert {name: row["split"] for name, row in rows.items()} == {
        f"id10001/{V1}/00001": "train",
        f"id10001/{V2}/00007": "heard",
        f"id10002/{V3}/00002": "val",
        f"id10270/{V3}/00003": "unheard",
    }
    first = rows[f"id10001/{V1}/00001"]
    assert first["video_uri"] == f"{uri}/unzippedIntervalFaces/data/A.J._Buckley/1.6/{V1}/1/"
    assert first["audio_uri"] == f"{uri}/wav/id10001/{V1}/00001.wav"
    assert (first["start_s"], first["end_s"], first["video_id"]) == (0.0, None, V1)
    assert first["face_context"] == pytest.approx(1.6)
    assert rows[f"id10001/{V2}/00007"]["audio_uri"] == f"{uri}/voxceleb_all/A.J._Buckley/{V2}_0000007.wav"


def test_voxceleb1_whole_videos_take_span_and_boxes_from_the_txt(tmp_path):
    uri = voxceleb1(
        tmp_path,
        [f"1 id10001/{V1}/00001", f"3 id10001/{V1}/00002"],
        [f"video/A.J._Buckley/{V1}.mp4", f"wav/id10001/{V1}/00001.wav", f"wav/id10001/{V1}/00002.wav"],
    )
    write_face_track(tmp_path / "txt" / "id10001" / V1 / "00001.txt", first=2316, count=100)
    write_face_track(tmp_path / "txt" / "id10001" / V1 / "00002.txt", first=5000, count=3)
    rows = by_id(build_manifest(uri, "voxceleb1"))
    row = rows[f"id10001/{V1}/00001"]
    assert (row["start_s"], row["end_s"]) == pytest.approx((2316 / 25, 2416 / 25))
    assert row["video_uri"] == row["audio_uri"] == f"{uri}/video/A.J._Buckley/{V1}.mp4"
    assert row["face_context"] is None and row["face_boxes_unit"] == "pixels"
    boxes = row["face_boxes"]
    assert [box["time_s"] for box in boxes] == pytest.approx([(2316 + 6 * k) / 25 for k in range(17)])
    assert boxes[0] == {"time_s": 2316 / 25, "x0": 223.0, "y0": 80.0, "x1": 353.0, "y1": 220.0}
    assert boxes[1]["x0"] == 229.0
    assert len(rows[f"id10001/{V1}/00002"]["face_boxes"]) == 1


def test_voxceleb1_counts_what_gives_no_row_and_keeps_the_rest(tmp_path, caplog):
    uri = voxceleb1(
        tmp_path,
        [f"1 id10001/{V1}/00001"],
        [
            f"wav/id10001/{V1}/00001.wav",
            f"video/id10001/{V1}/00001.mp4",  # both
            f"video/A.R._Rahman/{V2}/00001.mp4",  # a clip without its wav: its own sound
            f"wav/id10003/{V3}/00001.wav",  # no pictures
            f"faces/Aamir_Khan/1.6/{V3}/2/01.jpg",  # no wav
            f"wav/id19999/{V3}/00001.wav",
            f"video/id19999/{V3}/00001.mp4",  # not in the meta
            "faces/stray.jpg",
        ],
    )
    with caplog.at_level(logging.WARNING):
        rows = by_id(build_manifest(uri, "voxceleb1"))
    assert set(rows) == {f"id10001/{V1}/00001", f"id10002/{V2}/00001", f"id19999/{V3}/00001"}
    assert rows[f"id10001/{V1}/00001"]["audio_uri"].endswith(".wav")
    assert rows[f"id10002/{V2}/00001"]["audio_uri"] == rows[f"id10002/{V2}/00001"]["video_uri"]
    assert {row["face_context"] for row in rows.values()} == {None}
    for words in (
        f"1 utterances have a wav or txt but no pictures: no row (for example id10003/{V3}/00001)",
        f"1 utterances have face pictures but no wav: no row (for example id10003/{V3}/00002)",
        "1 utterances have a speaker not in vox1_meta.csv",
        "2 utterances are not in iden_split.txt",
        "1 files do not belong to the layout",
    ):
        assert words in caplog.text


def test_voxceleb1_sets_further_speakers_aside(tmp_path):
    names = [f"id1000{n}/{V1}/00001" for n in (1, 2, 3)]
    uri = voxceleb1(
        tmp_path,
        [f"1 {name}" for name in names],
        [f"{kind}/{name}.{suffix}" for name in names for kind, suffix in (("wav", "wav"), ("video", "mp4"))],
    )
    splits = {}
    for count in (0, 1, 2):
        rows = by_id(build_manifest(uri, "voxceleb1", VoxCeleb1Options(unheard_speakers=count)))
        splits[count] = [row["split"] for row in rows.values()]
    assert [splits[count].count("unheard") for count in (0, 1, 2)] == [0, 1, 2]
    assert splits[2][splits[1].index("unheard")] == "unheard"
    with pytest.raises(UserError, match="unheard_speakers is 3, but only 3 speakers"):
        build_manifest(uri, "voxceleb1", VoxCeleb1Options(unheard_speakers=3))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("vox1_meta.csv", "id,name\n1,2\n", "expected tab-separated VoxCeleb1 ID"),
        ("vox1_meta.csv", META + "id10004\tShort\n", "fewer than 5 columns"),
        ("iden_split.txt", "4 id10001/x/00001.wav\n", "line 1 is '4 id10001/x/00001.wav'"),
        (f"txt/id10001/{V1}/00001.txt", FACE_TRACK + "002316 \t223 \t80\n", "00001.txt: rows are not FRAME X Y W H"),
        (f"txt/id10001/{V1}/00001.txt", "", "no rows after a line FRAME X Y W H"),
    ],
)
def test_voxceleb1_lists_that_are_damaged_are_named(tmp_path, name, text, words):
    uri = voxceleb1(tmp_path, [f"1 id10001/{V1}/00001"], [f"video/id10001/{V1}.mp4", f"txt/id10001/{V1}/00001.txt"])
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        build_manifest(uri, "voxceleb1")


def test_voxceleb1_without_its_lists_says_so(tmp_path):
    uri = voxceleb1(tmp_path, [], [f"wav/id10001/{V1}/00001.wav"])
    (tmp_path / "iden_split.txt").unlink()
    with pytest.raises(UserError, match="iden_split.txt is not there; the layout voxceleb1 expects"):
        build_manifest(uri, "voxceleb1")


# VoxCeleb2


def test_voxceleb2_pairs_tracks_with_their_sound(tmp_path, caplog):
    for name in (
        "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4",
        "dev/aac/id00012/21Uxsk56VDQ/00001.m4a",
        "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4",
        "dev/aac/id00012/21Uxsk56VDQ/00003.m4a",
        "test/mp4/id00017/OLguY5ofUrY/00001.mp4",
        "test/aac/id00017/OLguY5ofUrY/00001.m4a",
        "other.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    rows = by_id(build_manifest(str(tmp_path), "voxceleb2"))
    assert set(rows) == {"id00012/21Uxsk56VDQ/00001", "id00012/21Uxsk56VDQ/00002", "id00017/OLguY5ofUrY/00001"}
    row = rows["id00012/21Uxsk56VDQ/00001"]
    assert row["video_uri"] == f"{tmp_path}/dev/mp4/id00012/21Uxsk56VDQ/00001.mp4"
    assert row["audio_uri"] == f"{tmp_path}/dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    assert (row["split"], row["start_s"], row["end_s"], row["face_boxes"]) == ("train", 0.0, None, None)
    assert rows["id00012/21Uxsk56VDQ/00002"]["audio_uri"].endswith("00002.mp4")
    assert rows["id00017/OLguY5ofUrY/00001"]["split"] == "unheard"
    assert "1 m4a without an mp4" in caplog.text and "other.mp4" in caplog.text
    part = by_id(build_manifest(str(tmp_path / "test"), "voxceleb2", VoxCeleb2Options(face_context=1.4)))
    assert [(row["split"], round(row["face_context"], 4)) for row in part.values()] == [("unheard", 1.4)]


def voxceleb2_files(speakers: int, videos: int, tracks: int) -> list[StoredFile]:
    return [
        StoredFile(f"s3://b/vox2/dev/{kind}/id{speaker:05d}/video{video:06d}/{track:05d}.{suffix}", 1)
        for kind, suffix in (("aac", "m4a"), ("mp4", "mp4"))
        for speaker in range(speakers)
        for video in range(videos)
        for track in range(1, tracks + 1)
    ]


def test_voxceleb2_holds_out_whole_videos_of_speakers_it_learns_from():
    columns = read_voxceleb2(voxceleb2_files(20, 25, 3), "s3://b/vox2", VoxCeleb2Options(held_out=0.2, validation=0.1))
    videos = defaultdict(set)
    speakers = defaultdict(set)
    for speaker, video, split in zip(columns["speaker_id"], columns["video_id"], columns["split"], strict=True):
        videos[speaker, video].add(split)
        speakers[speaker].add(split)
    assert all(len(splits) == 1 for splits in videos.values())
    assert all("train" in splits for splits in speakers.values())
    shares = Counter(columns["split"])
    assert shares["heard"] / 1500 == pytest.approx(0.2, abs=0.06)
    assert shares["val"] / 1500 == pytest.approx(0.1, abs=0.05)


@pytest.mark.slow
def test_the_whole_of_voxceleb2_is_indexed():
    files = voxceleb2_files(6000, 26, 7)
    columns = read_voxceleb2(files, "s3://b/vox2", VoxCeleb2Options())
    assert len(set(columns["utterance_id"])) == 1_092_000


# places that hold something else


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_a_wrong_place_is_named_with_what_the_layout_expects(tmp_path, layout):
    for place in (tmp_path / "nothing_here", tmp_path):
        with pytest.raises(UserError, match=str(place)) as refusal:
            build_manifest(str(place), layout)
        assert LAYOUTS[layout].expects in str(refusal.value)


def test_unknown_layouts_and_shares_are_refused():
    with pytest.raises(UserError, match=f"layout 'lrs3' is not known; use one of {', '.join(LAYOUTS)}"):
        build_manifest("/data", "lrs3")
    with pytest.raises(UserError, match="utterance_s is 0.2"):
        ClipsOptions(utterance_s=0.2)
    for options in (ClipsOptions, VoxCeleb2Options):
        with pytest.raises(UserError, match="together less than 1"):
            options(held_out=0.7, validation=0.3)
