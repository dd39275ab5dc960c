"""A timeline of speech that is being spoken: sound comes in over a WebSocket, an answer goes out for each window."""

import json
import logging
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.serving.answers import Answers
from pipeline.students.timelines import TimelineOptions, WindowCutter

MOST_MESSAGE_BYTES = 10 * 2 * SAMPLE_RATE_HZ
"""Ten seconds of sound in one message; a recorder sends about a tenth of one."""

LONGEST_S = 3600.0
TOO_BIG, POLICY = 1009, 1008
"""Codes of RFC 6455, section 7.4.1."""

log = logging.getLogger(__name__)


async def live_timeline(socket: WebSocket, answers: Answers) -> None:
    """Binary messages of int16 samples (little endian, mono, 16 kHz) in; for each window of `predict`'s timeline its row out, as
    JSON. It ends when the client closes it, after an hour, or with a message that is no such sound."""
    options = TimelineOptions()
    await socket.accept()
    cutter, taken = WindowCutter(options.window, options.hop), 0
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            sound = message.get("bytes")
            if problem := _problem(sound, taken):
                await socket.close(TOO_BIG if "longer" in problem else POLICY, problem)
                return
            assert sound is not None
            samples = np.frombuffer(sound, "<i2")
            taken += len(samples)
            for start, speech_T in cutter.push(samples):
                answer = await answers.of_window(speech_T)
                await socket.send_text(json.dumps(_placed(answer, start, options)))
    except WebSocketDisconnect:
        return


def _problem(sound: bytes | None, taken: int) -> str | None:
    """Why a message is not taken; None for one that is."""
    if sound is None or len(sound) % 2:
        return "send int16 samples at 16 kHz as binary messages"
    if len(sound) > MOST_MESSAGE_BYTES:
        return f"a message is longer than {MOST_MESSAGE_BYTES} bytes"
    if taken > LONGEST_S * SAMPLE_RATE_HZ:
        return f"a connection is not longer than {LONGEST_S:.0f} s of sound; open another"
    return None


def _placed(answer: dict[str, Any], start: int, options: TimelineOptions) -> dict[str, Any]:
    return {"start_s": start / SAMPLE_RATE_HZ, "end_s": (start + options.window) / SAMPLE_RATE_HZ} | answer
