"""Creates the app of the conversations function. Lambda calls `handler`; local servers load `app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mangum import Mangum
from starlette.routing import Router

from functions.conversations.anonymous_routes import AnonymousRoutes
from functions.conversations.anonymous_store import AnonymousStore
from functions.conversations.archive_routes import ArchiveRoutes
from functions.conversations.archive_store import ArchiveStore
from functions.conversations.conversations_routes import ConversationRoutes
from functions.conversations.conversations_store import ConversationStore
from functions.conversations.messages_routes import MessageRoutes
from functions.conversations.messages_store import MessageStore
from functions.conversations.openapi_routes import BUNDLED, OpenAPIRoutes
from functions.conversations.routing import routes
from functions.conversations.search_routes import SearchRoutes
from functions.conversations.search_store import SearchStore
from functions.conversations.usage_routes import UsageRoutes
from functions.conversations.usage_store import UsageStore
from shared import web
from shared.asgi import ASGIApp
from shared.auth import TokenVerifier
from shared.cors import Cors
from shared.db import Database
from shared.settings import Settings, load_settings


def create_app(settings: Settings) -> ASGIApp:
    return web.with_middleware(create_router(settings), Cors(settings.cors_allow_origins))


def create_router(settings: Settings) -> Router:
    """Creates the routes without the middleware. `dev/openapi.py` makes the OpenAPI document of them."""
    database = Database.from_settings(settings)
    verifier = TokenVerifier.from_settings(settings)
    limit = settings.rate_limit_write
    conversations, messages = ConversationStore(database, limit), MessageStore(database, limit)
    route_groups = (
        AnonymousRoutes(settings, verifier=verifier, store=AnonymousStore(database, limit)),
        ConversationRoutes(conversations),
        MessageRoutes(messages),
        ArchiveRoutes(conversations=conversations, messages=messages, store=ArchiveStore(database, limit)),
        SearchRoutes(SearchStore(database)),
        UsageRoutes(UsageStore(database, settings.budget_usd_per_day)),
        OpenAPIRoutes(Path(settings.openapi_file or BUNDLED)),
    )

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await database.close()

    return Router(routes(route_groups, verifier), redirect_slashes=False, lifespan=lifespan)


def __getattr__(name: str) -> Any:
    """Creates `app` and `handler` when they are first read, so that tests can call `create_app` without
    environment variables."""
    if name == "app":
        created: Any = create_app(load_settings(os.environ))
    elif name == "handler":
        created = Mangum(__getattr__("app"), lifespan="off")
    else:
        raise AttributeError(name)
    globals()[name] = created
    return created
