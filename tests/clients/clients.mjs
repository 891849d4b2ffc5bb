/** The clients of the tests: GraphQL over HTTP and over the official `graphql-ws` client, and JSON-RPC over a WebSocket. */
import { createClient } from "graphql-ws";
import WebSocket from "ws";
import { Arrivals, within } from "./wait.mjs";

/** Runs a query or mutation by POST and returns its data. */
export async function execute(server, query, variables = {}) {
  const response = await fetch(`${server.url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json" },
    body: JSON.stringify({ query, variables }),
  });
  const text = await response.text();
  const result = response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : {};
  if (!result.data || result.errors) throw new Error(`POST /graphql: ${response.status} ${text.slice(0, 1_000)}`);
  return result.data;
}

/** Publishes an event and returns its id and cursor. */
export async function publish(server, event) {
  const mutation = "mutation ($event: NewEvent!) { publish(event: $event) { id cursor duplicate } }";
  return (await execute(server, mutation, { event })).publish;
}

/** Publishes numbered events one after the other and returns their ids. */
export async function publishNumbered(server, type, from, to) {
  const ids = [];
  for (let number = from; number <= to; number++) {
    ids.push((await publish(server, { id: `e-${number}`, type, source: "client-tests", data: { number } })).id);
  }
  return ids;
}

/**
 * Subscribes with the official client. Arrivals are `{event, cursor}`; `live()` resolves with the cursor from which on
 * nothing published is missed. Variables may be changed meanwhile: a reconnecting client sends them as they then are.
 */
export function subscribe(test, server, query, { variables = {}, ...options } = {}) {
  const arrivals = new Arrivals(query);
  const readies = new Arrivals(`ready of ${query}`);
  const end = (error) => {
    arrivals.fail(error);
    readies.fail(error);
  };
  const client = createClient({
    url: server.socket("/graphql"),
    webSocketImpl: WebSocket,
    retryAttempts: 0,
    ...options,
  });
  test.after(() => client.dispose());
  const unsubscribe = client.subscribe(
    { query, variables, extensions: { ready: true } },
    {
      next({ data, errors, extensions }) {
        if (errors) end(refusal(errors));
        else if (extensions?.ready) readies.push(extensions.cursor);
        else arrivals.push({ event: Object.values(data)[0], cursor: extensions?.cursor });
      },
      error: (error) => end(Array.isArray(error) ? refusal(error) : closed(error)),
      complete: () => end(new Error("the server completed the subscription")),
    },
  );
  return {
    arrivals,
    variables,
    client,
    unsubscribe,
    live: (times = 1) => readies.count(times).then((all) => all.at(-1)),
  };
}

function refusal(errors) {
  const { message, extensions } = errors[0];
  return Object.assign(new Error(`${extensions?.code}: ${message}`), { code: extensions?.code, extensions });
}

function closed(event) {
  return event instanceof Error ? event : new Error(`the connection closed: ${event.code} ${event.reason}`);
}

/** Opens a JSON-RPC WebSocket; arrivals are the params of `events.notification`. */
export async function connectRpc(test, server) {
  const socket = new WebSocket(server.socket("/rpc"));
  const notifications = new Arrivals("events.notification");
  const answers = new Arrivals("JSON-RPC answers");
  let lastId = 0;
  test.after(() => socket.terminate());
  socket.on("message", (text) => {
    const message = JSON.parse(text);
    if (message.id !== undefined) answers.push(message);
    else if (message.method === "events.notification") notifications.push(message.params);
  });
  socket.on("close", (code, reason) => {
    const error = new Error(`the connection closed: ${code} ${reason}`);
    notifications.fail(error);
    answers.fail(error);
  });
  await within(
    new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject)),
    "the JSON-RPC WebSocket opens",
  );
  return {
    notifications,
    async call(method, params) {
      const id = ++lastId;
      socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
      const { result, error } = await answers.first((answer) => answer.id === id, `answers ${method}`);
      if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
      return result;
    },
  };
}
