"""`emovox plan`: hours worked out by hand, what limits, how many nodes are enough, and a real run predicted."""

import dataclasses
import json
import os
import re
import shutil

import pytest

from cluster import storage
from cluster.failures import UserError
from jobs import index, label, plan
from pipeline.benches.scale import made_up_manifest
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import write_manifest
from pipeline.labelling.run import WORK
from pipeline.planning.capacity import Rates, estimate, smallest_fleet, student_hours
from pipeline.planning.nodes import Nodes
from pipeline.planning.rates import WORK_BEFORE, rates_of_bench, read_rates, reference_rates
from pipeline.planning.workload import DATASETS, Workload, manifest_workload
from tests.support.label_rows import label_table, labelled_row

RATES = Rates(
    source="by hand",
    utterance_s=10.0,
    faces=40.0,
    fetch_core_s=0.1,
    decode_core_s=0.3,
    detect_core_s=0.6,
    teacher_core_s=0.2,
    bytes_in=1e6,
    bytes_out=1e5,
    start_s=36.0,
)
HOUR = Workload(name="by hand", utterances=36_000, utterance_s=10.0, videos=3_600)


def test_on_cpus_an_utterance_costs_all_its_core_seconds():
    made = estimate(HOUR, RATES, [Nodes(2, 8)])
    assert (made.croppers, made.teachers) == (16, 0)  # the teacher works where the crops are made
    assert made.hours_alone["cropping processes"] == pytest.approx(36_000 * (0.6 + 0.2) / 16 / 3600)
    assert made.hours_alone["all cores"] == pytest.approx(36_000 * 1.2 / 16 / 3600)
    assert made.hours == pytest.approx(0.75 + 0.01)
    assert made.limits == "all cores" and made.cores_for_each_gpu is None


def test_one_cropping_process_is_as_slow_as_its_slower_half():
    made = estimate(HOUR, RATES, [Nodes(1, 12)], crop_workers=1, teacher_workers=1)
    assert made.limits == "cropping processes"
    assert made.hours_alone["cropping processes"] == pytest.approx(36_000 * 0.6 / 3600)
    assert made.margin == pytest.approx(0.6 / 0.2)  # the teacher's one process is next
    without = estimate(HOUR, RATES, [Nodes(1, 12)], crop_workers=1)
    assert without.hours_alone["cropping processes"] == pytest.approx(36_000 * (0.6 + 0.2) / 3600)


def test_a_gpu_takes_the_teacher_and_a_core():
    rates = dataclasses.replace(RATES, images_per_s=1000.0)
    made = estimate(HOUR, rates, [Nodes(2, 8), Nodes(1, 5, 1)])
    assert made.gpus == 1 and made.croppers == 20
    assert made.hours_alone["teacher on GPUs"] == pytest.approx(36_000 * 40 / 1000 / 3600)
    assert made.hours_alone["decode, detect, crop"] == pytest.approx(36_000 * 1.0 / 20 / 3600)
    assert made.limits == "decode, detect, crop" and made.margin == pytest.approx(1.25)
    assert made.cores_for_each_gpu == pytest.approx(25.0)  # 1000 images a second are 25 utterances, each 1 core second
    assert "teacher on GPUs" not in estimate(HOUR, RATES, [Nodes(1, 5, 1)]).hours_alone  # no rate, no GPU


def test_longer_utterances_take_longer_and_overhead_counts():
    rates = dataclasses.replace(RATES, overhead=1.5)
    long = dataclasses.replace(HOUR, utterance_s=20.0)
    assert estimate(long, rates, [Nodes(2, 6)]).hours == pytest.approx(3.0 + 0.01)


def test_storage_network_and_cost():
    made = estimate(HOUR, RATES, [Nodes(2, 6, usd_per_hour=0.5)], gbit_per_node=0.01)
    assert made.limits == "network" and made.hours == pytest.approx(36e9 * 8 / 2e7 / 3600 + 0.01)
    assert made.usd == pytest.approx(made.hours * 1.0)
    assert made.storage.bytes_in == 36e9 and made.storage.bytes_out == pytest.approx(3.6e9)
    assert (made.storage.reads, made.storage.writes) == (3_600, 1_125)
    assert made.storage.disk_bytes_a_node == pytest.approx(6 * 3 * 10e6)
    assert made.storage.object_store_bytes_a_node == 0  # crops stay in their process
    large = dataclasses.replace(HOUR, utterances=128_000)
    assert estimate(large, RATES, [Nodes(2, 6)]).storage.writes == 1_000  # parts of a large manifest have 128 rows
    apart = estimate(HOUR, RATES, [Nodes(2, 6)], teacher_workers=2).storage
    assert apart.object_store_bytes_a_node == pytest.approx(5 * 3 * 32 * (40 * 48 * 48 + 1e5))


