"""The two tables of the project: the manifest (what there is) and the distillation set (what the teacher says about it).

In both, one row is one utterance. Times are seconds on the source file's own clock; spans are half-open
[start_s, end_s). Boxes are x0, y0, x1, y1, in the distillation set relative (0-1) to the upright frame.
`docs/distillation_set.md` explains every column.
"""

import pyarrow as pa

from modeling.emotions import EMOTIONS

MANIFEST_VERSION = "1"
SET_VERSION = "1"

CONTENT_COLUMN = "content_sha256"

WORK_COLUMNS = ("decode_s", "detect_s", "teacher_s")
"""Seconds of work, for the run's summary; the only columns that differ if the same utterance is labelled again."""

SPLITS = ("train", "val", "heard", "unheard")
"""train: to learn from; val: to choose a checkpoint; heard: test, with speakers who are also in train; unheard: test, with
speakers who are in no other split."""

FACE_BOX = pa.struct([("time_s", pa.float64()), *((side, pa.float32()) for side in ("x0", "y0", "x1", "y1"))])

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("utterance_id", pa.string(), nullable=False),
        pa.field("speaker_id", pa.string(), nullable=False),
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),  # a file, or a folder of face pictures (ends with "/")
        pa.field("audio_uri", pa.string(), nullable=False),  # may equal video_uri
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64()),  # null: to the end of the file
        pa.field("split", pa.string(), nullable=False),  # one of SPLITS
        pa.field("pictures_per_s", pa.float64()),  # rate of a folder of face pictures; null for a video file
        pa.field("face_context", pa.float32()),  # null: whole scenes; c: each frame is one face, c times its box
        pa.field("face_boxes", pa.list_(FACE_BOX)),  # null: unknown
        pa.field("face_boxes_unit", pa.string()),  # "pixels" or "relative" (0-1 of width and height)
    ],
    metadata={"emovox.table": "manifest", "emovox.schema_version": MANIFEST_VERSION},
)

FACE_TRACK = pa.struct(
    [
        ("frame_indices", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("scores", pa.list_(pa.float32())),
    ]
)

IDENTITY_FIELDS = [MANIFEST_SCHEMA.field(name) for name in MANIFEST_SCHEMA.names[:8]]

DISTILLATION_SCHEMA = pa.schema(
    [
        *IDENTITY_FIELDS,
        pa.field("reject_reason", pa.string()),  # a RejectReason; null for a labelled row
        pa.field("reject_detail", pa.string()),
        pa.field("emotion", pa.string()),  # the dominant emotion: argmax of logits
        pa.field("logits", pa.list_(pa.float32())),  # 8, aggregated over frames (element-wise maximum), no softmax
        pa.field("frame_logits", pa.list_(pa.list_(pa.float32()))),  # n_frames x 8, raw
        pa.field("frame_indices", pa.list_(pa.int32())),  # position k of each labelled frame on the 0.24 s grid
        pa.field("frame_times_s", pa.list_(pa.float64())),  # presentation time of each labelled frame
        pa.field("frame_boxes", pa.list_(pa.list_(pa.float32()))),  # n_frames x 4, relative (0-1) to the upright frame
        pa.field("frame_scores", pa.list_(pa.float32())),  # detector confidence; 1 where boxes were given
        pa.field("frames_sampled", pa.int32()),  # grid positions in the span, with or without a face
        pa.field("face_tracks", pa.list_(FACE_TRACK)),  # every face followed through the utterance
        pa.field("labelled_track", pa.int32()),  # which of face_tracks carries the labels
        pa.field("face_is_ambiguous", pa.bool_()),  # another face was nearly as prominent
        pa.field("thumbnails", pa.list_(pa.binary())),  # a few JPEGs of the labelled face, evenly spread
        pa.field("thumbnail_times_s", pa.list_(pa.float64())),
        pa.field("speech_flac", pa.binary()),  # 16 kHz mono 16-bit FLAC of the span
        pa.field("speech_samples", pa.int32()),
        pa.field("content_sha256", pa.string()),  # of speech and frame labels, filled in when the part is written
        pa.field("teacher", pa.string()),  # name@sha256 of the weights
        pa.field("teacher_masks", pa.list_(pa.string())),  # emotions the teacher does not know; their logits are -100
        pa.field("detector", pa.string()),
        pa.field("decode_s", pa.float32()),  # seconds of work, for the run's summary; not a label
        pa.field("detect_s", pa.float32()),
        pa.field("teacher_s", pa.float32()),
    ],
    metadata={
        "emovox.table": "distillation_set",
        "emovox.schema_version": SET_VERSION,
        "emovox.emotions": ",".join(EMOTIONS),
    },
)
