"""Schemathesis checks the API against its OpenAPI document, as two users who know the ids of a third."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID, uuid4

from dev import openapi
from shared.settings import load_settings
from tests.serving import mocked, serve, token

ANN, BEN, CLEO = (UUID(int=number) for number in (0xA, 0xB, 0xC))
TABLES = ("conversations", "messages", "turns", "usage_logs", "budgets")

# Operations in PARTLY_DESCRIBED refuse requests that fit their schema, because a schema cannot say that two
# parameters exclude each other or have an order, that the last message must be the user's, that a key was
# used before, or that an integer must be written without a fraction.
CONFIG = """
workers = 1
warnings = false

[generation]
deterministic = true
max-examples = 15
database = "none"
allow-x00 = false

[auth.wfc]
path = "users.json"
peers = ["ann", "ben"]

[checks]
enabled = true
max_response_time = 20

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 413, 415, 422]

[dictionaries.users]
values = {users}

[dictionaries.conversations]
values = {conversations}

[dictionaries.messages]
values = {messages}

[dictionaries.words]
values = ["hello", "hel", '"hello"', "hello -world", "or"]

[parameters]
"query.q" = {{ dictionary = "words", probability = 0.5 }}
"query.user_id" = {{ dictionary = "users", probability = 0.9 }}
"body.user_id" = {{ dictionary = "users", probability = 0.9 }}
"body.conversation_id" = {{ dictionary = "conversations", probability = 0.5 }}
"body.conversationId" = {{ dictionary = "conversations", probability = 0.5 }}

[[operations]]
include-path-regex = "^/api/chat/conversations/"
parameters = {{ "path.id" = {{ dictionary = "conversations", probability = 0.5 }} }}

[[operations]]
include-path-regex = "^/api/chat/messages/"
parameters = {{ "path.id" = {{ dictionary = "messages", probability = 0.5 }} }}

# Schemathesis does not track the deletion of a resource that is named in the query string.
[[operations]]
include-operation-id = "deleteConversationByQuery"
checks.ensure_resource_availability.enabled = false

[[operations]]
include-operation-id = {partly_described}
checks.positive_data_acceptance.expected-statuses = [200, 201, 202, 204, 400, 401, 403, 404, 409, 422]
"""
PARTLY_DESCRIBED = [
    *("listConversations", "listMessages", "getUsage"),
    *("createConversation", "importConversation", "claimConversations"),
    *("chatStream", "streamChat", "chat", "stream", "createChatCompletion", "uiChat", "resumeMessage"),
]


def store(database, user_id):
    """Stores four conversations and returns their ids and the ids of their messages."""
    conversations, messages = [uuid4() for _ in range(4)], []
    for conversation in conversations:
        database.rows("insert into conversations (id, user_id) values (%s, %s)", (conversation, user_id))
        for role in ("user", "assistant"):
            messages.append(uuid4())
            database.rows(
                "insert into messages (id, conversation_id, user_id, role, content)"
                " values (%s, %s, %s, %s, 'hello')",
                (messages[-1], conversation, user_id, role),
            )
    return conversations, messages


def rows_of(database, user_id):
    return [
        database.rows(f"select * from {table} where user_id = %s order by 1", (user_id,)) for table in TABLES
    ]


def write_files(folder, database):
    ids = [store(database, user_id) for user_id in (ANN, BEN, CLEO)]
    conversations, messages = (
        json.dumps([str(each) for both in ids for each in both[kind]]) for kind in (0, 1)
    )
    text = CONFIG.format(
        users=json.dumps([str(ANN), str(BEN)]),
        conversations=conversations,
        messages=messages,
        partly_described=json.dumps(PARTLY_DESCRIBED),
    )
    (folder / "schemathesis.toml").write_text(text, "utf-8")
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {token(user_id)}"}]}
        for name, user_id in (("ann", ANN), ("ben", BEN))
    ]
    (folder / "users.json").write_text(json.dumps({"auth": users}), "utf-8")


def run(folder, url, user):
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", "schemathesis.toml"]
    command += ["run", f"{url}/openapi.json", "--auth-wfc-user", user, "--no-color"]
    return subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=400, check=False
    )


def test_every_response_fits_the_document_and_rows_of_another_user_stay_unchanged(database, mock, tmp_path):
    environ = mocked(
        database.url,
        mock,
        "openai/mock:tokens=1",
        LLM_ALLOWED_MODELS="openai/*",
        ALLOW_ANONYMOUS="true",
        RATE_LIMIT_CHAT="100000/1",
        RATE_LIMIT_WRITE="100000/1",
        OPENAPI_FILE=str(tmp_path / "openapi.json"),
    )
    openapi.write(tmp_path / "openapi.json")
    write_files(tmp_path, database)
    before = {user_id: rows_of(database, user_id) for user_id in (ANN, BEN, CLEO)}
    with serve(load_settings(environ)) as url:
        for user in ("ann", "ben"):
            finished = run(tmp_path, url, user)
            assert finished.returncode == 0, finished.stdout
    assert rows_of(database, CLEO) == before[CLEO]
    for user_id in (ANN, BEN):
        assert rows_of(database, user_id) != before[user_id]
