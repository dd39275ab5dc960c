"""Tables for people and their programs."""

import csv
import io

import pyarrow as pa

from pipeline.students.prediction_tables import write_prediction_table


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(tmp_path):
    formulas = ["=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1"]
    texts = [*formulas, "plain", "-0.5", None]
    table = pa.table({"file": texts, "seconds": [-1.5] * len(texts), "=A1": texts})
    write_prediction_table(str(tmp_path / "a.csv"), table)
    header, *rows = csv.reader(io.StringIO((tmp_path / "a.csv").read_text(), newline=""))
    assert header == ["file", "seconds", "'=A1"]
    assert [row[0] for row in rows] == [*(f"'{text}" for text in formulas), "plain", "-0.5", ""]
    assert {row[1] for row in rows} == {"-1.5"}
