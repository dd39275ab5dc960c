"""Tracks as a viewer would draw them: on made-up boxes, and on two real clips spliced together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.faces.detections import Faces
from modeling.faces.retinaface import load_detector
from pipeline.labelling.face_tracks import FaceTrack, choose_track, link_faces, overlaps, shot_cuts
from tests.support.pictures import sampled_frames

TALKING_CLIPS = (
    "LivePortrait_driving_d12",
    "SadTalker_WDA_EdMarkey0_000",
    "EDTalk_expression_source",
    "LivePortrait_source_s13",
)
SPLICES = (
    ("SadTalker_WDA_AlexandriaOcasioCortez_000", "SadTalker_WDA_EdMarkey0_000"),
    ("LivePortrait_driving_d18", "LivePortrait_driving_d19"),
    ("EDTalk_pose_source1", "EDTalk_mouth_source"),
)


def faces_at(*boxes: tuple[float, float, float, float]) -> Faces:
    return Faces.given(np.array(boxes, np.float32).reshape(-1, 4))


def track(boxes: list, indices: list[int]) -> FaceTrack:
    return FaceTrack(np.array(indices, np.int32), np.array(boxes, np.float32), np.ones(len(boxes), np.float32))


def linked(frames: list[Faces], indices: list[int] | None = None, cuts: tuple[int, ...] = ()) -> list[FaceTrack]:
    at = np.arange(len(frames)) if indices is None else np.array(indices)
    return link_faces(frames, at, np.isin(np.arange(len(frames)), cuts))


boxes = st.tuples(*(st.integers(0, 60) for _ in range(2)), *(st.integers(1, 40) for _ in range(2))).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
scenes = st.lists(st.tuples(st.lists(boxes, max_size=4, unique=True), st.integers(1, 4), st.booleans()), max_size=8)


@given(scenes)
@settings(max_examples=200, deadline=None)
def test_every_box_is_in_one_track_and_no_track_crosses_a_cut_or_a_long_gap(scene):
    indices = np.cumsum([step for _, step, _ in scene]).astype(int)
    cuts = np.array([cut for *_, cut in scene], bool)
    tracks = link_faces([faces_at(*found) for found, *_ in scene], indices, cuts)
    held = sorted((int(i), *map(float, b)) for t in tracks for i, b in zip(t.frame_indices, t.boxes_N4, strict=True))
    assert held == sorted(
        (int(i), *map(float, b)) for (found, *_), i in zip(scene, indices, strict=True) for b in found
    )
    shot_of_index = dict(zip(indices.tolist(), np.cumsum(cuts).tolist(), strict=True))
    for each in tracks:
        assert (np.diff(each.frame_indices) >= 1).all() and (np.diff(each.frame_indices) <= 3).all()
        assert len({shot_of_index[i] for i in each.frame_indices.tolist()}) == 1
        for before, after in zip(each.boxes_N4, each.boxes_N4[1:], strict=False):
            assert overlaps(before[None], after[None])[0, 0] > 0


def test_two_people_side_by_side_are_two_tracks_whatever_their_order():
    left, right = (0, 0, 40, 40), (60, 0, 100, 40)
    tracks = linked([faces_at(left, right), faces_at(right, left), faces_at(left, right)])
    assert [t.boxes_N4[:, 0].tolist() for t in tracks] == [[0, 0, 0], [60, 60, 60]]


def test_the_assignment_is_the_best_for_all_faces_together():
    """The first track overlaps both new boxes, the second only one of them: a face must not be taken from it."""
    tracks = linked([faces_at((0, 0, 40, 40), (30, 0, 70, 40)), faces_at((16, 0, 56, 40), (-20, 0, 20, 40))])
    assert sorted(t.boxes_N4[:, 0].tolist() for t in tracks) == [[0, -20], [30, 16]]


def test_a_face_missed_for_half_a_second_is_the_same_and_for_longer_another():
    box, nothing = faces_at((0, 0, 40, 40)), faces_at()
    assert [t.frame_indices.tolist() for t in linked([box, nothing, nothing, box])] == [[0, 3]]
    assert len(linked([box, nothing, nothing, nothing, box])) == 2
    assert len(linked([box, box], indices=[0, 4])) == 2, "frames that the decoder lost count as missed"


def test_no_face_and_no_frame_give_no_track():
    assert linked([faces_at(), faces_at()]) == []
    assert linked([]) == [] and shot_cuts([]).tolist() == []


def test_overlap_is_intersection_over_union():
    first, second = (
        np.array([[0, 0, 10, 10]], np.float32),
        np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], np.float32),
    )
    np.testing.assert_allclose(overlaps(first, second), [[50 / 150, 0, 1]])


def test_the_larger_face_wins_unless_it_is_seen_too_rarely():
    large, small = [0, 0, 40, 40], [50, 0, 80, 30]  # 1600 and 900 square pixels
    always = list(range(10))
    assert choose_track([track([small] * 10, always), track([large] * 10, always)], 10) == (1, True)
    assert choose_track([track([small] * 10, always), track([large] * 2, [0, 1])], 10) == (0, False)
    assert choose_track([track([large] * 10, always), track([small] * 4, always[:4])], 10) == (0, False)
    assert choose_track([track([large], [0])], 10) == (0, False)


def test_a_rival_counts_from_half_the_prominence():
    winner = track([[0, 0, 10, 10]] * 4, [0, 1, 2, 3])
    assert choose_track([winner, track([[0, 0, 10, 10]] * 2, [4, 5])], 6) == (0, True)
    assert choose_track([winner, track([[0, 0, 10, 10]], [4])], 6) == (0, False)


@pytest.mark.parametrize("clip", TALKING_CLIPS)
def test_a_talking_person_is_one_shot(data_dir, clip):
    """The four clips of the set with the quickest movements and the most change of the picture."""
    frames = sampled_frames(data_dir / "video" / "unlabelled" / f"{clip}.mp4", most=30)
    assert not shot_cuts(frames).any()


@pytest.mark.parametrize(("first", "second"), SPLICES)
def test_a_splice_is_a_cut_and_no_track_joins_two_people(data_dir, first, second):
    folder = data_dir / "video" / "unlabelled"
    frames = [frame for clip in (first, second) for frame in sampled_frames(folder / f"{clip}.mp4", most=6)]
    cuts = shot_cuts(frames)
    assert np.flatnonzero(cuts).tolist() == [6]
    detector = load_detector(
        "mobilenet0.25", (data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth").read_bytes()
    )
    tracks = link_faces(detector(frames), np.arange(12), cuts)
    assert [t.frame_indices.tolist() for t in tracks] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]


def test_a_quick_head_stays_one_track(data_dir):
    """A small face that moves by most of its width between two sampled frames."""
    path = data_dir / "video" / "unlabelled" / "LivePortrait_source_s13.mp4"
    detector = load_detector(
        "mobilenet0.25", (data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth").read_bytes()
    )
    frames = sampled_frames(path, most=18)
    [only] = link_faces(detector(frames), np.arange(len(frames)), shot_cuts(frames))
    assert len(only.frame_indices) == len(frames)
