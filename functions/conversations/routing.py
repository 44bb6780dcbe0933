"""`@endpoint` declares an endpoint of this function, and `routes` makes the routes of all endpoints.

A handler gets a `Call` and reads the parsed values of its parameters: `call[LIMIT]`. A parameter that the
endpoint does not declare raises KeyError, so that the OpenAPI document names all parameters.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, overload

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared import json_bodies, logs, web
from shared.auth import Identity, TokenVerifier
from shared.endpoint_route import EndpointRoute, RequestHandler
from shared.endpoints import (
    Access,
    Body,
    Endpoint,
    Method,
    Reply,
    summary_and_description,
)
from shared.errors import ChatError, Forbidden, InvalidRequest
from shared.parameters import Parameter, Text

T = TypeVar("T")

USER_ID = Text(
    name="user_id",
    constraints={"format": "uuid"},
    description="The caller's own id, for clients that send it. Another id is refused with 403.",
)


class Call:
    """A request, parsed and checked as its endpoint declares."""

    def __init__(
        self,
        request: Request,
        identity: Identity | None,
        values: Mapping[Parameter[Any] | Body[Any], Any],
        present: frozenset[str],
    ) -> None:
        self.request = request
        self._identity = identity
        self._values = values
        self._present = present

    @overload
    def __getitem__(self, declared: Parameter[T]) -> T: ...
    @overload
    def __getitem__(self, declared: Body[T]) -> T: ...
    def __getitem__(self, declared: Parameter[Any] | Body[Any]) -> Any:
        """The value of a parameter, or the decoded body. Raises KeyError if it is not declared."""
        return self._values[declared]

    def has(self, parameter: Parameter[Any]) -> bool:
        """Whether the request has the parameter. Raises KeyError if the endpoint does not declare it."""
        self._values[parameter]
        return parameter.name in self._present

    @property
    def identity(self) -> Identity:
        """The caller. Raises LookupError at a public endpoint."""
        if self._identity is None:
            raise LookupError("a public endpoint has no caller")
        return self._identity


Handler: TypeAlias = Callable[[Any, Call], Awaitable[Response]]


class DeclaredHandler(Struct, frozen=True, eq=False):
    """A method that `@endpoint` decorates, and its endpoint."""

    endpoint: Endpoint
    handler: Handler

    def bind(self, route_group: object, verifier: TokenVerifier) -> RequestHandler:
        async def handle(request: Request) -> Response:
            return await self.handler(route_group, await _parse(request, self.endpoint, verifier))

        return handle


def endpoint(
    method: Method,
    path: str,
    *,
    operation_id: str,
    tag: str,
    replies: Sequence[Reply],
    parameters: Sequence[Parameter[Any]] = (),
    body: Body[Any] | None = None,
    access: Access = "user",
    errors: Sequence[type[ChatError]] = (),
) -> Callable[[Handler], DeclaredHandler]:
    """Declares a handler. Its docstring becomes the summary and the description in the OpenAPI document.

    Every endpoint that needs a token also accepts `user_id`, because clients of the earlier backend send it.
    """

    def declare(handler: Handler) -> DeclaredHandler:
        summary, description = summary_and_description(handler.__doc__)
        needs_token = access == "user"
        return DeclaredHandler(
            Endpoint(
                method=method,
                path=path,
                operation_id=operation_id,
                tag=tag,
                summary=summary,
                description=description,
                replies=tuple(replies),
                parameters=(*parameters, USER_ID) if needs_token else tuple(parameters),
                body=body,
                access=access,
                errors=(Forbidden, *errors) if needs_token else tuple(errors),
            ),
            handler,
        )

    return declare


def routes(route_groups: Iterable[object], verifier: TokenVerifier) -> list[Route]:
    """Returns one route for each path, in the order of declaration. `route_groups` are objects with decorated
    methods."""
    by_path: dict[str, list[tuple[Endpoint, RequestHandler]]] = {}
    for route_group in route_groups:
        for declared in vars(type(route_group)).values():
            if isinstance(declared, DeclaredHandler):
                handlers = by_path.setdefault(declared.endpoint.path, [])
                handlers.append((declared.endpoint, declared.bind(route_group, verifier)))
    return [EndpointRoute(path, handlers) for path, handlers in by_path.items()]


def check_user_id(user_id: object, identity: Identity) -> None:
    """Checks the optional `user_id` of a body. Raises Forbidden if it is not the caller's id."""
    if user_id not in {None, identity.user_id}:
        raise Forbidden("user_id must be the caller's own id")


async def _parse(request: Request, endpoint: Endpoint, verifier: TokenVerifier) -> Call:
    """Checks in this order: the token, `user_id`, the parameters in their order, the body."""
    identity = await _caller(request, verifier) if endpoint.access == "user" else None
    values: dict[Parameter[Any] | Body[Any], Any] = {}
    present = set()
    for parameter in endpoint.parameters:
        text = _text(request, parameter)
        values[parameter] = parameter.parse(text)
        if text is not None:
            present.add(parameter.name)
    if endpoint.body is not None:
        content = await web.read_body(request, limit=endpoint.body.max_bytes)
        values[endpoint.body] = json_bodies.decode(content, endpoint.body.type)
    return Call(request, identity, values, frozenset(present))


async def _caller(request: Request, verifier: TokenVerifier) -> Identity:
    """Raises Unauthorized, or Forbidden if the query string names another user."""
    identity = await verifier.verify(request.headers.get("authorization"))
    logs.set_user(identity.user_id)
    user_id = _text(request, USER_ID)
    if user_id is not None and user_id.lower() != str(identity.user_id) and user_id != identity.subject:
        raise Forbidden("user_id must be the caller's own id")
    return identity


def _text(request: Request, parameter: Parameter[Any]) -> str | None:
    """Returns the text of a parameter. Raises InvalidRequest if the query string has the parameter twice,
    because a proxy may have checked the other value."""
    if parameter.place == "path":
        return str(request.path_params[parameter.name])
    values = request.query_params.getlist(parameter.name)
    if len(values) > 1:
        raise InvalidRequest(f"{parameter.name} is repeated", field=parameter.name)
    return values[0] if values else None
