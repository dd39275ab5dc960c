"""The options of every bench, which its help shows without loading what it measures."""

from dataclasses import dataclass
from typing import Literal

from cluster.cluster_address import cluster_address
from cluster.command import JobOptions
from cluster.failures import UserError
from modeling.distillation.recipes import RECIPES_WITHOUT_FRONT_END
from pipeline.benches.measurements import MEASUREMENTS
from pipeline.distillation.speech_memory import KEPT_GIB

VOXCELEB2_ROWS = 1_200_000


@dataclass(frozen=True, kw_only=True)
class BenchOptions(JobOptions):
    """Options that every bench has."""

    record: bool = False
    """Append the main figures to --record-file, a row each, with date, machine, versions and commit."""
    record_file: str = str(MEASUREMENTS)
    """CSV file for --record. Default: the one in this checkout."""


@dataclass(frozen=True, kw_only=True)
class BenchLabel(BenchOptions):
    """Labels the clips of a folder and compares the time with a floor and a peer on the same files.

    The floor is the bare work: decoding (the cheaper of a plain PyAV loop and the job's own sampling), the sound, the
    detector on the frames that the job searches, the teacher on the job's crops; each in as many processes as there are
    cores, perfectly distributed. The peer is a plain script: decord, `predict_jsons` of retinaface-pytorch around the same
    network, one teacher pass per frame. Each clip is one utterance.

    The job labels all clips over and over for some minutes, in its own processes. After every `--slice-s` seconds of its
    work, they are all paused while the floor is measured on the same clips (once, or repeatedly if one clip is so long that
    cores would idle). So a machine whose speed drifts, as cloud machines do, slows both alike. The result is the steady
    state: the seconds of work that the stages do per second, from the first part on storage until tasks run out.
    `over_floor_whole_run` includes the filling of the plan at the start and its draining at the end. start_s is the time
    before and after that: Ray's start and the audit.
    """

    data: str
    """Folder with videos on this machine, at any depth. Clips that cannot be labelled are listed and left out."""
    out: str | None = None
    """Folder for bench_label.json, which `emovox plan --rates` reads."""
    work_s: float = 100.0
    """The job repeats the clips until the floor for them is about this many seconds, and at least three times."""
    slice_s: float = 10.0
    """Seconds of the job's work between two measurements of the floor."""
    clips: int | None = None
    """Use at most this many clips, spread evenly over the folder. Default: all."""
    gpu: bool = False
    """Run the job's teacher on a GPU. The floor is then the longer of two things done side by side: decoding and detection on
    the cores, and the teacher at the images per second that the GPU reaches by itself. The result `gpu` gives this rate, and
    the ceiling set by a bare matrix product. The plain script runs both networks on the GPU."""

    def __post_init__(self):
        for name in ("work_s", "slice_s", "clips"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}; give more than 0")
        if cluster_address(self.address) is not None:
            raise UserError(
                "this bench measures one machine and pauses its processes; leave out --address and RAY_ADDRESS"
            )


@dataclass(frozen=True, kw_only=True)
class BenchDecode(BenchOptions):
    """Decodes the same clips with PyAV, decord and torchcodec (which the extra `bench` installs): all frames ("whole"), and
    the frames on labelling's grid of 0.24 s ("sampled"), which are every 6th at 25 frames per second.

    Each way has one thread and its own process; they take turns clip by clip. The floor decodes every frame and makes no
    picture. `pyav` and `decord` sampled are what `emovox label --crops.decoder` does; `..., plain` is the obvious first
    version. Only clips that every library decodes are compared; the others are listed under `problems`. CPU seconds are
    more reliable than wall seconds if the machine has other work.
    """

    data: str | None = None
    """Folder with videos, at any depth. Default: the sample videos of `emovox demo`."""
    out: str | None = None
    """Folder for bench_decode.json."""
    repeats: int = 3
    """Timed passes over each clip, after an untimed one."""
    clips: int | None = None
    """Use at most this many clips, spread evenly over the folder. Default: all."""

    def __post_init__(self):
        for name in ("repeats", "clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class BenchTrain(BenchOptions):
    """How much faster would training be if data cost nothing, and is plain PyTorch faster?

    For each number of workers, two trainings of the same student take turns, with the same batch size and one CPU thread per
    worker. Ours uses Ray Train and this program's data path, and alternates stretches of steps on real data with stretches
    on one batch in memory. The peer is a plain script under torchrun, with DistributedDataParallel and a DataLoader over the
    same utterances. `over_memory` is steps per second with real data over those from memory (1 is ideal); `over_torchrun` is
    ours over the peer's. Both are medians over pairs that are neighbours in time, and the minimum over the numbers of
    workers. They hold for a set whose decoded speech a worker keeps (4.6 hours, or `--speech-memory-gib`);
    `decoded_over_memory` and `decoded_over_torchrun` hold for a set so large that every window is decoded anew.
    """

    labels: str
    """Folder or s3:// prefix of a distillation set with at least a batch of training utterances."""
    out: str
    """Folder for bench_train.json, which `emovox plan --train-rates` reads, and for what the workers need."""
    recipe: Literal[RECIPES_WITHOUT_FRONT_END] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """Recipe whose student, batch size and augmentation are used."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of DDP workers to measure."""
    steps: int = 20
    """Timed steps per stretch."""
    stretches: int = 3
    """Stretches of each kind per training."""
    repeats: int = 3
    """How often our training and the peer's take turns."""
    loaders: int | None = None
    """DataLoader processes per worker of the peer. Default: the cores divided by the workers, at most 4."""
    speech_memory_gib: float = KEPT_GIB
    """As in `emovox distill`."""
    gpu: bool = False
    """Train on GPUs, one per worker."""

    def __post_init__(self):
        for name in ("steps", "stretches", "repeats"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")
        if not self.workers or min(self.workers) < 1:
            raise UserError(f"workers is {self.workers}; give numbers of 1 or more, such as 1 2")


@dataclass(frozen=True, kw_only=True)
class BenchScale(BenchOptions):
    """Labels a manifest of 1.2 million made-up utterances with a cheap stand-in for the media work. What remains is the time
    and memory of the plan itself, of the job that drives it, and of continuing after a stop.

    Floor: one process writes the same parts one after another, without a plan. The JSON says whether the driver stayed
    below 1.5 GB and whether a run with 90 % done reached new work in less than 60 s.
    """

    rows: int = VOXCELEB2_ROWS
    """Utterances in the manifest; give fewer for a quick check."""
    out: str | None = None
    """Folder or s3:// prefix for the set, new or empty. Default: a temporary folder, removed at the end."""
    crop_workers: int | None = None
    """As in `emovox label`."""
    teacher_workers: int | None = None
    """As in `emovox label`; give 1 to send the crops to a separate teacher process."""

    def __post_init__(self):
        if self.rows < 1000:
            raise UserError(f"rows is {self.rows}; give 1000 or more")


@dataclass(frozen=True, kw_only=True)
class BenchStart(BenchOptions):
    """How soon does a command answer? Measures `emovox --help`, `emovox label --help` and `emovox predict` of one file of ten
    seconds, each from the start of its process to its end, beside `python -c "import torch"`, below which no command that
    uses a network can come. The commands take turns. Seconds are medians; user time is less disturbed by other work of the
    machine than wall time.
    """

    file: str | None = None
    """Sound for `predict`. Default: ten seconds of noise."""
    repeats: int = 3
    """Timed runs of each command, after an untimed one."""
    out: str | None = None
    """Folder for bench_start.json."""

    def __post_init__(self):
        if self.repeats < 1:
            raise UserError(f"repeats is {self.repeats}; give 1 or more")
