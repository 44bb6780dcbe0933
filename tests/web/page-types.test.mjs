/** The type check of the chat page's modules, and the origin of its libraries. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const VENDORED = {
  "marked.esm.js": "marked/lib/marked.esm.js",
  "marked.LICENSE.txt": "marked/LICENSE",
  "purify.min.js": "dompurify/dist/purify.min.js",
  "purify.LICENSE.txt": "dompurify/LICENSE",
  "purify.LICENSE-MPL.txt": "dompurify/LICENSE-MPL",
};

test("the modules pass the type check", async () => {
  const compiler = `${HERE}node_modules/typescript/bin/tsc`;
  const run = promisify(execFile)(process.execPath, [compiler, "--project", "tsconfig.page.json"], { cwd: HERE });
  await run.catch((error) => assert.fail(error.stdout || error.message));
});

// npm has checked the packages with the hashes in package-lock.json.
for (const [name, source] of Object.entries(VENDORED)) {
  test(`${name} is unchanged from its package`, async () => {
    const [kept, published] = await Promise.all([
      readFile(new URL(`../../web/vendor/${name}`, import.meta.url)),
      readFile(new URL(`node_modules/${source}`, import.meta.url)),
    ]);
    assert.ok(kept.equals(published), "see web/vendor/README.md");
  });
}
