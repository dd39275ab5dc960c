"""From a distillation set to batches of speech windows and their targets, for Ray Train's workers or a single process.

A pass visits every training utterance once, but for those that do not fill its last batch. Its order is computed from (seed,
pass): the parts are shuffled, and within a block of some parts the utterances are shuffled. So the order differs from pass
to pass, but is the same for the same seed and pass on any machine, and a resumed run continues at any batch without reading
what comes before it. With several workers, each takes its own stretch of the order and reads only the parts of that stretch.
So batches of W workers combine other utterances than those of one, but are reproducible for the same W.

Ray Data's own shuffles and `streaming_split` are not used. In Ray 2.60 their seed depends on a count of executions that
starts at 0 in every new process (`DataContext._execution_idx`), and the blocks, on which a local shuffle depends, depend on
the number of CPUs. A resumed or resized run would see another order.
"""

import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cluster.failures import UserError
from modeling.distillation.baseline import SpeakerBaseline
from pipeline.dataset.distillation_set import read_parts, set_parts, warn_unchecked
from pipeline.dataset.part_file import read_part_file
from pipeline.dataset.resting_faces import resting_faces, without_resting_faces
from pipeline.dataset.set_record import Part
from pipeline.dataset.utterances import FILTER_COLUMNS, OF_ONE_FACE, USABLE
from pipeline.distillation.speech_memory import KEPT_GIB
from pipeline.distillation.windows import WINDOW_COLUMNS, Row, Utterances, WindowSampler, WindowSampling
from pipeline.schema import CONTENT_COLUMN

INDEX_COLUMNS = [
    *("utterance_id", "speaker_id", "teacher", "emotion", "logits", "face_is_ambiguous"),
    *(CONTENT_COLUMN, *FILTER_COLUMNS),
]

BLOCK_UTTERANCES = 1000
"""Parts are read, and their utterances shuffled, in blocks of at least this many (about 150 MB of FLAC): one block is trained
on while the next is read. A set of one block is read once and stays in memory."""

READ_THREADS = 8
DECODE_THREADS = 4  # libsndfile decodes while other threads hold the interpreter
BATCHES_AHEAD = 4


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RowLocations:
    """Where utterances are stored: number n is row `row_N[n]` of part `parts[part_N[n]]`.

    checked: numbers of the parts whose digests this process has checked, so that it checks them once and not in every pass.
    """

    parts: tuple[Part, ...]
    part_N: np.ndarray
    row_N: np.ndarray
    checked: set[int] = field(default_factory=set[int], compare=False)

    def __len__(self) -> int:
        return len(self.row_N)

    def read(self, indices_M: np.ndarray) -> pa.Table:
        """`WINDOW_COLUMNS` of these utterances, in this order."""
        by_part_M = np.argsort(self.part_N[indices_M], kind="stable")
        numbers, firsts = np.unique(self.part_N[indices_M][by_part_M], return_index=True)
        wanted = np.split(self.row_N[indices_M][by_part_M], firsts[1:])
        with ThreadPoolExecutor(READ_THREADS) as pool:
            tables = pool.map(lambda part, rows: self._part(int(part)).take(rows), numbers, wanted)
            return pa.concat_tables(tables).take(np.argsort(by_part_M))

    def _part(self, number: int) -> pa.Table:
        part = self.parts[number]
        table = read_part_file(part.uri, WINDOW_COLUMNS, seal=part.seal, check=number not in self.checked).table
        self.checked.add(number)
        return table


