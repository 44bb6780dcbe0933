"""All states of the page, and functions that bring the page into each state. The page stays in the state, so
that a screenshot can be taken: streams hang and waits are long."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

from playwright.sync_api import expect

from tests.web.chat_page import Chat, ChatPage, create_conversation

USER = UUID("6f8e6a1c-0a52-4d5c-9f51-1c7d5a3e9b10")

QUESTION = "How do I keep a list sorted while I add to it, and what does it cost?"
ANSWER = """Let `bisect` find the place: it looks at **log n** items, and the insertion moves the rest.

```python
from bisect import insort

scores = [12, 30, 45]
insort(scores, 31)   # [12, 30, 31, 45]
```

| operation | cost |
| --- | ---: |
| find the place | O(log n) |
| insert | O(n) |

1. For some thousand items this is the fastest that Python has.
2. Beyond that, a heap or a database's index is worth its effort: see [the manual](https://docs.python.org/3/library/bisect.html).

> A list that changes more often than it is read can be sorted when it is read."""


_NEXT = "text=" + quote("`Vec` has `binary_search`, which tells the place", safe=" ") + "&hang&after=6"


@dataclass(frozen=True)
class State:
    """`reach` brings a tab into the state. `settings` are those of the server. `prepare` stores data for the
    user and returns the conversation to open."""

    reach: Callable[[Chat, ChatPage], Any]
    settings: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Chat], UUID | None] = lambda _: None
    in_sidebar: bool = False


def _with_conversations(chat: Chat) -> UUID:
    titles = ("Sleeping better", "A letter to my landlord", "قائمة المشتريات", "Bread without kneading")
    for title in titles:
        create_conversation(chat.database, USER, "What do you think?", "A good idea.", title=title)
    return create_conversation(
        chat.database, USER, QUESTION, ANSWER, "And in Rust?", "Much the same.", title="Sorted lists"
    )


def _conversation(chat: Chat, tab: ChatPage) -> None:
    expect(tab.messages).to_have_count(4)
    expect(tab.conversations).to_have_count(5)


def _answered(script: str, seen: str = "", status: str = "streaming") -> Callable[[Chat, ChatPage], None]:
    def reach(chat: Chat, tab: ChatPage) -> None:
        tab.send(f"mock:{script}")
        expect(tab.answer).to_have_attribute("data-status", status)
        expect(tab.answer).to_contain_text(seen)

    return reach


def _thinking(chat: Chat, tab: ChatPage) -> None:
    tab.send("mock:thinking=5,hang,after=0")
    expect(tab.page.locator("main")).to_have_attribute("data-state", "thinking")


def _reconnecting(chat: Chat, tab: ChatPage) -> None:
    _answered("hang,after=9", "consectetur")(chat, tab)
    chat.proxy.lose_network()
    expect(tab.page.locator("main")).to_have_attribute("data-state", "reconnecting")


def _offline(chat: Chat, tab: ChatPage) -> None:
    _answered("hang,after=9", "consectetur")(chat, tab)
    tab.page.context.set_offline(True)
    chat.proxy.lose_network()
    expect(tab.page.locator("main")).to_have_attribute("data-state", "offline")


def _stopped(chat: Chat, tab: ChatPage) -> None:
    _answered("hang,after=9", "consectetur")(chat, tab)
    tab.stop_button.click()
    expect(tab.answer).to_have_attribute("data-status", "cancelled")


def _limited(chat: Chat, tab: ChatPage) -> None:
    tab.ask("Hi")
    tab.send("And then?")
    expect(tab.page.locator("main")).to_have_attribute("data-state", "limited")


def _out_of_budget(chat: Chat, tab: ChatPage) -> None:
    tab.send("Hi")
    expect(tab.page.locator("main")).to_have_attribute("data-state", "budget")


def _signed_out(chat: Chat, tab: ChatPage) -> None:
    tab.send("Hi")
    tab.status.get_by_role("button", name="Sign in").click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()


def _with_usage(chat: Chat) -> None:
    for days in (0, 1, 2, 5, 6, 9, 14, 20):
        chat.database.rows(
            "insert into usage_logs (id, user_id, message_id, provider, model, tokens_in, tokens_out,"
            " cost_usd, priced, status, duration_ms, created_at)"
            " values (gen_random_uuid(), %s, gen_random_uuid(), 'anthropic', %s, %s, %s, %s, true,"
            " 'complete', 900, now() - make_interval(days => %s))",
            (USER, f"claude-{'large' if days % 2 else 'small'}", 900 + days * 80, 300 + days * 10,
             f"0.{days * 7 % 10}4", days),
        )  # fmt: skip


def _usage(chat: Chat, tab: ChatPage) -> None:
    tab.press("Usage")
    expect(tab.page.locator("#usage-content")).to_have_attribute("data-state", "ready")


def _settings(chat: Chat, tab: ChatPage) -> None:
    tab.press("Settings")


def _deleted(chat: Chat, tab: ChatPage) -> None:
    _conversation(chat, tab)
    tab.open_sidebar()
    tab.conversations.first.hover()
    tab.conversations.first.get_by_role("button", name="Delete").click()
    expect(tab.page.locator(".toast")).to_be_visible()


def _found(chat: Chat, tab: ChatPage) -> None:
    _conversation(chat, tab)
    tab.open_sidebar()
    tab.page.get_by_role("searchbox").fill("idea")
    expect(tab.page.locator("#results li")).to_have_count(4)


def _sidebar(chat: Chat, tab: ChatPage) -> None:
    _conversation(chat, tab)
    tab.open_sidebar()


def _picture(chat: Chat, tab: ChatPage) -> None:
    """The screenshot of the README: an answer with its cost, and a streaming answer."""
    expect(tab.messages).to_have_count(2)
    tab.send("And in Rust?")
    expect(tab.answer).to_contain_text("binary_search")
    tab.page.locator("main").click()


def _with_picture(chat: Chat) -> UUID:
    for title in ("Bread without kneading", "A letter to my landlord", "Sleeping better"):
        create_conversation(chat.database, USER, "What do you think?", "A good idea.", title=title)
    conversation_id = create_conversation(
        chat.database, USER, QUESTION, ANSWER.partition("\n\n1.")[0], title="Sorted lists"
    )
    facts = '{"model": "anthropic/claude-sonnet-5-5", "cost_usd": "0.0041", "finish_reason": "stop"}'
    chat.database.rows("update messages set metadata = %s where role = 'assistant'", (facts,))
    return conversation_id


def _with_right_to_left(chat: Chat) -> UUID:
    text = "هذا نص **مهم** فيه كلمة `code` ورابط [إلى هناك](https://elsewhere.example/).\n\n- واحد\n- اثنان"
    contents = ("كيف حالك؟", text, "And in English?", "Fine.")
    return create_conversation(chat.database, USER, *contents, title="مرحبا")


STATES: dict[str, State] = {
    "empty": State(lambda chat, tab: expect(tab.page.locator("#empty")).to_be_visible()),
    "conversation": State(_conversation, prepare=_with_conversations),
    "sidebar": State(_sidebar, prepare=_with_conversations, in_sidebar=True),
    "thinking": State(_thinking, {"LLM_MODEL": "nvidia/mock:obey", "LLM_FIRST_TOKEN_TIMEOUT": "600"}),
    "streaming": State(_answered("hang,after=30,tokens=60", "nostrud"), {"LLM_IDLE_TIMEOUT": "600"}),
    "reconnecting": State(_reconnecting, {"LLM_IDLE_TIMEOUT": "600"}),
    "offline": State(_offline, {"LLM_IDLE_TIMEOUT": "600"}),
    "stopped": State(_stopped, {"LLM_IDLE_TIMEOUT": "600"}),
    "broken off": State(_answered("cut,after=9", "consectetur", "error")),
    "no answer": State(_answered("401", "", "error")),
    "limited": State(_limited, {"RATE_LIMIT_CHAT": "1/600"}),
    "budget": State(_out_of_budget, {"BUDGET_USD_PER_DAY": "0.0001"}),
    "signed out": State(_signed_out, {"ALLOW_ANONYMOUS": "false"}),
    "usage": State(_usage, prepare=_with_usage),
    "settings": State(_settings),
    "deleted": State(_deleted, prepare=_with_conversations, in_sidebar=True),
    "found": State(_found, prepare=_with_conversations, in_sidebar=True),
    "picture": State(
        _picture,
        {"LLM_MODEL": f"openai/mock:{_NEXT}", "LLM_IDLE_TIMEOUT": "600"},
        prepare=_with_picture,
    ),
    "right to left": State(lambda _, tab: expect(tab.messages).to_have_count(4), prepare=_with_right_to_left),
}


def reach(name: str, serve_chat: Callable[..., Chat], **options: Any) -> ChatPage:
    """Opens a tab in a state. The user is signed in, except in the state "signed out"."""
    state = STATES[name]
    chat = serve_chat(**state.settings)
    user_id = None if name == "signed out" else USER
    tab = chat.open(user_id=user_id, conversation_id=state.prepare(chat), **options)
    state.reach(chat, tab)
    return tab
