"""The speech of the transfer benchmark: tables that do not say what they mean, and recordings under two names."""

import pytest
import soundfile

from cluster.failures import UserError
from pipeline.corpora.ferplus_csv import read_speech_csv
from pipeline.transfer.speech import read_speech_clips
from tests.support.tones import write_tone

HEADER = "file,speaker,emotion,ferplus_class"


def table(folder, *rows: str, header: str = HEADER) -> str:
    (folder / "speech.csv").write_text("\n".join([header, *rows]))
    return str(folder / "speech.csv")


def test_a_recording_under_two_names_counts_once_and_under_two_speakers_not_at_all(tmp_path):
    for name in ("a.wav", "b.wav", "c.wav"):
        write_tone(tmp_path / name, 300)
    for name, copy in (("a.wav", "a_again.flac"), ("b.wav", "b_of_another.flac")):  # other bytes, the same samples
        soundfile.write(tmp_path / copy, *soundfile.read(tmp_path / name, dtype="int16"), subtype="PCM_16")
    rows = ["a.wav,s1", "b.wav,s1", "c.wav,s2", "a_again.flac,s1", "b_of_another.flac,s2", "./c.wav,s2"]
    files, _ = read_speech_csv(table(tmp_path, *(f"{row},angry,anger" for row in rows)))
    clips = read_speech_clips(files)
    assert [clip.reject_reason for clip in clips] == [
        None,
        "contradictory_labels",
        None,
        "duplicate",
        "contradictory_labels",
        "duplicate",
    ]
    assert "b_of_another.flac" in clips[1].reject_detail and "as a.wav" in clips[3].reject_detail
    assert all((clip.speech_flac is None) == (clip.reject_reason is not None) for clip in clips)


def test_a_comma_without_quotes_does_not_become_another_speaker(tmp_path):
    row = "a.wav,well, no,s1,disgust,disgust"  # s1 would be read as the emotion, " no" as the speaker
    with pytest.raises(UserError, match="line 2: more fields than the header"):
        read_speech_csv(table(tmp_path, row, header="file,text,speaker,emotion,ferplus_class"))
    files, _ = read_speech_csv(table(tmp_path, "a.wav,s1,angry,anger,,"))
    assert files[0].speaker_id == "s1"


def test_a_speaker_under_two_spellings_is_not_two_speakers(tmp_path):
    with pytest.raises(UserError, match="speakers that differ in capitals, .* only: .*'Ann', 'ann'"):
        read_speech_csv(table(tmp_path, "a.wav,Ann,angry,anger", "b.wav,ann,angry,anger"))


def test_a_quote_that_is_not_closed_does_not_swallow_the_other_rows(tmp_path):
    rows = ["a.wav,s1,angry,anger", '"b.wav,s1,angry,anger', "c.wav,s2,angry,anger"]
    with pytest.raises(UserError, match="line 4: not CSV"):
        read_speech_csv(table(tmp_path, *rows))


def test_classes_with_capitals_and_spaces_are_those_of_fer(tmp_path):
    files, left_out = read_speech_csv(table(tmp_path, "a.wav,s1,angry, Anger ", "b.wav,s1,calm, "))
    assert [file.truth for file in files] == ["anger"] and left_out == {"calm": 1}
