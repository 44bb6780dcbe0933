"""Wires the chat function. `app` is what servers and the Lambda runtime load, made from the
environment. Starting it begins what its first request will need."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.routing import Router

from functions.chat_stream.background_tasks import BackgroundTasks
from functions.chat_stream.request_reader import RequestReader
from functions.chat_stream.routes import ChatRoutes
from functions.chat_stream.store import BestEffortStore, TurnStore
from shared import warmup, web
from shared.asgi import ASGIApp
from shared.auth import TokenVerifier
from shared.cors import Cors
from shared.db import Database
from shared.jwks import JwksCache
from shared.llm.client import ModelClient
from shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from shared.tracing import Tracer


def create_app(settings: Settings) -> ASGIApp:
    database = Database(
        settings.database,
        schemas=settings.database_schemas,
        max_connections=settings.database_connections,
    )
    models = ModelClient(settings)
    running = BackgroundTasks()
    tracer = _tracer(settings)
    verifier = TokenVerifier(
        secret=settings.jwt_secret,
        jwks=JwksCache(settings.jwt_jwks_url) if settings.jwt_jwks_url else None,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )
    chat = ChatRoutes(
        settings,
        asking=RequestReader(settings, verifier),
        store=TurnStore(database, settings),
        forgiving=BestEffortStore(database, settings),
        models=models,
        running=running,
        tracer=tracer,
    )

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        await warmup.begun(verifier.warm_up(), database.warm_up(), models.warm_up())
        yield
        await running.finish()
        await models.aclose()
        await database.close()
        if tracer is not None:
            tracer.close()

    router = Router(chat.routes(), lifespan=lifespan)
    return web.edge(router, Cors(settings.cors_allow_origins))


def _tracer(settings: Settings) -> "Tracer | None":
    if settings.xray_daemon is None:
        return None
    from shared.tracing import Tracer  # noqa: PLC0415 (nothing of it where tracing is off)

    return Tracer(settings.xray_daemon)


def __getattr__(name: str) -> ASGIApp:
    """`app`, made when it is first asked for: a test that brings its own settings needs none set."""
    if name != "app":
        raise AttributeError(name)
    app = globals()["app"] = create_app(load_settings(os.environ))
    return app
