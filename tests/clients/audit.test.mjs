/** GraphQL over HTTP, by the audit suite of the official `graphql-http` package. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { auditServer } from "graphql-http";
import { startServer } from "./server.mjs";
import { within } from "./wait.mjs";

/** Ids of audits that cannot pass, each with its reason in ARCHITECTURE.md. */
const EXCEPTIONS = [];
const AUDITS = 61;

test("all audits of GraphQL over HTTP pass", async (t) => {
  const server = await startServer(t);
  const results = await within(auditServer({ url: `${server.url}/graphql` }), "the audits end", 60_000);
  for (const { id, name, status, reason } of results) {
    t.diagnostic(`${status.padEnd(6)} ${id} ${name}${reason ? `: ${reason}` : ""}`);
  }
  assert.equal(results.length, AUDITS);
  const failed = results.filter(({ status }) => status !== "ok").map(({ id }) => id);
  assert.deepEqual(failed.toSorted(), EXCEPTIONS.toSorted());
});
