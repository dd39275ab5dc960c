"""Two sets are compared utterance by utterance, by their ids; what is doubtful is told, what cannot be compared is refused."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from cluster.failures import UserError
from modeling.emotions import EMOTIONS, MASKED_LOGIT
from pipeline.comparison.compare import compare
from pipeline.comparison.faces import read_shown
from pipeline.comparison.figures import Comparison
from pipeline.comparison.joined import join_sets
from pipeline.dataset.distillation_set import part_uris, write_part
from pipeline.dataset.label_set import read_label_set
from pipeline.rejects import RejectReason
from tests.support.label_rows import label_table, reject_row
from tests.support.label_sets import soft_row, write_set

IDS = [f"s{n % 7}/{n:03d}" for n in range(60)]


def logits_of(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return dict(zip(IDS, rng.normal(0, 2, (len(IDS), 8)).astype(np.float32), strict=True))


def compared(a: str, b: str, most: int = 5) -> Comparison:
    return compare(join_sets(read_label_set(a), read_label_set(b)), most=most)


def refused(a: str, b: str) -> str:
    with pytest.raises(UserError) as error:
        join_sets(read_label_set(a), read_label_set(b))
    return str(error.value)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[str, str]:
    """A and B of the same utterances in other orders, with other labels; each has set aside some of its own."""
    folder = tmp_path_factory.mktemp("two")
    a, b = logits_of(1), logits_of(2)
    rows_a = [soft_row(id, a[id]) for id in IDS[:55]] + [reject_row(id, RejectReason.NO_FACE) for id in IDS[55:]]
    rows_b = [soft_row(id, b[id], teacher="other@1") for id in reversed(IDS[5:58])]
    rows_b += [reject_row(IDS[0], RejectReason.SILENT), reject_row(IDS[58], RejectReason.SILENT)]
    rows_b += [reject_row(IDS[59], RejectReason.NO_FACE), soft_row("s9/new", b[IDS[0]], teacher="other@1")]
    return write_set(folder / "a", rows_a), write_set(folder / "b", rows_b)


def test_labels_are_paired_by_utterance(two):
    found = compared(*two)
    a, b = logits_of(1), logits_of(2)
    shared = IDS[5:55]
    same = [a[id].argmax() == b[id].argmax() for id in shared]
    assert found.agreement.value == np.mean(same) and np.sum(found.confusion) == 50
    distances = {id: jensenshannon(softmax(a[id].astype(float)), softmax(b[id].astype(float)), base=2) for id in shared}
    farthest = sorted(distances, key=lambda id: -distances[id])[:5]
    assert [one.utterance_id for one in found.most_changed] == farthest
    first = found.most_changed[0]
    assert first.js == pytest.approx(distances[farthest[0]]) and first.speaker_id == farthest[0].split("/")[0]
    assert (
        first.probabilities_a == pytest.approx(softmax(a[farthest[0]]))
        and first.emotion_b == EMOTIONS[b[farthest[0]].argmax()]
    )
    assert found.js.value == pytest.approx(np.mean(list(distances.values())))
    mean = softmax(np.stack([b[id] for id in shared]), axis=1).mean(0)
    assert list(found.distribution_b.mean_probabilities.values()) == pytest.approx(mean.tolist(), rel=1e-5)


def test_rejects_and_utterances_of_one_set_only_are_counted(two):
    found = compared(*two)
    overlap = found.overlap
    assert (overlap.in_both, overlap.only_in_a, overlap.only_in_b) == (56, 4, 1)
    assert (overlap.labelled_in_both, overlap.labelled_only_in_a, overlap.labelled_only_in_b) == (50, 1, 3)
    assert overlap.rejected_in_both == 2
    changes = {(change.a, change.b): change.utterances for change in found.reject_changes}
    assert changes == {("no_face", None): 3, (None, "silent"): 1, ("no_face", "silent"): 1}
    assert found.a.reasons == {"no_face": 5} and found.a.teachers == ("compact@0123456789abcdef",)


def test_confidence_stands_beside_the_agreement_of_the_other(two):
    found = compared(*two)
    a, b = logits_of(1), logits_of(2)
    sure = {id: softmax(a[id]).max() for id in IDS[5:55]}
    each = next(one for one in found.reliability_a.bins if one.n)
    inside = [id for id, confidence in sure.items() if each.low < confidence <= each.high]
    assert each.n == len(inside)
    assert each.accuracy == pytest.approx(np.mean([a[id].argmax() == b[id].argmax() for id in inside]))


def test_faces_are_those_of_the_utterance(two):
    rows = read_label_set(two[0])
    shown = read_shown(rows, [IDS[3], IDS[40], IDS[57], "nobody"])
    assert set(shown) == {IDS[3], IDS[40], IDS[57]}
    assert len(shown[IDS[3]].thumbnails) == 1 and shown[IDS[40]].speech_flac[:4] == b"fLaC"
    assert shown[IDS[57]].thumbnails == () and shown[IDS[57]].speech_flac is None


def test_a_set_agrees_with_itself_and_that_is_said(two):
    found = compared(two[0], two[0])
    assert (found.agreement.value, found.kappa.value, found.js.value) == (1.0, 1.0, 0.0)
    assert found.most_changed == () and any("the same folder" in said for said in found.warnings)


def test_a_copy_is_told(two, tmp_path):
    copy = write_set(tmp_path / "copy", [soft_row(id, logits) for id, logits in logits_of(1).items()])
    assert any("may be a copy" in said for said in compared(two[0], copy).warnings)
    assert not compared(*two).warnings


def test_sets_that_share_no_utterance_are_refused(two, tmp_path):
    other = write_set(tmp_path / "other", [soft_row("x/1", np.arange(8))], manifest="n")
    assert "share no utterance ('s" in refused(two[0], other)


def test_sets_of_other_manifests_are_compared_by_what_they_share_and_that_is_said(two, tmp_path):
    other = write_set(tmp_path / "other", [soft_row(id, logits_of(3)[id]) for id in IDS[:9]], manifest="n")
    found = compared(two[0], other)
    assert found.overlap.labelled_in_both == 9
    assert any("different manifests" in said and "9 utterances" in said for said in found.warnings)


def test_other_people_under_the_same_names_are_refused(two, tmp_path):
    strange = write_set(
        tmp_path / "strange", [soft_row(id, logits_of(3)[id], speaker_id="somebody else") for id in IDS[:9]]
    )
    assert "speaker_id of 's0/000' is 's0' and 'somebody else' (9 such" in refused(two[0], strange)


def test_speech_of_another_length_is_told(two, tmp_path):
    rows = [soft_row(id, logits_of(3)[id], speech_samples=99_000) for id in IDS[:9]]
    found = compared(two[0], write_set(tmp_path / "longer", rows))
    assert any("In 9 utterances the speech" in said for said in found.warnings)


def test_sound_is_not_needed_in_either(tmp_path):
    bare = {"speech_flac": None, "speech_samples": None, "thumbnails": None, "thumbnail_times_s": None}
    bare |= {"frame_boxes": None, "frame_scores": None, "face_tracks": None, "detector": None}
    sets = [write_set(tmp_path / f"{n}", [soft_row(id, logits_of(n)[id], **bare) for id in IDS[:20]]) for n in (4, 5)]
    assert compared(*sets).overlap.labelled_in_both == 20


def test_a_set_that_is_still_being_written_is_compared_with_a_warning(two, tmp_path):
    begun = write_set(tmp_path / "begun", [soft_row(id, logits_of(3)[id]) for id in IDS[:20]], is_finished=False)
    found = compared(two[0], begun)
    assert (found.a.is_finished, found.b.is_finished) == (True, False)
    assert any("B is still being written" in said and "20 utterances" in said for said in found.warnings)


def test_the_label_of_a_retried_reject_counts_while_its_old_row_is_there(tmp_path, two):
    begun = tmp_path / "begun"
    write_set(begun, [reject_row(IDS[0], RejectReason.NO_FACE), *(soft_row(id, logits_of(3)[id]) for id in IDS[1:9])])
    (begun / "utterances" / "_parts.json").unlink()
    (begun / "lease.json").write_text("{}")
    write_part(str(begun), label_table([soft_row(IDS[0], logits_of(3)[IDS[0]])]), generation=1)
    found = compared(two[0], str(begun))
    assert (found.b.rows, found.b.labelled, found.b.is_finished) == (9, 9, False)


def test_utterances_that_are_labelled_twice_are_refused(tmp_path):
    rows = [soft_row(id, logits_of(3)[id]) for id in IDS[:9]]
    folder = write_set(tmp_path, rows, is_finished=False)
    write_part(folder, label_table(rows[:2]))
    with pytest.raises(UserError, match="2 labelled utterances are in it twice"):
        read_label_set(folder)


@pytest.mark.parametrize(("logits", "n"), [([1.0] * 7, 1), ([float("nan")] * 8, 1), (None, 1)])
def test_what_is_not_eight_finite_logits_is_refused_by_name(tmp_path, logits, n):
    rows = [soft_row(id, logits_of(3)[id]) for id in IDS[:9]]
    rows[4] |= {"logits": logits}
    with pytest.raises(UserError, match=rf"the label of '{IDS[4]}' is not 8 finite logits \({n} such"):
        read_label_set(write_set(tmp_path, rows))


def test_a_changed_part_is_named(two, tmp_path):
    folder = write_set(tmp_path, [soft_row(id, logits_of(3)[id]) for id in IDS[:20]])
    first, second = part_uris(folder)
    with open(first, "rb") as source, open(second, "wb") as target:
        target.write(source.read())
    with pytest.raises(UserError, match="another than the one"):
        read_label_set(folder)


def test_a_teacher_that_does_not_know_an_emotion_is_told(two, tmp_path):
    masked = {id: np.append(logits[:7], np.float32(MASKED_LOGIT)) for id, logits in logits_of(3).items()}
    found = compared(two[0], write_set(tmp_path, [soft_row(id, masked[id]) for id in IDS]))
    assert found.b.masked == ("contempt",) and found.kl_a_b.value < 20
    assert any("B does not know contempt" in said for said in found.warnings)


def test_sets_without_an_utterance_that_both_label_are_refused(two, tmp_path):
    rejected = write_set(tmp_path, [reject_row(id, RejectReason.NO_FACE) for id in IDS])
    assert "share 60 utterances, but none is labelled in both" in refused(two[0], rejected)
