"""What a teacher makes of this machine's GPU, for `emovox bench label --gpu`: images a second beside the ceiling that a bare
matrix product sets."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from modeling.precision import DEFAULT_PRECISION, PRECISIONS
from modeling.teachers.base import Teacher
from modeling.teachers.load import load_teacher
from modeling.teachers.published import FerPlusNetwork, published_parts
from pipeline.assets.weights import Weights

MATRIX_SIDE = 8192
"""Of both factors; large enough that the GPU does nothing but multiply."""
MATRIX_PRODUCTS = 20
PASSES = 3
WARM_UP = 2
BATCHES = 16
"""Full batches of faces in a pass."""


def gpu_figures(teacher: Weights) -> dict:
    """The job's teacher, one view of a face, and a SENet-50 of 224 pixels, the paper's (random weights: same speed).

    matrix_tflops: of a product of two square half-precision matrices, the ceiling. For each teacher: images_per_s as the job
    calls it, from crops in this process's memory to logits there; network_images_per_s with the pictures on the GPU and in
    the network's form already; gflop_per_image, and what part of the ceiling both rates are.
    """
    ceiling = matrix_tflops()
    teachers = {
        teacher.name: load_teacher(
            teacher.name, teacher.data, teacher.description, device="cuda", flip_tta=False
        ),  # as the job has it
        "senet50, random weights": random_senet50(),
    }
    figures = {}
    for name, one in teachers.items():
        figures[name] = teacher_figures(one, ceiling)
    return {
        "device": torch.cuda.get_device_name(),
        "precision": DEFAULT_PRECISION["cuda"],
        "matrix_tflops": round(ceiling, 1),
        "teachers": figures,
    }


def random_senet50() -> Teacher:
    """The paper's teacher but for its weights."""
    torch.manual_seed(0)
    return Teacher("senet50", b"", published_parts(FerPlusNetwork(gated=True)), device="cuda")


def matrix_tflops() -> float:
    """Tera floating point operations a second of one large product after another, the best of a few passes."""
    half = PRECISIONS[DEFAULT_PRECISION["cuda"]]
    a, b = (torch.randn(MATRIX_SIDE, MATRIX_SIDE, device="cuda", dtype=half) for _ in range(2))
    seconds = best_s(lambda: [torch.mm(a, b) for _ in range(MATRIX_PRODUCTS)])
    return MATRIX_PRODUCTS * 2 * MATRIX_SIDE**3 / seconds / 1e12


def teacher_figures(teacher: Teacher, ceiling_tflops: float) -> dict:
    """See `gpu_figures`. Operations are counted by torch, a multiplication and an addition as two."""
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
    return {
        "side_px": rule.side_px,
        "batch": batch,
        "gflop_per_image": round(gflop, 4),
        "images_per_s": round(whole),
        "of_ceiling": round(whole * gflop / 1e3 / ceiling_tflops, 4),
        "network_images_per_s": round(network),
        "network_of_ceiling": round(network * gflop / 1e3 / ceiling_tflops, 4),
    }


@torch.inference_mode()
def best_s(work: Callable[[], object]) -> float:
    """Seconds of the clock of the fastest pass, all of it done on the GPU."""
    seconds = []
    for _ in range(WARM_UP + PASSES):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[WARM_UP:])
