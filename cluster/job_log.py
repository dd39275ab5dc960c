"""Follows the log of a submitted job line by line until the job is over, and reconnects when the connection is lost."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
from ray.job_submission import JobDetails

from cluster.dashboard import Dashboard
from cluster.failures import UserError
from cluster.submission import details

HEARTBEAT_S = 60.0
"""A connection that has silently died (a laptop that slept, a forwarded port that closed) is noticed after 1.5 times this.
With 20 s, a busy head was taken for a lost one."""

RECONNECT_EVERY_S = 3.0
GIVE_UP_AFTER_S = 600.0

log = logging.getLogger(__name__)


class JobLog:
    """The text of a job's log as it comes in. Whole lines are shown; the last JSON object is kept back as `result`.

    hidden_lines: how many lines at the start are searched for the result but not shown.
    """

    def __init__(self, show: Callable[[str], None], hidden_lines: int = 0):
        self.show = show
        self.hidden_lines = hidden_lines
        self.result: str | None = None
        self.received = 0
        """Characters received so far."""
        self._rest = ""

    @classmethod
    def of_last(cls, show: Callable[[str], None], lines: int, so_far: str) -> "JobLog":
        """A JobLog that shows only the last `lines` lines of the text so far, and everything after it."""
        every = so_far.splitlines()
        return cls(show, max(0, len(every) - any(map(_is_json_object, every)) - lines))

    def add(self, text: str) -> None:
        self.received += len(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)

    def close(self) -> None:
        """Call when the job is over: handles a last line without a line end."""
        if self._rest:
            self._line(self._rest)
            self._rest = ""

    def _line(self, line: str) -> None:
        if _is_json_object(line):
            before, self.result = self.result, line
            if before is None:
                return
            line = before
        if self.hidden_lines > 0:
            self.hidden_lines -= 1
        else:
            self.show(line)


def follow(dashboard: Dashboard, submission_id: str, text: JobLog) -> JobDetails:
    """Passes the log to `text` until the job is over; reconnects when the connection is lost. Returns how the job ended.

    Raises UserError if the dashboard cannot be reached for ten minutes or no longer knows the job.
    """
    return asyncio.run(_follow(dashboard, submission_id, text))


async def _follow(dashboard: Dashboard, submission_id: str, text: JobLog) -> JobDetails:
    lost_at = None
    while True:
        try:
            skip = text.received  # each connection starts again from the first character
            async for piece in _tail(dashboard, submission_id):
                lost_at = _back(lost_at)
                text.add(piece[skip:])
                skip = max(0, skip - len(piece))
            job = await asyncio.to_thread(details, dashboard, submission_id)
            lost_at = _back(lost_at)
            if job.status.is_terminal():
                text.close()
                return job
        except (aiohttp.ClientError, OSError, UserError) as error:
            if isinstance(error, UserError) and "knows no job" in str(error):
                raise
            if lost_at is None:
                log.warning(
                    "lost the connection to %s; connecting again, for %d minutes at most (a job goes on without us, unless its "
                    "head is gone)",
                    dashboard.address,
                    GIVE_UP_AFTER_S / 60,
                )
            lost_at = lost_at or time.monotonic()
            if time.monotonic() - lost_at > GIVE_UP_AFTER_S:
                raise UserError(
                    f"{dashboard.address} has not answered for {GIVE_UP_AFTER_S:g} s; once it does, go on with "
                    f"`emovox submit --attach {submission_id}`"
                ) from error
        await asyncio.sleep(RECONNECT_EVERY_S)


def _back(lost_at: float | None) -> None:
    if lost_at is not None:
        log.warning("connected again")


async def _tail(dashboard: Dashboard, submission_id: str) -> AsyncIterator[str]:
    """Yields pieces of the log until the server closes. Ray's own client does the same, but without a heartbeat."""
    async with aiohttp.ClientSession(headers=dashboard.headers) as session:
        url = f"{dashboard.address}/api/jobs/{submission_id}/logs/tail"
        async with session.ws_connect(url, heartbeat=HEARTBEAT_S, max_msg_size=0) as socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.ERROR:
                    raise aiohttp.ClientConnectionError(str(socket.exception()))
                yield message.data
            if socket.close_code != aiohttp.WSCloseCode.OK:
                raise aiohttp.ClientConnectionError(f"closed with code {socket.close_code}")


def _is_json_object(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
