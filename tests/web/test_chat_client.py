"""Runs the tests of chat-client.js in Node."""

from uuid import uuid4

from tests.serving import serve, settings, token
from tests.web import node


@node.needs_node
def test_the_client_parses_event_streams():
    node.run("chat-client-reading.test.mjs")


@node.needs_node
def test_the_client_handles_broken_connections_refusals_stops_and_aborts():
    node.run("chat-client-faults.test.mjs")


@node.needs_node
@node.needs_packages
def test_the_client_is_small_and_its_type_declarations_are_current():
    node.run("chat-client-types.test.mjs")


@node.needs_node
def test_the_client_works_with_the_real_functions(database, mock):
    mock.reset()
    configured = settings(
        database.url,
        LLM_MODEL="openai/mock:401&fail=1",
        LLM_ALLOWED_MODELS="openai/mock:*",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
        RATE_LIMIT_CHAT="3/60",
    )
    with serve(configured) as url, serve(configured) as other:
        node.run(
            "chat-client-served.test.mjs",
            CHAT_URL=url,
            OTHER_URL=other,
            MOCK_URL=mock.url,
            TOKENS=",".join(token(uuid4()) for _ in range(20)),
        )
    assert database.rows("select 1 from turns where status = 'running'") == []
    questions = database.rows("select conversation_id from messages where content = 'Hi'")
    conversations = {row["conversation_id"] for row in questions}
    assert len(questions) == len(conversations) > 5


def test_the_lock_file_has_no_download_addresses():
    lock = (node.FOLDER / "package-lock.json").read_text("utf-8")
    assert "integrity" in lock
    # Addresses for donations are allowed.
    assert '"resolved"' not in lock
    assert "registry" not in lock
