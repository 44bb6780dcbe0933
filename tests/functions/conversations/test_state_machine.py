"""Two users and an anonymous user call the API in random order. Each sees exactly their own conversations."""

import time
from dataclasses import dataclass, field
from uuid import uuid4

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from shared import auth, costs
from tests.serving import SECRET, Client, serve, settings

PATH = "/api/chat/conversations"

users = st.sampled_from(["alice", "bob", "visitor"])
positions = st.integers(0, 5)
title = st.none() | st.sampled_from(["Sleep", "Work", "語"])
question = st.sampled_from(["How are you?", "Why", "Grüße", "x" * 80])


@dataclass
class Conversation:
    """The expected state of a conversation."""

    id: str
    title: str | None
    tags: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def expected(self):
        return {
            "id": self.id,
            "title": self.title,
            "tags": self.tags,
            "message_count": len(self.messages),
            "total_tokens": sum(costs.estimate_tokens(content) for _, content in self.messages),
        }


def visible_fields(conversation):
    return {name: conversation[name] for name in ("id", "title", "tags", "message_count", "total_tokens")}


class Sidebar(RuleBasedStateMachine):
    url = ""

    def __init__(self):
        super().__init__()
        self.tokens = {
            name: auth.sign(
                uuid4(), secret=SECRET, now=time.time(), lifetime=600, is_anonymous=name == "visitor"
            )
            for name in ("alice", "bob", "visitor")
        }
        self.client = Client(self.url)
        # The conversations of each user, newest activity first.
        self.conversations: dict[str, list[Conversation]] = {name: [] for name in self.tokens}

    def teardown(self):
        self.client.close()

    def request(self, name, method, path, **kwargs):
        headers = {"authorization": f"Bearer {self.tokens[name]}"}
        return self.client.request(method, path, headers=headers, **kwargs)

    def a_conversation(self, index):
        """A conversation of any user, and its owner."""
        pairs = [
            (owner, conversation) for owner, owned in self.conversations.items() for conversation in owned
        ]
        return pairs[index % len(pairs)]

    def any_conversation(self):
        return any(self.conversations.values())

    @rule(name=users, title=title)
    def create(self, name, title):
        response = self.request(name, "POST", PATH, json={"title": title})
        assert response.status_code == 201
        created = Conversation(response.json()["id"], title)
        assert visible_fields(response.json()) == created.expected()
        self.conversations[name].insert(0, created)

    @precondition(any_conversation)
    @rule(name=users, index=positions, role=st.sampled_from(["user", "assistant"]), content=question)
    def send(self, name, index, role, content):
        owner, conversation = self.a_conversation(index)
        response = self.request(
            name, "POST", f"{PATH}/{conversation.id}/messages", json={"role": role, "content": content}
        )
        assert response.status_code == (201 if name == owner else 404)
        if name == owner:
            conversation.messages.append((role, content))
            if conversation.title is None and role == "user":
                conversation.title = content
            self.conversations[owner].remove(conversation)
            self.conversations[owner].insert(0, conversation)

    @precondition(any_conversation)
    @rule(name=users, index=positions, title=title, tags=st.lists(st.sampled_from("abc"), unique=True))
    def patch(self, name, index, title, tags):
        owner, conversation = self.a_conversation(index)
        response = self.request(
            name, "PATCH", f"{PATH}/{conversation.id}", json={"title": title, "tags": tags}
        )
        assert response.status_code == (200 if name == owner else 404)
        if name == owner:
            conversation.title, conversation.tags = title, tags
            assert visible_fields(response.json()) == conversation.expected()

    @precondition(any_conversation)
    @rule(name=users, index=positions)
    def delete(self, name, index):
        owner, conversation = self.a_conversation(index)
        response = self.request(name, "DELETE", f"{PATH}/{conversation.id}")
        assert response.status_code == (204 if name == owner else 404)
        if name == owner:
            self.conversations[owner].remove(conversation)

    @rule(name=st.sampled_from(["alice", "bob"]))
    def claim(self, name):
        response = self.request(name, "POST", f"{PATH}/claim", json={"token": self.tokens["visitor"]})
        assert response.json() == {"claimed": len(self.conversations["visitor"])}
        claimed, self.conversations["visitor"] = self.conversations["visitor"], []
        merged = [*self.conversations[name], *claimed]
        # The server merges the two lists by time, so the order is read from the response.
        page = self.request(name, "GET", PATH, params={"limit": 100}).json()["conversations"]
        order = [row["id"] for row in page]
        assert sorted(order) == sorted(conversation.id for conversation in merged)
        activity = [row["last_message_at"] or row["created_at"] for row in page]
        assert activity == sorted(activity, reverse=True)
        self.conversations[name] = sorted(merged, key=lambda conversation: order.index(conversation.id))

    @rule(name=users)
    def list(self, name):
        page = self.request(name, "GET", PATH).json()
        assert [visible_fields(row) for row in page["conversations"]] == [
            conversation.expected() for conversation in self.conversations[name]
        ]
        assert (page["total"], page["next_cursor"]) == (len(self.conversations[name]), None)

    @rule(name=users, limit=st.integers(1, 3))
    def page(self, name, limit):
        found, cursor = [], None
        for _ in range(len(self.conversations[name]) + 1):
            params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            page = self.request(name, "GET", PATH, params=params).json()
            assert page["total"] == len(self.conversations[name])
            found += [row["id"] for row in page["conversations"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == [conversation.id for conversation in self.conversations[name]]

    @precondition(any_conversation)
    @rule(name=users, index=positions, limit=st.integers(1, 100), order=st.sampled_from(["asc", "desc"]))
    def read(self, name, index, limit, order):
        owner, conversation = self.a_conversation(index)
        params = {"limit": limit, "order": order}
        response = self.request(name, "GET", f"{PATH}/{conversation.id}/messages", params=params)
        assert response.status_code == (200 if name == owner else 404)
        if name == owner:
            page = response.json()
            expected = conversation.messages if order == "asc" else conversation.messages[::-1]
            assert [(row["role"], row["content"]) for row in page["messages"]] == expected[:limit]
            assert page["total"] == len(conversation.messages)
            assert (page["next_cursor"] is not None) == (len(conversation.messages) > limit)


def test_each_user_sees_exactly_their_own_conversations(database):
    with serve(settings(database.url, RATE_LIMIT_WRITE="999999/60")) as url:
        Sidebar.url = url
        run_state_machine_as_test(
            Sidebar,
            settings=hypothesis_settings(
                max_examples=30,
                stateful_step_count=40,
                suppress_health_check=list(HealthCheck),
            ),
        )
