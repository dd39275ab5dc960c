"""Corpora by their published names, irregular ones included, and CSV files that were not written by us."""

import unicodedata
from collections import Counter

import pytest

from cluster.failures import UserError
from pipeline.corpora.read import corpus_name, read_corpus

NAMES = {
    "rml": {
        "rml-1/s1/an1.avi": ("s1", "anger"),
        "rml-1/s2/english/di12.avi": ("s2", "disgust"),
        "rml-1/s2/mandarin/di12.avi": ("s2", "disgust"),
        "rml-2/s8/su10.avi": ("s8", "surprise"),
    },
    "enterface": {
        "subject 1/anger/sentence 1/s1_an_1.avi": ("subject 1", "anger"),
        "subject 6/surprise/s6_su.avi": ("subject 6", "surprise"),
        "subject 3/surprise/sentence 1/s_3_su_1.avi": ("subject 3", "surprise"),
        "subject 11/fear/sentence 2/s12_fe_2.avi": ("subject 11", "fear"),
        "subject-12/fear/sentence-2/s12_fe_2.avi": ("subject 12", "fear"),
        "subject 20/happiness/sentence 4/s20_sa_4.avi": ("subject 20", "happiness"),
    },
    "ravdess": {
        "Actor_01/03-01-01-01-01-01-01.wav": ("01", "neutral"),
        "Actor_24/03-01-08-02-02-02-24.wav": ("24", "surprised"),
        "Video/Actor_07/01-01-02-01-01-01-07.mp4": ("07", "calm"),
        "03-01-06-01-01-01-09.flac": ("09", "fearful"),
    },
    "emodb": {
        "wav/03a01Fa.wav": ("03", "happiness"),
        "wav/16b10Wb.wav": ("16", "anger"),
        "wav/08a05Ld.wav": ("08", "boredom"),
        "wav/09b03Ea.wav": ("09", "disgust"),
        "wav/10a04Ab.wav": ("10", "fear"),
        "wav/11b02Td.wav": ("11", "sadness"),
        "wav/12a02Nb.wav": ("12", "neutral"),
    },
    "crema-d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001", "anger"),
        "AudioWAV/1091_WSI_SAD_HI.wav": ("1091", "sadness"),
        "AudioWAV/1040_ITH_SAD_X.wav": ("1040", "sadness"),
    },
}


