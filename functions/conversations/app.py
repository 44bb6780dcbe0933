"""Wires the conversations function. `handler` is what Lambda calls, `app` what a local server loads."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from functions.conversations.openapi_routes import DescriptionRoutes
from functions.conversations.search_routes import SearchRoutes
from functions.conversations.search_store import SearchStore
from functions.conversations.usage_routes import UsageRoutes
from functions.conversations.usage_store import UsageStore
from shared import web
from shared.asgi import ASGIApp
from shared.auth import TokenVerifier
from shared.cors import Cors
from shared.db import Database
from shared.jwks import JwksCache
from shared.settings import Settings, load_settings


def create_app(settings: Settings) -> ASGIApp:
    database = Database(
        settings.database,
        schemas=settings.database_schemas,
        max_connections=settings.database_connections,
    )
    verifier = TokenVerifier(
        secret=settings.jwt_secret,
        jwks=JwksCache(settings.jwt_jwks_url) if settings.jwt_jwks_url else None,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )
    limit = settings.rate_limit_write
    conversations, messages = ConversationStore(database, limit), MessageStore(database, limit)
    archive = ArchiveRoutes(
        verifier=verifier,
        conversations=conversations,
        messages=messages,
        store=ArchiveStore(database, limit),
    )
    routes = [
        *AnonymousRoutes(settings, verifier=verifier, store=AnonymousStore(database, limit)).routes(),
        *ConversationRoutes(verifier=verifier, store=conversations).routes(),
        *MessageRoutes(verifier=verifier, store=messages).routes(),
        *archive.routes(),
        *SearchRoutes(verifier=verifier, store=SearchStore(database)).routes(),
        *UsageRoutes(verifier=verifier, store=UsageStore(database, settings.budget_usd_per_day)).routes(),
        *DescriptionRoutes().routes(),
    ]

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await database.close()

    router = Router(routes, redirect_slashes=False, lifespan=lifespan)
    return web.with_middleware(router, Cors(settings.cors_allow_origins))


def __getattr__(name: str) -> Any:
    """`app` and `handler`, made when first asked for: a test that brings its own settings needs none set."""
    if name == "app":
        made: Any = create_app(load_settings(os.environ))
    elif name == "handler":
        made = Mangum(__getattr__("app"), lifespan="off")
    else:
        raise AttributeError(name)
    globals()[name] = made
    return made
