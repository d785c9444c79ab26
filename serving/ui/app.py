"""The page's web application: one static page, and the three addresses that it asks."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mmr.errors import MmrError
from serving.models.requests import RequestError, read_texts
from serving.ui.comparison import DEPTH, TimedAnswer, shown_list
from serving.ui.pictures import Pictures
from serving.ui.searchers import ReleaseSearcher, Searcher
from serving.ui.weights import ReleaseWeights

_STATIC = Path(__file__).parent / "static"
_SHOWN = 20
_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; script-src 'self'; style-src 'self'; "
     b"img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
     b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)  # fmt: skip

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


@dataclass(frozen=True)
class Shop:
    """What the page shows.

    Attributes:
        champion: Answers for what is in production.
        candidate: Answers for the release to compare with, if there is one.
        pictures: The products' photographs; None where their dataset is not at hand.
        weights: The products' weights.
        name: Of the shop, for people.
        examples: Queries to try.
    """

    champion: Searcher
    candidate: ReleaseSearcher | None
    pictures: Pictures | None
    weights: ReleaseWeights
    name: str
    examples: tuple[str, ...]


def build_app(shop: Shop, *, hosts: list[str]) -> Starlette:
    """Builds the application.

    Args:
        shop: What it shows.
        hosts: Names under which it may be called (`*` for any). A page on loopback that answered
            to any name could be read by a foreign page, through a name that leads here.
    """
    answers = _Answers(shop)
    return Starlette(
        routes=[
            Route("/", lambda _: FileResponse(_STATIC / "index.html")),
            Route("/api/page", answers.page_facts),
            Route("/api/search", answers.search),
            Route("/picture", answers.picture),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[
            Middleware(_SafeHeaders),
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        ],
    )


class _Answers:
    """What the page's script and its pictures ask for."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def page_facts(self, _: Request) -> Response:
        """What does not change while the page is open."""
        shop = self._shop
        return JSONResponse(
            {
                "name": shop.name,
                "candidate": shop.candidate.release_id if shop.candidate else None,
                "pictures": shop.pictures is not None,
                "examples": shop.examples,
                "depth": DEPTH,
            }
        )

    def search(self, request: Request) -> Response:
        """The champion's list, and the candidate's beside it if it is asked for."""
        shop = self._shop
        try:
            text, shown = _question(request)
        except RequestError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        compared = shop.candidate if request.query_params.get("compare") == "1" else None
        champion = _timed(shop.champion, text)
        candidate = _timed(compared, text) if compared else None
        sides = {"champion": shown_list(champion, candidate, shown=shown, weights=shop.weights)}
        if candidate is not None:
            sides["candidate"] = shown_list(candidate, champion, shown=shown, weights=shop.weights)
        return JSONResponse({"query": text, **{key: side.as_json() for key, side in sides.items()}})

    def picture(self, request: Request) -> Response:
        """A product's photograph, small."""
        product_id = request.query_params.get("id", "")
        jpeg = self._shop.pictures.jpeg(product_id) if self._shop.pictures else None
        if jpeg is None:
            return Response(status_code=404, headers={"cache-control": "max-age=60"})
        headers = {"cache-control": "private, max-age=600"}
        return Response(jpeg, media_type="image/jpeg", headers=headers)


def _question(request: Request) -> tuple[str, int]:
    """The query text and the number of products; refused where the served model would refuse."""
    raw = request.query_params.get("q", "").encode("utf-8", "surrogatepass")
    (text,) = read_texts(np.array([[raw]], dtype=np.object_))
    wanted = request.query_params.get("k", str(_SHOWN))
    digits = wanted.isascii() and wanted.isdigit() and len(wanted) <= len(str(DEPTH))
    if not (digits and 1 <= int(wanted) <= DEPTH):
        raise RequestError(f"k is {wanted[:20]!r}; it must be a number from 1 to {DEPTH}.")
    return text, int(wanted)


def _timed(searcher: Searcher, text: str) -> TimedAnswer:
    start = time.perf_counter()
    try:
        answer, error = searcher.search(text, DEPTH), ""
    except MmrError as problem:
        answer, error = None, str(problem)
    return TimedAnswer(answer, round(1000 * (time.perf_counter() - start), 1), error)


class _SafeHeaders:
    """Says on every response that the page runs no script and loads nothing but its own."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
