"""The web application: endpoints and page. It runs under uvicorn in one process, or in the replicas of Ray Serve."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from cluster.failures import UserError
from pipeline.serving.access import Access
from pipeline.serving.answers import Answers
from pipeline.serving.live import POLICY, live_timeline
from pipeline.serving.page import StudentFacts, page
from pipeline.serving.uploads import MIB, received
from pipeline.students.timelines import HOP_S, WINDOW_S, TimelineOptions

FILES = {"page.js": "text/javascript", "recorder.js": "text/javascript", "page.css": "text/css"}

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """most_bytes: of an uploaded file."""

    access: Access = field(default_factory=Access)
    most_bytes: int = 200 * MIB


def application(answers: Answers, facts: StudentFacts, settings: ServeSettings) -> Starlette:
    """GET / (page), /health, /student; POST /predict; WebSocket /live. `answers` is closed when the application ends."""

    async def show_page(_: Request) -> Response:
        return HTMLResponse(page(facts, needs_token=settings.access.token is not None), headers=HEADERS)

    async def show_file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404, f"there is no {name}")
        text = (resources.files("pipeline.serving") / "static" / name).read_text()
        return Response(text, media_type=FILES[name], headers=HEADERS)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def student(request: Request) -> Response:
        _require(request)
        return JSONResponse(facts.as_json())

    async def predict(request: Request) -> Response:
        _require(request)
        timeline = _timeline(request)
        async with received(request, settings.most_bytes) as (path, name):
            answer = await answers.of_file(path, name, timeline)
        return JSONResponse(answer, status_code=422 if "reject_reason" in answer else 200)

    async def live(socket: WebSocket) -> None:
        if problem := settings.access.problem(socket):
            await socket.close(POLICY, problem[1])
            return
        await live_timeline(socket, answers)

    def _require(request: Request) -> None:
        if problem := settings.access.problem(request):
            raise HTTPException(*problem)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        answers.close()

    return Starlette(
        routes=[
            Route("/", show_page),
            Route("/static/{name}", show_file),
            Route("/health", health),
            Route("/student", student),
            Route("/predict", predict, methods=["POST"]),
            WebSocketRoute("/live", live),
        ],
        exception_handlers={HTTPException: _told, 500: _failed},  # pyright: ignore[reportArgumentType]
        lifespan=lifespan,
    )


def _timeline(request: Request) -> TimelineOptions | None:
    """From the query: timeline=1, window_s, hop_s. Raises HTTPException 400 for impossible lengths."""
    query = request.query_params
    if query.get("timeline", "0") in ("0", "false", ""):
        return None
    try:
        return TimelineOptions(window_s=float(query.get("window_s", WINDOW_S)), hop_s=float(query.get("hop_s", HOP_S)))
    except (ValueError, UserError) as error:
        raise HTTPException(400, f"window_s and hop_s: {error}") from error


async def _told(_: Request, problem: HTTPException) -> Response:
    return JSONResponse({"error": problem.detail}, status_code=problem.status_code)


async def _failed(_: Request, error: Exception) -> Response:
    said: dict[str, Any] = {
        "error": f"emovox failed on this request ({type(error).__name__}); its log has the traceback"
    }
    return JSONResponse(said, status_code=500)
