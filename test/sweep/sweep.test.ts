// Sweeps on one machine: numbered units, what is stopped, killed or missing, and units that kill their process.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { verifyRun } from "../../src/node/verify-run.ts";
import type { SweepUnit } from "../../src/report/sweep.ts";
import { childrenOf, killNow, startCli } from "../support/cli-process.ts";
import { runCli } from "../support/run-cli.ts";
import { sweepIn, writePoisonedSweep, writeTinySweep } from "../support/tiny-sweep.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-sweep-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const unitsIn = (where: string): readonly SweepUnit[] => sweepIn(where).settings.flatMap(({ units }) => units);
const sweep = ["sweep", "recipe.yaml", "--threads", "1"];

test("units are numbered, computed by number, and only what is missing is computed", async () => {
  const where = join(folder, "numbered");
  writeTinySweep(where, 2);
  const listed = await runCli([...sweep, "--list"], where);
  expect(listed.code, listed.stderr).toBe(0);
  expect(unitsIn(where).map(({ index, status, seed }) => [index, status, seed])).toEqual([
    [0, "not run", 0],
    [1, "not run", 1],
    [2, "not run", 0],
    [3, "not run", 1],
  ]);

  const second = await runCli(["unit", "recipe.yaml", "--index", "2", "--threads", "1", "--json"], where);
  expect(second.json(), second.stderr).toEqual({
    index: 2,
    id: unitsIn(where)[2].id,
    folder: unitsIn(where)[2].folder,
  });
  const outside = await runCli(["unit", "recipe.yaml", "--index", "4"], where);
  expect(outside.stderr).toContain("--index is 4; expected 0 to 3: recipe.yaml has 4 units.");
  const computed = statSync(join(where, "sweep", unitsIn(where)[2].folder, "model.onnx")).mtimeMs;

  const all = await runCli([...sweep, "--json"], where);
  expect(all.code, all.stderr).toBe(0);
  expect(all.stderr.match(/: done, /g)).toHaveLength(3);
  const units = unitsIn(where);
  expect(units.map(({ status }) => status)).toEqual(["done", "done", "done", "done"]);
  expect(statSync(join(where, "sweep", units[2].folder, "model.onnx")).mtimeMs).toBe(computed);
  const verified = await verifyRun(join(where, "sweep", units[0].folder));
  expect([verified.ok, verified.unstated]).toEqual([true, []]);
  expect(sweepIn(where).settings.map(({ fronts }) => fronts.includes("size"))).toContain(true);

  rmSync(join(where, "sweep", units[1].folder), { recursive: true });
  const again = await runCli(sweep, where);
  expect(again.stderr.match(/: done, /g)).toHaveLength(1);
  expect(readdirSync(join(where, "sweep")).toSorted()).toEqual(["sweep.html", "sweep.json", "units"]);
}, 120_000);

test("the process that computes units is told nothing of what launched the command", async () => {
  const where = join(folder, "launched");
  writePoisonedSweep(where, "Object.keys(process.env).some((name) => /^(OMPI|PMI|PMIX|SLURM)_/.test(name))");
  for (const name of ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_STEP_ID"]) vi.stubEnv(name, "1");
  const { code, stderr } = await runCli(sweep, where);
  vi.unstubAllEnvs();
  expect(code, stderr).toBe(0);
  expect(existsSync(join(where, "tries.txt"))).toBe(false);
}, 60_000);

test("a killed process is noticed within a second and its unit computed; Ctrl-C ends it, and the same command goes on", async () => {
  const where = join(folder, "stopped");
  writeTinySweep(where, 4);
  const first = startCli(sweep, where);
  const finished = (): number =>
    existsSync(join(where, "sweep/units")) ? readdirSync(join(where, "sweep/units")).length : 0;
  while (finished() < 1) await new Promise((done) => setTimeout(done, 20));
  for (const pid of childrenOf(first)) killNow(pid);
  while (finished() < 3) await new Promise((done) => setTimeout(done, 20));
  const sent = performance.now();
  first.child.kill("SIGINT");
  expect(await first.ended, first.output()).toBe(130);
  expect(performance.now() - sent).toBeLessThan(2500);
  const states = unitsIn(where).map(({ status }) => status);
  expect(states.filter((status) => status === "done").length).toBeGreaterThanOrEqual(3);
  expect(states).toContain("not run");
  expect(states).not.toContain("failed");

  const rest = await runCli(sweep, where);
  expect(rest.code, rest.stderr).toBe(0);
  expect(unitsIn(where).map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => "done"));
}, 120_000);

