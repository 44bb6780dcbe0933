"""The two functions, as deployed: which paths are whose, and how each is started.

The uvicorn server, the Lambda emulator and the tests read it here, so that they agree.
"""

import sys
from collections.abc import Mapping

from dev.lambda_process import Function
from dev.local import ROOT

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
# "/{proxy+}" alone would say it all, if API Gateway were known to go back up from a branch that has a
# route of the other function in it.
CONVERSATIONS_ROUTES = (
    "/",
    "/{proxy+}",
    "/api/{proxy+}",
    "/api/chat/{proxy+}",
    "/api/chat/messages/{id}/{proxy+}",
)


def functions(env: Mapping[str, str]) -> tuple[Function, Function]:
    """Both, behind a REST API, with the bootstraps they have on Lambda: ours, which streams, and
    AWS's own."""
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
    """What of a laptop's environment a function is given; all the rest it would not find on Lambda. What
    is AWS's own is for secrets that are kept there."""
    prefixes = (
        "ALLOW_", "ANTHROPIC_", "AWS_ACCESS", "AWS_ENDPOINT", "AWS_PROFILE", "AWS_REGION", "AWS_SE",
        "BUDGET_", "CORS_", "DATABASE_", "HISTORY_", "JWT_", "LLM_", "LOG_LEVEL", "NVIDIA_", "OLLAMA_",
        "OPENAI_", "OPENAPI_", "POWERTOOLS_", "PROXIES", "RATE_", "SSL_CERT_FILE", "STREAM_", "SYSTEM_",
        "TRACING",
    )  # fmt: skip
    return {name: value for name, value in environ.items() if name.startswith(prefixes)}
