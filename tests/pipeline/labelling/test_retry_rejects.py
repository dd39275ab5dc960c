"""`label --retry-rejects`: no row is ever missing, none is doubled at the end, and none is tried twice in one order."""

import contextlib
import dataclasses
import json
import shutil

import pytest

from cluster import storage
from cluster.failures import UserError
from cluster.identity import claim
from pipeline.dataset import distillation_set
from pipeline.decoding.deadline import Deadline
from pipeline.labelling import retry_rejects
from pipeline.labelling.retry_rejects import RetryCounts
from pipeline.schema import IDENTITY_FIELDS
from tests.support.label_rows import label_table, labelled_row, reject_row
from tests.support.labelling_runs import labelled_by, manifest_of, run_of

REASONS = {"s/a": None, "s/b": "storage_error", "s/c": "no_face", "s/d": "storage_error", "s/e": "storage_error"}


def written(folder, reasons: dict, generation: int = 0) -> None:
    rows = [reject_row(name, reason) if reason else labelled_row(name) for name, reason in reasons.items()]
    distillation_set.write_part(str(folder), label_table(rows), generation)


@pytest.fixture
def labels(tmp_path):
    """Two parts of five utterances, three of them rejects of one reason; and their manifest."""
    folder = tmp_path / "labels"
    names = list(REASONS)
    for part in (names[:3], names[3:]):
        written(folder, {name: REASONS[name] for name in part})
    manifest = distillation_set.read_labels(str(folder), [each.name for each in IDENTITY_FIELDS])
    return manifest, str(folder)


def rows_of(folder) -> dict[str, list]:
    """utterance -> its reasons, one for each row that a reader sees."""
    seen: dict[str, list] = {}
    for row in distillation_set.read_columns(folder, ["utterance_id", "reject_reason"]).to_pylist():
        seen.setdefault(row["utterance_id"], []).append(row["reject_reason"])
    return seen


def test_only_the_rejects_of_the_reason_are_pending(labels):
    manifest, folder = labels
    retry = retry_rejects.begin(manifest, folder, ("storage_error",))
    assert retry.pending(manifest, folder)["utterance_id"].to_pylist() == ["s/b", "s/d", "s/e"]
    assert rows_of(folder) == {name: [reason] for name, reason in REASONS.items()}


def test_an_order_that_was_killed_goes_on_where_it_was_and_the_new_row_wins(labels):
    """Killed after a part with one utterance labelled and one rejected again: neither is tried another time."""
    manifest, folder = labels
    first = retry_rejects.begin(manifest, folder, ("storage_error",))
    written(folder, {"s/b": None, "s/d": "storage_error"}, first.generation)
    assert all(name in rows_of(folder) for name in REASONS)
    second = retry_rejects.begin(manifest, folder, ("storage_error",))
    assert second == first
    assert second.pending(manifest, folder)["utterance_id"].to_pylist() == ["s/e"]
    distillation_set.drop_doubles(manifest, folder)  # what the next command begins with
    assert second.pending(manifest, folder)["utterance_id"].to_pylist() == ["s/e"]
    written(folder, {"s/e": None}, second.generation)
    distillation_set.drop_doubles(manifest, folder)
    assert second.finish(folder) == RetryCounts(retried=3, now_labelled=2)
    assert rows_of(folder) == {name: [None] for name in REASONS} | {"s/c": ["no_face"], "s/d": ["storage_error"]}
    assert distillation_set.audit(manifest, folder).rows == 5
    third = retry_rejects.begin(manifest, folder, ("storage_error",))
    assert third.pending(manifest, folder)["utterance_id"].to_pylist() == ["s/d"]


def test_a_row_of_the_same_reason_written_late_does_not_win_over_the_retried_one(labels):
    manifest, folder = labels
    retry = retry_rejects.begin(manifest, folder, ("storage_error",))
    written(folder, {"s/b": None, "s/d": None, "s/e": None}, retry.generation)
    written(folder, {"s/b": "storage_error"})  # of a run that was thought dead
    distillation_set.drop_doubles(manifest, folder)
    assert rows_of(folder) == {name: [None] for name in REASONS} | {"s/c": ["no_face"]}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("calls", range(1, 7))
