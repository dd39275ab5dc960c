"""How long the videos of a folder are, by many decoders at once."""

import logging
import os
from collections import Counter

from tqdm import tqdm

from cluster import storage
from cluster.failures import StorageUnavailable, UserError
from pipeline.decoding.decoder_pool import DecoderPool
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import LengthRequest
from pipeline.rejects import Rejected, count_unforeseen, suspicion

LOCAL_DECODERS = max(1, min(16, os.cpu_count() or 1))
FAR_DECODERS = 16  # most of their time goes by until the storage answers

MEMORY_BYTES = 2**30
"""What each of them may allocate: they decode a picture of each file at most."""

log = logging.getLogger(__name__)


def probe_durations(files: list[storage.StoredFile]) -> list[float | None]:
    """Seconds of each file, None where it cannot be opened; how many and why goes to the log."""
    is_local = all(storage.is_local(file.uri) for file in files)
    decoders = min(LOCAL_DECODERS if is_local else FAR_DECODERS, len(files))
    with DecoderPool(max(1, decoders), MEMORY_BYTES) as pool:
        results = pool.map(_probe_duration, files)
        found = list(tqdm(results, total=len(files), desc="probing videos", unit="file", disable=None))
    problems = [problem for _, problem in found if problem]
    if problems:
        reasons = Counter(
            problem.reason.value if isinstance(problem, Rejected) else str(problem) for problem in problems
        )
        told = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        log.warning("%d of %d files cannot be opened and become rejects: %s", len(problems), len(files), told)
    details = [problem.detail for problem in problems if isinstance(problem, Rejected)]
    if said := suspicion(count_unforeseen(details), len(files)):
        log.warning("%s", said)
    return [duration_s for duration_s, _ in found]


def _probe_duration(
    decoder: IsolatedDecoder, file: storage.StoredFile
) -> tuple[float | None, Rejected | UserError | None]:
    """Seconds, and why they are not known. A file that is missing or forbidden is a bad item like any other; a storage
    that serves nothing ends the job."""
    try:
        if not storage.is_local(file.uri) and (duration_s := _remote_duration(decoder, file)) is not None:
            return duration_s, None
        with storage.local_copy(file.uri) as path:
            return decoder.ask(LengthRequest(path=path)), None
    except StorageUnavailable:
        raise
    except (Rejected, UserError) as problem:
        if isinstance(problem, Rejected) and problem.trace:
            log.warning("%s: %s", file.uri, problem.trace)
        return None, problem


def _remote_duration(decoder: IsolatedDecoder, file: storage.StoredFile) -> float | None:
    """Seconds by the file's beginning and end; only the ranges that ffmpeg asks for are fetched. None where a whole copy is
    needed."""
    if not file.size:
        return None
    with storage.open_ranges(file.uri, file.size) as ranges:
        return decoder.ask(LengthRequest(path=file.uri, remote_bytes=file.size), ranges)
