"""Two users, anonymous ones and everything they can do, in any order: each sees exactly what is theirs."""

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

who = st.sampled_from(["alice", "bob", "visitor"])
place = st.integers(0, 5)
title = st.none() | st.sampled_from(["Sleep", "Work", "語"])
question = st.sampled_from(["How are you?", "Why", "Grüße", "x" * 80])


@dataclass
class Conversation:
    """What a conversation should be."""

    id: str
    title: str | None
    tags: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def seen(self):
        return {
            "id": self.id,
            "title": self.title,
            "tags": self.tags,
            "message_count": len(self.messages),
            "total_tokens": sum(costs.estimate_tokens(content) for _, content in self.messages),
        }


def seen(answer):
    return {name: answer[name] for name in ("id", "title", "tags", "message_count", "total_tokens")}


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
        # By user, newest activity first.
        self.theirs: dict[str, list[Conversation]] = {name: [] for name in self.tokens}

    def teardown(self):
        self.client.close()

    def ask(self, name, method, path, **kwargs):
        headers = {"authorization": f"Bearer {self.tokens[name]}"}
        return self.client.request(method, path, headers=headers, **kwargs)

    def a_conversation(self, index):
        """Somebody's, and whose."""
        every = [(owner, it) for owner, several in self.theirs.items() for it in several]
        return every[index % len(every)]

    def any_conversation(self):
        return any(self.theirs.values())

    @rule(name=who, title=title)
    def create(self, name, title):
        answer = self.ask(name, "POST", PATH, json={"title": title})
        assert answer.status_code == 201
        made = Conversation(answer.json()["id"], title)
        assert seen(answer.json()) == made.seen()
        self.theirs[name].insert(0, made)

    @precondition(any_conversation)
    @rule(name=who, index=place, role=st.sampled_from(["user", "assistant"]), content=question)
    def send(self, name, index, role, content):
        owner, it = self.a_conversation(index)
        answer = self.ask(name, "POST", f"{PATH}/{it.id}/messages", json={"role": role, "content": content})
        assert answer.status_code == (201 if name == owner else 404)
        if name == owner:
            it.messages.append((role, content))
            if it.title is None and role == "user":
                it.title = content
            self.theirs[owner].remove(it)
            self.theirs[owner].insert(0, it)

    @precondition(any_conversation)
    @rule(name=who, index=place, title=title, tags=st.lists(st.sampled_from("abc"), unique=True))
    def patch(self, name, index, title, tags):
        owner, it = self.a_conversation(index)
        answer = self.ask(name, "PATCH", f"{PATH}/{it.id}", json={"title": title, "tags": tags})
        assert answer.status_code == (200 if name == owner else 404)
        if name == owner:
            it.title, it.tags = title, tags
            assert seen(answer.json()) == it.seen()

    @precondition(any_conversation)
    @rule(name=who, index=place)
    def delete(self, name, index):
        owner, it = self.a_conversation(index)
        answer = self.ask(name, "DELETE", f"{PATH}/{it.id}")
        assert answer.status_code == (204 if name == owner else 404)
        if name == owner:
            self.theirs[owner].remove(it)

    @rule(name=st.sampled_from(["alice", "bob"]))
    def claim(self, name):
        answer = self.ask(name, "POST", f"{PATH}/claim", json={"token": self.tokens["visitor"]})
        assert answer.json() == {"claimed": len(self.theirs["visitor"])}
        claimed, self.theirs["visitor"] = self.theirs["visitor"], []
        merged = [*self.theirs[name], *claimed]
        # The two lists interleave by their times, which the server alone knows.
        page = self.ask(name, "GET", PATH, params={"limit": 100}).json()["conversations"]
        order = [row["id"] for row in page]
        assert sorted(order) == sorted(it.id for it in merged)
        activity = [row["last_message_at"] or row["created_at"] for row in page]
        assert activity == sorted(activity, reverse=True)
        self.theirs[name] = sorted(merged, key=lambda it: order.index(it.id))

    @rule(name=who)
    def list(self, name):
        page = self.ask(name, "GET", PATH).json()
        assert [seen(row) for row in page["conversations"]] == [it.seen() for it in self.theirs[name]]
        assert (page["total"], page["next_cursor"]) == (len(self.theirs[name]), None)

    @rule(name=who, limit=st.integers(1, 3))
    def page(self, name, limit):
        found, cursor = [], None
        for _ in range(len(self.theirs[name]) + 1):
            params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            page = self.ask(name, "GET", PATH, params=params).json()
            assert page["total"] == len(self.theirs[name])
            found += [row["id"] for row in page["conversations"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == [it.id for it in self.theirs[name]]

    @precondition(any_conversation)
    @rule(name=who, index=place, limit=st.integers(1, 100), order=st.sampled_from(["asc", "desc"]))
    def read(self, name, index, limit, order):
        owner, it = self.a_conversation(index)
        params = {"limit": limit, "order": order}
        answer = self.ask(name, "GET", f"{PATH}/{it.id}/messages", params=params)
        assert answer.status_code == (200 if name == owner else 404)
        if name == owner:
            page = answer.json()
            expected = it.messages if order == "asc" else it.messages[::-1]
            assert [(row["role"], row["content"]) for row in page["messages"]] == expected[:limit]
            assert page["total"] == len(it.messages)
            assert (page["next_cursor"] is not None) == (len(it.messages) > limit)


def test_each_sees_exactly_what_is_theirs_and_counts_are_exact(database):
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
