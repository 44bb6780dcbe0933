"""The logger: Powertools' JSON lines with the request's id and the user's, never a token or a message.

Keys are added with `logger.thread_safe_append_keys`, which keeps them in a context variable: requests
that share a process do not mix.
"""

import traceback
from types import TracebackType

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


logger = Logger(
    service="serverless-chat",
    logger_formatter=_FramesOnly(utc=True, serialize_stacktrace=False),
)
