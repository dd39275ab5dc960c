"""How a manifest is cut: each utterance once, a remote file in one task, and parts that a later run finds by name."""

from collections.abc import Iterable

import pyarrow as pa
import pytest

from pipeline.dataset import distillation_set
from pipeline.dataset.parts import LARGE_MANIFEST, LARGE_PART_ROWS, PART_ROWS, cut_parts, part_name, part_rows
from pipeline.labelling.tasks import cut_tasks, packed, regrouped, unpacked
from tests.support.label_rows import label_table, reject_row
from tests.support.labelling_runs import manifest_of


def ids(table: pa.Table) -> list[str]:
    return table["utterance_id"].to_pylist()


def parts_of(tasks: Iterable[tuple[pa.Table, list[int]]]) -> list[list[str]]:
    return [ids(part) for rows, sizes in tasks for part in regrouped([rows], sizes)]


@pytest.mark.parametrize(("files", "utterances"), [(200, 7), (3, 100), (1, 500), (40, 1)])
def test_tasks_hold_every_utterance_once_and_fetch_a_remote_file_once(files, utterances):
    manifest = manifest_of({f"v{n}": f"s3://videos/v{n}.mp4" for n in range(files)}, utterances)
    tasks = list(cut_tasks(manifest, manifest, workers=2))
    assert sorted(id for part in parts_of(tasks) for id in part) == sorted(ids(manifest))
    assert max(max(sizes) for _, sizes in tasks) <= PART_ROWS
    opened = [uri for rows, _ in tasks for uri in set(rows["video_uri"].to_pylist())]
    assert len(opened) == len(set(opened)) == files


def test_a_file_is_split_over_parts_only_where_it_is_longer_than_one():
    manifest = manifest_of({f"v{n}": f"/v{n}.mp4" for n in range(200)}, utterances=7)
    opened = [uri for part in cut_parts(manifest) for uri in set(part["video_uri"].to_pylist())]
    assert len(opened) == 200


def test_a_small_manifest_still_gives_every_worker_several_tasks():
    manifest = manifest_of({"v": "/v.mp4"}, utterances=16)
    assert len(list(cut_tasks(manifest, manifest, workers=2))) == 16


def test_a_large_manifest_has_fewer_tasks_than_parts():
    manifest = manifest_of({f"v{n:04d}": f"/v{n}.mp4" for n in range(1000)}, utterances=16)
    tasks = list(cut_tasks(manifest, manifest, workers=2))
    assert len(tasks) == 63 and sum(len(sizes) for _, sizes in tasks) == 500


def test_a_run_that_goes_on_cuts_the_same_parts():
    manifest = manifest_of({f"v{n}": f"/v{n}.mp4" for n in range(190)}, utterances=7)
    first = parts_of(cut_tasks(manifest, manifest, workers=1))
    done = {id for part in first[::3] for id in part} | {first[1][0]}
    todo = manifest.filter(pa.array([id not in done for id in ids(manifest)]))
    again = parts_of(cut_tasks(manifest, todo, workers=5))
    assert again == [first[1][1:], *(part for number, part in enumerate(first) if number % 3 and number != 1)]


def test_a_large_manifest_has_larger_parts_where_the_crops_are_small():
    small, large, grey_px, colour_px = LARGE_MANIFEST - 1, LARGE_MANIFEST, 64**2, 3 * 224**2
    assert part_rows(large, grey_px) > part_rows(small, grey_px) == part_rows(large, colour_px) == PART_ROWS
    assert part_rows(large, colour_px) * 33 * colour_px < 200e6 > part_rows(large, grey_px) * 33 * grey_px


@pytest.mark.parametrize("crop_bytes", [64**2, 3 * 224**2])
def test_parts_of_a_large_manifest_are_known_by_their_names_whatever_the_teacher(tmp_path, crop_bytes):
    manifest = manifest_of({f"v{n}": f"/v{n}.mp4" for n in range(LARGE_MANIFEST // 1000)}, utterances=1000)
    parts = [ids(part) for part in cut_parts(manifest, part_rows(len(manifest), crop_bytes))]
    folder = tmp_path / "utterances"
    folder.mkdir()
    for names in parts[::2]:
        (folder / part_name(names)).write_bytes(b"not opened: the name says what it holds")
    left = ids(distillation_set.pending(manifest, str(tmp_path)))
    assert sorted(left) == sorted(id for names in parts[1::2] for id in names)


def test_parts_of_two_sizes_that_share_rows_are_both_looked_into(tmp_path):
    manifest = manifest_of({f"v{n}": f"/v{n}.mp4" for n in range(LARGE_MANIFEST // 1000)}, utterances=1000)
    large, small = (ids(next(cut_parts(manifest, rows))) for rows in (LARGE_PART_ROWS, PART_ROWS))
    for names in (large, small):  # the later command cut larger parts, and a process of the earlier one wrote late
        distillation_set.write_part(str(tmp_path), label_table([reject_row(name, "no_face") for name in names]))
    distillation_set.drop_doubles(manifest, str(tmp_path))
    kept = distillation_set.read_columns(str(tmp_path), ["utterance_id"])
    assert set(small) < set(large) and sorted(ids(kept)) == sorted(large)


def test_what_is_done_is_read_from_names_and_from_foreign_parts(tmp_path):
    manifest = manifest_of({f"v{n}": f"/v{n}.mp4" for n in range(30)}, utterances=7)
    parts = [ids(part) for part in cut_parts(manifest)]
    foreign = [parts[2][0], parts[4][1]]
    for names in (parts[0], parts[1], foreign):
        distillation_set.write_part(str(tmp_path), label_table([reject_row(name, "no_face") for name in names]))
    known = tmp_path / "utterances" / part_name(parts[0])
    known.write_bytes(b"not opened: the name says what it holds")
    left = ids(distillation_set.pending(manifest, str(tmp_path)))
    assert left == [id for id in ids(manifest) if id not in {*parts[0], *parts[1], *foreign}]


def test_packed_parts_come_back_whole_however_they_are_handed_on():
    manifest = manifest_of({"v": "/v.mp4"}, utterances=20)
    rows, sizes = unpacked(packed(manifest, [3, 12, 5]))
    assert rows.equals(manifest) and sizes == [3, 12, 5]
    for step in (1, 4, 20):
        pieces = (rows.slice(start, step) for start in range(0, 20, step))
        assert [len(part) for part in regrouped(pieces, sizes)] == sizes