class LabelIndex:
    """What is known about every utterance of a set, without sound and frames; read once."""

    def __init__(self, labels_uri: str, *, speaker_baseline: bool = False, ambiguous: bool = False):
        """speaker_baseline: take the resting face of each speaker off the labels; `baseline` is then what is taken off.
        ambiguous: train also on utterances in which another face was nearly as prominent as the labelled one.

        Raises UserError if no set is there, it is of another version, or utterances are in it twice.
        """
        self.labels_uri, self.ambiguous = labels_uri, ambiguous
        parts = set_parts(labels_uri)
        read = read_parts(parts, INDEX_COLUMNS)
        self.parts = tuple(Part(part.uri, found.seal) for part, found in zip(parts, read, strict=True))
        warn_unchecked(labels_uri, [part.seal for part in read])
        tables = [part.table for part in read]
        if not any(map(len, tables)):
            raise UserError(
                f"{labels_uri}: no distillation set is there; write one with `emovox label --out {labels_uri}`"
            )
        part_N = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        row_N = np.concatenate([np.arange(len(table)) for table in tables])
        self.table = pa.concat_tables(tables)
        self.table = self.table.append_column("part", pa.array(part_N)).append_column("row", pa.array(row_N))
        ids = self.table.filter(USABLE)["utterance_id"]
        if doubled := len(ids) - pc.count_distinct(ids).as_py():
            raise UserError(
                f"{labels_uri}: {doubled} labelled utterances are in it twice, as a run that was cut off can leave them; give "
                "its `emovox label` command again, which takes them out"
            )
        self.baseline: SpeakerBaseline | None = None
        if speaker_baseline:
            rows = self.table.filter(USABLE)
            self.baseline = resting_faces(rows)
            self.table = without_resting_faces(rows, self.baseline)

    def usable(self, split: str) -> pa.Table:
        """The rows of a split that a student can learn from, with the columns `part` and `row` of `places`."""
        return self.table.filter(USABLE & (pc.field("split") == split))

    def training(self) -> pa.Table:
        """The rows to train on: the usable ones of the split train, without ambiguous ones unless those are wanted. Raises
        UserError if there are none or several teachers labelled them."""
        rows = self._trained_on()
        teachers = pc.unique(rows["teacher"]).to_pylist()
        if not len(rows):
            if self.left_out():
                raise UserError(
                    f"{self.labels_uri}: in all {self.left_out()} labelled utterances of split 'train' another face was nearly "
                    "as prominent as the labelled one; give --ambiguous to train on them nevertheless"
                )
            have = dict(Counter(self.table["split"].to_pylist()))
            raise UserError(
                f"{self.labels_uri}: no labelled utterance with speech in split 'train'; utterances by split: {have}"
            )
        if len(teachers) > 1:
            raise UserError(
                f"{self.labels_uri}: labels of several teachers {teachers} are mixed; label again into an empty folder"
            )
        return rows

    def left_out(self) -> int:
        """Usable utterances of the split train that are ambiguous and not wanted."""
        return len(self.usable("train")) - len(self._trained_on())

    def _trained_on(self) -> pa.Table:
        rows = self.usable("train")
        return rows if self.ambiguous else rows.filter(OF_ONE_FACE)

    def fingerprint(self) -> str:
        """The number of training and validation utterances, and a hash of their ids and labels and, if the set has hashes of
        them, of their speech and frame labels. The order of utterances does not matter."""
        counts, digest = [], hashlib.sha256()
        for split, chosen in (("train", self._trained_on()), ("val", self.usable("val"))):
            rows = chosen.select(["utterance_id", "logits", CONTENT_COLUMN])
            rows = rows.sort_by("utterance_id").combine_chunks()
            counts.append(f"{len(rows)} of {split}")
            digest.update("\n".join(rows["utterance_id"].to_pylist()).encode())
            digest.update(pc.list_flatten(rows["logits"]).to_numpy().tobytes())
            if rows[CONTENT_COLUMN].null_count < len(rows):  # an older set keeps its fingerprint
                digest.update("\n".join(rows[CONTENT_COLUMN].fill_null("").to_pylist()).encode())
        return f"{' and '.join(counts)}, {digest.hexdigest()[:16]}"

    def places(self, rows: pa.Table) -> RowLocations:
        return RowLocations(self.parts, rows["part"].to_numpy(), rows["row"].to_numpy())


