"""OUT/lease.json: one run at a time writes to one output.

It names the run that writes (host, process, since when) and is written again every few seconds. A second run reads it:
a holder on this machine is alive or dead, which the process table says at once; a holder on another machine is alive if
the file changes while it is watched, so that no two clocks are compared. What a dead holder left is taken over.

This is a guard against wasted work and confusion and not what the content of an output rests on: two runs that slip
through together (a storage without conditional writes, two takeovers in the same instant) notice each other at the next
beat, and the one whose token is gone stops. Its workers elsewhere ask for themselves just before each part (`Proof`), so
that a run which was stopped, all its processes together, does not go on in what its successor has finished meanwhile. A write
that had begun may still land; doubled rows go at the end of whichever run ends last.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cluster import storage
from cluster.failures import StorageUnavailable, UserError

FILE = "lease.json"
BEAT_S = 10.0
SILENT_S = 45.0
"""A holder elsewhere whose file stays the same for so long is dead, or cut off and will find that it was replaced."""

RELEASE_WAIT_S = 5.0
"""How long the end of a run waits for a beat that is on its way to a storage which does not answer."""

NEXT_STEP = "wait for it to end, or stop it and give this command again, or choose another --out"

log = logging.getLogger("emovox")


@dataclass(frozen=True)
class Proof:
    """What a worker, in whatever process, needs to see whether the run that it works for still holds the output."""

    output_uri: str
    token: str

    def check(self) -> None:
        """Asks the storage. Raises UserError if another run has taken over."""
        found = self.look()
        if found is not None:
            raise UserError(_lost(self.output_uri, found))

    def look(self) -> dict | None:
        """None while the output is held; else the run that has taken over, empty where that has ended and gone."""
        found = _read(storage.join(self.output_uri, FILE))
        if found is None:
            # only the end of a run takes it away; where the whole output is not to be seen, it is the storage
            return {} if storage.is_folder(self.output_uri) else None
        return None if not found or found.get("token") == self.token else found


class Lease:
    """Held by this process: `check` before what must not be done by two."""

    def __init__(self, output_uri: str, beat_s: float = BEAT_S):
        self.output_uri = output_uri
        self.uri = storage.join(output_uri, FILE)
        self.beat_s = beat_s
        self.proof = Proof(output_uri, uuid.uuid4().hex)
        self.holder = _this_process() | {"token": self.proof.token, "beat": 0}
        self._successor: dict | None = None
        self._confirmed = time.monotonic()
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def check(self) -> None:
        """Raises UserError if another run has taken over. Asks the storage only where the last beat is long ago, as
        after the process was stopped and continued."""
        if self._successor is None and time.monotonic() - self._confirmed > 2 * self.beat_s:
            self.confirm()
        self._refuse_if_lost()

    def confirm(self) -> None:
        """As `check`, from the storage as it is now: before files are taken out."""
        self._look()
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        if self._successor is not None:
            raise UserError(_lost(self.output_uri, self._successor))

    def _look(self) -> None:
        if self._successor is None:  # what is lost stays lost
            self._successor = self.proof.look()
            self._confirmed = time.monotonic()

    def acquire(self, silent_s: float) -> None:
        """Raises UserError if a living run holds the output."""
        found = _read(self.uri)
        if found is None:
            _create(self.uri, self.holder)
            found = _read(self.uri)
        if not self._is_ours(found):
            _refuse_if_alive(self.output_uri, found or {}, silent_s)
            storage.write_json(self.uri, self.holder)
            found = _read(self.uri)
            if not self._is_ours(found):
                raise UserError(f"{self.output_uri}: {_named(found)} began here at the same time; {NEXT_STEP}")
        self._confirmed = time.monotonic()

    def _is_ours(self, found: dict | None) -> bool:
        return found is not None and found.get("token") == self.proof.token

    def beat_until_ended(self) -> None:
        """The thread of the heartbeat. A storage that does not answer ends no run: the next beat tries again."""
        while not self._ended.wait(self.beat_s):
            with self._writing:
                if self._ended.is_set():
                    return
                try:
                    self._look()
                    if self._successor is not None:
                        return
                    self.holder["beat"] += 1
                    storage.write_json(self.uri, self.holder)
                except UserError as error:
                    log.warning("no sign of life could be written (%s)", error)

    def release(self, storage_answers: bool = True) -> None:
        """Takes the file away if it is still ours. What cannot be removed is found to be of a dead run by the next."""
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
def lease(output_uri: str, beat_s: float = BEAT_S, silent_s: float = SILENT_S) -> Iterator[Lease]:
    """Holds the output for the length of the block. Raises UserError, with nothing changed, if a living run holds it."""
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


def _read(uri: str, again: bool = True) -> dict | None:
    """None where there is none; an empty dict for one that is just being written."""
    try:
        found = json.loads(storage.read_bytes(uri)) if storage.exists(uri) else None
        return found if found is None or isinstance(found, dict) else {}
    except ValueError as error:
        if not isinstance(error, UserError):
            return {}
        if not storage.exists(uri):  # it went between the two looks
            return None
        if again:  # another was put in its place meanwhile, which a network file system tells as an error
            return _read(uri, again=False)
        raise


def _create(uri: str, holder: dict) -> None:
    """Writes the file if there is none. Where the storage knows no such write, a plain one; the caller reads it back."""
    data = json.dumps(holder, indent=2).encode()
    if not storage.is_local(uri):
        fs, path = storage.resolve(uri)
        try:
            fs.handler.fs.pipe_file(path, data, mode="create")
        except OSError:
            if _read(uri) is None:
                storage.write_bytes(uri, data)  # says in one line what is wrong, if it is not the kind of write
        return
    aside = f"{uri}.{holder['token']}{storage.PARTIAL}"
    storage.write_bytes(aside, data)
    try:
        os.link(storage.absolute(aside), storage.absolute(uri))  # fails where one is there, and is never half there
    except FileExistsError:
        pass
    except OSError:
        storage.write_bytes(uri, data)
    finally:
        storage.delete(aside)


def _refuse_if_alive(output_uri: str, found: dict, silent_s: float) -> None:
    uri = storage.join(output_uri, FILE)
    if found.get("machine") and found["machine"] == _machine():
        if _started(found.get("pid", -1)) == found.get("process_started"):
            raise UserError(f"{output_uri} is being written by {_named(found)}; {NEXT_STEP}")
        log.info("%s was left by %s, which is dead; going on from what it wrote", uri, _named(found))
        return
    log.info("%s was written by %s; waiting up to %.0f s for a sign of its life", uri, _named(found), silent_s)
    until = time.monotonic() + silent_s
    while time.monotonic() < until:
        time.sleep(min(1.0, silent_s / 10))
        now = _read(uri)
        if now is None:
            return
        if now != found:
            raise UserError(f"{output_uri} is being written by {_named(now)}; {NEXT_STEP}")
    log.info("%s gave none; going on from what it wrote", _named(found))


def _lost(output_uri: str, successor: dict) -> str:
    """What a run is told whose output another one has; an empty successor is one that has ended."""
    who, then = (
        (_named(successor), "wait for that run to end")
        if successor
        else (
            f"another run, which has ended since ({FILE} is gone),",
            "give this command again to see whether all is done",
        )
    )
    return (
        f"{output_uri}: {who} took this output over while this run was stopped or cut off; nothing more is written here, and "
        f"what is written stays; {then}"
    )


def _named(holder: dict | None) -> str:
    if not holder:
        return "another run"
    return f"process {holder.get('pid')} on {holder.get('host')} (since {holder.get('since')})"


def _this_process() -> dict:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "process_started": _started(os.getpid()),
    }


def _machine() -> str | None:
    """Where a process id means the same: this boot of the kernel and this container. None where Linux is not there to
    tell; then every holder is one to be watched."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return None


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot, so that a number used again is not taken for it; None: it is gone
    or a zombie (proc(5), /proc/PID/stat: state is field 3, starttime 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
