"""Creates the ASGI app of the chat function. Servers and the Lambda runtime load `app`; loading it reads the
environment."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.routing import Router

from functions.chat_stream.authentication import Authentication
from functions.chat_stream.background_tasks import BackgroundTasks
from functions.chat_stream.model_choice import ModelChoice
from functions.chat_stream.prompt.system_prompt import default_system_prompt
from functions.chat_stream.routes import ChatRoutes
from functions.chat_stream.services import ChatServices
from functions.chat_stream.store import BestEffortStore, TurnStore
from shared import warmup, web
from shared.asgi import ASGIApp
from shared.auth import TokenVerifier
from shared.cors import Cors
from shared.db import Database
from shared.llm.client import ModelClient
from shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from shared.tracing import Tracer


def create_app(settings: Settings) -> ASGIApp:
    return web.with_middleware(create_router(settings), Cors(settings.cors_allow_origins))


def create_router(settings: Settings) -> Router:
    """The routes, without the middleware. The OpenAPI document is made of their endpoints."""
    database = Database.from_settings(settings)
    verifier = TokenVerifier.from_settings(settings)
    services = ChatServices(
        settings=settings,
        system_prompt=default_system_prompt(settings),
        authentication=Authentication(settings, verifier),
        model_choice=ModelChoice(settings),
        store=TurnStore(database, settings),
        best_effort_store=BestEffortStore(database, settings),
        model_client=ModelClient(settings),
        background=BackgroundTasks(),
        tracer=_tracer(settings),
    )

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        # In a new process the connections are opened while the first request arrives.
        await warmup.wait_if_provisioned(
            verifier.warm_up(), database.warm_up(), services.model_client.warm_up()
        )
        yield
        await services.background.shut_down()
        await services.model_client.aclose()
        await database.close()
        if services.tracer is not None:
            services.tracer.close()

    return Router(ChatRoutes(services).routes(), lifespan=lifespan)


def _tracer(settings: Settings) -> "Tracer | None":
    if settings.xray_daemon is None:
        return None
    from shared.tracing import Tracer  # noqa: PLC0415 (imported only if tracing is on)

    return Tracer(settings.xray_daemon)


def __getattr__(name: str) -> ASGIApp:
    """Creates `app` when it is first read, so that tests can call `create_app` without environment
    variables."""
    if name != "app":
        raise AttributeError(name)
    app = globals()["app"] = create_app(load_settings(os.environ))
    return app
