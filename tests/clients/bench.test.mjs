/** `fanfare bench` against its own server: each scenario, and the mistakes and accidents of those who use it. */
import assert from "node:assert/strict";
import test from "node:test";
import { run, startBench, startServer } from "./server.mjs";

/** Runs a load to its end; its result, and its exit code. */
async function bench(test, server, args) {
  const child = startBench(test, server, args);
  const [result] = await child.lines.count(1);
  return { result, code: (await child.ended).code };
}

function assertWhole({ result, code }) {
  assert.deepEqual(result.failures, []);
  assert.deepEqual({ code, ok: result.ok, troubles: result.troubles }, { code: 0, ok: true, troubles: {} });
  const { lost, repeated, outOfOrder, misrouted, undelivered } = result;
  assert.deepEqual([lost, repeated, outOfOrder, misrouted, undelivered], [0, 0, 0, 0, 0]);
  assert.ok(result.published > 0);
  assert.equal(result.delivered, result.expected);
}

test("a paced fan-out is delivered whole to each subscription, beside another run and other traffic", async (t) => {
  const server = await startServer(t);
  await run(["publish", "bench.tick", "--data", '{"run":"somebody else"}', "--url", server.url]);
  const args = ["--connections", "10", "--subscriptions", "2", "--rate", "100", "--duration", "1s"];
  const both = await Promise.all([bench(t, server, args), bench(t, server, args)]);
  for (const one of both) {
    assertWhole(one);
    assert.equal(one.result.expected, one.result.published * 20);
    assert.equal(one.result.rate, 100);
    assert.ok(one.result.published >= 50 && one.result.published <= 100, `${one.result.published} published`);
    assert.ok(one.result.latencyMs.delivery.p50 > 0);
  }
  assert.notEqual(both[0].result.run, both[1].result.run);
});

test("with distinct filters each event is for one subscription, with patterns for those that match", async (t) => {
  const server = await startServer(t);
  const load = ["--connections", "5", "--subscriptions", "3", "--duration", "500ms"];
  const distinct = await bench(t, server, [...load, "--filters", "distinct"]);
  assertWhole(distinct);
  assert.equal(distinct.result.expected, distinct.result.published);
  const patterns = await bench(t, server, [...load, "--filter", "*.tick", "--filter", "agent.*", "--filter", "task.*"]);
  assertWhole(patterns);
  assert.equal(patterns.result.expected, patterns.result.published * 5);
});

test("publishing alone measures acknowledgements", async (t) => {
  const server = await startServer(t);
  const published = await bench(t, server, ["publish", "--duration", "500ms", "--batch", "5", "--rate", "0"]);
  assertWhole(published);
  assert.equal(published.result.published % 5, 0);
  assert.ok(published.result.latencyMs.publish.max > 0);
  assert.equal(published.result.latencyMs.delivery, null);
});

test("a replay gives every reader everything from the earliest on", async (t) => {
  const server = await startServer(t);
  const replayed = await bench(t, server, ["replay", "--events", "1003", "--connections", "5", "--publishers", "3"]);
  assertWhole(replayed);
  assert.deepEqual([replayed.result.published, replayed.result.delivered], [1003, 5015]);
  assert.ok(replayed.result.latencyMs.catchUp.max > 0);
});

test("in a storm everybody resumes by cursor and misses nothing", async (t) => {
  const server = await startServer(t);
  const args = ["storm", "--connections", "30", "--subscriptions", "2", "--rate", "200", "--duration", "2s"];
  const storm = await bench(t, server, args);
  assertWhole(storm);
  assert.ok(storm.result.latencyMs.catchUp.max > 0, "every connection came back");
});

test("people get a table, and a verdict", async (t) => {
  const server = await startServer(t);
  const shown = await run(["bench", "--connections", "3", "--duration", "200ms", "--quiet", "--url", server.url]);
  assert.equal(shown.code, 0, shown.stderr);
  assert.equal(shown.stderr, "");
  assert.match(shown.stdout, /delivered +\d/);
  assert.match(shown.stdout, /latency, ms +p50 +p90 +p99 +p99\.9 +max/);
  assert.match(shown.stdout, /ok: every event came to everybody it was for, once and in order/);
});

test("SIGINT ends a run early with what was measured", async (t) => {
  const server = await startServer(t);
  const child = startBench(t, server, ["--connections", "3", "--rate", "100", "--duration", "10m"]);
  await child.said("publishing");
  const { code } = await child.stop("SIGINT");
  const [result] = await child.lines.count(1);
  assert.deepEqual([code, result.interrupted, result.lost], [0, true, 0]);
});

test("a server that is killed in the middle is a clear failure", async (t) => {
  const server = await startServer(t);
  const child = startBench(t, server, ["--connections", "7", "--rate", "100", "--duration", "10m"]);
  await child.said("publishing");
  await server.kill();
  const [result] = await child.lines.count(1);
  assert.equal((await child.ended).code, 1);
  assert.deepEqual([result.ok, result.endedEarly, result.lost], [false, 7, 0]);
  assert.match(result.failures.join(), /7 connections ended before the run.*no connection was left/);
  assert.ok(Object.keys(result.troubles).some((what) => what.startsWith("connection lost")));
});

test("a server that drains tells its close code", async (t) => {
  const server = await startServer(t);
  const child = startBench(t, server, ["--connections", "4", "--rate", "100", "--duration", "10m"]);
  await child.said("publishing");
  await server.stop();
  const [result] = await child.lines.count(1);
  assert.equal((await child.ended).code, 1);
  const closed = Object.entries(result.troubles).filter(([what]) => what.startsWith("closed by the server: 1012"));
  assert.deepEqual(
    closed.map(([, count]) => count),
    [4],
  );
});

test("mistakes end before the load begins, with what to do", async (t) => {
  const server = await startServer(t, { env: { FANFARE_SUBSCRIPTIONS_MAX: "2" } });
  const mistakes = [
    [["--url", "nonsense"], 2, /url \(--url\)/],
    [["--url", "http://127.0.0.1:1"], 1, /cannot be reached.*is the server running/],
    [["--connections", "0"], 2, /--connections/],
    [["--rate", "fast"], 2, /allowed is 0, or/],
    [["publish", "--filters", "distinct"], 2, /--filters means nothing in publish/],
    [["--payload", "300000"], 1, /TOO_LARGE/],
    [["publish", "--payload", "200000", "--batch", "20"], 1, /TOO_LARGE/],
    [["--subscriptions", "3"], 1, /TOO_MANY.*fewer --subscriptions/],
  ];
  for (const [args, code, told] of mistakes) {
    const target = args.includes("--url") ? [] : ["--url", server.url];
    const ended = await run(["bench", ...args, ...target]);
    assert.equal(ended.code, code, `${args.join(" ")}: ${ended.stderr}`);
    assert.match(ended.stderr, told);
    assert.equal(ended.stdout, "", "no result without a measurement");
  }
});
