/** Every streaming form of HTTP, read by clients that we did not write: the same events as over the WebSocket, and across restarts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client/core";
import { EventSource } from "eventsource";
import { createClient } from "graphql-sse";
import { tap } from "rxjs";
import { openBrowser } from "./browser.mjs";
import { execute, publish, publishNumbered, subscribe } from "./clients.mjs";
import { startServer } from "./server.mjs";
import { Arrivals, within } from "./wait.mjs";

const TYPE = "task.progress";
const FENCE = "task.fence";
const EVENTS = `subscription ($start: StartPosition) { events(filter: { types: ["task.*"] }, start: $start) { id type cursor } }`;
const COUNT = 300;

const identity = ({ id, type, cursor }) => ({ id, type, cursor });
const ids = (items) => items.map(({ id }) => id);
const numbered = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => `e-${from + index}`);

/** The ids of the events behind a cursor: a cursor of a position is none of an event's, so it is told by what follows it. */
async function idsAfter(server, cursor) {
  const query = "query ($after: Cursor) { events(first: 100, after: $after) { nodes { id } } }";
  return ids((await execute(server, query, { after: cursor })).events.nodes);
}

/** Takes the results of a GraphQL client apart: events arrive, and `live` resolves when nothing can be missed any more. */
function results(name) {
  const arrivals = new Arrivals(name);
  const readies = new Arrivals(`ready of ${name}`);
  const fail = (error) => {
    arrivals.fail(error);
    readies.fail(error);
  };
  const next = ({ data, errors, error, extensions }) => {
    if (errors || error) fail(refusal(errors?.[0] ?? error?.errors?.[0] ?? error));
    else if (extensions?.ready) readies.push(extensions.cursor);
    else {
      const [event] = Object.values(data);
      assert.equal(extensions.cursor, event.cursor);
      arrivals.push(identity(event));
    }
  };
  return { arrivals, fail, next, live: (times = 1) => readies.count(times) };
}

const refusal = (error) => Object.assign(new Error(error.message), { code: error.extensions?.code });

/** Subscribes with the official client of graphql-sse, which sends `variables` as they are at each try. */
function subscribeSse(t, server, { path = "/graphql", variables = {}, query = EVENTS, ...options } = {}) {
  const { arrivals, fail, next, live } = results(`graphql-sse ${options.singleConnection ? "single" : "distinct"}`);
  const client = createClient({ url: `${server.url}${path}`, retryAttempts: 0, ...options });
  t.after(() => client.dispose());
  const stop = client.subscribe(
    { query, variables, extensions: { ready: true } },
    { next, error: fail, complete: () => fail(new Error("the server completed the subscription")) },
  );
  return { arrivals, client, live, stop, variables };
}

/** Subscribes with Apollo's client, whose HttpLink takes subscriptions as multipart. */
function subscribeApollo(t, server, variables = {}) {
  const { arrivals, fail, next, live } = results("Apollo multipart");
  const types = new Arrivals("content types");
  const http = new HttpLink({
    uri: `${server.url}/graphql`,
    includeExtensions: true,
    async fetch(...request) {
      const response = await fetch(...request);
      types.push(response.headers.get("content-type"));
      return response;
    },
  });
  // Apollo's client keeps a result without data to itself; its links see it.
  const readyLink = new ApolloLink((operation, forward) =>
    forward(operation).pipe(tap((result) => result.extensions?.ready && next(result))),
  );
  const client = new ApolloClient({ link: ApolloLink.from([readyLink, http]), cache: new InMemoryCache() });
  const subscription = client
    .subscribe({ query: gql(EVENTS), variables, extensions: { ready: true }, fetchPolicy: "no-cache" })
    .subscribe({ next, error: fail, complete: () => fail(new Error("the server completed the subscription")) });
  t.after(() => subscription.unsubscribe());
  return { arrivals, client, live, types, subscription };
}

/** Follows the feed with an EventSource that is no browser's. */
function follow(t, server, query) {
  const arrivals = new Arrivals(`EventSource ${query}`);
  const notices = new Arrivals(`notices of EventSource ${query}`);
  const source = new EventSource(`${server.url}/events?${query}`);
  t.after(() => source.close());
  source.addEventListener("message", ({ data, lastEventId }) => {
    const event = JSON.parse(data);
    assert.equal(lastEventId, event.cursor);
    arrivals.push(identity(event));
  });
  for (const name of ["ready", "gap", "checkpoint", "ended"]) {
    source.addEventListener(name, ({ data }) => notices.push({ name, ...JSON.parse(data) }));
  }
  const live = (times = 1) =>
    notices.until((all) => {
      const readies = all.filter(({ name }) => name === "ready");
      return readies.length >= times && readies.at(-1);
    }, `is ready ${times} times`);
  return { arrivals, notices, live, source };
}

