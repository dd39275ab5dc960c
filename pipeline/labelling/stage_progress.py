"""Shows the progress of a labelling run's stages: live after the progress bar, and as a table at the end."""

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
"""Stages in the order in which an utterance passes them -> what their bytes count."""

SHOWN = ("decode", "faces", "teacher", "write")
SHOW_EVERY_S = 1.0
TABLE_COLUMNS = f"{'stage':<9}{'rows':>9}{'rejected':>10}{'work s':>10}{'rows/s':>9}{'ms/row':>9}{'MB':>10}"


@contextlib.contextmanager
def watched(bar: tqdm, rows: int, counts: Callable[[], Counts]) -> Generator[None]:
    """Shows the progress of each stage after the bar.

    counts: called about once a second in a separate thread.
    """
    started = time.monotonic()
    ended = threading.Event()

    def show() -> None:
        with contextlib.suppress(Exception):  # Ray may end while the thread asks
            bar.set_postfix_str(stage_line(counts(), rows, time.monotonic() - started), refresh=False)

    def keep_showing() -> None:
        while not ended.wait(SHOW_EVERY_S):
            show()

    watcher = threading.Thread(target=keep_showing, daemon=True)
    watcher.start()
    try:
        yield
        show()  # the final state
    finally:
        ended.set()
        watcher.join(5 * SHOW_EVERY_S)


def stage_line(counts: Counts, rows: int, seconds: float) -> str:
    """For example `decode 120 (3.1/s, 01:30 left), faces 118 (3.0/s, 01:31 left)`; empty before the first row. Rows that a
    stage rejects are not expected in the next ones."""
    told, expected = [], rows
    for stage in SHOWN:
        count = counts.get(stage, StageCount())
        if count.rows and seconds > 0:
            per_s = count.rows / seconds
            left = tqdm.format_interval(max(0, expected - count.rows) / per_s)
            told.append(f"{stage} {count.rows} ({per_s:.1f}/s, {left} left)")
        expected = rows if stage == "teacher" else expected - count.rejected  # the last stage also writes the rejects
    return ", ".join(told)


def stage_table(counts: Counts, seconds: float) -> str:
    """Lines of text with each stage's rows, seconds of work over all workers, rows per wall second, and milliseconds of work
    per row."""
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
