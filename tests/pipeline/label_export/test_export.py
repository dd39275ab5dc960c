"""Exports of a set, read back by the libraries of their field; what is left out is counted, and a stopped export goes on."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from scipy.special import softmax

from cluster.failures import UserError
from modeling.emotions import EMOTIONS, MASKED_LOGIT
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.dataset.label_set import read_label_set
from pipeline.label_export.formats import form_of
from pipeline.label_export.run import ExportResult, export_labels
from pipeline.label_export.webdataset import LONGEST_KEY, key_of
from pipeline.rejects import RejectReason
from tests.support.label_rows import reject_row
from tests.support.label_sets import soft_row, write_set

SPLITS = ["train", "train", "train", "val", "heard", "unheard"]
ODD = ["=HYPERLINK(1)/a.b.mp4#00", "s1/ä ö/../x", "s2/" + "long" * 80, "-s3/@x"]
IDS = [*ODD, *(f"s{n}/clip.mp4#{n:05d}" for n in range(60))]
SAMPLES = round(1.2 * SAMPLE_RATE_HZ)


def logits_of(n: int) -> np.ndarray:
    logits = np.random.default_rng(n).normal(0, 2, 8).astype(np.float32)
    logits[7] = MASKED_LOGIT if n == 5 else logits[7]
    return logits


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> str:
    """64 labelled utterances, of which one has no speech, and 3 rejects; four parts and a bit."""
    rows = [soft_row(id, logits_of(n), split=SPLITS[n % 6]) for n, id in enumerate(IDS)]
    rows[20] |= {"speech_flac": None, "speech_samples": None}
    rejects = [reject_row(f"s1/r{n}", RejectReason.SILENT if n else RejectReason.NO_FACE) for n in range(3)]
    return write_set(tmp_path_factory.mktemp("set"), rows + rejects)


def export(labels: str, out: Path, form: str, *, temperature: float = 1.0, rows_a_file: int = 8) -> ExportResult:
    return export_labels(
        read_label_set(labels),
        form_of(form, rows_a_file * SAMPLES),
        str(out),
        options={"format": form},
        temperature=temperature,
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_webdataset_reads_speech_and_labels(labels, tmp_path):
    import webdataset

    found = export(labels, tmp_path, "webdataset", temperature=2.0)
    shards = sorted(str(path) for path in tmp_path.glob("*.tar"))
    read = {}
    for shard in shards:
        for one in webdataset.WebDataset(shard, shardshuffle=False).decode():
            label = read[one["json"]["utterance_id"]] = one["json"]
            assert label["split"] == Path(shard).name.partition("-")[0]
            speech, rate = soundfile.read(io.BytesIO(one["flac"]))
            assert (len(speech), rate) == (label["samples"], label["sample_rate_hz"]) == (SAMPLES, SAMPLE_RATE_HZ)
            assert unquote(one["__key__"]) == label["utterance_id"] or len(one["__key__"]) == LONGEST_KEY
    assert set(read) == set(IDS) - {IDS[20]}
    assert (found.counts.exported, found.counts.rejected, found.counts.without_speech) == (63, 3, 1)
    for n, id in enumerate(IDS):
        if n != 20:
            p_E = softmax(np.where(logits_of(n) > MASKED_LOGIT, logits_of(n) / 2.0, -np.inf))
            assert read[id]["probabilities"] == pytest.approx(p_E.tolist(), abs=1e-6)
            assert read[id]["temperature"] == 2.0 and read[id]["emotion"] == EMOTIONS[logits_of(n).argmax()]
            assert np.array_equal(np.float32(read[id]["logits"]), logits_of(n))
            assert len(read[id]["frame_logits"]) == len(read[id]["frame_indices"]) == 5


def test_shards_are_numbered_without_a_gap_and_hold_one_split_each(labels, tmp_path):
    export(labels, tmp_path, "webdataset")
    names = {path.name for path in tmp_path.glob("*.tar")}
    expected = {f"train-{k:06d}.tar" for k in range(4)} | {f"{s}-{k:06d}.tar" for s in ("val", "heard") for k in (0, 1)}
    assert names == expected | {"unheard-000000.tar", "unheard-000001.tar"}


def test_datasets_read_an_audio_column_and_the_splits(labels, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    found = export(labels, tmp_path / "out", "huggingface")
    sets = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    counted = {split: sum(of_split.values()) for split, of_split in found.counts.emotions.items()}
    assert {split: len(rows) for split, rows in sets.items()} == counted and sum(counted.values()) == 63
    features = sets["train"].features
    assert features["audio"] == datasets.Audio(sampling_rate=SAMPLE_RATE_HZ)
    assert features["emotion"] == datasets.ClassLabel(names=list(EMOTIONS))
    for rows in sets.values():
        for row in rows.cast_column("audio", datasets.Audio(decode=False)):
            logits = logits_of(IDS.index(row["utterance_id"]))
            assert np.array_equal(np.float32(row["logits"]), logits) and row["emotion"] == logits.argmax()
            assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-6)
            assert len(row["frame_logits"]) == len(row["frame_indices"]) == 5
            assert len(soundfile.read(io.BytesIO(row["audio"]["bytes"]))[0]) == SAMPLES
            assert row["audio"]["path"].endswith(".flac")


def test_the_schema_is_the_one_that_datasets_writes(labels, tmp_path):
    import datasets
    import pyarrow.parquet as pq

    export(labels, tmp_path, "huggingface")
    written = pq.read_schema(next(tmp_path.rglob("*.parquet")))
    features = datasets.Features.from_arrow_schema(written)
    assert features.arrow_schema.remove_metadata() == written.remove_metadata()


def test_the_dataset_card_tells_source_counts_and_limits(labels, tmp_path):
    from huggingface_hub import DatasetCard

    found = export(labels, tmp_path, "huggingface", temperature=1.5)
    card = DatasetCard((tmp_path / "README.md").read_text())
    assert card.data.task_categories == ["audio-classification"] and card.data.size_categories == ["n<1K"]
    assert [each["split"] for each in card.data.configs[0]["data_files"]] == ["train", "val", "heard", "unheard"]
    for said in (
        "compact@0123456789abcdef",
        "temperature of 1.5",
        "Do not use it",
        "3 utterances could not be labelled",
    ):
        assert said in card.text
    assert "1 labelled utterances have no speech" in card.text
    for emotion in EMOTIONS:
        row = " | ".join(str(of_split[emotion]) for of_split in found.counts.emotions.values())
        assert f"| {emotion} | {row} |" in card.text
    assert labels not in card.text  # a path of this machine


def test_the_table_has_a_harmless_line_an_utterance(labels, tmp_path):
    found = export(labels, tmp_path, "csv", temperature=0.5)
    (path,) = tmp_path.glob("*.csv")
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.counts.exported == 64 and found.counts.without_speech == 0
    by_id = {row["utterance_id"]: row for row in rows}
    assert {"'" + ODD[0], "'" + ODD[3]} <= set(by_id) and by_id["'" + ODD[0]]["speaker_id"] == "'=HYPERLINK(1)"
    row = by_id[IDS[5]]
    p_E = [float(row[emotion]) for emotion in EMOTIONS]
    assert p_E == pytest.approx([*softmax(logits_of(5)[:7].astype(float) / 0.5), 0], abs=1e-5)
    assert (row["emotion"], row["temperature"]) == (EMOTIONS[logits_of(5).argmax()], "0.5")


@pytest.mark.parametrize("form", ["webdataset", "huggingface", "csv"])
def test_what_is_missing_is_written_again_and_nothing_else(labels, tmp_path, form):
    first = export(labels, tmp_path, form)
    whole = files_of(tmp_path)
    data = [path for path in tmp_path.rglob("*") if path.suffix in (".tar", ".parquet", ".csv")]
    times = {path: path.stat().st_mtime_ns for path in data}
    victim = max(data)
    victim.unlink()
    again = export(labels, tmp_path, form)
    assert (first.written, again.written, again.files) == (first.files, 1, first.files)
    assert files_of(tmp_path) == whole
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path != victim)
    assert export(labels, tmp_path, form).written == 0


def test_another_set_or_other_options_are_not_mixed_in(labels, tmp_path):
    other = write_set(tmp_path / "other", [soft_row(IDS[0], logits_of(1))])
    export(labels, tmp_path / "out", "csv")
    for given in ({"labels": other}, {"temperature": 2.0}, {"form": "webdataset"}):
        arguments = {"labels": labels, "form": "csv"} | given
        with pytest.raises(UserError, match="holds a different run"):
            export(arguments.pop("labels"), tmp_path / "out", arguments.pop("form"), **arguments)


def test_a_set_that_is_still_being_written_is_refused(tmp_path):
    begun = write_set(tmp_path / "begun", [soft_row(IDS[0], logits_of(1))], is_finished=False)
    with pytest.raises(UserError, match="still being written"):
        export(begun, tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()


def test_a_set_with_nothing_to_export_is_refused(tmp_path):
    rejected = write_set(tmp_path / "set", [reject_row(IDS[0], RejectReason.SILENT)])
    with pytest.raises(UserError, match="nothing to export: 1 of 1 utterances are rejects"):
        export(rejected, tmp_path / "out", "csv")


def test_keys_are_different_and_end_at_no_dot():
    ids = [*IDS, "long" * 100 + "a", "long" * 100 + "b", "a.b", "a%2Eb", "a/b", "a%2Fb"]
    keys = [key_of(id) for id in ids]
    assert len(set(keys)) == len(ids)
    assert all("." not in key and "/" not in key and len(key) <= LONGEST_KEY for key in keys)


@pytest.mark.slow
def test_an_export_that_is_killed_goes_on_and_gives_the_same_bytes(labels, tmp_path):
    """Killed as soon as another file is there, until it has all."""
    command = [sys.executable, "-m", "jobs", "export-labels", "--labels", labels, "--format", "webdataset"]
    command += ["--shard-minutes", "0.05"]
    assert subprocess.run([*command, "--out", tmp_path / "whole"], capture_output=True).returncode == 0
    out, kills = tmp_path / "killed", 0
    wanted = {path.name for path in (tmp_path / "whole").glob("*.tar")}
    while kills < 3:
        before = len(list(out.glob("*.tar")))
        with subprocess.Popen([*command, "--out", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(list(out.glob("*.tar"))) == before:
                pass
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        kills += 1
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = files_of(out)
    assert {name for name in written if name.endswith(".tar")} == wanted
    for name, content in files_of(tmp_path / "whole").items():
        assert name == "run.json" or written[name] == content
    assert json.loads(done.stdout)["files"] == len(wanted)
