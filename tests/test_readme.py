"""The commands of README and docs: all are taken by the jobs' own parsers, and those of README that need no cluster are run."""

import csv
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from tests.support.commands import commands, problem_of
from tests.support.job_calls import answer_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted({*ROOT.glob("CONTRIBUTING.md"), *(ROOT / "docs").glob("*.md")})]

CLIPS = {
    "anna": "labelled/MEAD_W036_level_3_happy_007.mp4",
    "ben": "labelled/MEAD_M026_level_3_disgusted_018.mp4",
    "carl": "labelled/MEAD_M030_level_3_angry_016.mp4",
}
SHORTENED = {
    "index": ["--clips.utterance-s", "1"],
    "distill": ["--recipe", "smoke"],
    "evaluate": ["--split", "all"],
    "probe": ["--no-ceiling"],
    "transfer-benchmark": ["--recipe", "smoke", "--epochs", "1", "--seeds", "1"],
    "train-teacher": ["--recipe", "smoke"],
}
"""Options that make a command of README fit for three short clips; they stand behind its own."""
ELSEWHERE = ("s3://", "--address")
NOT_RUN = {"bench", "demo", "serve"}
"""Each has a test of its own: tests/pipeline/benches, tests/jobs/test_demo.py and tests/jobs/test_serve.py."""


def given(document: Path, program: str) -> list:
    return [
        pytest.param(words, id=f"{document.name}: {' '.join(words)}")
        for words in commands(document.read_text(), program)
    ]


@pytest.mark.parametrize("words", [one for document in DOCUMENTS for one in given(document, "emovox")])
def test_a_command_of_the_documents_is_a_job_with_its_options(words):
    assert problem_of(words) is None


@pytest.mark.parametrize("words", [one for document in DOCUMENTS for one in given(document, "make")])
def test_a_make_command_of_the_documents_has_its_target(words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert {word for word in words if "=" not in word} <= set(targets)


def test_readme_shows_the_way_from_videos_to_predictions():
    jobs = iter([words[0] for words in commands((ROOT / "README.md").read_text())])
    assert all(
        job in jobs for job in ("index", "label", "distill", "evaluate", "predict")
    )  # each behind the one before


@pytest.fixture(scope="module")
def folder(data_dir, tmp_path_factory) -> Path:
    """What README's commands ask for, by its names: videos, recordings, faces and tables of them, all real and few."""
    folder = tmp_path_factory.mktemp("readme")
    for speaker, clip in CLIPS.items():
        (folder / "videos" / speaker).mkdir(parents=True)
        shutil.copy(data_dir / "video" / clip, folder / "videos" / speaker)
    shutil.copy(data_dir / "video" / CLIPS["ben"], folder / "other.mp4")
    (folder / "ferplus").mkdir()
    for split, rows in (("train", 300), ("valid", 400)):
        faces = pq.read_table(data_dir / "ferplus" / f"{split}.parquet").slice(0, rows)
        pq.write_table(faces, folder / "ferplus" / f"{split}.parquet")
    (folder / "ravdess").mkdir()
    with open(data_dir / "speech" / "ravdess" / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ferplus_class"] in ("happiness", "anger")]
    speakers = sorted({row["speaker"] for row in rows})[:6]
    rows = [row for row in rows if row["speaker"] in speakers]
    for row in rows:
        shutil.copy(data_dir / "speech" / "ravdess" / row["file"], folder / "ravdess")
    for name in ("speech.csv", "mine.csv"):
        with open(folder / name, "w", newline="") as file:
            writer = csv.DictWriter(file, ["file", "speaker", "emotion", "ferplus_class"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(row | {"file": f"ravdess/{row['file']}"} for row in rows)
    soundfile.write(folder / "some.wav", *soundfile.read(folder / "ravdess" / rows[0]["file"]))
    return folder


@pytest.fixture(scope="module")
def after_the_commands(ray_session, folder) -> Path:
    """The folder after all local commands of README, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for job, *words in commands((ROOT / "README.md").read_text()):
            if job not in NOT_RUN and not any(word.startswith(ELSEWHERE) for word in words):
                print("emovox", job, *words, flush=True)  # pytest shows it where one fails
                answer_of(job.replace("-", "_"), *words, *SHORTENED.get(job, []))
    return folder


@pytest.mark.slow
def test_the_local_commands_of_readme_run_in_their_order(after_the_commands):
    for words in commands((ROOT / "README.md").read_text()):
        if words[0] not in NOT_RUN and not any(word.startswith(ELSEWHERE) for word in words) and "--out" in words:
            assert (after_the_commands / words[words.index("--out") + 1]).exists(), words


@pytest.mark.slow
def test_readmes_python_runs(after_the_commands, monkeypatch):
    monkeypatch.chdir(after_the_commands)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    wave, sample_rate = soundfile.read("some.wav")
    names = {"wave": wave, "sample_rate": sample_rate}
    assert blocks
    for block in blocks:
        exec(block, names)  # README's own words
    assert names["student"].predict(wave, sample_rate).sum() == pytest.approx(1)
