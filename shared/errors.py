"""Every error that a client can see, with its HTTP status, its stable code and its message for the user.

ChatError                     500  internal
├── InvalidRequest            400  invalid_request
├── Unauthorized              401  unauthorized
├── Forbidden                 403  forbidden
├── NotFound                  404  not_found
├── MethodNotAllowed          405  method_not_allowed
├── Conflict                  409  conflict
├── TooLarge                  413  too_large
├── UnsupportedMediaType      415  unsupported_media_type
├── IdempotencyMismatch       422  idempotency_mismatch
├── RateLimited               429  rate_limited
│   └── BudgetExceeded        429  budget_exceeded
├── Unavailable               503  unavailable            the database or a secret cannot be reached
├── Interrupted               503  interrupted            the process that wrote the answer has ended
└── UpstreamError             502  upstream_error
    ├── UpstreamUnreachable   502  upstream_unreachable   no connection, or an unknown host name
    ├── UpstreamTimeout       502  upstream_timeout       connected, but no answer in time
    ├── UpstreamAuth          502  upstream_auth          our key was refused
    │   └── UpstreamUnpaid    502  upstream_auth          our account has no credit or quota left
    ├── UpstreamRejected      502  upstream_rejected      our request was refused; not the client's fault
    │   ├── RequestRefused         400  invalid_request
    │   │   └── SystemRoleRefused  400  invalid_request
    │   ├── ContextLengthExceeded  400  context_length_exceeded
    │   ├── ContentFiltered        400  content_filter
    │   └── ModelNotFound          400  model_not_found   404 in OpenAI's format
    ├── UpstreamRateLimited   502  upstream_rate_limited
    ├── UpstreamOverloaded    502  upstream_overloaded
    ├── UpstreamTruncated     502  upstream_truncated     the stream ended before the answer was complete
    ├── UpstreamInvalid       502  upstream_invalid       not the provider's wire format
    └── EmptyAnswer           502  empty_answer           the answer has no text

`message` is for developers and is sent to clients. It is always a fixed text, never the text of another
exception.
"""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

SIGN_IN_AGAIN = "I had trouble remembering you. Please sign in again."
TAKE_A_BREATH = "Let's take a breath. You can continue in a moment."
TAKING_A_MOMENT = "Coach is taking a moment. Let's try again."


class ChatError(Exception):
    """The base class of all errors. `retryable`: the same request may succeed later."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    user_message: ClassVar[str] = TAKING_A_MOMENT
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = dict(headers or {})

    def body(self) -> dict[str, str]:
        """The JSON of the error contract: `error`, `code`, `userMessage`."""
        return {"error": self.message, "code": self.code, "userMessage": self.user_message}


T = TypeVar("T", bound=ChatError)


class InvalidRequest(ChatError):
    """The request is malformed. `field` is the JSON field or parameter that is invalid, or None."""

    status, code = 400, "invalid_request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def body(self) -> dict[str, str]:
        return super().body() | ({"field": self.field} if self.field else {})


class Unauthorized(ChatError):
    status, code, user_message = 401, "unauthorized", SIGN_IN_AGAIN

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ChatError):
    status, code = 403, "forbidden"


class NotFound(ChatError):
    """The resource does not exist or belongs to another user. Clients cannot tell the two cases apart."""

    status, code = 404, "not_found"


class MethodNotAllowed(ChatError):
    status, code = 405, "method_not_allowed"


class Conflict(ChatError):
    status, code, retryable = 409, "conflict", True


class TooLarge(ChatError):
    status, code = 413, "too_large"


class UnsupportedMediaType(ChatError):
    status, code = 415, "unsupported_media_type"


class IdempotencyMismatch(ChatError):
    status, code = 422, "idempotency_mismatch"


class RateLimited(ChatError):
    """`retry_after` is in whole seconds."""

    status, code, user_message, retryable = 429, "rate_limited", TAKE_A_BREATH, True

    def __init__(self, message: str, *, retry_after: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after), **(headers or {})})
        self.retry_after = retry_after


class BudgetExceeded(RateLimited):
    code = "budget_exceeded"


class Unavailable(ChatError):
    """A part of this service cannot be reached: the database, the key set or a secret."""

    status, code, retryable = 503, "unavailable", True


class Interrupted(ChatError):
    """The process that wrote an answer ended before the answer was complete. The saved text can be read.

    Never raised. A replay uses the code if a settled answer has neither a finish reason nor a code.
    `JSONAnswerResponse` finds the status with `class_for_code`.
    """

    status, code, retryable = 503, "interrupted", True


class UpstreamError(ChatError):
    status, code, retryable = 502, "upstream_error", True


class UpstreamUnreachable(UpstreamError):
    code = "upstream_unreachable"


class UpstreamTimeout(UpstreamError):
    code = "upstream_timeout"


class UpstreamAuth(UpstreamError):
    code, retryable = "upstream_auth", False


class UpstreamUnpaid(UpstreamAuth):
    """The key is right. Another provider may answer, as in an outage."""


class UpstreamRejected(UpstreamError):
    code, retryable = "upstream_rejected", False


class RequestRefused(UpstreamRejected):
    """The provider refused a parameter or the messages. `field` is the parameter, if it is known."""

    status, code = 400, "invalid_request"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def body(self) -> dict[str, str]:
        return super().body() | ({"field": self.field} if self.field else {})


class SystemRoleRefused(RequestRefused):
    """The chat template of the model has no system role."""


class ContextLengthExceeded(UpstreamRejected):
    """The prompt and the answer do not fit into the model's context, also after the prompt was shortened.

    `limit` is the context, and `prompt_tokens` the length of the prompt, in tokens as the provider counts;
    None where it did not say.
    """

    status, code = 400, "context_length_exceeded"

    def __init__(self, message: str, *, limit: int | None = None, prompt_tokens: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.prompt_tokens = prompt_tokens


class ContentFiltered(UpstreamRejected):
    """The provider's filter refused the messages."""

    status, code = 400, "content_filter"


class ModelNotFound(UpstreamRejected):
    """The provider does not have this model."""

    status, code = 400, "model_not_found"


class UpstreamRateLimited(UpstreamError):
    code = "upstream_rate_limited"


class UpstreamOverloaded(UpstreamError):
    code = "upstream_overloaded"


class UpstreamTruncated(UpstreamError):
    code = "upstream_truncated"


class UpstreamInvalid(UpstreamError):
    code = "upstream_invalid"


class EmptyAnswer(UpstreamError):
    """The model ended its answer before its first text: it only thought, or said nothing."""

    code = "empty_answer"


def class_for_code(code: str) -> type[ChatError]:
    """The error class with this code; ChatError if no class has it."""
    return _find_class(code, ChatError)


def upstream_class_for_code(code: str) -> type[UpstreamError]:
    """The error class of providers with this code; UpstreamError if no class has it."""
    return _find_class(code, UpstreamError)


def _find_class(code: str, base: type[T]) -> type[T]:
    kinds = [base]
    for kind in kinds:  # the list grows, so that all subclasses are visited
        kinds += kind.__subclasses__()
    return next((kind for kind in kinds if kind.code == code), base)
