"""Contract: each published entry and each wav is one row; the labels are the file's own, the sound is the wav's, and whatever
does not fit together is a reject with its own reason."""

import hashlib
import shutil

import numpy as np
import pytest
import soundfile

from modeling.emotions import EMOTIONS
from pipeline.dataset import distillation_set
from pipeline.media.flac import decode_flac
from pipeline.schema import DISTILLATION_SCHEMA
from tests.support.job_calls import answer_of, problem_of_job
from tests.support.mat_files import contents, formula, write_mat5
from tests.support.tones import write_tone
from tests.support.voxceleb_wavs import GOOD_TRAPS, TRAPS, VIDEO, Published, published

WAVS = 12


def imported(given: Published, out, *options: object) -> dict:
    return answer_of("import_labels", "--logits", given.mat, "--speech", given.speech, "--out", out, *options)


def rows_of(out) -> dict[str, dict]:
    rows = distillation_set.read_labels(str(out), DISTILLATION_SCHEMA.names).to_pylist()
    return {row["utterance_id"]: row for row in rows}


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Published:
    return published(tmp_path_factory.mktemp("voxceleb"), WAVS, traps=True)


@pytest.fixture(scope="module")
def whole(ray_session, given, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "labels"
    return out, imported(given, out)


def test_every_entry_and_every_wav_is_one_row_with_its_reason(whole):
    out, answer = whole
    rows = rows_of(out)
    reasons = {id: row["reject_reason"] for id, row in rows.items() if row["reject_reason"]}
    assert reasons == TRAPS
    assert answer["labelled"] == WAVS + len(GOOD_TRAPS) and answer["rows"] == len(rows) == answer["labelled"] + len(
        TRAPS
    )
    assert all(rows[id]["reject_detail"] for id in TRAPS)


def test_labels_are_the_files_and_sound_is_the_wavs(given, whole):
    rows = rows_of(whole[0])
    teacher = f"senet50_ferplus (published logits)@{hashlib.sha256(given.mat.read_bytes()).hexdigest()}"
    for name, logits_NE in list(given.logits.items())[:WAVS]:
        row = rows[name.removesuffix(".wav")]
        assert np.array_equal(np.array(row["frame_logits"], np.float32), logits_NE)
        assert np.array_equal(np.array(row["logits"], np.float32), logits_NE.max(axis=0))
        assert row["emotion"] == EMOTIONS[logits_NE.max(axis=0).argmax()]
        assert row["frame_indices"] == list(range(len(logits_NE)))
        assert row["frame_times_s"] == pytest.approx(np.arange(len(logits_NE)) * 6 / 25)
        wave, _ = soundfile.read(given.speech / name, dtype="int16")
        assert np.array_equal(decode_flac(row["speech_flac"]), wave) and row["speech_samples"] == len(wave)
        assert row["teacher"] == teacher and row["audio_uri"] == str(given.speech / name)
        assert row["speaker_id"] == name.split("/")[0] and row["video_id"] == VIDEO
        nothing = ("frame_boxes", "frame_scores", "face_tracks", "thumbnails", "detector", "face_is_ambiguous")
        assert all(row[column] is None for column in nothing)


def test_sound_of_another_rate_is_resampled(whole):
    assert rows_of(whole[0])["id10012/rate44100hz/00001"]["speech_samples"] == pytest.approx(4.8 * 16_000, abs=1)


def test_the_split_is_the_authors(whole):
    rows = rows_of(whole[0])
    splits = {id: row["split"] for id, row in rows.items() if id < "id10005"}
    assert {id for id, split in splits.items() if split == "unheard"} == {
        id for id in splits if id < "id10004" and id > "id10003"
    }
    assert {id for id, split in splits.items() if split == "heard"} == {f"id10004/{VIDEO}/0000{k}" for k in (1, 3)}
    assert list(splits.values()).count("train") == 7


def test_the_same_command_again_changes_nothing_and_another_file_is_refused(capfd, given, whole, tmp_path):
    out, answer = whole
    before = {path: path.stat().st_mtime_ns for path in (out / "utterances").iterdir()}
    again = imported(given, out)
    assert {name: again[name] for name in ("rows", "labelled", "reasons")} == {
        name: answer[name] for name in ("rows", "labelled", "reasons")
    }
    assert before == {path: path.stat().st_mtime_ns for path in (out / "utterances").iterdir()}
    other = dict(given.logits)
    other[next(iter(other))] = formula(999, 4.8)
    mat = write_mat5(tmp_path / "other.mat", contents(other))
    line = problem_of_job(capfd, "import-labels", ["--logits", mat, "--speech", given.speech, "--out", out])
    assert "holds a different run" in line and "teacher was" in line


@pytest.mark.slow
def test_a_wav_that_came_later_is_labelled_on_retry(ray_session, tmp_path):
    given = published(tmp_path, 4)
    lost = given.speech / list(given.logits)[1]
    kept = lost.read_bytes()
    lost.unlink()
    assert imported(given, tmp_path / "labels")["reasons"] == {"no_wav": 1}
    lost.write_bytes(kept)
    again = imported(given, tmp_path / "labels", "--retry-rejects", "no_wav")
    assert (again["retried"], again["now_labelled"], again["rejected"]) == (1, 1, 0)


@pytest.mark.slow
def test_old_names_and_new_folders_meet_by_the_meta_file(capfd, ray_session, tmp_path):
    speech, mat = tmp_path / "wav", tmp_path / "a.mat"
    names = [f"A.J._Buckley/{VIDEO}_0000001.wav", f"Aamir_Khan/test/{VIDEO}_0000012.wav"]
    write_mat5(mat, contents({name: formula(k, 4.8) for k, name in enumerate(names)}, [1, 3]))
    for number, path in enumerate([f"id10001/{VIDEO}/00001.wav", f"id10002/{VIDEO}/00012.wav"]):
        write_tone(speech / path, seed=number, seconds=4.8)
    arguments = ["--logits", mat, "--speech", speech, "--out", tmp_path / "labels"]
    line = problem_of_job(capfd, "import-labels", arguments)
    assert "none of the 2 wavs" in line and names[0] in line and "vox1_meta.csv" in line
    meta = ["VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet", "id10001\tA.J._Buckley\tm\tUSA\tdev"]
    (tmp_path / "vox1_meta.csv").write_text("\n".join([*meta, "id10002\tAamir_Khan\tm\tIndia\tdev\n"]))
    answer_of("import_labels", *arguments, "--meta", tmp_path / "vox1_meta.csv")
    rows = rows_of(tmp_path / "labels")
    assert rows.keys() == {f"id10001/{VIDEO}/00001", f"id10002/{VIDEO}/00012"}
    for number, row in enumerate(rows[id] for id in sorted(rows)):
        assert np.array_equal(np.array(row["frame_logits"], np.float32), formula(number, 4.8))


def test_a_speaker_in_an_unheard_set_and_another_is_refused(capfd, tmp_path):
    given = published(tmp_path, 8)
    mat = write_mat5(tmp_path / "b.mat", contents(given.logits, [1, 1, 1, 1, 1, 1, 2, 1]))
    arguments = ["--logits", mat, "--speech", given.speech, "--out", tmp_path / "labels"]
    assert "id10003" in problem_of_job(capfd, "import-labels", arguments)


@pytest.mark.slow
def test_a_set_without_faces_goes_through_every_reader(ray_session, given, whole, tmp_path):
    """verify, distill by the paper's recipe, its card, evaluate and its page, plan."""
    out, answer = whole
    assert answer_of("verify", out)["rows"] == answer["rows"]
    student = tmp_path / "student"
    trained = answer_of("distill", "--labels", out, "--out", student, "--recipe", "paper", "--epochs", 1)
    card = (student / "README.md").read_text()
    assert trained["utterances"] == 10
    assert "senet50_ferplus (published logits)" in card and "face detector: none (published labels)" in card
    scored = answer_of(
        "evaluate", "--student", student, "--labels", out, "--out", tmp_path / "scores", "--split", "all"
    )
    assert scored["utterances"] == answer["labelled"]


@pytest.mark.slow
def test_a_lost_part_is_made_anew_and_the_run_gives_rates_for_a_plan(given, whole, tmp_path):
    out = shutil.copytree(whole[0], tmp_path / "labels")
    max((out / "utterances").glob("*.parquet"), key=lambda path: path.stat().st_size).unlink()
    assert imported(given, out)["reasons"] == whole[1]["reasons"]
    planned = answer_of("plan", "--dataset", "voxceleb1", "--rates", out / "run.json")
    assert planned["rates"]["detect_core_s"] == planned["rates"]["teacher_core_s"] == 0 < planned["hours"]