def tree(folder, names):
    """Empty files: names are read before any sound is."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def by_file(clips):
    return {clip.file: clip for clip in clips}


def table(folder, text: str | bytes) -> str:
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize("corpus", NAMES)
def test_speaker_and_emotion_come_from_the_published_names(corpus, tmp_path):
    clips = read_corpus(corpus, tree(tmp_path, NAMES[corpus]))
    assert {clip.file: (clip.speaker, clip.emotion) for clip in clips} == NAMES[corpus]
    assert all(clip.uri == str(tmp_path / clip.file) and clip.reject_reason is None for clip in clips)


def test_enterface_counts_the_folder_and_notes_what_differs(tmp_path):
    clips = by_file(read_corpus("enterface", tree(tmp_path, NAMES["enterface"])))
    notes = {file: clip.note for file, clip in clips.items() if clip.note}
    assert set(notes) == {
        "subject 11/fear/sentence 2/s12_fe_2.avi",
        "subject 20/happiness/sentence 4/s20_sa_4.avi",
    }
    assert "subject 12 by name, 11 by folder" in notes["subject 11/fear/sentence 2/s12_fe_2.avi"]
    assert "sadness by name, happiness by folder" in notes["subject 20/happiness/sentence 4/s20_sa_4.avi"]


def test_ravdess_song_silent_video_and_unknown_names_are_set_aside(tmp_path):
    others = ["03-02-05-01-01-01-01.wav", "02-01-05-01-01-01-01.mp4", "03-01-09-01-01-01-01.wav", "take2.wav"]
    clips = by_file(read_corpus("ravdess", tree(tmp_path, [*NAMES["ravdess"], *others])))
    assert [clips[name].reject_reason for name in others] == [
        "not_speech",
        "not_speech",
        "unknown_name",
        "unknown_name",
    ]
    assert sum(clip.reject_reason is None for clip in clips.values()) == 4


def test_a_recording_in_several_files_counts_once_and_its_sound_comes_first(tmp_path):
    files = [
        "a/01-01-05-01-01-01-01.mp4",
        "b/03-01-05-01-01-01-01.wav",
        "z/03-01-05-01-01-01-01.wav",
        "03-01-01-01-01-01-02.wav",
    ]
    clips = by_file(read_corpus("ravdess", tree(tmp_path, files)))
    assert [clips[file].reject_reason for file in files] == ["duplicate", None, "duplicate", None]
    assert "b/03-01-05-01-01-01-01.wav" in clips[files[0]].reject_detail
    extracted = tree(tmp_path / "rml", ["rml-1/s1/an1.avi", "rml-1/s1/an1.wav", "rml-1/s1/di1.avi"])
    assert by_file(read_corpus("rml", extracted))["rml-1/s1/an1.avi"].reject_reason == "duplicate"


def test_a_wrong_place_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match="no media file.*subject 1/anger"):
        read_corpus("enterface", tree(tmp_path / "empty", ["readme.txt"]))
    with pytest.raises(UserError, match="none of 2 media files.*03a01Fa.wav"):
        read_corpus("emodb", tree(tmp_path / "other", ["a.wav", "b.wav"]))
    with pytest.raises(UserError, match="not found"):
        read_corpus("emodb", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="a probe needs two"):
        read_corpus("emodb", tree(tmp_path / "one", ["03a01Fa.wav", "03a02Fa.wav"]))
    with pytest.raises(UserError, match="is a folder; name the table itself.*labels.csv"):
        read_corpus("csv", tree(tmp_path / "tables", ["labels.csv"]))
    with pytest.raises(UserError, match="is a file; give the folder"):
        read_corpus("emodb", str(tmp_path / "tables" / "labels.csv"))


def test_corpora_go_by_the_ways_people_write_them():
    written = ["RML", "eNTERFACE'05", "RAVDESS", "EMO-DB", "CREMA-D", "crema_d", "CSV"]
    assert [corpus_name(name) for name in written] == [
        "rml",
        "enterface",
        "ravdess",
        "emodb",
        "crema-d",
        "crema-d",
        "csv",
    ]
    with pytest.raises(UserError, match="iemocap.*use one of rml"):
        corpus_name("iemocap")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_csv_with_and_without_byte_order_mark(mark, tmp_path):
    text = 'text,file,speaker,emotion\r\n"hello, you",a/1.wav,Zoë,Freude\r\nno,../2.wav,b,anger\r\n\r\n'
    first, second = read_corpus("csv", table(tmp_path, mark + text.encode()))
    assert (first.file, first.uri) == ("a/1.wav", str(tmp_path / "a" / "1.wav"))
    assert (first.speaker, first.emotion) == ("Zoë", "Freude")
    assert second.uri == str(tmp_path.parent / "2.wav")


def test_a_label_is_one_class_however_its_letters_and_quotes_are_written(tmp_path):
    rows = [
        "1.wav,s1,fâché",
        "2.wav,s2," + unicodedata.normalize("NFD", "fâché"),
        '3.wav, s3, "angry"',
        "4.wav,s4,angry\u200b",
        '5.wav,s1,"angry"',
    ]
    clips = read_corpus("csv", table(tmp_path, "\n".join(["file,speaker,emotion", *rows])))
    assert [clip.emotion for clip in clips] == ["fâché", "fâché", "angry", "angry", "angry"]
    assert [clip.speaker for clip in clips] == ["s1", "s2", "s3", "s4", "s1"]


def test_a_file_of_a_csv_may_be_a_full_path_or_a_uri(tmp_path):
    rows = ["file,speaker,emotion", "/data/1.wav,a,joy", "file:///data/2.wav,b,anger", "s3://bucket/3.wav,b,anger"]
    clips = read_corpus("csv", table(tmp_path, "\n".join(rows)))
    assert [clip.uri for clip in clips] == ["/data/1.wav", "/data/2.wav", "s3://bucket/3.wav"]


def test_csv_rows_that_cannot_be_used_are_rows_with_their_line(tmp_path):
    rows = [
        "1.wav,s1,anger",
        "2.wav,s2,joy",
        "3.wav,,joy",
        "4.wav,s1, ",
        ",s1,joy",
        "5.wav,s1,joy,more",
        "./1.wav,s1,anger",
        "6.wav,s1,joy",
        "6.wav,s1,anger",
    ]
    clips = read_corpus("csv", table(tmp_path, "\n".join(["file,speaker,emotion", *rows])))
    assert [clip.reject_reason for clip in clips] == [
        None,
        None,
        "no_label",
        "no_label",
        "no_label",
        "damaged_row",
        "duplicate",
        "contradictory_labels",
        "contradictory_labels",
    ]
    assert "line 4 of the CSV: speaker is empty" in clips[2].reject_detail
    assert "line 7 of the CSV has 4 fields" in clips[5].reject_detail
    assert Counter(clip.reject_reason is None for clip in clips) == {True: 2, False: 7}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file;speaker;emotion\n1.wav;s;joy", "columns .*file.* are missing, its header is .*file;speaker;emotion"),
        ("file,speaker\n1.wav,s", "columns .'emotion'. are missing"),
        ("file,emotion,speaker,emotion\n1.wav,joy,s,anger", "'emotion'. are there more than once"),
        ("", "columns .* are missing"),
        ("file,speaker,emotion\n", "no row below it"),
        (b"file,speaker,emotion\n1.wav,s,Wut\xe4\n", "not UTF-8"),
        ('file,speaker,emotion\n"1.wav,s,joy\n', "not CSV"),
        ("file,speaker,emotion\n1.wav,s,Joy\n2.wav,s,joy", "emotions that differ in capitals, .* only: .*'Joy', 'joy'"),
        (
            "file,speaker,emotion\n1.wav,Ann,joy\n2.wav,ann,fear",
            "speakers that differ in capitals, .* only: .*'Ann', 'ann'",
        ),
        ("file,speaker,emotion\n1.wav,s,joy\n2.wav,s,joy", "1 emotions in the clips.*needs two"),
    ],
)
def test_a_csv_that_cannot_be_read_as_meant_ends_with_the_cause(text, said, tmp_path):
    with pytest.raises(UserError, match=said):
        read_corpus("csv", table(tmp_path, text))
