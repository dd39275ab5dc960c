"""How well a teacher uses this machine's GPU, for `emovox bench label --gpu`: images per second, and the ceiling that a bare
matrix product sets."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from modeling.precision import DEFAULT_PRECISION, PRECISIONS
from modeling.teachers.base import Teacher
from modeling.teachers.load import load_teacher
from modeling.teachers.published import FerPlusNetwork, published_parts
from pipeline.assets.weights import Weights

MATRIX_SIDE = 8192
"""Side of both factors; large enough that the GPU does nothing but multiply."""
MATRIX_PRODUCTS = 20
PASSES = 3
WARM_UP = 2
BATCHES = 16
"""Full batches of faces in a pass."""


@dataclass(frozen=True, kw_only=True)
class TeacherFigures:
    """images_per_s: as the job calls the teacher, from crops to logits in this process's memory; network_images_per_s: with the
    network's input already on the GPU; of_ceiling, network_of_ceiling: these rates as fractions of what the matrix product
    reaches."""

    side_px: int
    batch: int
    gflop_per_image: float
    images_per_s: int
    of_ceiling: float
    network_images_per_s: int
    network_of_ceiling: float


@dataclass(frozen=True, kw_only=True)
class GpuFigures:
    """matrix_tflops: the ceiling, a product of two square half-precision matrices. teachers: name -> figures."""

    device: str
    precision: str
    matrix_tflops: float
    teachers: dict[str, TeacherFigures]


def gpu_figures(teacher: Weights) -> GpuFigures:
    """The job's teacher, and the paper's SENet-50 at 224 pixels (with random weights, which do not change its speed)."""
    ceiling = matrix_tflops()
    teachers = {
        teacher.name: load_teacher(
            teacher.name, teacher.data, teacher.description, device="cuda", flip_tta=False
        ),  # as in the job
        "senet50, random weights": random_senet50(),
    }
    figures = {}
    for name, one in teachers.items():
        figures[name] = teacher_figures(one, ceiling)
    return GpuFigures(
        device=torch.cuda.get_device_name(),
        precision=DEFAULT_PRECISION["cuda"],
        matrix_tflops=round(ceiling, 1),
        teachers=figures,
    )


def random_senet50() -> Teacher:
    """The paper's teacher with random weights."""
    torch.manual_seed(0)
    return Teacher("senet50", b"", published_parts(FerPlusNetwork(gated=True)), device="cuda")


def matrix_tflops() -> float:
    """Tera floating point operations per second of repeated large products; the best of a few passes."""
    half = PRECISIONS[DEFAULT_PRECISION["cuda"]]
    a, b = (torch.randn(MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=half) for _ in range(2))
    seconds = best_s(lambda: [torch.mm(a, b) for _ in range(MATRIX_PRODUCTS)])
    return MATRIX_PRODUCTS * 2 * MATRIX_SIDE**3 / seconds / 1e12


def teacher_figures(teacher: Teacher, ceiling_tflops: float) -> TeacherFigures:
    """Torch counts the operations; a multiplication and an addition are two."""
    rule = teacher.crop_rule
    batch = teacher.batch_faces
    shape = (BATCHES * batch, rule.side_px, rule.side_px) + (() if rule.grey else (3,))
    crops = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    prepared = teacher.prepared(crops[:batch])
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        teacher.network(prepared)
    gflop = counter.get_total_flops() / batch / 1e9

    def network_alone() -> None:
        for _ in range(BATCHES):
            teacher.logits(prepared)

    whole, network = (len(crops) / best_s(work) for work in (lambda: teacher(crops), network_alone))
    return TeacherFigures(
        side_px=rule.side_px,
        batch=batch,
        gflop_per_image=round(gflop, 4),
        images_per_s=round(whole),
        of_ceiling=round(whole * gflop / 1e3 / ceiling_tflops, 4),
        network_images_per_s=round(network),
        network_of_ceiling=round(network * gflop / 1e3 / ceiling_tflops, 4),
    )


@torch.inference_mode()
def best_s(work: Callable[[], object]) -> float:
    """Wall seconds of the fastest pass, measured until the GPU has finished."""
    seconds = []
    for _ in range(WARM_UP + PASSES):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[WARM_UP:])
