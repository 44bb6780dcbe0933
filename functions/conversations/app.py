"""Wires the conversations function. `handler` is what Lambda calls, `app` what a local server loads."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mangum import Mangum
from starlette.routing import Router

from functions.conversations.routes import ConversationRoutes
from functions.conversations.store import ConversationStore
from shared import config, http
from shared.asgi import ASGIApp
from shared.auth import TokenVerifier
from shared.config import Settings
from shared.cors import Cors
from shared.db import Database
from shared.jwks import JwksCache


def create_app(settings: Settings) -> ASGIApp:
    database = Database(settings.database_url, max_connections=settings.database_connections)
    verifier = TokenVerifier(
        secret=settings.jwt_secret,
        jwks=JwksCache(settings.jwt_jwks_url) if settings.jwt_jwks_url else None,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )
    conversations = ConversationRoutes(verifier=verifier, store=ConversationStore(database))

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        yield
        await database.close()

    return http.edge(Router(conversations.routes(), lifespan=lifespan), Cors(settings.cors_allow_origins))


def __getattr__(name: str) -> Any:
    """`app` and `handler`, made when first asked for: a test that brings its own settings needs none set."""
    if name == "app":
        made: Any = create_app(config.load(os.environ))
    elif name == "handler":
        made = Mangum(__getattr__("app"), lifespan="off")
    else:
        raise AttributeError(name)
    globals()[name] = made
    return made
