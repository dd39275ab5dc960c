"""`emovox compare-labels`: what it writes, what it prints, and one line for what cannot be compared."""

import json

import numpy as np
import pytest

from tests.support.job_calls import last_line, problem_of_job
from tests.support.label_sets import soft_row, write_set


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[str, str]:
    folder, rng = tmp_path_factory.mktemp("two"), np.random.default_rng(0)
    ids = [f"s{n % 6}/{n}" for n in range(24)]
    return tuple(write_set(folder / name, [soft_row(id, rng.normal(0, 2, 8)) for id in ids]) for name in "ab")


def run(*arguments: object) -> int:
    from jobs.compare_labels import main

    return main([str(argument) for argument in arguments])


def test_figures_page_and_record_are_written(two, capfd, tmp_path):
    out = tmp_path / "comparison"
    assert run(*two, "--out", out, "--most", 3) == 0
    answer = last_line(capfd)
    assert sorted(path.name for path in out.iterdir()) == ["comparison.json", "report.html", "run.json"]
    written = json.loads((out / "comparison.json").read_text())
    assert written == {name: answer[name] for name in written} and len(written["most_changed"]) == 3
    assert answer["report"] == str(out / "report.html") and written["overlap"]["labelled_in_both"] == 24


def test_without_an_output_only_the_line_is_printed(two, capfd):
    assert run(*two) == 0
    assert np.sum(last_line(capfd)["confusion"]) == 24


def test_a_folder_without_a_set_is_named(two, capfd, tmp_path):
    assert f"{tmp_path}: no distillation set is there" in problem_of_job(capfd, "compare-labels", [two[0], tmp_path])


def test_a_number_that_cannot_be_meant_is_wrong_usage(two):
    with pytest.raises(SystemExit) as exit:
        run(*two, "--most", -1)
    assert exit.value.code == 2