@pytest.mark.parametrize("hours", [0.2, 0.5, 3.0])
def test_the_nodes_for_a_target_are_enough_and_one_less_is_not(hours):
    rates = dataclasses.replace(RATES, images_per_s=500.0)
    kinds = [Nodes(1, 16), Nodes(1, 8, 1)]
    enough = smallest_fleet(HOUR, rates, kinds, hours=hours)
    assert estimate(HOUR, rates, enough).hours <= hours
    for place, kind in enumerate(enough):
        if kind.count > 1:
            fewer = [dataclasses.replace(k, count=k.count - (p == place)) for p, k in enumerate(enough)]
            assert estimate(HOUR, rates, fewer).hours > hours
    with pytest.raises(UserError, match="start alone"):
        smallest_fleet(HOUR, rates, kinds, hours=0.005)


@pytest.mark.parametrize("text", ["", "8", "0x4cpu", "3cpu", "2x0cpu", "2x8cpu1gpus", "2x8gpu"])
def test_nodes_that_cannot_be_meant(text):
    with pytest.raises(UserError, match="8x16cpu"):
        Nodes.read(text)


def test_nodes_are_read_as_written():
    assert [str(Nodes.read(text)) for text in ("8x16cpu", "2X8CPU1GPU")] == ["8x16cpu", "2x8cpu1gpu"]


def test_published_sets_have_their_published_hours():
    hours = {name: load.utterances * load.utterance_s / 3600 for name, load in DATASETS.items()}
    assert hours["voxceleb1"] == pytest.approx(352, rel=0.01)  # Nagrani et al. 2017, table 1
    assert hours["voxceleb2"] == pytest.approx(2442, rel=0.01)  # Chung et al. 2018, table 2


def test_hours_of_a_training():
    assert student_hours(
        HOUR, steps_per_s=10.0, epochs=30, fraction_per_epoch=1.0, windows=1, batch=64
    ) == pytest.approx(30 * 563 / 10 / 3600)


def test_rates_of_the_label_bench():
    report = {
        "clips": 10,
        "frames": 250,
        "date": "2026-11-23T08:00:00+00:00",
        "hardware": {"cpu": "a CPU"},
        "floor": {"work_s": {"decode": 4.0, "speech": 1.0, "detect": 3.0, "teacher": 2.0}},
        "job": {"start_s": 12.0},
        "over_floor": 1.1,
    }
    rates = rates_of_bench(report, "bench_label.json")
    assert (rates.decode_core_s, rates.detect_core_s, rates.teacher_core_s) == pytest.approx((0.5, 0.3, 0.2))
    assert (rates.faces, rates.utterance_s, rates.overhead, rates.start_s) == pytest.approx((25, 6.0, 1.1, 12))
    assert rates.images_per_s is None
    on_a_gpu = report | {"gpu": {"teachers": {"compact": {"images_per_s": 9000}}}}
    assert rates_of_bench(on_a_gpu, "bench_label.json").images_per_s == 9000


def test_a_plan_tells_its_rates_so_that_another_can_use_them(tmp_path, capfd, caplog):
    command = ["--utterances", "1000", "--nodes", "2x8cpu", "--hours", "0.5", "--usd-per-node-hour", "0.4"]
    assert plan.main(command) == 0
    out, err = capfd.readouterr()
    first = json.loads(out.splitlines()[-1])
    assert "NO RATES GIVEN" in caplog.text and "NOT YOUR MACHINE" in err and "limits" in err
    assert first["rates_are_of_another_machine"] and first["rates"]["source"] == reference_rates("scenes").source
    storage.write_json(tmp_path / "plan.json", first)
    assert plan.main([*command, "--rates", str(tmp_path / "plan.json")]) == 0
    out, err = capfd.readouterr()
    assert "NOT YOUR MACHINE" not in err and json.loads(out.splitlines()[-1])["hours"] == first["hours"]


