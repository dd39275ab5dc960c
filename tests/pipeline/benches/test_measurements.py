"""`emovox bench --record`: rows that a spreadsheet reads, behind those that are there."""

import csv
from types import SimpleNamespace

import pytest

from jobs import bench
from pipeline.benches import measurements, train
from pipeline.benches.measuring import described
from pipeline.benches.options import BenchDecode

FIGURES = {"rows": 112, "workers": {"1": {"over_memory": 0.98, "steps_per_s": {"real": 2.5}, "timed_steps": 20}}}


@pytest.fixture
def small_bench(monkeypatch):
    """`bench train` without its minutes: figures stated here."""

    def measure(options, record):
        measure.calls += 1
        return FIGURES

    measure.calls = 0
    module = SimpleNamespace(bench_train=measure, UNITS=train.UNITS)
    monkeypatch.setattr(bench.importlib, "import_module", lambda name: module)
    return measure


def command(tmp_path, *more: str) -> list[str]:
    return ["train", "--labels", "none", "--out", str(tmp_path / "out"), *more]


def test_record_appends_a_row_for_each_main_figure_and_writes_the_header_once(small_bench, tmp_path):
    path = tmp_path / "measured.csv"
    record = ["--steps", "5", "--record", "--record-file", str(path)]
    assert bench.main(command(tmp_path, *record)) == bench.main(command(tmp_path, *record)) == 0
    rows = list(csv.DictReader(path.open()))
    names = {"rows": "112", "workers.1.over_memory": "0.98", "workers.1.steps_per_s.real": "2.5"}
    assert [(row["quantity"], row["value"]) for row in rows] == [*names.items()] * 2
    first = rows[0]
    assert (first["bench"], first["unit"]) == ("train", "utterances") and int(first["cores"]) >= 1
    assert first["date"] and first["processor"] and first["torch"] and first["ray"] and "load" in first["notes"]
    assert "steps 5" in first["notes"] and str(tmp_path) not in path.read_text()


def test_a_file_of_another_kind_is_refused_before_anything_is_measured(small_bench, tmp_path, capfd):
    path = tmp_path / "other.csv"
    path.write_text("name,age\nAnna,7\n")
    assert bench.main(command(tmp_path, "--record", "--record-file", str(path))) == 1
    said = capfd.readouterr().err.splitlines()[-1]
    assert "other.csv" in said and "date,bench,quantity" in said
    assert small_bench.calls == 0 and path.read_text() == "name,age\nAnna,7\n"


def test_without_record_no_file_is_touched(small_bench, tmp_path):
    path = tmp_path / "measured.csv"
    assert bench.main(command(tmp_path, "--record-file", str(path))) == 0
    assert not path.exists()


def test_a_file_whose_last_line_was_left_open_keeps_its_rows(tmp_path):
    path = tmp_path / "measured.csv"
    rows = measurements.headlines(described("decode", BenchDecode(), {"clips": 3}), {"clips": "clips"})
    measurements.append(path, rows)
    path.write_text(path.read_text().rstrip("\n"))
    measurements.append(path, rows)
    assert [row["value"] for row in csv.DictReader(path.open())] == ["3", "3"]


def test_the_projects_own_measurements_are_readable_and_belong_to_a_machine_and_a_date():
    rows = list(csv.DictReader(measurements.MEASUREMENTS.open()))
    assert len(rows) > 500
    for row in rows:
        assert tuple(row) == measurements.COLUMNS and None not in row.values()
        assert float(row["value"]) >= 0 and row["quantity"] and row["unit"] and row["date"].startswith("20")
        assert row["processor"] or row["gpu"]
