"""The counting of deaths, by which one utterance cannot keep a cluster busy for ever."""

from cluster.tally import MAX_DEATHS, Meter, StageCount, Tally


def worker_dies_on(tally: Tally, task: str, item: str) -> None:
    tally.begin(task)
    tally.take_up(task, item, {})


def test_an_item_is_left_out_after_workers_died_on_it_again_and_again():
    tally = Tally()
    for _ in range(MAX_DEATHS):
        assert tally.begin("task") == []
        worker_dies_on(tally, "task", "good")
        tally.take_up("task", "deadly", {})
    assert tally.begin("task") == ["deadly"]


def test_a_task_that_ended_well_holds_no_death():
    tally = Tally()
    for _ in range(MAX_DEATHS + 1):
        tally.begin("task")
        tally.take_up("task", "item", {})
        tally.end("task")
    assert tally.begin("task") == []


def test_what_ends_a_worker_between_items_is_no_items_fault():
    tally = Tally()
    for _ in range(MAX_DEATHS + 1):
        assert tally.begin("task") == []
        tally.take_up("task", "item", {})
        tally.take_up("task", "", {})  # as `Meter.put_down` says


def test_nodes_that_leave_in_different_places_cost_no_item():
    tally = Tally()
    for item in "abcdef":
        worker_dies_on(tally, "task", item)
    assert tally.begin("task") == []


def test_counts_of_several_workers_add_up():
    tally = Tally()
    tally.count({"decode": StageCount(3, 1, 0.5, 100)})
    tally.count({"decode": StageCount(2, 0, 0.25, 50), "write": StageCount(1)})
    assert tally.counts()["decode"] == StageCount(rows=5, rejected=1, seconds=0.75, size_bytes=150)


def test_a_worker_without_a_tally_works_too():
    meter = Meter()
    assert meter.begin("task") == set()
    meter.take_up("item")
    meter.count("decode", 1)
    meter.end()