def test_taking_out_the_old_rows_may_be_killed_at_every_write_and_delete(labels, monkeypatch, calls):
    manifest, folder = labels
    retry = retry_rejects.begin(manifest, folder, ("storage_error",))
    written(folder, {"s/b": None, "s/e": None}, retry.generation)
    written(folder, {"s/d": "no_face"}, retry.generation)
    left = [calls]
    monkeypatch.setattr(distillation_set, "READ_THREADS", 1)

    def until_killed(function):
        def called(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return function(*arguments)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", until_killed(storage.write_bytes))
        patch.setattr(storage, "delete", until_killed(storage.delete))
        with contextlib.suppress(Killed):
            distillation_set.drop_doubles(manifest, folder)
    assert rows_of(folder).keys() == REASONS.keys()
    distillation_set.drop_doubles(manifest, folder)
    assert rows_of(folder) == {"s/a": [None], "s/b": [None], "s/c": ["no_face"], "s/d": ["no_face"], "s/e": [None]}


def test_a_part_that_holds_what_another_keeps_is_not_lost(labels):
    """A kill between writing and deleting, and the copy comes later in the order of names than the part it is of."""
    manifest, folder = labels
    retry = retry_rejects.begin(manifest, folder, ("no_face",))
    written(folder, {"s/c": None}, retry.generation)
    written(folder, {"s/a": None, "s/b": "storage_error"})
    distillation_set.drop_doubles(manifest, folder)
    assert rows_of(folder) == {name: [reason] for name, reason in REASONS.items()} | {"s/c": [None]}


def test_other_reasons_begin_another_order(labels):
    manifest, folder = labels
    written(folder, {"s/b": None}, retry_rejects.begin(manifest, folder, ("storage_error",)).generation)
    other = retry_rejects.begin(manifest, folder, ("no_face",))
    assert other.generation == 2 and other.pending(manifest, folder)["utterance_id"].to_pylist() == ["s/c"]


def test_a_set_that_is_not_finished_is_finished_first(labels):
    manifest, folder = labels
    storage.delete(distillation_set.part_uris(folder)[0])
    with pytest.raises(UserError, match="of 5 utterances are not labelled yet; .*without --retry-rejects first"):
        retry_rejects.begin(manifest, folder, ("no_face",))


def test_reasons_are_checked():
    assert retry_rejects.checked_reasons(["silent", "no_face", "silent"]) == ("no_face", "silent")
    assert len(retry_rejects.checked_reasons(["all"])) >= 17
    with pytest.raises(UserError, match="no_fase is no reason of a reject; give `all` or some of file_not_found, "):
        retry_rejects.checked_reasons(["no_fase"])


def test_a_retry_may_change_the_limits_and_nothing_else(tmp_path):
    claim(str(tmp_path), {"teacher": "a", "deadline": {"to_open_s": 30}})
    with pytest.raises(UserError, match="teacher was"):
        claim(str(tmp_path), {"teacher": "b", "deadline": {"to_open_s": 60}}, may_change=("deadline",))
    claim(str(tmp_path), {"teacher": "a", "deadline": {"to_open_s": 60}}, may_change=("deadline",))
    assert storage.read_json(f"{tmp_path}/identity.json")["deadline"] == {"to_open_s": 60}


@pytest.mark.slow
def test_repaired_files_and_a_longer_deadline(ray_session, data_dir, tmp_path):
    """A file comes back, another stays lost; the rows of other utterances are the very ones they were."""
    clip = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    files = {name: str(tmp_path / f"{name}.mp4") for name in ("good", "lost", "repaired")}
    shutil.copy(clip, files["good"])
    run = run_of(manifest_of(files), tmp_path / "labels")
    assert labelled_by(run)["reasons"] == {"file_not_found": 2}
    columns = ["utterance_id", "frame_logits", "decode_s"]
    before = distillation_set.read_labels(run.labels_uri, columns).sort_by("utterance_id").to_pylist()
    shutil.copy(clip, files["repaired"])
    longer = run_of(run.manifest, tmp_path / "labels", deadline=Deadline(to_open_s=90.0))
    counts = labelled_by(dataclasses.replace(longer, retry_reasons=("file_not_found",)))
    assert counts == {
        "rows": 3, "labelled": 2, "rejected": 1, "reasons": {"file_not_found": 1}, "retried": 2, "now_labelled": 1,
    }  # fmt: skip
    after = distillation_set.read_labels(run.labels_uri, columns).sort_by("utterance_id").to_pylist()
    assert after[:2] == before[:2] and before[2]["frame_logits"] is None
    assert after[2]["frame_logits"] == after[0]["frame_logits"]
    assert not (tmp_path / "labels/retry.json").exists() and not (tmp_path / "labels/lease.json").exists()
    assert json.loads((tmp_path / "labels/identity.json").read_text())["deadline"]["to_open_s"] == 90.0
