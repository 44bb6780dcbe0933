"""What the description has types of its own for: those that the code has no need of."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta, Struct

from functions.conversations import archive, parameters, schemas
from functions.conversations.parameters import Range
from shared.openapi import Parameter

DayOrMoment = Annotated[str, Meta(extra_json_schema={"anyOf": [{"format": "date"}, {"format": "date-time"}]})]

# An empty patch is none.
SomePatch = Annotated[
    schemas.ConversationPatch,
    Meta(
        extra_json_schema={"anyOf": [{"required": [n]} for n in schemas.ConversationPatch.__struct_fields__]}
    ),
]


class UsageByDay(Struct, frozen=True):
    totals: schemas.Figures
    rows: list[schemas.DayFigures]
    budget: schemas.Budget | None


class UsageByModel(Struct, frozen=True):
    totals: schemas.Figures
    rows: list[schemas.ModelFigures]
    budget: schemas.Budget | None


class UsageByConversation(Struct, frozen=True):
    totals: schemas.Figures
    rows: list[schemas.ConversationFigures]
    budget: schemas.Budget | None


class ExportedConversation(archive.ArchivedConversation, frozen=True):
    pass


class Export(Struct, frozen=True):
    """What an import takes."""

    format: archive.Format
    conversation: ExportedConversation
    messages: list[schemas.Message]


def number(name: str, allowed: Range, description: str) -> Parameter:
    bounds = Meta(ge=allowed.at_least, le=allowed.at_most)
    return Parameter(name=name, type=Annotated[int, bounds], default=allowed.default, description=description)


USER_ID = Parameter(
    name="user_id",
    type=UUID,
    description="For clients that send it: the caller's own id. Another one is a 403.",
)


def window(limit: Range) -> tuple[Parameter, ...]:
    return (
        USER_ID,
        number("limit", limit, "How many at most."),
        number("offset", parameters.OFFSET, "How many to pass over. What is inserted meanwhile moves them."),
        Parameter(
            name="cursor",
            # 24 bytes, of which the first is 0 until the year 4253.
            type=Annotated[str, Meta(pattern="^A[A-P][A-Za-z0-9_-]{30}$")],
            description="The `next_cursor` of an earlier page, in place of `offset`: nothing is skipped and"
            " nothing comes twice, whatever is inserted meanwhile.",
        ),
    )
