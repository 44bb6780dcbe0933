/** The modules of the chat page that need no browser, and checks of its files. */

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";

import { toCsv } from "../../web/page/csv.js";
import { choose, createI18n, languages } from "../../web/page/i18n.js";
import { merge } from "../../web/page/merge.js";
import { messagesOf, newTurn } from "../../web/page/message.js";
import { blocks, html, target } from "../../web/page/safe-html.js";
import { createTabStorage } from "../../web/page/tab-storage.js";
import { texts } from "../../web/page/texts.js";

const WEB = new URL("../../web/", import.meta.url);
const read = (path) => readFile(new URL(path, WEB), "utf8");
const modules = (await readdir(new URL("page/", WEB))).filter((name) => name.endsWith(".js"));
const page = await read("index.html");
const sources = await Promise.all(modules.map((name) => read(`page/${name}`)));

const pluralForms = (entry) => (typeof entry === "string" ? [entry] : Object.values(entry));
const placeholders = (entry) => [...new Set(pluralForms(entry).flatMap((text) => text.match(/\{\w+\}/g) ?? []))].sort();

for (const language of languages) {
  test(`${language} has all texts of English, with the same placeholders`, () => {
    assert.deepEqual(Object.keys(texts[language]).sort(), Object.keys(texts.en).sort());
    for (const [key, entry] of Object.entries(texts[language])) {
      assert.deepEqual(placeholders(entry), placeholders(texts.en[key]), key);
      assert.ok(pluralForms(entry).every((text) => text.trim()), key);
    }
  });

  test(`${language} has all plural forms`, () => {
    const { pluralCategories } = new Intl.PluralRules(language).resolvedOptions();
    for (const [key, entry] of Object.entries(texts[language])) {
      if (typeof entry !== "string") assert.deepEqual(Object.keys(entry).sort(), [...pluralCategories].sort(), key);
    }
  });
}