test("the same events arrive at every streaming client as over the WebSocket, once and in the same order", async (t) => {
  const server = await startServer(t);
  const socket = subscribe(t, server, EVENTS);
  const ways = [
    subscribeSse(t, server),
    subscribeSse(t, server, { singleConnection: true, path: "/graphql/stream" }),
    subscribeSse(t, server, { path: "/graphql/stream" }),
    subscribeApollo(t, server),
    follow(t, server, "type=task.*"),
    follow(t, server, "category=task"),
  ];
  await Promise.all([socket.live(), ...ways.map(({ live }) => live())]);

  const lanes = Array.from({ length: 6 }, (_, lane) => lane);
  await Promise.all(
    lanes.map(async (lane) => {
      for (let number = lane; number < COUNT; number += lanes.length) {
        await publish(server, {
          id: `e-${number}`,
          type: TYPE,
          source: "client-tests",
          data: { text: "a\nb\r\u2028" },
        });
        if (number % 10 === 0) await publish(server, { id: `x-${number}`, type: "agent.log", source: "client-tests" });
      }
    }),
  );
  await publish(server, { id: "fence", type: FENCE, source: "client-tests" });
  const fenced = (arrivals) => arrivals.until((items) => items.at(-1)?.type === FENCE && items, "receives the fence");
  await socket.arrivals.until((items) => items.at(-1)?.event.type === FENCE, "receives the fence");
  const reference = socket.arrivals.items.map(({ event }) => identity(event));
  assert.equal(reference.length, COUNT + 1);
  for (const { arrivals } of ways) assert.deepEqual(await fenced(arrivals), reference);
  assert.match(ways[3].types.items[0], /^multipart\/mixed; boundary="graphql"; subscriptionSpec=1.0$/);
});

test("queries, mutations and errors reach the clients of the streaming forms as over HTTP", async (t) => {
  const server = await startServer(t);
  for (const singleConnection of [false, true]) {
    const client = createClient({
      url: `${server.url}/graphql/stream`,
      retryAttempts: 0,
      singleConnection,
    });
    t.after(() => client.dispose());
    const all = async (query) => {
      const collected = [];
      for await (const result of client.iterate({ query })) collected.push(result);
      return collected;
    };
    const id = `by-${singleConnection}`;
    const [published] = await within(
      all(`mutation { publish(event: { id: "${id}", type: "${TYPE}" }) { id } }`),
      "publishes",
    );
    assert.equal(published.data.publish.id, id);
    assert.deepEqual(await within(all(`{ event(id: "${id}") { type } }`), "asks"), [
      { data: { event: { type: TYPE } } },
    ]);
    const [refused] = await within(all("subscription { notifications { id } }"), "is refused");
    assert.equal(refused.errors[0].extensions.code, "UNAUTHENTICATED");
  }
  const { client } = subscribeApollo(t, server);
  const { data } = await within(
    client.query({
      query: gql`
        {
          event(id: "by-true") {
            type
          }
        }
      `,
    }),
    "Apollo asks",
  );
  assert.equal(data.event.type, TYPE);
  const wrong = client.subscribe({ query: gql(`subscription { events(filter: { types: [] }) { id } }`) });
  const first = new Arrivals("a refused subscription");
  wrong.subscribe({ next: (result) => first.push(result), error: (error) => first.push({ error }) });
  const [{ error }] = await first.count(1);
  assert.equal(error.errors[0].extensions.code, "INVALID_FILTER");
});

test("stopping one operation of a single connection leaves the others alone", async (t) => {
  const server = await startServer(t);
  const { arrivals, client, live } = subscribeSse(t, server, { singleConnection: true, path: "/graphql/stream" });
  const other = results("the other");
  const stop = client.subscribe(
    { query: EVENTS, extensions: { ready: true } },
    { next: other.next, error: other.fail, complete: () => other.fail(new Error("stopped")) },
  );
  await Promise.all([live(), other.live()]);
  await publishNumbered(server, TYPE, 1, 2);
  await Promise.all([arrivals.count(2), other.arrivals.count(2)]);
  stop();
  await other.arrivals.failure("ends");
  const count = async () => (await execute(server, "{ stats { subscriptions } }")).stats.subscriptions;
  await publishNumbered(server, TYPE, 3, 4);
  await arrivals.count(4);
  assert.deepEqual(ids(other.arrivals.items), numbered(1, 2));
  assert.equal(await count(), 1);
});

