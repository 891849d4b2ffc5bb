/** GraphiQL in a real browser: it loads from our origin alone, and a running subscription shows an event published meanwhile. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { publish } from "./clients.mjs";
import { startServer, temporaryDirectory } from "./server.mjs";
import { DEADLINE_MS, within } from "./wait.mjs";

const ARTIFACTS = resolve(process.env.ARTIFACTS ?? join(import.meta.dirname, "../../artifacts"));

async function openBrowser(t) {
  const browser = await chromium.launchPersistentContext(temporaryDirectory(), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1400, height: 900 },
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // No name resolves: what is not bundled fails here as it would on a machine without internet.
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  t.after(() => within(browser.close(), "the browser ends"));
  browser.setDefaultTimeout(DEADLINE_MS * 3);
  return browser;
}

test("GraphiQL runs a subscription and shows an event published meanwhile", async (t) => {
  const server = await startServer(t);
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  const hosts = new Set();
  const complaints = [];
  browser.on("request", (request) => hosts.add(new URL(request.url()).host));
  browser.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  browser.on("weberror", (error) => complaints.push(String(error.error())));
  browser.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("websocket", (socket) => hosts.add(new URL(socket.url()).host));

  const event = (id) => ({ id, type: "task.completed", source: "client-tests", organizationId: "quant" });
  const edits = (text) => page.locator(".graphiql-query-editor .view-lines", { hasText: text }).waitFor();
  const open = async (name) => {
    await page.getByRole("tab", { name }).click();
    await edits(` ${name}`);
  };
  const run = () => page.locator(".graphiql-execute-button").click();
  const shows = (text) => page.locator(".graphiql-response .view-lines", { hasText: text }).waitFor();

  await publish(server, event("published-before"));
  await page.goto(`${server.url}/graphiql`);
  await edits("subscription Live");
  await open("Filtered");
  await run();
  await shows("published-before");
  await publish(server, event("published-meanwhile"));
  await shows("published-meanwhile");
  mkdirSync(ARTIFACTS, { recursive: true });
  await page.screenshot({ path: join(ARTIFACTS, "graphiql.png") });
  await run();

  for (const [name, part] of [
    ["Publish", `"duplicate": false`],
    ["History", `"endCursor": "`],
  ]) {
    await open(name);
    await run();
    await shows(part);
  }

  assert.deepEqual([...hosts], [server.address]);
  assert.deepEqual(complaints, []);
});