test("every text is used, and every used text exists", () => {
  const code = sources.filter((_, index) => modules[index] !== "texts.js").join("\n") + page;
  const unused = Object.keys(texts.en).filter((key) => !key.startsWith("is.") && !code.includes(`"${key}"`));
  assert.deepEqual(unused, []);
  const used = [...code.matchAll(/\bt\(\s*"([\w.]+)"|data-t(?:-label|-placeholder)?="([\w.]+)"/g)].map(([, a, b]) => a ?? b);
  assert.ok(used.length > 80);
  assert.deepEqual(used.filter((key) => !(key in texts.en)), []);
});

test("the answer of a new turn has the status streaming", () => {
  const [question, answer] = messagesOf(newTurn("Hi", null));
  assert.deepEqual([question.role, question.status], ["user", "complete"]);
  assert.deepEqual([answer.role, answer.status], ["assistant", "streaming"]);
});

test("the first available language of the browser is chosen", () => {
  assert.equal(choose(["fr-FR", "de-AT", "ja"]), "de");
  assert.equal(choose([null, "ja-JP", "en"]), "ja");
  assert.equal(choose(["fr"]), "en");
  // Inherited properties are not languages.
  assert.equal(choose(["constructor", "toString"]), "en");
});

test("numbers and money have the format of the language", () => {
  const [en, de] = [createI18n("en"), createI18n("de")];
  assert.equal(en.t("tokens", { count: 1 }), "1 token");
  assert.equal(en.t("tokens", { count: 1234 }), "1,234 tokens");
  assert.equal(de.t("tokens", { count: 1234 }), "1.234 Tokens");
  assert.equal(en.money("12.3"), "$12.30");
  assert.equal(en.money("0.00031"), "$0.00031");
  assert.equal(en.money("0"), "$0.00");
  // Placeholders in values are not replaced.
  assert.equal(en.t("deleted", { title: "{title} $& {count}" }), "“{title} $& {count}” is deleted.");
});

test("a CSV has no formulas, and its numbers are unchanged", () => {
  const cells = ["=1+1", "+1", "-2", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1", "plain", 'a "b"', "a,b", "a\nb", 0.5, null];
  assert.equal(
    toCsv([["name"], ...cells.map((cell) => [cell])]),
    "name\r\n'=1+1\r\n'+1\r\n-2\r\n'-2+3\r\n'@SUM(A1)\r\n'\t=1\r\n' =1\r\n'＝1\r\nplain\r\n\"a \"\"b\"\"\"\r\n\"a,b\"\r\n\"a\nb\"\r\n0.5\r\n\r\n",
  );
});

// The page passes this HTML to DOMPurify, which needs a browser.
const render = (markdown) => html(blocks(markdown, {})).trim();

test("raw HTML is shown as text", () => {
  assert.equal(render("<img src=x onerror=alert(1)>"), "<p>&#60;img src=x onerror=alert(1)&#62;</p>");
  assert.equal(render("a <script>b</script>"), "<p>a &#60;script&#62;b&#60;/script&#62;</p>");
  assert.equal(render("H<sub>2</sub>O <sub onclick=x>"), "<p>H<sub>2</sub>O &#60;sub onclick=x&#62;</p>");
});

test("images become links, and links have only web and mail addresses", () => {
  assert.equal(render('![a "b"](https://e.org/x.png)'), '<p><a href="https://e.org/x.png">a &#34;b&#34;</a></p>');
  for (const address of ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,x", "vbscript:x", "file:///x", "//e.org", "/x"]) {
    assert.equal(render(`[a](${address}) ![b](${address})`), "<p>a b</p>", address);
  }
  assert.equal(render('[a](<https://e.org/"onclick="x>)').match(/"/g).length, 2);
  assert.equal(render("[a](mailto:a@e.org)"), '<p><a href="mailto:a@e.org">a</a></p>');
});

test("a link shows its target unless its text starts with the target", () => {
  assert.equal(target("https://e.org/x", "a page"), "e.org");
  assert.equal(target("https://evil.example/", "https://bank.example"), "evil.example");
  assert.equal(target("https://bank.example.evil.example/", "bank.example"), "bank.example.evil.example");
  assert.equal(target("https://e.org/x", "https://e.org/x"), "");
  assert.equal(target("https://e.org/", "this is not e.org at all"), "e.org");
  assert.equal(target("mailto:a@e.org", "write to us"), "a@e.org");
  assert.equal(target("https://[bad", "x"), "");
});

test("headings have levels below those of the page and of the message", () => {
  assert.equal(render("# a"), "<h3>a</h3>");
  assert.equal(render("###### a"), "<h6>a</h6>");
});

test("drafts and turns are saved for each conversation", () => {
  const entries = new Map();
  const storage = {
    getItem: (name) => entries.get(name) ?? null,
    setItem: (name, value) => entries.set(name, value),
    removeItem: (name) => entries.delete(name),
  };
  const tabStorage = createTabStorage(storage);
  tabStorage.saveDraft(null, "new");
  tabStorage.saveDraft("a", "old");
  assert.deepEqual([tabStorage.draft(null), tabStorage.draft("a"), tabStorage.draft("b")], ["new", "old", ""]);
  const turn = { key: "k", request: { message: "Hi", conversationId: "a" }, at: "2026-11-21T12:00:00Z" };
  tabStorage.saveTurn(turn);
  assert.deepEqual([tabStorage.turn("a"), tabStorage.turn(null)], [turn, null]);
  const elsewhere = { key: "l", request: { message: "Hi" }, at: turn.at };
  tabStorage.saveTurn(elsewhere);
  tabStorage.removeTurn({ ...turn, key: "before" });
  assert.deepEqual([tabStorage.turn("a"), tabStorage.turn(null)], [turn, elsewhere]);
  tabStorage.removeTurn(elsewhere);
  assert.deepEqual([tabStorage.turn("a"), tabStorage.turn(null)], [turn, null]);
  for (let number = 0; number < 30; number += 1) tabStorage.saveFailedTurn(`m${number}`, turn);
  assert.deepEqual([tabStorage.failedTurn("m29"), tabStorage.failedTurn("m0")], [turn, undefined]);
  storage.setItem("chat.turn.a", "{broken");
  assert.equal(tabStorage.turn("a"), null);
});

const user = (id) => ({ id, role: "user", content: id, status: "complete", metadata: {}, created_at: "" });
const coach = (id, status = "complete") => ({ ...user(id), role: "assistant", status });
const idsOf = (messages) => messages.map(({ id }) => id);

test("messages from the server are merged once, also if they are read again", () => {
  const here = [user("q1"), coach("a1", "streaming")];
  const stored = () => [user("q1"), coach("a1"), user("q2"), coach("a2")];
  const first = merge(here, stored());
  assert.deepEqual([idsOf(first.changed), first.added, first.atEnd], [["a1"], 2, true]);
  const second = merge(here, stored());
  assert.deepEqual([second.changed, second.added], [[], 0]);
  assert.deepEqual(idsOf(here), ["q1", "a1", "q2", "a2"]);
});

test("a question with a local id is not shown twice, and an unsent question stays last", () => {
  const here = [user("local-1"), coach("a1"), user("local-2"), coach("local-2-answer", "error")];
  const { changed, added, atEnd } = merge(here, [user("q1"), coach("a1"), user("q3"), coach("a3")]);
  assert.deepEqual([idsOf(changed), added, atEnd], [["q1"], 2, false]);
  assert.deepEqual(idsOf(here), ["q1", "a1", "q3", "a3", "local-2", "local-2-answer"]);
});

test("the page has no inline code and preloads all its modules", async () => {
  assert.doesNotMatch(page, /\sstyle=|\son\w+=|<style|<script(?![^>]* src=)/);
  assert.deepEqual([...page.matchAll(/(?:href|src)="([^"#]*)"/g)].filter(([, to]) => !to.startsWith("/")), []);
  const preloaded = [...page.matchAll(/modulepreload" href="\/page\/([\w-]+\.js)"/g)].map(([, name]) => name);
  const needed = modules.filter((name) => name !== "theme.js" && name !== "main.js");
  assert.deepEqual(preloaded.sort(), needed.sort());
});

test("the policy in the page is the policy in the header", async () => {
  const header = JSON.parse(await read("headers.json"))["Content-Security-Policy"];
  const [, own] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page);
  assert.equal(own, header.replace(" frame-ancestors 'none';", ""));
  assert.doesNotMatch(header, /unsafe|\*|https?:|data:/);
});
