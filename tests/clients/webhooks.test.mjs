/** Every payload example of GitHub's webhooks, signed and posted, arrives on every way out: once and in the same order. */
import assert from "node:assert/strict";
import { createHmac, randomUUID } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { connectRpc, publish, subscribe } from "./clients.mjs";
import { startServer, startTail } from "./server.mjs";

const SECRET = "It's a Secret to Everybody";
const PARALLEL = 8;
const FENCES = ["github.fence", "repo.fence"];

/** The events that a delivery becomes, in order: who sees a push completed has seen its commits. */
function expectedEvents(name, delivery, payload) {
  if (name === "push") {
    const commits = payload.commits.map((commit) => ({ id: `${delivery}-${commit.id}`, type: "repo.commit.created" }));
    return [...commits, { id: delivery, type: "repo.push.completed" }];
  }
  if (name === "workflow_run" && payload.action === "requested") {
    return [{ id: delivery, type: "github.workflow.triggered" }];
  }
  return [{ id: delivery, type: ["github", name, payload.action].filter(Boolean).join(".") }];
}

const EXAMPLES = dirname(createRequire(import.meta.url).resolve("@octokit/webhooks-examples/package.json"));

/** All examples of one product (github.com or a version of GitHub Enterprise Server) as deliveries. */
function deliveriesOf(product) {
  return JSON.parse(readFileSync(join(EXAMPLES, product, "index.json"), "utf8")).flatMap(({ name, examples }) =>
    examples.map((payload) => {
      const delivery = randomUUID();
      return { name, delivery, body: JSON.stringify(payload), events: expectedEvents(name, delivery, payload) };
    }),
  );
}

const idsOf = (events) => events.map(({ id }) => id);

function post(server, { name, delivery, body }, secret = SECRET) {
  return fetch(`${server.url}/webhooks/github`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      "user-agent": "GitHub-Hookshot/044aadd",
      "x-github-event": name,
      "x-github-delivery": delivery,
      "x-hub-signature-256": `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`,
    },
    body,
  });
}

/** Posts a delivery and returns the published events as the server answered them. */
async function deliver(server, delivery) {
  const response = await post(server, delivery);
  const text = await response.text();
  assert.ok(response.ok, `${delivery.name} was refused: ${response.status} ${text.slice(0, 500)}`);
  const published = JSON.parse(text);
  assert.deepEqual(idsOf(published), idsOf(delivery.events), `${delivery.name} became ${text}`);
  return published;
}

test("every GitHub webhook example reaches every kind of client once and in the same order", async (t) => {
  const server = await startServer(t, { env: { FANFARE_GITHUB_WEBHOOK_SECRET: SECRET } });
  const selection = "{ id type cursor }";
  const github = subscribe(t, server, `subscription { github ${selection} }`);
  const repositories = subscribe(t, server, `subscription { repositories ${selection} }`);
  const both = subscribe(
    t,
    server,
    `subscription { events(filter: { categories: [GITHUB, REPOSITORY] }) ${selection} }`,
  );
  const rpc = await connectRpc(t, server);
  const { cursor } = await rpc.call("events.subscribe", { filter: { types: ["github.*", "repo.*"] } });
  const tail = startTail(t, server, ["github.*", "repo.*", "--after", cursor]);
  await Promise.all([github.live(), repositories.live(), both.live()]);

  const inTurn = deliveriesOf("api.github.com");
  const enterprise = readdirSync(EXAMPLES).filter((name) => name.startsWith("ghes-"));
  const atOnce = enterprise.flatMap(deliveriesOf);
  const expected = [...inTurn, ...atOnce].flatMap(({ events }) => events);
  assert.ok(inTurn.length >= 300 && atOnce.length >= 300, "the package holds its examples");

  const published = [];
  for (const delivery of inTurn) published.push(...(await deliver(server, delivery)));
  const countInTurn = published.length;
  const queue = [...atOnce];
  const worker = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) published.push(...(await deliver(server, next)));
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  assert.ok(published.every(({ duplicate }) => duplicate === false));

  await t.test("a wrong or missing signature is refused with 401 and publishes nothing", async () => {
    const fresh = { ...inTurn[0], delivery: randomUUID() };
    const unsigned = fetch(`${server.url}/webhooks/github`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-github-event": fresh.name,
        "x-github-delivery": fresh.delivery,
      },
      body: fresh.body,
    });
    for (const response of [await post(server, fresh, "guessed"), await unsigned]) {
      assert.equal(response.status, 401);
      assert.match(response.headers.get("content-type"), /^application\/problem\+json/);
      assert.equal((await response.json()).code, "UNAUTHENTICATED");
    }
  });

  await t.test("the same delivery again is a duplicate with the same ids and cursors", async () => {
    const again = await deliver(
      server,
      inTurn.findLast(({ name, events }) => name === "push" && events.length > 1),
    );
    for (const { id, cursor: of, duplicate } of again) {
      assert.equal(duplicate, true);
      assert.equal(of, published.find((event) => event.id === id).cursor);
    }
  });

  // What comes after everything, in order: once it is there, nothing else can come.
  for (const type of FENCES) await publish(server, { id: type, type, source: "client-tests" });
  const throughFence = async (arrivals, read, fence) => {
    const events = await arrivals.until((items) => {
      const all = items.map(read);
      return all.at(-1)?.type === fence && all;
    }, `receives ${fence}`);
    return events.map(({ id, type, cursor }) => ({ id, type, cursor }));
  };
  const event = (item) => item.event;
  const reference = await throughFence(both.arrivals, event, "repo.fence");

  await t.test("a subscription to both families gets each event once, in the order of publishing", () => {
    const events = reference.filter(({ type }) => !FENCES.includes(type));
    assert.equal(events.length, expected.length);
    assert.equal(new Set(events.map(({ cursor: of }) => of)).size, expected.length);
    const identity = ({ id, type }) => `${id} ${type}`;
    assert.deepEqual(events.map(identity).toSorted(), expected.map(identity).toSorted());
    assert.deepEqual(events.slice(0, countInTurn).map(identity), expected.slice(0, countInTurn).map(identity));
    const cursors = new Map(published.map(({ id, cursor: of }) => [id, of]));
    for (const { id, cursor: of } of events) assert.equal(of, cursors.get(id));
  });
  await t.test("extensions.cursor is the cursor of the event", () => {
    for (const { event: of, cursor: extension } of both.arrivals.items) assert.equal(extension, of.cursor);
  });
  await t.test("the subscriptions to one family each get their part of it", async () => {
    const part = (family) => reference.filter(({ type }) => type.startsWith(`${family}.`));
    assert.deepEqual(await throughFence(github.arrivals, event, "github.fence"), part("github"));
    assert.deepEqual(await throughFence(repositories.arrivals, event, "repo.fence"), part("repo"));
  });
  await t.test("a JSON-RPC client gets the same", async () => {
    assert.deepEqual(await throughFence(rpc.notifications, ({ result }) => result, "repo.fence"), reference);
  });
  await t.test("fanfare tail gets the same", async () => {
    assert.deepEqual(await throughFence(tail, (line) => line, "repo.fence"), reference);
  });
});