test("clients of every streaming form come through a restart and resume without gap or repeat", async (t) => {
  const first = await startServer(t);
  let restarted;
  const restart = new Promise((resolve) => (restarted = resolve));
  const variables = {};
  const keep = (message) => {
    const cursor = (message.data?.payload ?? message.data)?.extensions?.cursor;
    if (cursor) variables.start = { after: cursor };
  };
  const distinct = subscribeSse(t, first, { variables, retryAttempts: 5, retry: () => restart, on: { message: keep } });
  const feed = follow(t, first, "type=task.*");
  const apollo = subscribeApollo(t, first);
  await Promise.all([distinct.live(), feed.live(), apollo.live()]);
  await publishNumbered(first, TYPE, 1, 5);
  for (const { arrivals } of [distinct, feed, apollo]) await arrivals.count(5);
  await first.stop();
  const ended = await feed.notices.first(({ name }) => name === "ended", "says why it ends");
  assert.equal(ended.code, "UNAVAILABLE");
  assert.equal((await apollo.arrivals.failure("is told")).code, "UNAVAILABLE");

  const second = await startServer(t, { dataDir: first.dataDir, listen: first.address });
  await publishNumbered(second, TYPE, 6, 9);
  restarted();
  const again = subscribeApollo(t, second, { start: { after: apollo.arrivals.items.at(-1).cursor } });
  await Promise.all([distinct.live(2), again.live()]);
  const ready = await feed.live(2);
  // A position is written differently each time; what follows shows that it is the right one.
  assert.equal(ready.resumed, true);
  assert.match(ready.cursor, /^[\w-]{28}$/);
  await publishNumbered(second, TYPE, 10, 12);
  for (const { arrivals } of [distinct, feed, again])
    await arrivals.first(({ id }) => id === "e-12", "receives the last event");
  assert.deepEqual(ids(distinct.arrivals.items), numbered(1, 12));
  assert.deepEqual(ids(feed.arrivals.items), numbered(1, 12));
  assert.deepEqual(ids([...apollo.arrivals.items, ...again.arrivals.items]), numbered(1, 12));
});

test("a browser's own EventSource follows the feed and resumes by itself after a restart", async (t) => {
  const first = await startServer(t, { env: { FANFARE_PING_INTERVAL: "200ms" } });
  const browser = await openBrowser(t);
  const page = await browser.newPage();
  await page.goto(`${first.url}/version`);
  const arrivals = new Arrivals("the browser");
  await page.exposeFunction("arrived", (item) => arrivals.push(item));
  await page.evaluate(() => {
    globalThis.source = new EventSource("/events?type=task.*");
    for (const name of ["message", "ready", "gap", "checkpoint", "ended"]) {
      globalThis.source.addEventListener(name, ({ data, lastEventId }) => {
        globalThis.arrived({ name, lastEventId, ...JSON.parse(data) });
      });
    }
  });
  const named = (name, times) =>
    arrivals.until((all) => {
      const found = all.filter((item) => item.name === name);
      return found.length >= times && found;
    }, `${times} of ${name}`);
  await named("ready", 1);
  await publishNumbered(first, TYPE, 1, 3);
  await named("message", 3);
  await publish(first, { id: "other", type: "agent.log", source: "client-tests" });
  let checkpoints = [];
  do {
    checkpoints = await named("checkpoint", checkpoints.length + 1);
  } while ((await idsAfter(first, checkpoints.at(-1).cursor)).length > 0);
  await first.stop();
  await named("ended", 1);

  const second = await startServer(t, { dataDir: first.dataDir, listen: first.address });
  await publishNumbered(second, TYPE, 4, 5);
  const [, ready] = await named("ready", 2);
  assert.equal(ready.resumed, true);
  assert.deepEqual(await idsAfter(second, ready.cursor), numbered(4, 5), "it resumes behind the event that it skipped");
  await publishNumbered(second, TYPE, 6, 6);
  const messages = await named("message", 6);
  assert.deepEqual(ids(messages), numbered(1, 6));
  for (const { lastEventId, cursor } of messages) assert.equal(lastEventId, cursor);
});
