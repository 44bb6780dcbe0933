"""Page objects for tests of the chat page, and a server with the page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from playwright.sync_api import BrowserContext, Locator, Page, expect

from dev.mock_llm import MockProcess
from shared.settings import load_settings
from tests.cutting_proxy import CuttingProxy
from tests.database import TestDatabase
from tests.serving import mocked, serve, token
from tests.web.browser import MonitoredBrowser

# A question that starts with `mock:` is the script of the answer. The model repeats any other question.
_MODEL = "openai/mock:obey"


class ChatPage:
    """One tab with the chat page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.field = page.locator("#message")
        self.send_button = page.locator("#send")
        self.stop_button = page.locator("#stop")
        self.messages = page.locator("article.message")
        self.answers = page.locator("article.message[data-role=assistant]")
        self.answer = self.answers.last
        self.status = page.locator("#status")
        self.conversations = page.locator("#conversations li")

    @property
    def conversation_id(self) -> str:
        """The id of the open conversation, from the address."""
        self.wait_until(lambda: "#c=" in self.page.url)
        return self.page.url.partition("#c=")[2]

    def send(self, text: str) -> None:
        """Sends a message. Does not wait for the answer."""
        self.field.fill(text)
        self.field.press("Enter")

    def ask(self, text: str) -> Locator:
        """Sends a message and waits until the answer is complete."""
        count = self.answers.count()
        self.send(text)
        answer = self.answers.nth(count)
        expect(answer).to_have_attribute("data-status", "complete")
        return answer

    def text_of(self, answer: Locator) -> str:
        return answer.locator(".markdown").inner_text()

    def show(self, conversation_id: UUID | str) -> None:
        self.page.evaluate("id => { location.hash = `#c=${id}` }", str(conversation_id))

    def open_sidebar(self) -> None:
        """Opens the sidebar if the screen is narrow."""
        button = self.page.locator("#open-sidebar")
        if button.is_visible():
            button.click()

    def press(self, name: str) -> None:
        self.open_sidebar()
        self.page.get_by_role("button", name=name, exact=True).click()

    def wait_until(self, condition: Callable[[], object]) -> None:
        """For conditions that a locator cannot express."""
        for _ in range(1500):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("the condition did not become true")


class Chat:
    """A server with the chat page, behind a proxy that can interrupt the network."""

    def __init__(self, database: TestDatabase, browser: MonitoredBrowser, proxy: CuttingProxy) -> None:
        self.database = database
        self.proxy = proxy
        self._browser = browser

    def context(self, **options: Any) -> BrowserContext:
        return self._browser.context(**{"viewport": {"width": 1200, "height": 800}, **options})

    def open(
        self,
        context: BrowserContext | None = None,
        *,
        user_id: UUID | None = None,
        bearer: str = "",
        conversation_id: UUID | str | None = None,
        **options: Any,
    ) -> ChatPage:
        """Opens a tab, in a new context by default.

        The user is anonymous without a `user_id` or a `bearer` token.
        """
        page = (context or self.context(**options)).new_page()
        bearer = token(user_id) if user_id else bearer
        fragment = f"#token={bearer}" if bearer else ""
        page.goto(f"{self.proxy.url}/{fragment}")
        expect(page.locator("html[data-ready]")).to_be_attached()
        tab = ChatPage(page)
        if conversation_id:
            tab.show(conversation_id)
        return tab

    def stored_messages(self) -> list[tuple[str, str, str]]:
        rows = self.database.rows("select role, status, content from messages order by created_at, role desc")
        return [(row["role"], row["status"], row["content"]) for row in rows]


@contextmanager
def serve_page(
    database: TestDatabase, mock: MockProcess, watch: Callable[..., MonitoredBrowser], environ: dict[str, str]
) -> Iterator[Chat]:
    mock.reset()
    settings = {"ALLOW_ANONYMOUS": "true", "RATE_LIMIT_WRITE": "1000/60", "STREAM_HEARTBEAT": "1", **environ}
    loaded = load_settings(mocked(database.url, mock, settings.pop("LLM_MODEL", _MODEL), **settings))
    with serve(loaded) as url, CuttingProxy(url) as proxy:
        monitored = watch(proxy.url)
        try:
            yield Chat(database, monitored, proxy)
        finally:
            monitored.close()  # otherwise the server would wait for open connections when it stops


def create_conversation(
    database: TestDatabase, user_id: UUID, *contents: str, title: str | None = None
) -> UUID:
    """Stores a conversation of alternating questions and answers, about an hour old."""
    conversation_id = uuid4()
    database.rows(
        "insert into conversations (id, user_id, title) values (%s, %s, %s)",
        (conversation_id, user_id, title),
    )
    database.rows(
        "insert into messages (id, conversation_id, user_id, role, content, token_count, created_at)"
        " select gen_random_uuid(), %s, %s, case when n %% 2 = 1 then 'user' else 'assistant' end, content,"
        "     length(content) / 4, now() - interval '1 hour' + make_interval(secs => n)"
        " from unnest(%s::text[]) with ordinality as messages (content, n)",
        (conversation_id, user_id, list(contents)),
    )
    return conversation_id
