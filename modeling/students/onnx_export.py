"""A student as an ONNX graph: waveform of any length in; logits, probabilities and embedding out.

The graph does all that `Student.outputs_of_clip` does: padding of a short clip, input transform, cut to the clip's centre,
network. The input transforms are reimplemented for it in `onnx_inputs`; `parity` measures the difference.

Exported by TorchScript tracing: torch.export (2.11) cannot yet cut to a length known only at run time and then pool.
Needs the package onnx. Shape letters: T samples at 16 kHz, F frequency bins, L frames, E = 8, D embedding.
"""

import io
import json
import math
import warnings
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.speech import spectrogram
from modeling.students.base import MAX_FRAMES, MIN_FRAMES, MIN_SAMPLES
from modeling.students.build import Student, WhisperStudent
from modeling.students.onnx_inputs import LogMel, PaperMagnitude, WhisperLogMel
from modeling.students.vggvox import BUCKET_FRAMES

OPSET = 18
INPUT = "waveform"
OUTPUTS = ("logits", "probabilities", "embedding")
FORMAT = "emovox.student.onnx.1"

PARITY_S = (0.3, 1.0, 2.5, 4.024, 7.3, 12.0)
"""Clip lengths that are compared: below the minimum, whole and fractional seconds, a training window, above the maximum."""

TOLERANCE = 1e-3
"""Largest difference that passes, relative to the largest value of the same output, or to 1 if that is larger."""


def _shape(x: Tensor) -> Tensor:
    """The shape as a traced tensor, for clips of any length: `x.shape` would be traced as the numbers of the example."""
    return torch._shape_as_tensor(x)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def _input_of(student: Student) -> nn.Module:
    if isinstance(student, WhisperStudent):
        return WhisperLogMel(student.front_end.size.bands)
    kinds = {"compact": LogMel, "paper": PaperMagnitude}
    if student.config.kind not in kinds:
        raise ValueError(
            f"a student of kind {student.config.kind!r} cannot be exported; those of kind compact, paper and whisper can"
        )
    return kinds[student.config.kind]()


class StudentGraph(nn.Module):
    """(1, T) float32 in [-1, 1] at 16 kHz, T of 1 or more -> logits (1, E), probabilities (1, E), embedding (1, D)."""

    def __init__(self, student: Student):
        super().__init__()
        self.input, self.student = _input_of(student), student.eval()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        samples = _shape(waveform)[1]
        silence = waveform.new_zeros(1, MIN_SAMPLES)
        padded = torch.cat([waveform, silence], 1)[:, : samples.clamp_min(MIN_SAMPLES)]
        spectrogram_BFL = self.input(padded)
        frames = _shape(spectrogram_BFL)[2]
        start, used = self._cut(frames)
        logits_BE, embedding_BD = self.student.outputs(spectrogram_BFL[:, :, start : start + used])
        return logits_BE, logits_BE.softmax(1), embedding_BD

    def _cut(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """The student's `clip_start` and `clip_frames`, on traced integers."""
        used = frames.clamp_max(MAX_FRAMES)
        if self.student.config.kind != "paper":
            return (frames - used) // 2, used
        used = (used // BUCKET_FRAMES * BUCKET_FRAMES).clamp_min(MIN_FRAMES)
        return ((frames - used + 1) // 2 - 1).clamp_min(0), used


def export_student(student: Student, student_sha256: str) -> bytes:
    """The student as an ONNX file; its metadata (`student_metadata`) hold what its users must know.

    Raises ValueError if the student's kind has no graph, or the package onnx is not installed.
    """
    graph, file = StudentGraph(student), io.BytesIO()
    try:
        import onnx
    except ImportError as error:
        raise ValueError("the export needs the package onnx, which is not installed; pip install onnx") from error
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the age of this exporter, and about slices that it does not fold
        torch.onnx.export(
            graph.eval(),
            (torch.zeros(1, 2 * MIN_SAMPLES),),
            file,  # pyright: ignore[reportArgumentType]
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={INPUT: {1: "samples"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    onnx.helper.set_model_props(model, student_metadata(student, student_sha256))
    return model.SerializeToString()


def student_metadata(student: Student, student_sha256: str) -> dict[str, str]:
    """format, emotions (in the order of the outputs, comma-separated), sample_rate_hz, student_sha256 (of the exported
    file), config, prior (8 numbers, or null) and prior_strength as JSON, and a description of the input and the clip."""
    meta = getattr(student, "meta", None) or {}
    cut = "the largest whole second up to 10 s at its centre" if student.config.kind == "paper" else "its central 10 s"
    return {
        "format": FORMAT,
        "emotions": ",".join(EMOTIONS),
        "sample_rate_hz": str(SAMPLE_RATE_HZ),
        "student_sha256": student_sha256,
        "config": json.dumps(asdict(student.config)),
        "prior": json.dumps(meta.get("prior")),
        "prior_strength": json.dumps(meta.get("prior_strength", 1.0)),
        "input": f"{INPUT}: float32 (1, samples), mono, 16 kHz, in [-1, 1], one clip of 1 sample or more",
        "clip": f"of a longer clip {cut} is used; one below 1.015 s is padded with zeros at its end",
    }


def parity(student: Student, onnx_file: bytes) -> dict[str, float]:
    """Largest difference between onnxruntime and `outputs_of_clip` for each output, over `parity_clips`.

    Relative to the largest value of the same output, or to 1 if that is larger.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    worst: dict[str, float] = dict.fromkeys(OUTPUTS, 0.0)
    for clip_T in parity_clips():
        logits_E, embedding_D = student.outputs_of_clip(torch.from_numpy(clip_T))
        expected = (logits_E, logits_E.softmax(0), embedding_D)
        given = session.run(OUTPUTS, {INPUT: clip_T[None].astype(np.float32) / spectrogram.INT16_SCALE})
        for name, values, wanted in zip(OUTPUTS, given, expected, strict=True):
            wanted = wanted.numpy()
            difference = float(np.abs(np.asarray(values)[0] - wanted).max() / max(1.0, np.abs(wanted).max()))
            worst[name] = max(worst[name], difference) if math.isfinite(difference) else math.inf
    return worst


def parity_clips() -> list[np.ndarray]:
    """int16 (T,) clips of the lengths `PARITY_S`: syllable-like bursts of a harmonic tone in noise; plus a clip like a
    telephone's, with little above 4 kHz, and a clip of zeros."""
    rng = np.random.default_rng(0)
    clips: list[np.ndarray] = []
    for seconds in PARITY_S:
        times_T = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        pitch_T = np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * times_T)) / SAMPLE_RATE_HZ
        voice_T = sum(np.sin(2 * np.pi * k * pitch_T) / k for k in range(1, 20))
        voice_T *= np.sin(2 * np.pi * 1.5 * times_T) ** 2
        clips.append(np.round(4000 * voice_T + 50 * rng.standard_normal(len(times_T))).astype(np.int16))
    spectrum = np.fft.rfft(clips[3])
    spectrum[len(spectrum) // 2 :] = 0
    telephone_T = np.round(np.fft.irfft(spectrum, len(clips[3]))).astype(np.int16)
    return [*clips, telephone_T, np.zeros(SAMPLE_RATE_HZ, np.int16)]
