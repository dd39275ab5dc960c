"""What people see of the stages while they wait, and at the end."""

from cluster.tally import StageCount
from pipeline.labelling.stage_progress import stage_line, stage_table


def test_rate_and_time_left_of_each_stage():
    counts = {"decode": StageCount(20, rejected=10), "faces": StageCount(10), "write": StageCount(4)}
    assert stage_line(counts, rows=100, seconds=10) == (
        "decode 20 (2.0/s, 00:40 left), faces 10 (1.0/s, 01:20 left), write 4 (0.4/s, 04:00 left)"
    )


def test_nothing_is_said_before_the_first_row():
    assert stage_line({}, rows=100, seconds=3) == ""


def test_the_table_has_the_rate_by_the_clock_and_the_work_of_a_row():
    lines = stage_table({"teacher": StageCount(50, seconds=10, size_bytes=2_000_000)}, seconds=25).splitlines()
    assert lines[0].split() == "stage rows rejected work s rows/s ms/row MB".split()
    assert lines[1].split() == "teacher 50 0 10.0 2.00 200.0 2.0".split()
