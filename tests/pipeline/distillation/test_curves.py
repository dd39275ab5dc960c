"""Curves as TensorBoard itself reads them, and the early words about pace."""

import logging

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline.distillation.curves import EARLY_STEPS, Pace, write_curves


def epoch(number: int, auc: float | None = None) -> dict:
    metrics = {"epoch": number, "step": 10 * number, "loss": 2.0 - number, "val_mean_auc": auc}
    return metrics | {"val_auc": {"neutral": auc, "fear": None}, "time": 1.7e9 + number}


def read(folder) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_tensorboard_reads_every_epoch_once_also_after_a_resume(tmp_path):
    write_curves(str(tmp_path), [epoch(1)])
    write_curves(str(tmp_path), [epoch(1), epoch(2, 0.75)])
    write_curves(str(tmp_path), [epoch(1), epoch(2, 0.75)])  # a resumed run that wrote nothing new
    events = read(tmp_path)
    losses = events.Scalars("loss")
    assert [(point.step, point.value, point.wall_time) for point in losses] == [(10, 1, 1.7e9 + 1), (20, 0, 1.7e9 + 2)]
    assert [(point.step, point.value) for point in events.Scalars("val_auc/neutral")] == [(20, 0.75)]
    assert "val_auc/fear" not in events.Tags()["scalars"]


def test_an_open_tensorboard_reads_on(tmp_path):
    write_curves(str(tmp_path), [epoch(1)])
    events = read(tmp_path)
    write_curves(str(tmp_path), [epoch(1), epoch(2)])
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [10, 20]


def words(wait_s: float, monkeypatch, caplog) -> str:
    """What is logged in steps of one second of a run of 100 steps, of which wait_s are waiting."""
    clock = iter(range(10**6))
    now = 0.0

    def batches():
        nonlocal now
        for number in range(EARLY_STEPS + 5):
            now += 50 if number == 0 else wait_s
            yield number

    monkeypatch.setattr("time.perf_counter", lambda: now + next(clock) * 1e-9)
    with caplog.at_level(logging.INFO, "pipeline"):
        for _ in Pace(100).watch(batches()):
            now += 1 - wait_s
    (record,) = caplog.records
    return record.getMessage()


def test_one_early_line_tells_seconds_a_step_and_the_time_left(monkeypatch, caplog):
    line = words(0.1, monkeypatch, caplog)
    assert line == "1 s a step, 10% of it waiting for data; about 1.3 minutes to the end"


def test_long_waits_come_with_a_hint(monkeypatch, caplog):
    line = words(0.5, monkeypatch, caplog)
    assert "50% of it waiting for data" in line and "too slowly" in line


def test_every_step_is_counted_once_over_several_epochs():
    counted = []
    pace = Pace(6, after_step=lambda: counted.append(1))
    for _ in range(2):
        assert list(pace.watch(range(3))) == [0, 1, 2]
    assert len(counted) == 6