@dataclass(frozen=True, kw_only=True)
class RankShare:
    """One worker's share of every batch of `batch` utterances; shares are as equal as whole utterances allow."""

    batch: int
    rank: int = 0
    world_size: int = 1

    @property
    def rows(self) -> int:
        return self.batch // self.world_size + (self.rank < self.batch % self.world_size)

    @property
    def rows_before(self) -> int:
        """Rows of the workers with a lower rank."""
        return self.rank * (self.batch // self.world_size) + min(self.rank, self.batch % self.world_size)

    @property
    def weight(self) -> float:
        """Weight of this worker's mean loss in the mean over workers, such that every utterance counts the same."""
        return self.rows * self.world_size / self.batch


def pass_blocks(part_N: np.ndarray, seed: int, pass_index: int) -> list[np.ndarray]:
    """The order of one pass: blocks of utterance numbers. Each block has whole parts (of `part_N`) and, except the last, at
    least BLOCK_UTTERANCES utterances."""
    rng = np.random.default_rng((seed, pass_index))
    by_part_N = np.argsort(part_N, kind="stable")
    numbers, firsts = np.unique(part_N[by_part_N], return_index=True)
    of_part = np.split(by_part_N, firsts[1:])
    blocks: list[list[np.ndarray]] = [[]]
    for part in rng.permutation(len(numbers)):
        if sum(map(len, blocks[-1])) >= BLOCK_UTTERANCES:
            blocks.append([])
        blocks[-1].append(of_part[part])
    return [rng.permutation(np.concatenate(block)) for block in blocks]


def window_batches(
    places: RowLocations,
    draw: WindowSampling,
    share: RankShare,
    *,
    first_batch: int = 0,
    kept_gib: float = KEPT_GIB,
    baseline: SpeakerBaseline | None = None,
) -> Generator[dict[str, torch.Tensor], None, None]:
    """An endless stream of this worker's share of the batches, pass after pass, each in a new order.

    Every worker's stream has as many batches in a pass, all full: utterances that do not fill the last one wait for
    another pass. first_batch: where a resumed training goes on in the stream, whatever its number of workers was.
    kept_gib: of decoded speech that stays in memory, and is not read again. baseline: taken off the frames' logits.
    """
    per_pass = len(places) // share.batch
    whole = places.read(np.arange(len(places))) if len(places) <= BLOCK_UTTERANCES else None
    utterances = Utterances(kept_gib, baseline)

    def read(indices_M: np.ndarray) -> list[Row]:
        if whole is None:
            return utterances.rows(indices_M, places.read)
        return [Row(index, whole, index) for index in indices_M.tolist()]

    def draw_batch(numbered: tuple[int, list[Row]]) -> dict[str, torch.Tensor]:
        number, rows = numbered
        return WindowSampler(draw, number // per_pass)(utterances.of(rows))

    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(DECODE_THREADS) as decoding:
        blocks = _ahead(reading, read, _own_blocks(places.part_N, draw.seed, share, first_batch), 1)
        batches = enumerate(_rebatched(blocks, share.rows), first_batch)
        yield from _ahead(decoding, draw_batch, batches, BATCHES_AHEAD)


def _own_blocks(part_N: np.ndarray, seed: int, share: RankShare, first_batch: int) -> Iterator[np.ndarray]:
    """The worker's stretch of each pass, block by block, starting at a batch."""
    per_pass = len(part_N) // share.batch
    first_pass, done = divmod(first_batch, per_pass)
    for pass_index in itertools.count(first_pass):
        start = per_pass * share.rows_before + done * share.rows
        stop = per_pass * (share.rows_before + share.rows)
        done, seen = 0, 0
        for block in pass_blocks(part_N, seed, pass_index):
            own = block[max(0, start - seen) : max(0, stop - seen)]
            seen += len(block)
            if len(own):
                yield own


def _rebatched(blocks: Iterable[list[Row]], rows: int) -> Iterator[list[Row]]:
    """The same rows in lists of `rows` each; the stream is endless."""
    stream = itertools.chain.from_iterable(blocks)
    while batch := list(itertools.islice(stream, rows)):
        yield batch


def _ahead(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[Result]:
    """function(item) for each item in order, with `count` results computed ahead."""
    under_way: deque = deque()
    for item in items:
        under_way.append(pool.submit(function, item))
        if len(under_way) > count:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
