/** The commands of the binary against its own server: publish, tail, schema, settings, exit codes. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { run, startServer, startTail, temporaryDirectory } from "./server.mjs";

const schema = join(import.meta.dirname, "../../schema.graphql");

function file(lines) {
  const path = join(temporaryDirectory(), "events.jsonl");
  writeFileSync(path, lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"));
  return path;
}

test("a file of events is published in its order, and tail shows them all", async (t) => {
  const server = await startServer(t);
  const events = Array.from({ length: 1_203 }, (_, n) => ({
    id: `e${n}`,
    type: "task.progress",
    taskId: "t1",
    data: { n },
  }));
  const published = await run(["publish", "--file", file(events), "--url", server.url]);
  assert.equal(published.code, 0, published.stderr);
  const tail = startTail(t, server, ["task.*", "--task", "t1", "--earliest"]);
  const shown = await tail.count(events.length);
  assert.deepEqual(
    shown.map(({ id, data }) => ({ id, n: data.n })),
    events.map(({ id, data }) => ({ id, n: data.n })),
  );
  const again = await run(["publish", "--file", file(events), "--url", server.url]);
  assert.equal(again.code, 0, "publishing a file again is safe");
  const one = await run(["publish", "task.completed", "--task", "t1", "--data", '{"ok":true}', "--url", server.url]);
  assert.equal(one.code, 0, one.stderr);
  const last = await tail.first(({ type }) => type === "task.completed", "shows the last event");
  assert.deepEqual(last.data, { ok: true });
  assert.equal(tail.items.length, events.length + 1);
});

test("tail comes through a restart of the server by itself and misses nothing", async (t) => {
  const first = await startServer(t);
  const tail = startTail(t, first, ["*", "--earliest"]);
  await run(["publish", "a", "--id", "1", "--url", first.url]);
  await tail.count(1);
  await first.stop();
  const second = await startServer(t, { dataDir: first.dataDir, listen: first.address });
  await run(["publish", "a", "--id", "2", "--url", second.url]);
  const shown = await tail.count(2);
  assert.deepEqual(
    shown.map(({ id }) => id),
    ["1", "2"],
  );
});

test("a refused line is named and ends with exit code 1", async (t) => {
  const server = await startServer(t);
  const path = file([{ type: "a" }, { type: "b", taskId: "not an id" }, { type: "c" }]);
  const refused = await run(["publish", "--file", path, "--url", server.url]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /line 2/);
  assert.match(refused.stderr, /taskId/);
});

test("a cursor of another server is refused with what to do", async (t) => {
  const [server, other] = [await startServer(t), await startServer(t)];
  await run(["publish", "a", "--url", other.url]);
  const foreign = await startTail(t, other, ["*", "--earliest"]).count(1);
  const refused = await run(["tail", "--after", foreign[0].cursor, "--url", server.url]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /EPOCH_CHANGED/);
});

test("the sample feed is a believable, marked one", async (t) => {
  const server = await startServer(t, { env: { FANFARE_DEMO: "true" } });
  const shown = await startTail(t, server, ["*", "--earliest"]).count(3);
  for (const { source } of shown) assert.equal(source, "/sample-feed");
});

test("settings that are not allowed are start-up errors with exit code 2, all at once", async () => {
  const wrong = await run(["serve", "--listen", "0.0.0.0:0", "--set", "ping_interval=soon"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /loopback/);
  assert.match(wrong.stderr, /ping_interval/);
  const unknown = await run(["check-config"], { env: { FANFARE_LISTENN: "127.0.0.1:0" } });
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /FANFARE_LISTENN/);
  assert.equal((await run(["check-config"])).code, 0);
  assert.equal((await run(["tial"])).code, 2);
});

test("the schema that is served is the one in the repository", async () => {
  const checked = await run(["schema", "--check", schema]);
  assert.equal(checked.code, 0, checked.stderr);
});
