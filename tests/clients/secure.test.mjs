/** The README's section for two organizations, followed to the letter: its commands in one bash, what it shows against what came. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { BINARY, temporaryDirectory } from "./server.mjs";
import { Arrivals, within } from "./wait.mjs";

const SECTION = "## Secure a server for two organizations in 15 minutes";

/** The section's boxes in their order: commands, each with what is shown for them. */
function steps() {
  const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
  const begin = readme.indexOf(`${SECTION}\n`);
  assert.notEqual(begin, -1, `README.md has the section "${SECTION}"`);
  const section = readme.slice(begin + SECTION.length).split(/^## /m)[0];
  const steps = [];
  for (const [, kind, text] of section.matchAll(/^```(\w*)\n(.*?)^```$/gms)) {
    if (kind === "sh") steps.push({ commands: text, shown: [] });
    else steps.at(-1).shown.push(...text.trimEnd().split("\n"));
  }
  return steps;
}

/** A line of the README, in which `…` stands for anything. */
function pattern(line) {
  return new RegExp(
    `^${line
      .split("…")
      .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
      .join(".*")}$`,
  );
}

async function freeAddress() {
  const server = createServer();
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return `127.0.0.1:${port}`;
}

/** One bash in a new folder; what it and its jobs say arrives line by line. */
function bash(address) {
  const path = [dirname(BINARY), process.env.PATH].join(delimiter);
  const shell = spawn("bash", ["--noprofile", "--norc"], {
    cwd: temporaryDirectory(),
    env: { PATH: path, ADDRESS: address, LC_ALL: "C" },
    // A group of its own, so that nothing in it outlives the test.
    detached: true,
  });
  const lines = new Arrivals("the shell");
  createInterface({ input: shell.stdout }).on("line", (line) => lines.push(line));
  const ended = new Promise((settle) => shell.on("close", settle));
  shell.on("error", (error) => lines.fail(error));
  shell.stdin.write("exec 2>&1\n");
  return { shell, lines, ended };
}

test("a newcomer secures a server for two organizations", async (t) => {
  const { shell, lines, ended } = bash(await freeAddress());
  t.after(() => {
    try {
      process.kill(-shell.pid, "SIGKILL");
    } catch (error) {
      if (error.code !== "ESRCH") throw error;
    }
  });
  const all = steps();
  assert.ok(all.length >= 8, "the section has its boxes");
  for (const [index, { commands, shown }] of all.entries()) {
    const begin = lines.items.length;
    const over = `the commands of box ${index + 1} are done`;
    shell.stdin.write(`${commands}\necho '${over}'\n`);
    for (const line of [...shown, over]) {
      const wanted = pattern(line);
      const arrived = (items) => items.slice(begin).some((item) => wanted.test(item));
      await lines.until(arrived, `shows ${JSON.stringify(line)} for ${commands.slice(0, 200)}`);
    }
  }
  shell.stdin.end();
  await within(ended, "the shell and its jobs end");

  const said = (who) => lines.items.filter((line) => line.startsWith(`${who}: `));
  assert.deepEqual(
    said("bob").filter((line) => /acme|t1|ann/.test(line)),
    [],
    "Bob sees nothing of Acme",
  );
  assert.deepEqual(
    said("abe").filter((line) => /bolt|t2|t3|ann@/.test(line)),
    [],
    "Abe sees nothing of Bolt, and no address",
  );
  assert.equal(said("bob").filter((line) => line.includes("task.created")).length, 2, "Bob misses and repeats nothing");
});
