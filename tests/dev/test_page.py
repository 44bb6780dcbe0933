"""The local servers serve the files and the headers of the chat page, and no other file."""

import json

import httpx
import pytest

from dev.lambda_emulator import Emulator, in_thread
from dev.local import ROOT
from dev.page import Page
from tests.serving import serve, settings

WEB = ROOT / "web"
HEADERS = json.loads((WEB / "headers.json").read_text("utf-8"))


@pytest.fixture(params=["uvicorn", "emulator"])
def client(request, database):
    server = (
        serve(settings(database.url))
        if request.param == "uvicorn"
        else in_thread(Emulator([], log=lambda *_: None, page=Page()))
    )
    with server as url, httpx.Client(base_url=url, trust_env=False) as client:
        yield client


def test_a_file_has_its_media_type_and_the_headers_of_the_page(client):
    for path, file, media_type in (
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/page/main.js", "page/main.js", "text/javascript; charset=utf-8"),
        ("/vendor/marked.esm.js", "vendor/marked.esm.js", "text/javascript; charset=utf-8"),
        ("/styles/base.css", "styles/base.css", "text/css; charset=utf-8"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.content == (WEB / file).read_bytes()
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS


def test_an_unchanged_file_is_not_sent_again(client):
    first = client.get("/page/main.js")
    again = client.get("/page/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get("/page/main.js", headers={"If-None-Match": '"another"'})
    assert (other.status_code, other.content) == (200, first.content)


def test_a_head_has_no_body(client):
    head, get = client.head("/"), client.get("/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_other_files_folders_and_paths_out_of_the_folder_are_not_served(client):
    for path in (
        "/headers.json",
        "/package.json",
        "/chat-client.d.ts",
        "/vendor/README.md",
        "/../dev/page.py",
        "/page/",
        "/x",
    ):
        # httpx would take the dots out of a path.
        url = client.base_url.copy_with(raw_path=path.encode())
        assert client.send(httpx.Request("GET", url)).status_code == 404, path


def test_a_post_does_not_reach_the_page(client):
    assert client.post("/").status_code in {404, 405}


def test_an_edited_file_is_served_at_the_next_request(tmp_path):
    (tmp_path / "headers.json").write_text("{}")
    (tmp_path / "index.html").write_text("old")
    page = Page(tmp_path)
    found = page.find("GET", "/", lambda _: "")
    (tmp_path / "index.html").write_text("new")
    changed = page.find("GET", "/", lambda _: "")
    assert found is not None
    assert changed is not None
    assert (found.body, changed.body) == (b"old", b"new")
    assert dict(found.headers)["ETag"] != dict(changed.headers)["ETag"]