test("a unit that kills its process fails after three tries, with its error in the table, and the others are computed", async () => {
  const where = join(folder, "poisoned");
  writePoisonedSweep(where);
  const { code, stderr, stdout } = await runCli(sweep, where);
  expect(code, stderr).toBe(1);
  expect(readFileSync(join(where, "tries.txt"), "utf8")).toBe("xxx");
  expect(unitsIn(where).map(({ status }) => status)).toEqual(["done", "failed", "done"]);
  expect(unitsIn(where)[1].error).toEqual({ code: "CRASHED", message: "Its process ended by SIGKILL." });
  expect(stdout).toContain("limit=16, seed 0 failed: Its process ended by SIGKILL.");
  expect(readFileSync(join(where, "sweep/sweep.html"), "utf8")).toContain("failed: Its process ended by SIGKILL.");
}, 120_000);

test("what an option is wrong for fails at once", async () => {
  const where = join(folder, "wrong");
  writeTinySweep(where, 1, { axes: { "quantize.layers": [{ nosuch: 8 }, {}] } });
  const { code, stderr } = await runCli(sweep, where);
  expect(code, stderr).toBe(1);
  expect(unitsIn(where).map(({ error }) => error?.code ?? null)).toEqual(["BAD_OPTION", null]);
}, 120_000);

test("a recipe whose sweep has no model, or an entry that it does not know, is refused", async () => {
  const where = join(folder, "refused");
  writeTinySweep(where, 1, { models: [] });
  expect((await runCli(sweep, where)).stderr).toContain(
    "sweep: models: expected a list of paths, or --model with one.",
  );
  writeTinySweep(where, 1, { axis: {} });
  expect((await runCli(sweep, where)).stderr).toContain("sweep: axis: no such entry; did you mean axes?");
  const queue = await runCli([...sweep.slice(0, 2), "--queue", "amqp://user:secret@host"], where);
  expect(queue.stderr).not.toContain("secret");
  writeTinySweep(where, 1);
  const other = await runCli([...sweep.slice(0, 2), "--queue", "amqp://user:secret@host"], where);
  expect(other.stderr).toContain("--queue is amqp://host; expected redis://HOST");
  const noUrl = await runCli([...sweep.slice(0, 2), "--queue", "redis://user:secret@[host"], where);
  expect(noUrl.stderr).toContain("--queue is redis://[host; expected redis://HOST");
}, 60_000);

test("without the packages of queues and S3, a sweep that needs them says what to install, and another one is computed", async () => {
  const project = join(folder, "project");
  const root = join(import.meta.dirname, "../..");
  await mkdir(join(project, "node_modules"), { recursive: true });
  await cp(join(root, "dist"), join(project, "dist"), { recursive: true });
  await cp(join(root, "package.json"), join(project, "package.json"));
  // What cannot be loaded, so that no folder above is looked into.
  const broken = ["bullmq", "ioredis", "pg", "@aws-sdk/client-s3"];
  for (const name of broken) {
    await mkdir(join(project, "node_modules", name), { recursive: true });
    await writeFile(join(project, "node_modules", name, "package.json"), '{ "main": "missing.js" }');
  }
  const isWhole = (name: string): boolean => broken.every((one) => one.split("/")[0] !== name);
  for (const name of readdirSync(join(root, "node_modules")).filter(isWhole))
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name));
  writeTinySweep(join(project, "work"), 1);
  const run = (...args: string[]) => runCli(args, join(project, "work"), { path: join(project, "dist/cli/main.js") });
  for (const [url, driver] of [
    ["redis://127.0.0.1:1", "ioredis"],
    ["postgres://127.0.0.1:1/x", "pg"],
  ]) {
    const refused = await run("worker", "--queue", url);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`Install them: npm install bullmq ${driver}.`);
  }
  const bucket = await run(...sweep, "--out", "s3://bucket/sweep");
  expect(bucket.code).toBe(1);
  expect(bucket.stderr).toContain("Install it: npm install @aws-sdk/client-s3.");
  expect((await run(...sweep)).code).toBe(0);
}, 120_000);
