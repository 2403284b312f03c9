"""The page's requests and answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labelling.page.pictures import for_browser
from labelling.page.session import LabellingSession
from shared.errors import ExplainedError

STATIC = Path(__file__).with_name("static")
MOST = 64  # images in one answer, or handed out at once
WIDTHS = {"thumbnail": 320, "picture": 1600, "pixels": None}  # of the longer side

Identifier = Annotated[str, Len(1, 64)]
Rows = Annotated[list[int], Len(0, MOST)]
T = TypeVar("T", bound="Body")


class Body(BaseModel):
    """What the page sends; anything else is refused."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    tab: Identifier


class NextBody(Body):
    """Asks for `n` more images than the tab holds."""

    n: int
    held: Rows = []


class AnswerBody(NextBody):
    """An answer; the reply brings the next `n` images."""

    id: Identifier
    rows: Rows
    whys: Annotated[list[Identifier], Len(0, MOST)]
    label: list[int] | None
    seconds: float
    prediction_shown: bool


class RowBody(Body):
    """One image."""

    row: int


class KeepBody(RowBody):
    """A label of it that was looked at again, and is right."""

    class_index: int


def make_app(session: LabellingSession) -> Starlette:
    """The application; `labelling.page.gate.Gate` belongs in front of it."""

    def state(_: Request) -> Response:
        project = session.project
        return JSONResponse(
            {
                "classes": list(project.class_names),
                "out": str(project.out),
                "pool": str(project.pool),
                "share": project.share,
                "counts": session.counts(),
                "learner": session.learner(),
            }
        )

    def hand_out(body: NextBody) -> dict[str, Any]:
        n = max(0, min(body.n, MOST))
        return {"cards": session.hand_out(body.tab, n, body.held), "counts": session.counts()}

    def answer(body: AnswerBody) -> dict[str, Any]:
        label = None if body.label is None else tuple(body.label)
        session.answer(
            body.id, body.tab, body.rows, body.whys, label, body.seconds, body.prediction_shown
        )
        return hand_out(body)

    def grid(body: NextBody) -> dict[str, Any]:
        n = max(1, min(body.n, MOST))
        return {"cards": session.hand_out_alike(body.tab, n, body.held)}

    def undo(body: Body) -> dict[str, Any]:
        return {"cards": session.undo(body.tab), "counts": session.counts()}

    def prediction(body: RowBody) -> dict[str, Any]:
        return {"probabilities": session.prediction(body.row)}

    def review(_: Body) -> dict[str, Any]:
        return {"entries": session.doubts()}

    def keep(body: KeepBody) -> dict[str, Any]:
        session.keep(body.row, body.class_index)
        return {"counts": session.counts()}

    def release(body: Body) -> dict[str, Any]:
        session.release(body.tab)
        return {}

    def history(_: Request) -> Response:
        return JSONResponse({"cards": session.history(MOST)})

    def picture(request: Request) -> Response:
        row, kind = request.path_params["row"], request.path_params["kind"]
        if row >= len(session.project.names) or kind not in WIDTHS:
            return JSONResponse({"error": "There is no such image."}, 404)
        file = session.project.pool / session.project.names[row]
        content, media_type = for_browser(file, WIDTHS[kind])
        return Response(
            content, media_type=media_type, headers={"cache-control": "private, max-age=3600"}
        )

    async def index(_: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/state", state),
            Route("/history", history),
            Route("/images/{row:int}/{kind}", picture),
            _post("/next", NextBody, hand_out),
            _post("/grid", NextBody, grid),
            _post("/answer", AnswerBody, answer),
            _post("/undo", Body, undo),
            _post("/prediction", RowBody, prediction),
            _post("/review", Body, review),
            _post("/keep", KeepBody, keep),
            _post("/release", Body, release),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={ExplainedError: _explained, ValueError: _refused, OSError: _disk},
    )


def _post(path: str, kind: type[T], answer: Callable[[T], dict[str, Any]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = kind.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": f"{path}: {error}"}, 400)
        return JSONResponse(await run_in_threadpool(answer, body))

    return Route(path, endpoint, methods=["POST"])


async def _explained(_: Request, error: Exception) -> Response:
    text = error.explained if isinstance(error, ExplainedError) else str(error)
    return JSONResponse({"error": text}, 409)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


async def _disk(_: Request, error: Exception) -> Response:
    """The disk refuses the journal: nothing is confirmed, and the page says so."""
    return JSONResponse({"error": f"The answer could not be written: {error}."}, 507)
