"""The logger. It writes JSON lines with Powertools. Each line has the request id and a hash of the user id.
Tokens and the text of messages are never logged.

Keys are added with `logger.thread_safe_append_keys`, which stores them in a context variable, so that
parallel requests have separate keys.
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


class _TracebackFormatter(LambdaPowertoolsFormatter):
    """Logs the type and the stack of an exception without its message, because messages of Postgres and of
    parsers may contain user data."""

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


def _serialize(line: Mapping[str, Any]) -> str:
    """Moves the content of the key `fields` to the top level. For the logger one dict is three times faster
    than many keys, which matters for the line of each turn."""
    if "fields" in line:
        line = {**line, **line["fields"]}
        del line["fields"]
    return msgspec.json.encode(line, enc_hook=str).decode()


logger = Logger(
    service=os.environ.get("POWERTOOLS_SERVICE_NAME") or "serverless-chat",
    logger_formatter=_TracebackFormatter(
        utc=True,
        serialize_stacktrace=False,
        json_serializer=_serialize,
        json_deserializer=str,  # messages are not JSON
    ),
)


def set_user(user_id: UUID) -> None:
    """Adds a hash of the user id to all later log lines of this request. The lines of a known user can be
    found, but a line does not reveal the id."""
    logger.thread_safe_append_keys(user=sha256(str(user_id).encode()).hexdigest()[:16])
