"""The endpoints: what may be asked, explanations, heatmaps of phrases, captions, a gallery, an audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar, final

import torch
from fastapi import FastAPI, Request
from fastapi import Path as Named
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from PIL.Image import Image
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from saywhy.answers.packing import to_json
from saywhy.answers.plain_names import without_folders
from saywhy.errors import SaywhyError, one_line
from saywhy.pictures.reading import display_copy
from saywhy.plumbing.names import shown, unknown
from saywhy.plumbing.steps import step
from saywhy.questions.ask import held_against, standing_out
from saywhy.questions.described import check_target
from saywhy.questions.explain import explain_pictures
from saywhy.questions.names_and_defaults import check_captions
from saywhy.questions.options import CHECKS, ExplainOptions
from saywhy.questions.phrases import check_phrases, find_phrases
from saywhy.questions.why_not import check_other
from saywhy.spaces.similarity import UNUSUAL
from saywhy.spaces.text_cache import nothing_kept
from saywhy.spaces.traits import encode_once, reference_of, scale_of
from saywhy.web import schema
from saywhy.web.audit import Explorer
from saywhy.web.forms import MAX_BYTES, MAX_PIXELS, Held, Room, decoded, read_form
from saywhy.web.gallery import gallery, thumbnail
from saywhy.web.guard import Access, Guard
from saywhy.web.models import Model, Voice
from saywhy.web.shown import cut, document, finite, frame_box, jpeg_url, map_url
from saywhy.web.work import BROKEN, Done, Failed, Full, Job, Queue, Queued, Running, State

PAGE = Path(__file__).parent / "page"
LINES = "application/x-ndjson"
RETRY = 15  # seconds after which somebody for whom there was no place may ask again
EVERY = 0.5  # seconds between two looks whether who asked is still there


@final
@dataclass(frozen=True, eq=False)
class Site:
    """What a server serves."""

    models: dict[str, Model]
    queue: Queue
    access: Access = field(default_factory=Access)
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    room: Room = field(default_factory=Room)
    explorer: Explorer | None = None

    def model(self, name: str) -> Model:
        """The one of that name; "": the first. Raises HTTPException 404 for another."""
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(404, str(unknown("model", name, self.models)))
        return self.models[name]


def create_app(site: Site) -> ASGIApp:
    """The application, guarded. Who runs it closes the queue."""
    app = FastAPI(
        title="saywhy", version=version("saywhy"), docs_url=None, redoc_url=None, responses=_problems(401, 403, 421),
        description="Ask image classifiers why, and get the answer in words with the evidence beside them.",
    )  # fmt: skip
    _handle_errors(app)
    _add_page(app)
    _add_options(app, site)
    _add_questions(app, site)
    if site.explorer is not None:
        _add_audit(app, site.explorer)
    return Guard(app, site.access)


# -- errors: one line each, as JSON -----------------------------------------------------------------------------------


_PLAINLY = {
    HTTPStatus.NOT_FOUND.phrase: "there is nothing here; /openapi.json says what there is",
    HTTPStatus.METHOD_NOT_ALLOWED.phrase: "this is asked in another way; /openapi.json says how",
}
"""What the framework says by itself -> one line that says what to do."""


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return _problem(error.status_code, _PLAINLY.get(error.detail, str(error.detail)), error.headers)

    @app.exception_handler(SaywhyError)
    async def wrong(request: Request, error: SaywhyError) -> Response:
        return _problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _problem(422, f"{shown(first['loc'][-1], 60)}: {shown(first['msg'], 200)}")

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return _problem(500, BROKEN)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)


def _problem(status: int, error: str, headers: Any = None) -> Response:
    return JSONResponse({"error": one_line(without_folders(error))}, status, headers)


# -- the page ---------------------------------------------------------------------------------------------------------


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        if not (PAGE / "index.html").is_file():
            raise HTTPException(404, "this installation has no page; ask as /openapi.json says")
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    if PAGE.is_dir():
        app.mount("/static", StaticFiles(directory=PAGE), name="static")


def _add_options(app: FastAPI, site: Site) -> None:
    offered = [
        schema.OfferedModel(
            name=model.name,
            task=model.classifier.task,
            classes=list(model.classifier.labels),
            vocabularies=list(model.voices),
            words={name: voice.said() for name, voice in model.voices.items()},
            phrases=model.open is not None,
            why_no_phrases=without_folders(model.why_closed),
        )
        for model in site.models.values()
    ]
    pictures = [
        schema.GalleryPicture(
            id=one.id, name=one.name, credit=one.credit, models=[m for m in site.models if one.suits(m)]
        )
        for one in gallery().values()
    ]
    options = schema.Options(
        models=offered,
        vocabularies=list(dict.fromkeys(name for model in offered for name in model.vocabularies)),
        checks=list(CHECKS),
        max_bytes=site.max_bytes,
        max_pixels=site.max_pixels,
        gallery=pictures,
        audit=None if site.explorer is None else site.explorer.named(),
        token_needed=site.access.token is not None,
        version=version("saywhy"),
    )

    @app.get("/api/options", tags=["what may be asked"])
    async def what_may_be_asked() -> schema.Options:
        """Models, vocabularies, limits and pictures of the gallery. No other name is taken from a request."""
        return options

    @app.get(
        "/api/gallery/{id}.jpg", tags=["what may be asked"], response_class=Response,
        responses=_problems(404, 422) | {200: {"content": {"image/jpeg": {}}}},
    )  # fmt: skip
    async def picture_of_the_gallery(id: Annotated[str, Named(description="of /api/options")]) -> Response:
        """A picture that everybody has, at most 1024 pixels wide or high."""
        if id not in gallery():
            raise HTTPException(404, f"the gallery has no picture {shown(repr(id), 60)}")
        jpeg = await asyncio.to_thread(thumbnail, id)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


# -- questions --------------------------------------------------------------------------------------------------------


_OF_EXPLANATIONS = {"target", "against", "checks", "vocabulary"}
_NOT_OF_EXPLANATIONS = {"phrase", "captions"}
_NOT_OF_HEATMAPS = {"captions"} | _OF_EXPLANATIONS
_NOT_OF_CAPTIONS = {"phrase"} | _OF_EXPLANATIONS
"""Fields of other questions: refused, so that none is left out in silence."""


def _add_questions(app: FastAPI, site: Site) -> None:
    @app.post(
        "/api/explanations", tags=["questions"], response_class=Response,
        openapi_extra=_form(_NOT_OF_EXPLANATIONS), responses=_answers(schema.ExplanationState),
    )  # fmt: skip
    async def explain(request: Request) -> Response:
        """Why does a classifier decide as it does on a picture?

        Answers in lines of JSON as the work goes on: queued, running, and done or failed. With Accept:
        application/json it answers once, with the last of these lines and a status that fits it. Whoever closes the
        connection frees the place in the queue, and the work stops at its next step.
        """
        question = await _question(request, site, _NOT_OF_EXPLANATIONS)
        with _let_go_if_refused(question.held):
            asked, model = question.asked, question.model
            voice = model.voice(asked.vocabulary)
            options = explain_options(asked, model)

        def work() -> bytes:
            name, image = question.open()
            return explained(name, image, model, voice, options, asked.against)

        return await _answer(request, site, question.held, work, _steps(options))

    @app.post(
        "/api/heatmaps", tags=["questions"], response_class=Response,
        openapi_extra=_form(_NOT_OF_HEATMAPS, ["phrase"]),
        responses=_answers(schema.HeatmapState),
    )  # fmt: skip
    async def locate(request: Request) -> Response:
        """Where in a picture is a phrase, as a space sees it? Answers like /api/explanations."""
        question = await _question(request, site, _NOT_OF_HEATMAPS)
        with _let_go_if_refused(question.held):
            phrase = question.asked.phrase.strip()
            if not phrase:
                raise HTTPException(422, "phrase: name what should be seen, such as 'a red crown'")
            with nothing_kept():
                check_phrases([phrase], question.model.space_for([phrase]))

        def work() -> bytes:
            name, image = question.open()
            return heatmap(name, image, question.model, phrase)

        return await _answer(request, site, question.held, work, 2)

    @app.post(
        "/api/captions", tags=["questions"], response_class=Response,
        openapi_extra=_form(_NOT_OF_CAPTIONS, ["captions"]),
        responses=_answers(schema.CaptionsState),
    )  # fmt: skip
    async def compare(request: Request) -> Response:
        """How well do captions fit a picture? Answers like /api/explanations."""
        question = await _question(request, site, _NOT_OF_CAPTIONS)
        with _let_go_if_refused(question.held):
            texts = list(dict.fromkeys(text.strip() for text in question.asked.captions if text.strip()))
            if not texts:
                raise HTTPException(422, "captions: give one or more, such as 'a cup of coffee'")
            question.model.open_space()

        def work() -> bytes:
            _, image = question.open()
            return captions(image, question.model, texts)

        return await _answer(request, site, question.held, work, 2)


# -- an audit ---------------------------------------------------------------------------------------------------------


_Finding = Annotated[int, Named(description="its place among all findings of /api/audit, from 0")]
_Number = Annotated[int, Named(description="of the picture, as findings have it")]


def _add_audit(app: FastAPI, explorer: Explorer) -> None:
    overview = explorer.overview()
    jpeg: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}

    @app.get("/api/audit", tags=["an audit"])
    async def what_was_found() -> schema.AuditOverview:
        """What was audited, and all that was found, what decides first."""
        return overview

    @app.get("/api/audit/findings/{number}", tags=["an audit"], responses=_problems(404, 422))
    async def one_finding(number: _Finding) -> schema.FindingDetails:
        """A finding: its examples and counter-examples, changed pictures, and slices of the same classes."""
        return await _looked_up(explorer.finding, number, "finding")

    @app.get(
        "/api/audit/pictures/{number}.jpg", tags=["an audit"], response_class=Response,
        responses=_problems(404, 422) | jpeg,
    )  # fmt: skip
    async def thumbnail_of_a_picture(number: _Number) -> Response:
        """The thumbnail that was kept of a picture."""
        content = await _looked_up(explorer.jpeg, number, "thumbnail of picture")
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    @app.get(
        "/api/audit/pictures/{number}/map.jpg", tags=["an audit"], response_class=Response,
        responses=_problems(404, 422) | jpeg,
    )  # fmt: skip
    async def map_of_a_picture(number: _Number) -> Response:
        """The map that was kept of a picture."""
        content = await _looked_up(lambda one: explorer.jpeg(one, of_map=True), number, "map of picture")
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})

    @app.get("/api/audit/pictures/{number}", tags=["an audit"], responses=_problems(404, 422))
    async def one_picture(number: _Number) -> schema.AuditRow:
        """What the audit knows of a picture."""
        return await _looked_up(explorer.picture, number, "picture")


_T = TypeVar("_T")


async def _looked_up(look: Callable[[int], _T], number: int, what: str) -> _T:
    """Raises HTTPException 404 for a number that nothing has."""
    try:
        return await asyncio.to_thread(look, number)
    except KeyError:
        raise HTTPException(404, f"the audit has no {what} {shown(number, 20)}") from None


@final
@dataclass(frozen=True, eq=False)
class _Question:
    """What was asked, of which model, and what opens the picture."""

    asked: schema.Asked
    model: Model
    held: Held
    open: Callable[[], tuple[str, Image]]


@contextmanager
def _let_go_if_refused(held: Held) -> Iterator[None]:
    """Give the bytes of a question back where what is done inside raises."""
    try:
        yield
    except BaseException:
        held.let_go()
        raise


async def _question(request: Request, site: Site, without: Set[str]) -> _Question:
    """Raises HTTPException as ``read_form`` does, and for fields of other questions, unknown names, and no picture."""
    held = Held(site.room)
    with _let_go_if_refused(held):
        asked, content, name = await read_form(request, schema.Asked, held, site.max_bytes)
        if strange := sorted(asked.model_fields_set & without):
            raise HTTPException(422, f"{strange[0]} is no field of this question; /openapi.json says which there are")
        if (content is not None) + bool(asked.example) + (asked.audited is not None) != 1:
            raise HTTPException(
                422, "send one picture: a file called picture, or example, the id of one of the gallery, or audited, "
                "the number of one of the audit",
            )  # fmt: skip
        if asked.audited is not None:
            return await _of_the_audit(asked, asked.audited, site, held)
        model = site.model(asked.model)
        if content is not None:
            return _Question(asked, model, held, lambda: (name, decoded(content, name, site.max_pixels)))
        example = gallery().get(asked.example)
        if example is None:
            raise HTTPException(404, f"the gallery has no picture {shown(repr(asked.example), 60)}")
        return _Question(asked, model, held, lambda: (example.path.name, example.open()))


async def _of_the_audit(asked: schema.Asked, number: int, site: Site, held: Held) -> _Question:
    explorer = site.explorer
    if explorer is None:
        raise HTTPException(404, "no audit is served here; see --audit")
    if explorer.model is None or explorer.why_not:
        raise HTTPException(409, f"this cannot be explained: {explorer.why_not}")
    await _looked_up(explorer.check, number, "picture")
    model = site.model(asked.model) if asked.model else explorer.model
    return _Question(asked, model, held, lambda: explorer.open(number))


def _steps(options: ExplainOptions) -> int:
    """How many an explanation tells of."""
    return 3 if options.checks == CHECKS[0] else 4


def explain_options(asked: schema.Asked, model: Model) -> ExplainOptions:
    """Raises SaywhyError for a class or a way to check that there is not."""
    options = ExplainOptions(
        target=asked.target or None, checks=asked.checks or ExplainOptions.checks, why_not=asked.against or None
    )
    check_target(options.target, model.classifier)
    check_other(options.other, model.classifier)
    return options


def explained(name: str, image: Image, model: Model, voice: Voice, options: ExplainOptions, against: str) -> bytes:
    """The last line of an explanation. Raises SaywhyError where ``against`` is the explained class itself."""
    (explanation,) = explain_pictures(
        [(name, image)], model.classifier, voice.words, voice.space, options, model.writer, voice.seen, model.others
    )
    if against and explanation.counterfactual is None:
        raise SaywhyError(f"{explanation.target.name!r} is the explained class itself; name another one")
    return _line({"state": "done", "explanation": _tidy(document(explanation))})


def heatmap(name: str, image: Image, model: Model, phrase: str) -> bytes:
    """The last line of an answer to where a phrase is."""
    step(f"looking for {phrase}")
    space = model.space_for([phrase])
    encoded = space.encode_images([image])
    vocabulary = next(iter(model.voices.values())).words
    usual = torch.zeros(0, encoded.shape[1])
    if reference_of(space) is None:  # what is usual is what other phrases score
        usual = space.encode_texts(vocabulary.phrases)
    with nothing_kept():
        ((found,),) = find_phrases([image], encoded, usual, space, model.classifier, ExplainOptions(phrases=(phrase,)))
    out = f"{found.unusual:+.1f} standard deviations above what is usual"
    said = out if found.fits else f"does not stand out ({out}): this is where it would be, were it there"
    answer = schema.Heatmap(
        phrase=phrase,
        heatmap=map_url(found.heatmap),
        frame=frame_box(found.geometry),
        cropped=cut(found.geometry) is not None,
        picture=jpeg_url(display_copy(image, name).jpeg),
        score=found.score,
        unusual=finite(found.unusual),
        fits=found.fits,
        said=said,
        space=found.space,
    )
    return _line({"state": "done", "heatmap": answer.model_dump()})


def captions(image: Image, model: Model, texts: list[str]) -> bytes:
    """The last line of an answer to how well captions fit."""
    step("comparing captions")
    space = model.open_space()
    check_captions(space)
    held = held_against(space, next(iter(model.voices.values())).words.phrases)
    assert held is not None  # there are phrases
    encoded, given = space.encode_images([image]), encode_once(space, texts)
    scores, unusual = (encoded @ given.T)[0], standing_out(encoded, given, held)[0]
    shares = (scores * scale_of(space)).softmax(0)
    answer = schema.Captions(
        captions=[
            schema.Caption(
                text=text,
                score=float(scores[n]),
                unusual=finite(float(unusual[n])),
                fits=bool(unusual[n] >= UNUSUAL),
                share=float(shares[n]),
            )
            for n, text in enumerate(texts)
        ],
        best=texts[int(scores.argmax())],
        meaning="Per cent: how the captions given share out what fits (softmax of their cosines with the picture); "
        "that one is the best of them does not make it true. "
        f"sd: standard deviations above {held.usual}; from {UNUSUAL:.0f} on a caption stands out.",
        space=space.name,
    )
    return _line({"state": "done", "captions": answer.model_dump()})


def _line(document: dict[str, Any]) -> bytes:
    return to_json(document).encode() + b"\n"


_PACKED = ("mask", "values", "jpeg", "picture", "map")
"""Fields of base64, which has slashes of its own."""


def _tidy(value: Any) -> Any:
    """A document without the folders of this machine in its names."""
    if isinstance(value, dict):
        packed = {key for key, one in value.items() if key in _PACKED and isinstance(one, str)}
        return {key: one if key in packed else _tidy(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    return without_folders(value) if isinstance(value, str) else value


# -- answers ----------------------------------------------------------------------------------------------------------


async def _answer(request: Request, site: Site, held: Held, work: Callable[[], bytes], steps: int) -> Response:
    """What becomes of a piece of work: in lines as it goes on, or, with Accept: application/json, at its end."""
    loop, states = asyncio.get_running_loop(), asyncio.Queue[State]()

    def hear(state: State) -> None:
        with suppress(RuntimeError):  # the loop is closed: the server ends
            loop.call_soon_threadsafe(states.put_nowait, state)

    def read_and_work() -> bytes:
        step("reading the picture")
        return work()

    try:
        job = site.queue.add(read_and_work, hear, steps)
    except Full:
        held.let_go()
        wait = {"Retry-After": str(RETRY)}
        return _problem(503, f"{site.queue.places} others are waiting; try again in a while", wait)
    if _wants_one(request):
        try:
            return await _at_its_end(request, states)
        finally:
            job.leave()
            held.let_go()
    return _Lines(states, job, held)


def _wants_one(request: Request) -> bool:
    kinds = [kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(",")]
    return "application/json" in kinds and LINES not in kinds


async def _at_its_end(request: Request, states: asyncio.Queue[State]) -> Response:
    while True:
        try:
            state = await asyncio.wait_for(states.get(), EVERY)
        except TimeoutError:
            if await request.is_disconnected():
                raise ClientDisconnect from None
            continue
        if isinstance(state, Done):
            return Response(state.value, media_type="application/json")
        if isinstance(state, Failed):
            return Response(_told(state), state.status, media_type="application/json")


@final
class _Lines(StreamingResponse):
    """The states of a piece of work, a line each; however it ends, its place is free then."""

    def __init__(self, states: asyncio.Queue[State], job: Job, held: Held) -> None:
        self._job, self._held = job, held
        super().__init__(_lines(states), media_type=LINES, headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.leave()
            self._held.let_go()


async def _lines(states: asyncio.Queue[State]) -> AsyncIterator[bytes]:
    while True:
        state = await states.get()
        yield state.value if isinstance(state, Done) else _told(state)
        if isinstance(state, Done | Failed):
            return


def _told(state: Queued | Running | Failed) -> bytes:
    if isinstance(state, Queued):
        said: dict[str, Any] = {"state": "queued", "position": state.position}
    elif isinstance(state, Running):
        said = {"state": "running", "what": state.what, "done": state.done, "total": state.total}
    else:
        said = {"state": "failed", "error": one_line(without_folders(state.error))}
    return json.dumps(said).encode() + b"\n"


# -- OpenAPI ----------------------------------------------------------------------------------------------------------

_SAID = {
    400: "the form cannot be read",
    401: "the token is missing or wrong",
    403: "another site asked",
    404: "there is no such name",
    408: "the question came too slowly",
    409: "this cannot be explained here",
    413: "the picture has too many bytes",
    415: "the question is no form",
    421: "the server is not known by the name in Host",
    422: "the question or the picture is wrong",
    503: "the queue is full; see Retry-After",
}


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": schema.Problem, "description": _SAID[code]} for code in codes}


def _answers(done: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    lines = {LINES: {"schema": {"type": "string", "description": "QueuedState, RunningState, FailedState lines, and "
                                f"{done.__name__} as the last; one JSON object a line"}}}  # fmt: skip
    return {200: {"model": done, "content": lines, "description": "the answer"}, **_problems(*_SAID)}


def _form(without: Set[str], required: list[str] | None = None) -> dict[str, Any]:
    """The body of a question, for OpenAPI; it is read by ``read_form``."""
    fields = {name: one for name, one in schema.Asked.model_json_schema()["properties"].items() if name not in without}
    of_file = {"type": "string", "format": "binary", "description": "the picture's file; or give example, or audited"}
    body = {"type": "object", "properties": {"picture": of_file} | fields, "required": required or []}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": body}}}}