def test_sound_with_published_labels_takes_a_fraction_of_labelling(capfd):
    hours = {}
    for dataset in ("voxceleb1", "voxceleb1-wavs"):
        assert plan.main(["--dataset", dataset]) == 0
        hours[dataset] = json.loads(capfd.readouterr().out.splitlines()[-1])["hours"]
    assert hours["voxceleb1-wavs"] < hours["voxceleb1"] / 20


def run_beside_a_set(folder, stages: dict[str, int], **counts) -> str:
    """The run.json of a run on two cores beside a set of four utterances of 5 s; returns its path."""
    rows = [labelled_row(f"s/{name}") for name in "abcd"]
    distillation_set.write_part(str(folder), label_table(rows))
    record = {
        "job": "label",
        "started": "2026-11-27T19:00:00+00:00",
        "seconds": 30.0,
        "configuration": {"address": None, "crop_workers": 2},
        "machine": {"cpus": 2},
        "stages_s": {WORK: 6.0},
        "counts": {
            "labelled": 4,
            "worker_decode_s": 2.0,
            "worker_detect_s": 4.0,
            "worker_teacher_s": 2.0,
            "stages": {stage: {"rows": rows, "seconds": 0.0, "size_bytes": 0} for stage, rows in stages.items()},
            **counts,
        },
    }
    storage.write_json(folder / "run.json", record)
    return str(folder / "run.json")


def test_a_run_that_went_on_gives_the_rates_of_what_it_did_itself(tmp_path):
    rates = read_rates(run_beside_a_set(tmp_path, {"decode": 2, "write": 2}, worker_rows=2))
    assert (rates.decode_core_s, rates.detect_core_s, rates.teacher_core_s) == pytest.approx((1.0, 2.0, 1.0))
    assert rates.overhead == pytest.approx(6.0 / 4.0)  # two utterances of 4 core seconds on two cores, in 6 s
    assert rates.start_s == pytest.approx(24.0)
    assert (rates.faces, rates.utterance_s) == pytest.approx((20, 4.8))
    assert "2 utterances" in rates.source and "twice" not in rates.source


def test_a_run_json_of_before_gives_the_same_rates(tmp_path):
    """The stage of the work was a sentence in it."""
    uri = run_beside_a_set(tmp_path, {"decode": 2, "write": 2}, worker_rows=2)
    rates = read_rates(uri)
    record = storage.read_json(uri)
    storage.write_json(uri, record | {"stages_s": {"from the first task to the last part": record["stages_s"][WORK]}})
    assert read_rates(uri) == rates


def test_a_run_of_an_earlier_version_names_its_stages_by_sentences(tmp_path):
    uri = run_beside_a_set(tmp_path, {"decode": 2, "write": 2}, worker_rows=2)
    record = storage.read_json(uri)
    storage.write_json(uri, record | {"stages_s": {WORK_BEFORE: 6.0}})
    assert read_rates(uri).start_s == pytest.approx(24.0)


def test_rates_of_an_earlier_plan_with_a_field_that_is_gone_are_read(tmp_path):
    earlier = dataclasses.asdict(RATES) | {"student_steps_per_s": None}
    storage.write_json(tmp_path / "plan.json", {"rates": earlier})
    assert read_rates(str(tmp_path / "plan.json")) == RATES


def test_a_manifests_workload_is_its_utterances_and_their_mean_length(tmp_path):
    uri = str(tmp_path / "manifest.parquet")
    write_manifest(made_up_manifest(70).slice(0, 14), uri)
    workload = manifest_workload(uri, usual_s=3.0)
    assert (workload.utterances, workload.videos, workload.utterance_s) == (14, 2, 8.0)


def test_work_done_twice_after_a_death_is_named(tmp_path):
    rates = read_rates(run_beside_a_set(tmp_path, {"decode": 5, "write": 5}, worker_rows=4))
    assert rates.decode_core_s == pytest.approx(0.5) and "1 of them twice since a worker died" in rates.source


def test_a_submitted_run_is_not_taken_for_one_of_the_machine_it_was_started_on(tmp_path):
    rates = read_rates(run_beside_a_set(tmp_path, {"decode": 4}, worker_rows=4, embedded=False))
    assert rates.overhead == 1.0 and rates.decode_core_s == pytest.approx(0.5) and "a cluster" in rates.source


def test_a_retry_of_rejects_tells_no_rates(tmp_path):
    with pytest.raises(UserError, match="labelled rejects again"):
        read_rates(run_beside_a_set(tmp_path, {"decode": 2}, worker_rows=2, retried=2, now_labelled=1))


