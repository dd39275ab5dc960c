"""The transfer benchmark as users run it: real voices, real faces, the real teacher, tiny students."""

import csv
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from jobs.transfer_benchmark import main
from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import majority_rule
from pipeline.schema import DISTILLATION_SCHEMA
from pipeline.teachers.ferplus_files import read_faces
from tests.support.job_calls import problem_of_job

SPEAKERS = tuple(f"ravdess_{k:02}" for k in range(1, 7))
COLUMNS = ("file", "speaker", "emotion", "ferplus_class")
FACES_EACH = 6


@pytest.fixture(scope="module")
def ravdess(data_dir) -> list[dict]:
    """48 clips of six actors, four happy and four angry ones of each, with full paths."""
    folder = data_dir / "speech" / "ravdess"
    with open(folder / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] in SPEAKERS]
    chosen = []
    for speaker in SPEAKERS:
        for emotion in ("happiness", "anger"):
            own = [row for row in rows if row["speaker"] == speaker and row["ferplus_class"] == emotion]
            chosen += [{name: row[name] for name in COLUMNS} | {"file": str(folder / row["file"])} for row in own]
    return chosen


@pytest.fixture(scope="module")
def faces(data_dir, tmp_path_factory):
    """A few faces of three emotions by the majority rule, as a parquet file of its own."""
    path = data_dir / "ferplus" / "valid.parquet"
    votes_NV = read_faces(str(path)).votes_NV
    emotion_N = np.where(majority_rule(votes_NV), votes_NV[:, :8].argmax(1), -1)
    rows = np.concatenate(
        [np.flatnonzero(emotion_N == EMOTIONS.index(e))[:FACES_EACH] for e in ("happiness", "anger", "fear")]
    )
    small = tmp_path_factory.mktemp("faces") / "faces.parquet"
    pq.write_table(pq.read_table(path).take(rows), small)
    return small


