/** The size and the type declarations of the client. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const WEB = fileURLToPath(new URL("../../web/", import.meta.url));

async function tsc(...args) {
  const compiler = join(HERE, "node_modules/typescript/bin/tsc");
  try {
    await promisify(execFile)(process.execPath, [compiler, ...args], { cwd: HERE });
  } catch (error) {
    assert.fail(error.stdout || error.message);
  }
}

test("the client is smaller than 10 KB", async () => {
  assert.ok((await stat(`${WEB}chat-client.js`)).size < 10 * 1024);
});

test("the client passes the type check, and its declarations are current", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "types-"));
  t.after(() => rm(folder, { recursive: true }));
  await tsc("--project", "tsconfig.json", "--outDir", folder);
  const [made, kept] = await Promise.all(
    [`${folder}/`, WEB].map((place) => readFile(`${place}chat-client.d.ts`, "utf8")),
  );
  assert.equal(kept, made, "run `npm run types` in tests/web");
});

test("a page in TypeScript compiles against the types", async () => {
  const strict = ["--strict", "--noEmit", "--target", "ES2022", "--lib", "ES2022,DOM", "--types", ""];
  await tsc("chat-client-page.ts", ...strict, "--ignoreConfig");
});
