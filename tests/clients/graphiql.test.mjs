/** GraphiQL in a real browser: it loads from our origin alone, and a running subscription shows an event published meanwhile. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { openBrowser } from "./browser.mjs";
import { publish } from "./clients.mjs";
import { startServer } from "./server.mjs";
import { DEADLINE_MS } from "./wait.mjs";

const ARTIFACTS = resolve(process.env.ARTIFACTS ?? join(import.meta.dirname, "../../artifacts"));

/** Runs the examples of the page as a visitor does, and publishes while a subscription runs. */
async function visit(server, page) {
  const event = (id) => ({ id, type: "task.completed", source: "client-tests", organizationId: "quant" });
  const edits = (text) => page.locator(".graphiql-query-editor .view-lines", { hasText: text }).waitFor();
  const shows = (text) => page.locator(".graphiql-response .view-lines", { hasText: text }).waitFor();
  const run = () => page.locator(".graphiql-execute-button").click();
  const open = async (name) => {
    await page.getByRole("tab", { name }).click();
    await edits(` ${name}`);
  };

  await publish(server, event("published-before"));
  await page.goto(`${server.url}/graphiql`);
  // The tabs are there before the editors; a click in between is lost.
  await edits("subscription Live");
  await open("Filtered");
  await run();
  await shows("published-before");
  await publish(server, event("published-meanwhile"));
  await shows("published-meanwhile");
  await page.screenshot({ path: join(ARTIFACTS, "graphiql.png") });
  await run();

  await open("Publish");
  await run();
  await shows(`"duplicate": false`);
  await open("History");
  await run();
  await shows(`"endCursor": "`);
}

test("GraphiQL runs a subscription and shows an event published meanwhile", async (t) => {
  mkdirSync(ARTIFACTS, { recursive: true });
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

  try {
    await visit(server, page);
  } catch (error) {
    await page.screenshot({ path: join(ARTIFACTS, "graphiql-failed.png") });
    for (const complaint of complaints) t.diagnostic(complaint);
    throw error;
  }
  assert.deepEqual([...hosts], [server.address]);
  assert.deepEqual(complaints, []);
});