def write_csv(folder, rows: list[dict], columns=COLUMNS):
    folder.mkdir(exist_ok=True)
    with open(folder / "speech.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder / "speech.csv"


def command(speech, faces, out, *more: object) -> list[str]:
    given = ["--speech", speech, "--faces", faces, "--out", out, "--recipe", "smoke", *more]
    return [str(option) for option in given]


@pytest.mark.slow
def test_voices_and_faces_become_students_with_a_verdict(ravdess, faces, ray_session, tmp_path, capfd, caplog):
    left_out = ravdess[0] | {"file": "calm.flac", "emotion": "calm", "ferplus_class": ""}
    missing = ravdess[0] | {"file": "nowhere.flac"}
    silent = ravdess[0] | {"file": "silent.wav"}
    speech = write_csv(tmp_path / "speech", [*ravdess, left_out, missing, silent])
    soundfile.write(tmp_path / "speech" / "silent.wav", np.zeros(32_000), 16_000)
    arguments = command(speech, faces, tmp_path / "out", "--rho", "0", "1.0", "--seeds", "2")
    assert main(arguments) == 0
    result = json.loads(capfd.readouterr().out)

    for key in ("0", "1.0", "supervised"):
        assert 0 <= result[key]["low"] <= result[key]["mean_auc"] <= result[key]["high"] <= 1
        assert len(result[key]["by_seed"]) == 2
    assert result["emotions"] == ["happiness", "anger"] and result["n"] == 32 and result["speakers"] == 4
    assert result["clips"] == 48 and result["rejected"] == 2 and result["left_out"] == {"calm": 1}
    assert result["1.0"]["labels_right"] > 0.8 and result["supervised"]["labels_right"] == 1
    assert result["0"]["labels_right"] < 0.8
    assert all(words in caplog.text for words in ("Negative control", "[6/6]", "left in all"))

    runs = tmp_path / "out" / "runs"
    assert len(list(runs.iterdir())) == 6
    labels = pd.read_parquet(runs / "rho-1_seed-0" / "labels" / "utterances").set_index("utterance_id")
    assert set(labels.columns) | {"utterance_id"} == set(DISTILLATION_SCHEMA.names)
    assert labels["reject_reason"].value_counts().to_dict() == {"file_not_found": 1, "silent": 1}
    labelled = labels[labels["reject_reason"].isna()]
    assert set(labelled.loc[labelled["split"] == "unheard", "speaker_id"]) == set(result["held_out_speakers"]["0"])
    assert not set(labelled.loc[labelled["split"] != "unheard", "speaker_id"]) & set(result["held_out_speakers"]["0"])
    assert (labelled["teacher"] == result["teacher"]).all() and result["teacher"].startswith("compact@")
    row = labelled.iloc[0]
    frames_KE = np.stack(row["frame_logits"])
    assert len(frames_KE) == -(-row["speech_samples"] // 3840) and (row["logits"] == frames_KE.max(0)).all()
    assert len(row["thumbnails"]) == 4 and len(np.unique(frames_KE, axis=0)) > 4  # the frames of a face differ

    scores = pd.read_parquet(runs / "rho-0_seed-1" / "scores.parquet")
    truth = {row["file"]: row["ferplus_class"] for row in ravdess}
    assert (scores["truth"] == scores["utterance_id"].map(truth)).all() and (scores["truth"] != scores["face"]).any()
    assert set(scores["speaker_id"]) == set(result["held_out_speakers"]["1"])

    page = (tmp_path / "out" / "report.html").read_text()
    assert "Negative control" in page and page.count("data:image/svg+xml") == 3
    written = json.loads((tmp_path / "out" / "transfer_benchmark.json").read_text())
    assert written == result and json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["clips"] == 48

    (runs / "rho-0_seed-1" / "scores.parquet").unlink()  # as if interrupted after the training
    kept = {path: path.stat().st_mtime_ns for path in runs.rglob("*.parquet")}
    assert main(arguments) == 0
    again = json.loads(capfd.readouterr().out)
    assert "5 of 6 runs are done already" in caplog.text
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert {key: again[key] for key in ("0", "1.0", "supervised")} == {
        key: result[key] for key in ("0", "1.0", "supervised")
    }

    line = problem_of_job(capfd, "transfer-benchmark", [*arguments, "--epochs", "3"])
    assert "different run" in line and "epochs" in line


def test_what_is_wrong_is_named_before_any_work(ravdess, faces, tmp_path, capfd):
    out = tmp_path / "out"

    def said(rows, *more, columns=COLUMNS, faces=faces) -> str:
        arguments = command(write_csv(tmp_path / "speech", rows, columns), faces, out, *more)
        return problem_of_job(capfd, "transfer-benchmark", arguments)

    assert "ferplus_class" in said(ravdess, columns=COLUMNS[:3])
    line = said([*ravdess[:3], ravdess[3] | {"ferplus_class": "boredom"}])
    assert "line 5" in line and "'boredom'" in line and all(emotion in line for emotion in EMOTIONS)
    assert "line 2" in said([ravdess[0] | {"speaker": " "}]) and "lines 2, 3" in said([ravdess[0], ravdess[0]])
    assert "no clip has a ferplus_class" in said([row | {"ferplus_class": ""} for row in ravdess])
    assert "none of the 2 clips can be read" in said([row | {"file": f"{row['file']}.gone"} for row in ravdess[:2]])
    assert "6 speakers for 7 seeds" in said(ravdess, "--seeds", "7")
    assert "has 5 clips of it" in said(ravdess[::4], "--seeds", "2")
    surprised = [row | {"ferplus_class": "surprise"} if row["emotion"] == "angry" else row for row in ravdess]
    assert "surprise 0" in said(surprised, "--seeds", "2")
    assert f"anger {FACES_EACH}" in said(ravdess, "--faces-per-clip", FACES_EACH + 1, "--seeds", "2")
    assert "nowhere.parquet" in said(ravdess, faces=tmp_path / "nowhere.parquet")
    assert "nobody" in said(ravdess, "--teacher", "nobody")
    assert not out.exists()


@pytest.mark.parametrize("options", [("--rho", "1.2"), ("--rho", "high"), ("--rho", "1", "1.0"), ("--seeds", "0")])
def test_options_that_cannot_be_are_refused(options, faces, tmp_path, capfd):
    with pytest.raises(SystemExit) as exit:
        main(command(tmp_path / "speech.csv", faces, tmp_path / "out", *options))
    assert exit.value.code == 2
    assert options[1] in capfd.readouterr().err
