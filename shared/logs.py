"""The logger. It writes JSON lines with Powertools. Each line has the request id and a hash of the user id.
Tokens and the text of messages are never logged.

Keys are added with `logger.thread_safe_append_keys`, which keeps them in a context variable: requests
that share a process do not mix.
"""

import os
import traceback
from collections.abc import Mapping
from hashlib import sha256
from types import TracebackType
from typing import Any
from uuid import UUID

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

_Exception = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _FramesOnly(LambdaPowertoolsFormatter):
    """Says where an exception came from, not what it says: Postgres quotes rows, parsers quote input."""

    def formatException(self, ei: _Exception) -> str:  # noqa: N802 (the name that logging gives it)
        error = ei[1]
        chain = []
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            chain.append(
                type(error).__qualname__ + "".join(f"\n  {f.filename}:{f.lineno} in {f.name}" for f in frames)
            )
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\nfrom ".join(chain)


def _json(line: Mapping[str, Any]) -> str:
    """`fields` are laid out beside the logger's own keys. One key with many fields costs the logger a
    third of what many keys do, which counts for the line that every turn has."""
    if "fields" in line:
        line = {**line, **line["fields"]}
        del line["fields"]
    return msgspec.json.encode(line, enc_hook=str).decode()


logger = Logger(
    service=os.environ.get("POWERTOOLS_SERVICE_NAME") or "serverless-chat",
    logger_formatter=_FramesOnly(
        utc=True,
        serialize_stacktrace=False,
        json_serializer=_json,
        json_deserializer=str,  # a message is a sentence, and not to be parsed
    ),
)


def set_user(user_id: UUID) -> None:
    """Marks what this request logs from here on. Whoever knows a user's id finds their lines; the
    lines do not give the id away."""
    logger.thread_safe_append_keys(user=sha256(str(user_id).encode()).hexdigest()[:16])
