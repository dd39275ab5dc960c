import copy
import dataclasses
import io
import math
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from modeling.distillation.recipes import StudentRecipe, compact, paper, smoke
from modeling.distillation.trainer import StudentTrainer, spec_augment, training_precision
from modeling.sampling import WINDOW_SAMPLES
from modeling.students.build import StudentConfig
from modeling.training import TrainingProcess

TINY = StudentConfig(widths=(8, 8, 16), embedding=16)
RECIPE = StudentRecipe(student=TINY, epochs=4, batch_size=4, ema_decay=0.9, spec_augment=True, grad_clip=1.0)


def batches(count: int, seed: int = 0, size: int = 4, samples: int = 20_000) -> list[dict[str, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    return [
        {
            "speech": torch.randint(-3000, 3000, (size, samples), generator=rng, dtype=torch.int16),
            "target": torch.randn(size, 8, generator=rng) * 3,
        }
        for _ in range(count)
    ]


def assert_same(ours, theirs):
    """Bit-equal tensors throughout two nested states."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_two_epochs_and_a_resume_equal_four_epochs_exactly(optimiser):
    recipe = copy.copy(RECIPE)
    object.__setattr__(recipe, "optimiser", optimiser)
    whole = StudentTrainer(recipe)
    whole_metrics = [whole.run_epoch(batches(2, seed=epoch), epoch) for epoch in range(4)]
    first = StudentTrainer(recipe)
    for epoch in range(2):
        first.run_epoch(batches(2, seed=epoch), epoch)
    file = io.BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    torch.rand(17)  # the rest of the program uses random numbers too
    second = StudentTrainer(recipe)
    second.load_state(torch.load(file, weights_only=True))
    second_metrics = [second.run_epoch(batches(2, seed=epoch), epoch) for epoch in (2, 3)]
    assert [m.loss for m in second_metrics] == [m.loss for m in whole_metrics[2:]]
    assert_same(second.state(), whole.state())
    assert (second.epoch, second.step) == (4, 8)


def test_a_state_of_an_earlier_version_goes_on():
    through = StudentTrainer(RECIPE)
    through.run_epoch(batches(2), 0)
    state = copy.deepcopy(through.state())
    state["average"] = state.pop("ema")
    resumed = StudentTrainer(RECIPE)
    resumed.load_state(state)
    for trainer in (through, resumed):
        trainer.run_epoch(batches(2, seed=1), 1)
    assert_same(resumed.state(), through.state())


def test_training_does_not_disturb_the_callers_random_numbers():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    StudentTrainer(RECIPE).run_epoch(batches(1), 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_move(poison):
    trainer = StudentTrainer(RECIPE)
    trainer.run_epoch(batches(1), 0)
    before = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    bad = batches(1, seed=1)
    bad[0]["target"][2, 3] = poison
    with pytest.raises(FloatingPointError, match="step 1.*lr_start"):
        trainer.run_epoch(bad, 1)
    assert all(torch.equal(before[name], p) for name, p in trainer.network.named_parameters())
    assert (trainer.epoch, trainer.step) == (1, 1)


def test_the_student_learns_to_tell_a_low_from_a_high_tone():
    recipe = StudentRecipe(student=TINY, epochs=8, batch_size=16, lr_start=3e-3)
    time_s = torch.arange(20_000) / 16_000
    rng = np.random.default_rng(0)

    def tones(count: int):
        for _ in range(count):
            high = torch.from_numpy(rng.integers(2, size=16))
            pitch = torch.where(high == 1, 2000.0, 300.0) * torch.from_numpy(rng.uniform(0.9, 1.1, 16))
            noise = torch.from_numpy(rng.normal(0, 100, (16, 20_000)))
            beat = (torch.sin(2 * torch.pi * 3 * time_s) > 0) * 3000
            speech = (torch.sin(2 * torch.pi * pitch[:, None] * time_s) * beat + noise).to(torch.int16)
            yield {"speech": speech, "target": 6 * F.one_hot(high, 8).float()}

    trainer = StudentTrainer(recipe)
    losses = [trainer.run_epoch(tones(4), epoch).loss for epoch in range(8)]
    assert losses[-1] < losses[0]
    batch = next(iter(tones(1)))
    predicted = torch.stack([trainer.student.logits_of_clip(clip) for clip in batch["speech"]]).argmax(1)
    assert (predicted == batch["target"].argmax(1)).float().mean() > 0.9


def test_metrics_tell_waiting_from_computing():
    def slow_source():
        for batch in batches(2):
            until = time.perf_counter() + 0.1
            while time.perf_counter() < until:
                pass
            yield batch

    metrics = StudentTrainer(RECIPE).run_epoch(slow_source(), 0)
    assert metrics.data_wait_s >= 0.2 and metrics.compute_s > 0
    assert metrics.windows == 8 and metrics.step == 2 and metrics.epoch == 1


def test_an_epoch_without_data_is_an_error():
    with pytest.raises(ValueError, match="no batch"):
        StudentTrainer(RECIPE).run_epoch([], 0)


def test_the_wrapper_carries_the_gradient():
    calls = []

    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            calls.append(len(x))
            return self.module(x)

    trainer = StudentTrainer(RECIPE, TrainingProcess(wrap=Wrapper))
    plain = StudentTrainer(RECIPE)
    assert trainer.run_epoch(batches(2), 0).loss == plain.run_epoch(batches(2), 0).loss
    assert calls == [4, 4]
    assert_same(trainer.state(), plain.state())


def test_the_gradient_of_a_larger_part_weighs_more():
    plain, weighted = StudentTrainer(RECIPE), StudentTrainer(RECIPE, weight=1.5)
    plain.recipe = weighted.recipe = dataclasses.replace(RECIPE, grad_clip=None)
    losses = [trainer.run_epoch(batches(1), 0).loss for trainer in (plain, weighted)]
    assert losses[1] == pytest.approx(1.5 * losses[0])
    for one, other in zip(plain.network.parameters(), weighted.network.parameters(), strict=True):
        torch.testing.assert_close(1.5 * one.grad, other.grad, rtol=1e-3, atol=1e-5)


@pytest.mark.gpu  # bfloat16 is used on a GPU alone
def test_a_gpu_computes_in_bfloat16_close_to_single_precision():
    single = dataclasses.replace(RECIPE, autocast=False)
    assert training_precision(single, torch.device("cuda")) == "fp32"
    losses = [
        StudentTrainer(recipe, TrainingProcess(device="cuda")).run_epoch(batches(8), 0).loss
        for recipe in (RECIPE, single)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_cpu_computes_in_single_precision():
    assert RECIPE.autocast and training_precision(RECIPE, torch.device("cpu")) == "fp32"


def test_the_saved_student_is_the_moving_average():
    trainer = StudentTrainer(RECIPE)
    start = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    trainer.run_epoch(batches(1), 0)
    name, moved = next(iter(trainer.network.named_parameters()))
    averaged = dict(trainer.student.named_parameters())[name]
    decay = 2 / 11  # (1 + step) / (10 + step) after the first step, while that is below ema_decay
    torch.testing.assert_close(averaged, decay * start[name] + (1 - decay) * moved.detach())
    assert StudentTrainer(StudentRecipe(student=TINY)).student.training


def test_masks_hide_at_most_a_fifth_of_each_axis_and_nothing_else():
    spectrogram = torch.rand(16, 64, 400) + 1
    with torch.random.fork_rng():
        torch.manual_seed(0)
        masked = spec_augment(spectrogram)
    hidden = masked == 0
    assert torch.equal(masked[~hidden], spectrogram[~hidden])
    bands, frames = hidden.all(2).sum(1), hidden.all(1).sum(1)
    assert (bands <= 0.2 * 64 + 2).all() and (frames <= 0.2 * 400 + 2).all()
    assert bands.float().mean() > 1 and frames.float().mean() > 8
    assert torch.equal(hidden, hidden.all(2, keepdim=True) | hidden.all(1, keepdim=True))


def test_the_papers_learning_rates_and_length():
    recipe = paper()
    np.testing.assert_allclose([recipe.learning_rate(epoch) for epoch in range(300)], np.logspace(-4, -5, 300))
    assert recipe.steps_per_epoch(118_485) == 93
    optimizer = StudentTrainer(StudentRecipe(student=TINY, optimiser="sgd")).optimizer.param_groups[0]
    assert (optimizer["momentum"], optimizer["weight_decay"]) == (0.9, 5e-4)


def test_adamw_warms_up_then_falls_to_its_end():
    recipe = compact()
    rates = [recipe.learning_rate(epoch) for epoch in range(recipe.epochs)]
    assert rates[0] < rates[1] < max(rates) == recipe.lr_start == rates[recipe.warmup_epochs]
    assert all(
        late < early
        for early, late in zip(rates[recipe.warmup_epochs :], rates[recipe.warmup_epochs + 1 :], strict=False)
    )
    assert math.isclose(rates[-1], recipe.lr_end)


@pytest.mark.parametrize(
    "change",
    [
        {"optimiser": "adam"},
        {"epochs": 0},
        {"target_pooling": "peak"},
        {"ema_decay": 1.0},
        {"fraction_per_epoch": float("nan")},
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        StudentRecipe(**change)


def test_the_smoke_recipe_trains_on_real_windows():
    recipe = smoke()
    trainer = StudentTrainer(recipe)
    for epoch in range(recipe.epochs):
        assert math.isfinite(trainer.run_epoch(batches(1, epoch, 2, WINDOW_SAMPLES), epoch).loss)


def train_in_two_processes(rank: int, folder: str) -> None:
    """One of two gloo processes: an epoch of its own data, then an epoch in which only process 1 has a bad target."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainer = StudentTrainer(RECIPE, TrainingProcess(world_size=2, wrap=DistributedDataParallel))
    metrics = trainer.run_epoch(batches(2, seed=rank), 0)
    weights = {name: p.detach().clone() for name, p in trainer.network.named_parameters()}
    bad = batches(1, seed=2)
    bad[0]["target"][0, 0] = float("nan") if rank == 1 else 0.0
    try:
        trainer.run_epoch(bad, 1)
        stopped = False
    except FloatingPointError:
        stopped = True
    unmoved = all(torch.equal(weights[name], p) for name, p in trainer.network.named_parameters())
    torch.save(
        {"loss": metrics.loss, "weights": weights, "stopped": stopped, "unmoved": unmoved}, f"{folder}/{rank}.pt"
    )
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_weights_and_loss_and_stop_together(tmp_path):
    torch.multiprocessing.spawn(train_in_two_processes, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert_same(first, second)
    assert first["stopped"] and first["unmoved"]


@pytest.mark.slow
def test_the_papers_student_takes_a_step():
    trainer = StudentTrainer(paper())
    before = trainer.network.fc8.weight.detach().clone()
    assert math.isfinite(trainer.run_epoch(batches(1, size=2), 0).loss)
    assert not torch.equal(before, trainer.network.fc8.weight)
