"""The two deployed functions: their routes and the commands that start them.

The uvicorn server, the Lambda emulator and the tests use this module.
"""

import sys
from collections.abc import Mapping

from dev.lambda_process import Function
from dev.local import ROOT
from dev.settings_page import all_settings

CHAT_STREAM_ROUTES = (
    "/chat-stream",
    "/stream-chat",
    "/api/chat",
    "/api/stream",
    "/v1/{proxy+}",
    "/api/ui/{proxy+}",
    "/api/chat/messages/{id}/stream",
    "/health",
)
# API Gateway may not fall back to "/{proxy+}" for a path below a resource of the other function. AWS does not
# document this, so each level has its own "{proxy+}".
CONVERSATIONS_ROUTES = (
    "/",
    "/{proxy+}",
    "/api/{proxy+}",
    "/api/chat/{proxy+}",
    "/api/chat/messages/{id}/{proxy+}",
)


def functions(env: Mapping[str, str]) -> tuple[Function, Function]:
    """Both functions behind a REST API, with the same runtimes as on Lambda: the project's own bootstrap for
    `chat_stream`, which streams, and AWS's runtime client for `conversations`."""
    chat_stream = Function(
        name="chat_stream",
        command=[str(ROOT / "functions/chat_stream/bootstrap"), sys.executable],
        handler="functions.chat_stream.app.app",
        env=env,
        root=ROOT,
        routes=CHAT_STREAM_ROUTES,
        event_format="rest",
        timeout=900,
        max_concurrency=100,
    )
    conversations = Function(
        name="conversations",
        command=[sys.executable, "-u", "-m", "awslambdaric", "functions.conversations.app.handler"],
        handler="functions.conversations.app.handler",
        env=env,
        root=ROOT,
        routes=CONVERSATIONS_ROUTES,
        event_format="rest",
        timeout=30,
    )
    return chat_stream, conversations


def settings_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that a function on Lambda would have: the settings, and AWS's credentials
    and endpoints for secrets in Secrets Manager."""
    names = {setting.name for setting in all_settings()}
    of_aws = ("AWS_ACCESS_", "AWS_ENDPOINT_", "AWS_PROFILE", "AWS_REGION", "AWS_SECRET_", "AWS_SESSION_")
    return {name: value for name, value in environ.items() if name in names or name.startswith(of_aws)}
