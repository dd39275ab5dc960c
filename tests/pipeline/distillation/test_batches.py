"""Windows and their targets are drawn together, and a draw depends on nothing but seed, pass and utterance. The order
of a pass depends on nothing but seed and pass, and workers share it without gap or double."""

from itertools import chain, islice

import numpy as np
import pytest

from cluster.failures import UserError
from modeling.distillation.baseline import SpeakerBaseline
from modeling.emotions import EMOTIONS
from modeling.sampling import WINDOW_SAMPLES
from pipeline.dataset.distillation_set import write_part
from pipeline.distillation import batches as training_set
from pipeline.distillation.batches import LabelIndex, RankShare, RowLocations, pass_blocks, window_batches
from pipeline.distillation.windows import Utterances, WindowSampler, WindowSampling
from tests.support.label_rows import label_table, labelled_row, reject_row

DRAW = WindowSampling(windows=4, pooling="max", seed=7)


def row_with_one_happy_frame(utterance_id: str = "s1/a", seconds: float = 20.0, happy_frame: int = 40) -> dict:
    """Neutral throughout but for one frame; the sound is a ramp, so a window tells where it was cut."""
    from pipeline.media.flac import encode_flac

    row = labelled_row(utterance_id, seconds=seconds)
    logits = np.array(row["frame_logits"])
    logits[happy_frame, EMOTIONS.index("happiness")] = 9.0
    ramp = (np.arange(int(seconds * 16_000)) // 16).astype(np.int16)
    return row | {"frame_logits": logits.tolist(), "speech_flac": encode_flac(ramp)}


def drawn_of(
    rows: list[dict], draw: WindowSampling = DRAW, pass_index: int = 0, kept: Utterances | None = None
) -> dict:
    """The windows of all the rows."""
    kept, table = kept or Utterances(), label_table(rows)
    return WindowSampler(draw, pass_index)(kept.of(kept.rows(np.arange(len(rows)), table.take)))


def test_the_target_is_the_maximum_over_the_frames_inside_the_window():
    drawn = drawn_of([row_with_one_happy_frame()], WindowSampling(windows=40, pooling="max", seed=1))
    happy = drawn["target"][:, EMOTIONS.index("happiness")].numpy() == 9.0
    starts_s = drawn["speech"][:, 0].numpy().astype(float) * 16 / 16_000
    shown_s = 40 * 0.24
    sure = (np.abs(starts_s - shown_s) > 0.3) & (
        np.abs(starts_s + 4.024 - shown_s) > 0.3
    )  # away from the window's edges
    inside = (starts_s < shown_s) & (shown_s < starts_s + 4.024)
    assert sure.sum() > 20 and inside[sure].any() and (~inside[sure]).any()
    assert (happy[sure] == inside[sure]).all()


def test_a_draw_does_not_depend_on_the_rows_beside_it():
    rows = [row_with_one_happy_frame(f"s1/{n}") for n in range(3)]
    together, alone = drawn_of(rows, pass_index=2), drawn_of(rows[1:2], pass_index=2)
    assert (together["speech"][4:8] == alone["speech"]).all() and (together["target"][4:8] == alone["target"]).all()


def test_another_pass_draws_other_windows():
    rows = [row_with_one_happy_frame()]
    assert (drawn_of(rows)["speech"] != drawn_of(rows, pass_index=1)["speech"]).any()


@pytest.mark.parametrize("seconds", [1.5, 4.024, 20.0])
@pytest.mark.parametrize("padding", ["zeros", "repeat"])
def test_windows_are_the_same_whether_their_speech_is_kept_or_decoded_each_time(seconds, padding):
    rows = [labelled_row(f"s1/{n}", seconds=seconds) for n in range(3)]
    draw = WindowSampling(windows=4, pooling="mean", seed=7, padding=padding)
    kept = Utterances()
    first, again = drawn_of(rows, draw, kept=kept), drawn_of(rows, draw, kept=kept)
    assert len(kept.kept) == 3
    some = Utterances(int(2 * 16_000 * seconds) / 2**30)  # one of the three
    decoded = drawn_of(rows, draw, kept=some)
    assert list(some.kept) == [0]
    for name in ("speech", "target"):
        assert (first[name] == again[name]).all() and (first[name] == decoded[name]).all()


@pytest.mark.parametrize("seconds", [1.5, 4.024, 5.0])
def test_a_batch_has_one_size_for_utterances_of_any_length(seconds):
    drawn = drawn_of([labelled_row("s1/a", seconds=seconds)])
    assert drawn["speech"].shape == (4, WINDOW_SAMPLES) and drawn["target"].shape == (4, 8)


UTTERANCES = 23
ONE_WINDOW = WindowSampling(windows=1, pooling="max", seed=3)


@pytest.fixture
def places(tmp_path) -> RowLocations:
    """23 usable training utterances in five parts, among rows that are not; utterance n has logit n for neutral."""
    rows = []
    for number in range(UTTERANCES):
        row = labelled_row(f"s/{number}", seconds=1.2)
        rows.append(row | {"frame_logits": [[number, *logits[1:]] for logits in row["frame_logits"]]})
    rows[3:3] = [reject_row("s/rejected", "silent"), labelled_row("s/heard", split="heard", seconds=1.2)]
    for start in range(0, len(rows), 5):
        write_part(str(tmp_path), label_table(rows[start : start + 5]))
    index = LabelIndex(str(tmp_path))
    return index.places(index.training())


def test_what_is_kept_is_not_read_again(places, monkeypatch):
    """Of a set of many blocks; and the windows are those of a set that is read anew in each pass."""
    monkeypatch.setattr(training_set, "BLOCK_UTTERANCES", 6)
    asked = []
    read = training_set.read_part_file
    monkeypatch.setattr(training_set, "read_part_file", lambda uri, *a, **k: asked.append(uri) or read(uri, *a, **k))
    share, passes = RankShare(batch=4), 8  # five batches a pass, of which four are drawn ahead
    anew = list(islice(window_batches(places, ONE_WINDOW, share, kept_gib=0.0), 5 * passes))
    read_anew = len(asked)
    kept = list(islice(window_batches(places, ONE_WINDOW, share), 5 * passes))
    assert read_anew >= passes * (len(places.parts) - 1)
    assert len(places.parts) <= len(asked) - read_anew < read_anew / 2  # two or three passes, with what is read ahead
    for one, other in zip(anew, kept, strict=True):
        assert (one["speech"] == other["speech"]).all() and (one["target"] == other["target"]).all()


@pytest.fixture(params=["in memory", "streamed"])
def small_or_large(request, monkeypatch):
    """The same set as one block, and as one that is read again in each pass."""
    if request.param == "streamed":
        monkeypatch.setattr(training_set, "BLOCK_UTTERANCES", 6)


def utterances(batch: dict) -> list[int]:
    return batch["target"][:, 0].int().tolist()


def visited(
    places: RowLocations, share: RankShare, batches: int, first: int = 0, draw: WindowSampling = ONE_WINDOW
) -> list[list[int]]:
    stream = window_batches(places, draw, share, first_batch=first)
    return [utterances(batch) for batch in islice(stream, batches)]


def test_a_pass_visits_each_utterance_once_and_the_next_in_another_order(places, small_or_large):
    passes = visited(places, RankShare(batch=UTTERANCES), 3)
    assert all(sorted(order) == list(range(UTTERANCES)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]


def test_the_order_is_the_same_for_the_same_seed_and_pass_and_another_for_another_seed(places, small_or_large):
    share = RankShare(batch=4)
    assert visited(places, share, 12) == visited(places, share, 12)
    other = WindowSampling(windows=1, pooling="max", seed=4)
    assert visited(places, share, 5) != visited(places, share, 5, draw=other)


@pytest.mark.parametrize("first", [1, 5, 7])
def test_a_stream_that_goes_on_equals_one_that_never_stopped(places, small_or_large, first):
    share = RankShare(batch=4)  # five full batches in a pass
    whole = list(islice(window_batches(places, ONE_WINDOW, share), 12))
    resumed = list(islice(window_batches(places, ONE_WINDOW, share, first_batch=first), 12 - first))
    for one, other in zip(whole[first:], resumed, strict=True):
        assert (one["speech"] == other["speech"]).all() and (one["target"] == other["target"]).all()


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_a_pass_without_gap_or_double_in_equal_steps(places, small_or_large, workers):
    streams = [visited(places, RankShare(batch=7, rank=rank, world_size=workers), 6) for rank in range(workers)]
    steps = [list(chain.from_iterable(stream[step] for stream in streams)) for step in range(6)]
    assert [len(step) for step in steps] == [7] * 6  # the global batch does not depend on the number of workers
    first_pass, second_pass = (list(chain.from_iterable(part)) for part in (steps[:3], steps[3:]))
    assert len(set(first_pass)) == len(first_pass) == 21 and len(set(second_pass)) == 21
    assert first_pass != second_pass


def test_unequal_shares_weigh_every_utterance_the_same():
    shares = [RankShare(batch=7, rank=rank, world_size=3) for rank in range(3)]
    assert [share.rows for share in shares] == [3, 2, 2]
    assert [share.weight / share.rows for share in shares] == pytest.approx([3 / 7] * 3)


def test_a_worker_reads_only_the_parts_of_its_stretch(places, monkeypatch):
    monkeypatch.setattr(training_set, "BLOCK_UTTERANCES", 5)
    read, read_part = [], training_set.read_part_file
    monkeypatch.setattr(
        training_set, "read_part_file", lambda uri, *a, **k: read.append(uri) or read_part(uri, *a, **k)
    )
    visited(places, RankShare(batch=4, rank=1, world_size=4), 1)
    assert 0 < len(set(read[:2])) < len(places.parts) - 1


def test_blocks_are_of_whole_parts_and_mixed_within(monkeypatch):
    monkeypatch.setattr(training_set, "BLOCK_UTTERANCES", 40)
    part_N = np.repeat(np.arange(10), 20)
    blocks = pass_blocks(part_N, 0, 0)
    assert [len(block) for block in blocks] == [40] * 5
    assert all(len(set(part_N[block])) == 2 for block in blocks)
    assert all((np.diff(part_N[block]) != 0).sum() > 2 for block in blocks)


def test_labels_of_two_teachers_are_not_mixed(tmp_path):
    write_part(str(tmp_path), label_table([labelled_row("s/a"), labelled_row("s/b", teacher="other@1")]))
    with pytest.raises(UserError, match="several teachers"):
        LabelIndex(str(tmp_path)).training()


def test_utterances_of_an_ambiguous_face_are_left_out_of_training_unless_asked_for(tmp_path):
    rows = [labelled_row("s/a"), labelled_row("s/b", face_is_ambiguous=True)]
    rows += [labelled_row("s/c", face_is_ambiguous=True, split="val"), labelled_row("s/d", face_is_ambiguous=None)]
    write_part(str(tmp_path), label_table(rows))
    index, every = LabelIndex(str(tmp_path)), LabelIndex(str(tmp_path), ambiguous=True)
    assert index.training()["utterance_id"].to_pylist() == ["s/a", "s/d"] and index.left_out() == 1
    assert index.usable("val")["utterance_id"].to_pylist() == ["s/c"]
    assert every.training()["utterance_id"].to_pylist() == ["s/a", "s/b", "s/d"] and every.left_out() == 0
    assert (
        index.fingerprint() != every.fingerprint()
    )  # a training that was begun with all goes on with all, or is refused


def test_a_set_in_which_every_face_is_ambiguous_names_the_option(tmp_path):
    write_part(str(tmp_path), label_table([labelled_row("s/b", face_is_ambiguous=True)]))
    with pytest.raises(UserError, match="in all 1 labelled utterances of split 'train' .* give --ambiguous"):
        LabelIndex(str(tmp_path)).training()


def test_what_is_taken_off_a_speakers_frames_is_taken_off_the_targets_of_his_windows():
    rows = [row_with_one_happy_frame("s1/a"), row_with_one_happy_frame("s2/a")]
    baseline = SpeakerBaseline({"s2": np.arange(8, dtype=np.float32)}, unknown_E=np.zeros(8, np.float32))
    plain, without = drawn_of(rows), drawn_of(rows, kept=Utterances(baseline=baseline))
    taken_off = (plain["target"] - without["target"]).numpy()
    assert np.array_equal(taken_off, [[0] * 8] * DRAW.windows + [list(range(8))] * DRAW.windows)
    assert (plain["speech"] == without["speech"]).all()
