"""The HTTP side: routes, and how everything that goes wrong is told. What they take and give is in `shapes`."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from pathlib import Path
from typing import Any, Protocol

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

import pipeline
from pipeline.errors import InputError
from pipeline.registry.versions.lookup import CHALLENGER
from pipeline.tasks import TASK_TYPES
from workflows.serve.champions import Champions
from workflows.serve.guard import Guard, refusal_response
from workflows.serve.limits import Limits, Refusal
from workflows.serve.metrics import Metrics
from workflows.serve.shapes import Answers, Asked, Problems

PAGE = Path(__file__).with_name("page.html")


class Service(Protocol):
    """What the routes need; a replica is one."""

    limits: Limits
    metrics: Metrics
    token_sha256: str | None

    @property
    def champions(self) -> Champions: ...

    async def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]: ...


_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problems, "description": "The token is missing or wrong."},
    404: {"model": Problems, "description": "Unknown task, with the nearest there is."},
    413: {"model": Problems, "description": "Too many rows, or a row that is too long."},
    415: {"model": Problems, "description": "The body is not declared as JSON."},
    422: {"model": Problems, "description": "Malformed, with the place."},
    429: {"model": Problems, "description": "Too many rows wait already; Retry-After says when to come back."},
    503: {"model": Problems, "description": "No champion can answer yet."},
    504: {"model": Problems, "description": "No answer in time."},
}


def make_app(service: Service) -> Any:
    """The application: routes inside the guard."""
    # No documentation page: the usual ones load their code from elsewhere. The schema itself is at /openapi.json.
    app = FastAPI(title="deepprompt", version=pipeline.__version__, docs_url=None, redoc_url=None)
    known = [Depends(HTTPBearer(auto_error=False))] if service.token_sha256 else []  # the guard checks it
    page = PAGE.read_text(encoding="utf-8")
    policy = content_policy(page)

    @app.post("/v1/predict", response_model=Answers, responses=_REFUSALS, dependencies=known)
    async def predict(asked: Asked) -> Response:
        """Answer rows of one or many tasks; they share batches with everybody else's."""
        rows = [row if row.get("task") is not None else {**row, "task": asked.task} for row in asked.rows]
        return JSONResponse({"answers": await service.predict(rows)})

    @app.get("/v1/tasks", dependencies=known)
    async def tasks() -> dict[str, Any]:
        """What can be asked, which versions answer, and what cannot be served and why."""
        return about(service.champions) | {"limits": {"rows": service.limits.rows, "chars": service.limits.characters}}

    @app.get("/metrics", dependencies=known)
    async def metrics() -> Response:
        """Figures for Prometheus, of all replicas of this node."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """200 while the process works."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"model": Problems, "description": "No champion can answer yet."}})
    async def ready() -> Response:
        """200 when there are champions to answer with."""
        served = len(service.champions.served)
        if not served:
            raise Refusal(503, InputError("no champion can answer yet"), retry_after=5)
        return JSONResponse({"status": "ready", "served": served})

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.exception_handler(Refusal)
    async def refused(_: Any, refusal: Refusal) -> Response:
        return refusal_response(refusal)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Any, error: RequestValidationError) -> Response:
        return refusal_response(Refusal(422, *(_place(one) for one in error.errors())))

    @app.exception_handler(Exception)
    async def failed(*_: Any) -> Response:
        hint = "the server's log has the whole story"
        return refusal_response(Refusal(500, InputError("the server failed", hint=hint)))

    @app.exception_handler(HTTPException)
    async def refused_by_framework(_: Any, error: HTTPException) -> Response:
        response = refusal_response(Refusal(error.status_code, InputError(str(error.detail).lower())))
        response.headers.update(error.headers or {})
        return response

    return Guard(app, service.limits.body, service.token_sha256, service.metrics)


def about(champions: Champions) -> dict[str, Any]:
    """The tasks with their prompts, as JSON."""
    tasks: dict[str, dict[str, Any]] = {}
    for served in champions.served.values():
        manifest = served.manifest
        identity = manifest.task
        assert identity is not None  # else the predictor had refused it
        entry = tasks.setdefault(served.task, {"task": served.task, "champion": None, CHALLENGER: None})
        entry[served.alias] = {
            "version": served.version,
            "type": identity.type,
            "fields": list(TASK_TYPES[identity.type].inputs),
            "labels": list(identity.labels),
            "threshold": manifest.threshold,
            "metric": identity.metric,
            "metrics": manifest.metrics,
            "lengths": list(manifest.lengths),
            "backbone": Path(manifest.backbone.name).name,
        }
    return {"tasks": [tasks[name] for name in sorted(tasks)], "refused": dict(champions.refused)}


def content_policy(page: str) -> str:
    """Only the page's own script runs, and it talks to nobody but this server."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _place(error: Any) -> InputError:
    """One of FastAPI's complaints as ours: rows are counted from 1, as everywhere."""
    place = [part for part in error["loc"] if part != "body"]
    if error["type"] == "json_invalid":
        why = error.get("ctx", {}).get("error", "")
        return InputError(f"the body is not JSON: {why}", where=f"character {place[0] if place else 0}")
    if place[:1] == ["rows"] and len(place) > 1:
        place = [f"row {int(place[1]) + 1}", *place[2:]]
    found = None if error["type"] == "missing" else repr(error.get("input"))[:80]
    return InputError(str(error["msg"]).lower(), where=".".join(map(str, place)) or "body", found=found)
