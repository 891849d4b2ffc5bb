/** A subscription continues where it stopped, whatever happened to the server in between. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { publish, publishNumbered, subscribe } from "./clients.mjs";
import { startServer } from "./server.mjs";
import { Arrivals } from "./wait.mjs";

const TYPE = "task.progress";
const EVENTS = `subscription ($start: StartPosition) { events(filter: { types: ["${TYPE}"] }, start: $start) { id cursor } }`;

const ids = (items) => items.map(({ event }) => event.id);
const numbered = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => `e-${from + index}`);

test("a subscription resumed after a restart continues without gap or repeat", async (t) => {
  const first = await startServer(t);
  const before = subscribe(t, first, EVENTS);
  await before.live();
  await publishNumbered(first, TYPE, 1, 5);
  const seen = await before.arrivals.count(5);
  assert.deepEqual(ids(seen), numbered(1, 5));
  const { cursor: after } = seen[2];
  await before.client.dispose();
  await publishNumbered(first, TYPE, 6, 8);
  await first.stop();

  const second = await startServer(t, { dataDir: first.dataDir });
  await publishNumbered(second, TYPE, 9, 12);
  const resumed = subscribe(t, second, EVENTS, { variables: { start: { after } } });
  await resumed.live();
  await publishNumbered(second, TYPE, 13, 14);
  await resumed.arrivals.first(({ event }) => event.id === "e-14", "receives the last event");
  assert.deepEqual(ids(resumed.arrivals.items), numbered(4, 14));
});

test("last: 10 gives the last ten events, then live ones", async (t) => {
  const server = await startServer(t);
  await publishNumbered(server, TYPE, 1, 25);
  const { arrivals, live } = subscribe(t, server, EVENTS, { variables: { start: { last: 10 } } });
  await live();
  await publishNumbered(server, TYPE, 26, 26);
  await arrivals.first(({ event }) => event.id === "e-26", "receives the live event");
  assert.deepEqual(ids(arrivals.items), numbered(16, 26));
});

test("a cursor of another data directory gives EPOCH_CHANGED", async (t) => {
  const [here, elsewhere] = [await startServer(t), await startServer(t)];
  const { cursor } = await publish(elsewhere, { type: TYPE });
  await publish(here, { type: TYPE });
  const { arrivals } = subscribe(t, here, EVENTS, { variables: { start: { after: cursor } } });
  assert.equal((await arrivals.failure("is refused")).code, "EPOCH_CHANGED");
  assert.deepEqual(arrivals.items, []);
});

test("the official client comes through a restart by itself and resumes", async (t) => {
  const first = await startServer(t);
  const closes = new Arrivals("closes");
  let restarted;
  const restart = new Promise((resolve) => (restarted = resolve));
  const { arrivals, variables, live } = subscribe(t, first, EVENTS, {
    retryAttempts: 5,
    retryWait: () => restart,
    on: {
      closed: ({ code }) => closes.push(code),
      message(message) {
        if (message.type === "next" && message.payload.extensions?.cursor) {
          variables.start = { after: message.payload.extensions.cursor };
        }
      },
    },
  });
  await live();
  await publishNumbered(first, TYPE, 1, 3);
  await arrivals.count(3);
  await first.stop();
  const [code] = await closes.count(1);
  assert.ok([1001, 1012].includes(code), `a draining server closes with 1001 or 1012, not ${code}`);

  const second = await startServer(t, { dataDir: first.dataDir, listen: first.address });
  await publishNumbered(second, TYPE, 4, 6);
  restarted();
  await live(2);
  await publishNumbered(second, TYPE, 7, 7);
  await arrivals.first(({ event }) => event.id === "e-7", "receives the last event");
  assert.deepEqual(ids(arrivals.items), numbered(1, 7));
});
