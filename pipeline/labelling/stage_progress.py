"""The stages of a labelling run as people watch them: live behind the progress bar, and as a table at the end."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator

from tqdm import tqdm

from cluster.tally import Counts, StageCount

LABELLING_STAGES = {
    "fetch": "files copied from remote storage",
    "decode": "pixels of the sampled frames",
    "faces": "face crops",
    "teacher": "logits",
    "write": "parts on storage",
}
"""Stages in the order in which an utterance goes through them, and what their bytes are."""

SHOWN = ("decode", "faces", "teacher", "write")
SHOW_EVERY_S = 1.0
TABLE_COLUMNS = f"{'stage':<9}{'rows':>9}{'rejected':>10}{'work s':>10}{'rows/s':>9}{'ms/row':>9}{'MB':>10}"


@contextlib.contextmanager
def watched(bar: tqdm, rows: int, counts: Callable[[], Counts]) -> Generator[None]:
    """Shows behind the bar how far each stage is.

    counts is asked about once a second, in a thread of its own.
    """
    started = time.monotonic()
    ended = threading.Event()

    def show() -> None:
        with contextlib.suppress(Exception):  # Ray ends under a thread that asks
            bar.set_postfix_str(stage_line(counts(), rows, time.monotonic() - started), refresh=False)

    def keep_showing() -> None:
        while not ended.wait(SHOW_EVERY_S):
            show()

    watcher = threading.Thread(target=keep_showing, daemon=True)
    watcher.start()
    try:
        yield
        show()  # as it was at the end
    finally:
        ended.set()
        watcher.join(5 * SHOW_EVERY_S)


def stage_line(counts: Counts, rows: int, seconds: float) -> str:
    """Such as `decode 120 (3.1/s, 01:30 left), faces 118 (3.0/s, 01:31 left)`; empty before the first row. What one
    stage rejects the next ones need not do."""
    told, expected = [], rows
    for stage in SHOWN:
        count = counts.get(stage, StageCount())
        if count.rows and seconds > 0:
            per_s = count.rows / seconds
            left = tqdm.format_interval(max(0, expected - count.rows) / per_s)
            told.append(f"{stage} {count.rows} ({per_s:.1f}/s, {left} left)")
        expected = rows if stage == "teacher" else expected - count.rejected  # rejects are written too
    return ", ".join(told)


def stage_table(counts: Counts, seconds: float) -> str:
    """Lines of text: for each stage its rows, its seconds of work over all workers, rows a second of the clock, and
    milliseconds of work a row."""
    lines = [TABLE_COLUMNS]
    for stage in LABELLING_STAGES:
        if stage in counts:
            count = counts[stage]
            lines.append(
                f"{stage:<9}{count.rows:>9}{count.rejected:>10}{count.seconds:>10.1f}"
                f"{count.rows / max(seconds, 1e-9):>9.2f}{1000 * count.seconds / max(1, count.rows):>9.1f}"
                f"{count.size_bytes / 1e6:>10.1f}"
            )
    return "\n".join(lines)
