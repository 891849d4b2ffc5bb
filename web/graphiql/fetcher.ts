/** How GraphiQL reaches the server it was loaded from: queries and mutations by POST, subscriptions by WebSocket. */
import { createGraphiQLFetcher, type Fetcher } from "@graphiql/toolkit";
import { type DocumentNode, Kind, parse } from "graphql";
import { createClient } from "graphql-ws";

const http = new URL("/graphql", window.location.href);
const socket = new URL(http);
socket.protocol = http.protocol === "https:" ? "wss:" : "ws:";

/**
 * A WebSocket for each subscription, opened when it runs. The headers of the editor go with `connection_init`, because a
 * browser cannot set any on a WebSocket. It does not reconnect: GraphiQL would show the next event as if none were missing.
 */
export const fetcher: Fetcher = (operation, options) => {
  const send = createGraphiQLFetcher({
    url: http.href,
    enableIncrementalDelivery: false,
    wsClient: createClient({ url: socket.href, connectionParams: { ...options?.headers }, retryAttempts: 0 }),
  });
  const documentAST = parsed(operation.query);
  if (!documentAST) return send(operation, options);
  const operationName = onlyName(documentAST) ?? operation.operationName ?? null;
  return send({ ...operation, operationName }, { ...options, documentAST });
};

/** The document as it stands in the editor: GraphiQL's own copy is up to 100 ms older, and of another tab just after a change. */
function parsed(query: string): DocumentNode | undefined {
  try {
    return parse(query);
  } catch {
    // The server explains what is wrong with it.
    return undefined;
  }
}

/** The name of a document's operation if it has but one. */
function onlyName(document: DocumentNode): string | undefined {
  const operations = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  return operations.length === 1 ? operations[0]?.name?.value : undefined;
}