@pytest.mark.parametrize(
    ("nodes", "workers", "lack"),
    [
        (["1x16cpu"], ["--crop-workers", "40"], "40 workers .* room for 18"),
        (["4x4cpu"], ["--teacher-workers", "100"], "room for"),
        (["1x2cpu"], ["--crop-workers", "2", "--teacher-workers", "1"], None),  # as an embedded session holds them
        (["2x8cpu", "1x8cpu1gpu"], ["--crop-workers", "23", "--images-per-s", "9000"], None),
        (["2x8cpu", "1x8cpu1gpu"], ["--crop-workers", "24", "--images-per-s", "9000"], "room for 23"),
    ],
)
def test_a_plan_that_label_would_refuse_is_refused(nodes, workers, lack, capfd, caplog):
    assert plan.main(["--utterances", "1000", "--nodes", *nodes, *workers]) == (1 if lack else 0)
    assert not lack or re.search(lack, capfd.readouterr().err + caplog.text)


def test_a_file_without_rates_is_refused(tmp_path):
    storage.write_json(tmp_path / "run.json", {"job": "distill"})
    with pytest.raises(UserError, match="no labelling rates"):
        read_rates(str(tmp_path / "run.json"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1 \xff\xfe", "not a JSON file"),
        (b"rates", "not a JSON file"),
        (b"[1, 2]", "it holds a JSON list"),
        (b'{"rates": {"source": "x"}}', "rates are incomplete in it"),
        (b'{"job": "label"}', "rates are incomplete in it"),
        (b'{"bench": "train"}', "no labelling rates are in it"),
    ],
)
def test_a_file_that_holds_no_rates_is_told_in_one_line(content, said, tmp_path):
    (tmp_path / "rates.json").write_bytes(content)
    with pytest.raises(UserError, match=f"rates.json: .*{said}"):
        read_rates(str(tmp_path / "rates.json"))


@pytest.mark.parametrize("words", [["--usd-per-node-hour", "-1"], ["--hours", "inf"]])
def test_prices_and_hours_that_cannot_be(words):
    with pytest.raises(SystemExit) as ended:
        plan.main(["--utterances", "1000", *words])
    assert ended.value.code == 2


def test_fewer_teachers_than_gpus_use_fewer():
    rates = dataclasses.replace(RATES, images_per_s=1000.0)
    made = estimate(HOUR, rates, [Nodes(2, 8, 1)], teacher_workers=1)
    assert (made.gpus, made.teachers, made.croppers) == (1, 1, 15)


@pytest.mark.slow
@pytest.mark.endurance
def test_a_run_with_one_cropping_process_predicts_one_with_two(data_dir, tmp_path, capfd):
    """Within 40 %: both runs are short, and their start alone differs by seconds. Rates of a machine that others use too
    say nothing of its cores."""
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        pytest.skip(f"other programs use this machine (load {os.getloadavg()[0]:.1f})")
    clips = tmp_path / "clips"
    for copy in range(8):
        for name in ("MEAD_M024_level_2_surprised_010", "MEAD_W036_level_3_happy_007", "MEAD_M030_level_3_angry_016"):
            path = clips / f"{name}_{copy}" / "clip.mp4"
            path.parent.mkdir(parents=True)
            shutil.copy(data_dir / "video" / "labelled" / f"{name}.mp4", path)
    weights = data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth"
    manifest = tmp_path / "manifest.parquet"
    assert index.main(["--data", str(clips), "--out", str(manifest)]) == 0
    seconds = {}
    for workers in (1, 2):
        out = tmp_path / f"labels{workers}"
        options = ["--manifest", manifest, "--out", out, "--detector", weights, "--crop-workers", workers]
        assert label.main([str(word) for word in options]) == 0
        seconds[workers] = storage.read_json(out / "run.json")["seconds"]
    rates = read_rates(str(tmp_path / "labels1" / "run.json"))
    cores = storage.read_json(tmp_path / "labels1" / "run.json")["machine"]["cpus"]
    load = Workload(name="clips", utterances=24, utterance_s=rates.utterance_s)
    predicted = estimate(load, rates, [Nodes(1, cores)], crop_workers=2).hours * 3600
    print(f"{predicted:.1f} s predicted, {seconds[2]:.1f} s taken; {seconds[1]:.1f} s with one cropping process")
    assert predicted == pytest.approx(seconds[2], rel=0.4)
