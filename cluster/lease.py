"""OUT/lease.json lets only one run at a time write to an output.

It names the run that is writing (host, process, start time), which rewrites it every few seconds. A second run reads it.
If the holder is on this machine, the process table says whether it is alive. If it is on another machine, it is alive if
the file changes while it is watched, so no two clocks are compared. The lease of a dead holder is taken over.

The lease prevents wasted work and confusion; the correctness of the output does not depend on it. Two runs that both get
through (a storage without conditional writes, two takeovers at the same instant) notice each other at the next beat, and
the one whose token is gone stops.

A run whose processes were all suspended may wake up after another run has replaced it. It must not write into what its
successor has finished. So every writer asks just before each write: the driver calls `Lease.check`, and processes that
work for it, here or on another node, call `Proof.check`. A write that had already begun may still land.
"""

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass, replace

from cluster import storage
from cluster.failures import StorageUnavailable, UserError
from cluster.lease_holder import Holder, read_holder, this_process

FILE = "lease.json"
BEAT_S = 10.0
SILENT_S = 45.0
"""A holder on another machine whose file stays unchanged this long is dead, or cut off and will find itself replaced."""

RELEASE_WAIT_S = 5.0
"""How long the end of a run waits for a beat that is being sent to a storage that does not answer."""

NEXT_STEP = "wait for it to end, or stop it and give this command again, or choose another --out"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Proof:
    """Lets a process that writes for a run check that the run still holds the output: `lease(...).proof`.

    It is two strings, so it can be pickled to any process on any node. Use it before each write that must not overwrite a
    successor's (a part, the state of a training):

        self.proof.check()
        storage.write_bytes(uri, data)
    """

    output_uri: str
    token: str

    def check(self) -> None:
        """Raises UserError if another run has taken over. Reads one small file from the storage."""
        successor = self.successor()
        if successor is not None:
            raise UserError(_lost(self.output_uri, successor))

    def successor(self) -> Holder | None:
        """None while the output is held; else the run that has taken over, without a token if that run has ended."""
        found = read_holder(storage.join(self.output_uri, FILE))
        if found is None:
            # only the end of a run removes the file; if the whole output is missing, it is the storage that is away
            return Holder() if storage.is_folder(self.output_uri) else None
        return None if found.token in (None, self.token) else found


class Lease:
    """A lease held by this process. Call `check` before anything that two runs must not both do; pass `proof` to the
    processes that this one starts."""

    def __init__(self, output_uri: str, beat_s: float = BEAT_S):
        self.output_uri = output_uri
        self.uri = storage.join(output_uri, FILE)
        self.beat_s = beat_s
        self.proof = Proof(output_uri, uuid.uuid4().hex)
        self.holder = this_process(self.proof.token)
        self._successor: Holder | None = None
        self._confirmed = time.monotonic()
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def check(self) -> None:
        """Raises UserError if another run has taken over. Asks the storage only if the last beat is long ago, as it is
        after the process was suspended and continued."""
        if self._successor is None and time.monotonic() - self._confirmed > 2 * self.beat_s:
            self.confirm()
        self._refuse_if_lost()

    def confirm(self) -> None:
        """Like `check`, but always asks the storage. Call it before removing files."""
        self._look()
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self._successor is not None:
            raise UserError(_lost(self.output_uri, self._successor))

    def _look(self) -> None:
        if self._successor is None:  # a lost lease stays lost
            self._successor = self.proof.successor()
            self._confirmed = time.monotonic()

    def acquire(self, silent_s: float) -> None:
        """Raises UserError if a living run holds the output."""
        found = read_holder(self.uri)
        if found is None:
            with contextlib.suppress(FileExistsError):
                storage.create_json(self.uri, self.holder)
            found = read_holder(self.uri)
        if not self._is_ours(found):
            _refuse_if_alive(self.output_uri, found or Holder(), silent_s)
            storage.write_json(self.uri, self.holder)
            found = read_holder(self.uri)
            if not self._is_ours(found):
                raise UserError(f"{self.output_uri}: {found or Holder()} began here at the same time; {NEXT_STEP}")
        self._confirmed = time.monotonic()

    def _is_ours(self, found: Holder | None) -> bool:
        return found is not None and found.token == self.proof.token

    def beat_until_ended(self) -> None:
        """Runs in the heartbeat's thread. A storage that does not answer does not end the run: the next beat tries again."""
        while not self._ended.wait(self.beat_s):
            with self._writing:
                if self._ended.is_set():
                    return
                try:
                    self._look()
                    if self._successor is not None:
                        return
                    self.holder = replace(self.holder, beat=self.holder.beat + 1)
                    storage.write_json(self.uri, self.holder)
                except UserError as error:
                    log.warning("no sign of life could be written (%s)", error)

    def release(self, storage_answers: bool = True) -> None:
        """Removes the file if it is still ours. If it cannot be removed, the next run finds that its holder is dead."""
        self._ended.set()
        if not storage_answers or not self._writing.acquire(timeout=RELEASE_WAIT_S):
            return
        try:
            self._look()
            if self._successor is None and storage.exists(self.uri):
                storage.delete(self.uri)
        except UserError as error:
            log.warning("%s stays behind (%s); the next run takes it over", self.uri, error)
        finally:
            self._writing.release()


@contextlib.contextmanager
def lease(output_uri: str, beat_s: float = BEAT_S, silent_s: float = SILENT_S) -> Generator[Lease]:
    """Holds the output during the block. Raises UserError, with nothing changed, if another living run holds it."""
    held = Lease(output_uri, beat_s)
    held.acquire(silent_s)
    threading.Thread(target=held.beat_until_ended, name="lease", daemon=True).start()
    try:
        yield held
    except StorageUnavailable:
        held.release(storage.is_local(held.uri))
        raise
    except BaseException:
        held.release()
        raise
    held.release()


def _refuse_if_alive(output_uri: str, found: Holder, silent_s: float) -> None:
    uri = storage.join(output_uri, FILE)
    if found.is_on_this_machine():
        if found.is_alive():
            raise UserError(f"{output_uri} is being written by {found}; {NEXT_STEP}")
        log.info("%s was left by %s, which is dead; going on from what it wrote", uri, found)
        return
    log.info("%s was written by %s; waiting up to %.0f s for a sign of its life", uri, found, silent_s)
    until = time.monotonic() + silent_s
    while time.monotonic() < until:
        time.sleep(min(1.0, silent_s / 10))
        now = read_holder(uri)
        if now is None:
            return
        if now != found:
            raise UserError(f"{output_uri} is being written by {now}; {NEXT_STEP}")
    log.info("%s gave none; going on from what it wrote", found)


def _lost(output_uri: str, successor: Holder) -> str:
    """The message for a run that has lost its output; a successor without a token has already ended."""
    who, then = (
        (str(successor), "wait for that run to end")
        if successor.token
        else (
            f"another run, which has ended since ({FILE} is gone),",
            "give this command again to see whether all is done",
        )
    )
    return (
        f"{output_uri}: {who} took this output over while this run was stopped or cut off; nothing more is written here, and "
        f"what is written stays; {then}"
    )
