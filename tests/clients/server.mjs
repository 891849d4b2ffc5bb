/** The real binary as a process: `fanfare serve` on a free port with a data directory of its own, and `fanfare tail`. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { Arrivals, within } from "./wait.mjs";

export const BINARY = resolve(process.env.FANFARE_BIN ?? join(import.meta.dirname, "../../target/debug/fanfare"));

/** All that the binary sees of our environment, so that no setting of the machine changes a test. */
const { PATH, RUST_LOG, RUST_BACKTRACE } = process.env;

const running = new Set();
const directories = new Set();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/** A new directory that goes with the test process. */
export function temporaryDirectory() {
  const directory = mkdtempSync(join(tmpdir(), "fanfare-test-"));
  directories.add(directory);
  return directory;
}

/**
 * Starts a server and waits until it listens; it ends with the test at the latest. It publishes nothing by itself, unless
 * `env` says so.
 */
export async function startServer(test, { dataDir = temporaryDirectory(), listen = "127.0.0.1:0", env } = {}) {
  const silent = { FANFARE_SELF_EVENTS: "off", ...env };
  const child = start("serve", ["serve", "--listen", listen, "--data-dir", dataDir], { env: silent });
  let isKilled = false;
  const kill = () => {
    isKilled = true;
    return child.stop("SIGKILL");
  };
  const stop = async () => {
    if (isKilled) return;
    const { code, signal } = await child.stop("SIGTERM");
    if (code !== 0) throw new Error(`the server did not end in order: ${signal ?? `code ${code}`}`);
  };
  test.after(stop);
  const url = await child.lines.until(
    (lines) => lines.map((line) => /^listening on (http:\/\/\S+)$/.exec(line)?.[1]).find(Boolean),
    "prints that it is listening",
  );
  const socket = (path) => `${url.replace(/^http/, "ws")}${path}`;
  return { url, dataDir, address: new URL(url).host, socket, stop, kill };
}

/** Starts `fanfare tail --json`; what arrives are the events, parsed. It ends with the test. */
export function startTail(test, server, args) {
  const child = start("tail", ["tail", "--json", ...args, "--url", server.url], { read: JSON.parse });
  test.after(() => child.stop("SIGTERM"));
  return child.lines;
}

/** Starts `fanfare bench` with its result as JSON, the only line that arrives. */
export function startBench(test, server, args) {
  const child = start("bench", ["bench", ...args, "--json", "--url", server.url], { read: JSON.parse });
  test.after(() => child.stop("SIGKILL"));
  return child;
}

/** Runs the binary to its end and returns its exit code and what it said. */
export async function run(args, { env } = {}) {
  const said = [];
  const child = start(args[0], args, { env, read: (line) => said.push(line) });
  const { code } = await within(child.ended, `fanfare ${args.join(" ")} ends`);
  return { code, stdout: said.join("\n"), stderr: child.errors() };
}

/** Starts the binary; `read` makes an arrival of each line of its stdout. */
function start(name, args, { env = {}, read = (line) => line }) {
  const child = spawn(BINARY, args, {
    env: { PATH, RUST_LOG, RUST_BACKTRACE, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  running.add(child);
  const lines = new Arrivals(name);
  let errors = "";
  const said = new Arrivals(`stderr of ${name}`);
  child.stderr.setEncoding("utf8").on("data", (text) => {
    errors = (errors + text).slice(-4_000);
    said.push(text);
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    try {
      lines.push(read(line));
    } catch (error) {
      lines.fail(new Error(`${error.message} in the line ${line.slice(0, 200)}`));
    }
  });
  const ended = new Promise((settle) => {
    const end = (code, signal, why) => {
      running.delete(child);
      said.fail(new Error(why));
      lines.fail(new Error(`${why}; stderr: ${errors}`));
      settle({ code, signal });
    };
    child.on("error", (error) => end(null, null, `${BINARY} did not start: ${error.message}`));
    child.on("close", (code, signal) => end(code, signal, `${name} ended with ${signal ?? `code ${code}`}`));
  });
  return {
    lines,
    ended,
    errors: () => errors,
    /** Resolves once stderr has this text. */
    said: (text) => said.until(() => errors.includes(text), `says ${text}`),
    /** Sends the signal unless the process has ended, and returns how it ended. */
    stop(signal) {
      if (running.has(child)) child.kill(signal);
      return within(ended, `${name} ends after ${signal}`, undefined, () => `; stderr: ${errors}`);
    },
  };
}
