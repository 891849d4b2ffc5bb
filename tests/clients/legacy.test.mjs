/** The client that came before `graphql-ws`: subscriptions-transport-ws, whose subprotocol is also called `graphql-ws`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SubscriptionClient } from "subscriptions-transport-ws";
import WebSocket from "ws";
import { publishNumbered } from "./clients.mjs";
import { startServer } from "./server.mjs";
import { Arrivals, within } from "./wait.mjs";

const TYPE = "agent.started";
const query = `subscription { events(filter: { types: ["${TYPE}"] }, start: { earliest: true }) { id } }`;

function observe(client, request, name) {
  const arrivals = new Arrivals(name);
  const subscription = client.request(request).subscribe({
    next: ({ data, errors }) => (errors ? arrivals.fail(new Error(errors[0].message)) : arrivals.push(data)),
    error: (error) => arrivals.fail(error),
    complete: () => arrivals.fail(new Error("complete")),
  });
  return { arrivals, unsubscribe: () => subscription.unsubscribe() };
}

test("the old client connects, subscribes, unsubscribes and sees an operation complete", async (t) => {
  const server = await startServer(t);
  const client = new SubscriptionClient(server.socket("/graphql"), { reconnect: false }, WebSocket);
  t.after(() => client.close());
  const connected = new Promise((resolve) => client.onConnected(resolve));
  const disconnected = [];
  client.onDisconnected(() => disconnected.push("disconnected"));
  await within(connected, "the old client gets connection_ack");

  const leaving = observe(client, { query }, "the subscription that leaves");
  const staying = observe(client, { query }, "the subscription that stays");
  await publishNumbered(server, TYPE, 1, 3);
  for (const { arrivals } of [leaving, staying]) {
    const events = await arrivals.count(3);
    assert.deepEqual(
      events.map(({ events: { id } }) => id),
      ["e-1", "e-2", "e-3"],
    );
  }

  leaving.unsubscribe();
  await publishNumbered(server, TYPE, 4, 5);
  const events = await staying.arrivals.count(5);
  assert.deepEqual(
    events.map(({ events: { id } }) => id),
    ["e-1", "e-2", "e-3", "e-4", "e-5"],
  );
  assert.equal(leaving.arrivals.items.length, 3);

  const single = observe(client, { query: "{ __typename }" }, "a query");
  assert.equal((await single.arrivals.failure("completes")).message, "complete");
  assert.deepEqual(single.arrivals.items, [{ __typename: "Query" }]);
  assert.deepEqual(disconnected, []);
  // Before the server closes: a connection that ends under this client can leave one of its timers running.
  client.close();
});
