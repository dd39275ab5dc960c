"""Tables for people and their programs."""

import csv
import io

from pipeline.students.prediction_tables import write_prediction_table


def test_no_text_of_a_csv_is_a_formula_and_numbers_stay_numbers(tmp_path):
    formulas = ["=cmd|'/c calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1"]
    texts = [*formulas, "plain", "-0.5", None]
    columns = {"file": texts, "seconds": [-1.5] * len(texts), "emotion": texts}
    write_prediction_table(str(tmp_path / "a.csv"), columns)
    header, *rows = csv.reader(io.StringIO((tmp_path / "a.csv").read_text(), newline=""))
    assert header == ["file", "seconds", "emotion"]
    assert [row[0] for row in rows] == [*(f"'{text}" for text in formulas), "plain", "-0.5", ""]
    assert {row[1] for row in rows} == {"-1.5"} and [row[2] for row in rows] == [row[0] for row in rows]
