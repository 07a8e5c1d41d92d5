// Sweeps through a queue: workers, their processes, the server and the coordinator are killed, and every unit is finished once.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { chmod, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { UnitTask } from "../../src/node/sweep/task.ts";
import { openUnitQueue, serveUnits } from "../../src/node/sweep/unit-queue.ts";
import { type CliProcess, childrenOf, killNow, startCli } from "../support/cli-process.ts";
import { postgresServer, type QueueServer, redisServer, startPostgres, startRedis } from "../support/queue-servers.ts";
import { runCli } from "../support/run-cli.ts";
import { sweepIn, writePoisonedSweep, writeTinySweep } from "../support/tiny-sweep.ts";

let folder = "";
const started: CliProcess[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-queue-"));
  // The user of PostgreSQL goes through it.
  await chmod(folder, 0o755);
});
afterAll(() => {
  for (const { child } of started) killNow(child.pid);
  rmSync(folder, { recursive: true, force: true });
});

const start = (where: string, ...args: string[]): CliProcess => {
  const process = startCli(args, where);
  started.push(process);
  return process;
};

const namesIn = (path: string): readonly string[] => (existsSync(path) ? readdirSync(path) : []);
const finishedIn = (where: string): readonly string[] => namesIn(join(where, "sweep/units"));
const digestOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const workerAt = (url: string): readonly string[] => [
  "worker",
  "--queue",
  url,
  "--threads",
  "1",
  "--lock-timeout",
  "2",
];
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

const targets = ["worker", "its process", "server", "worker", "its process", "coordinator"] as const;

interface Chaos {
  readonly units: number;
  readonly workers: number;
  readonly kills: number;
}

/** Kills in turn what works on the sweep, at moments spread over its units; gives how often each was killed. */
async function sweepUnderFire(
  where: string,
  server: QueueServer,
  { units, workers, kills }: Chaos,
): Promise<CliProcess> {
  const startWorker = (): CliProcess => start(where, ...workerAt(server.url));
  const startCoordinator = (): CliProcess => start(where, "sweep", "recipe.yaml", "--queue", server.url);
  const crew = Array.from({ length: workers }, startWorker);
  let coordinator = startCoordinator();
  for (let kill = 0; kill < kills; kill++) {
    const target = targets[kill % targets.length];
    while (finishedIn(where).length < ((kill + 0.5) * units) / kills) await pause(20);
    const at = kill % workers;
    if (target === "worker") {
      killNow(crew[at].child.pid);
      crew[at] = startWorker();
    } else if (target === "its process") {
      for (const pid of childrenOf(crew[at])) killNow(pid);
    } else if (target === "server") {
      await server.kill();
      await server.start();
    } else {
      killNow(coordinator.child.pid);
      coordinator = startCoordinator();
    }
  }
  expect(await coordinator.ended, coordinator.output()).toBe(0);
  for (const { child } of crew) child.kill("SIGINT");
  await Promise.all(crew.map(({ ended }) => ended));
  return coordinator;
}

const servers = [
  {
    name: "Redis",
    isThere: redisServer !== undefined,
    start: startRedis,
    chaos: process.env["FROSTBIT_SLOW"] ? { units: 200, workers: 3, kills: 20 } : { units: 80, workers: 3, kills: 12 },
  },
  {
    name: "PostgreSQL",
    isThere: postgresServer !== undefined,
    start: startPostgres,
    chaos: { units: 40, workers: 2, kills: 6 },
  },
] as const;

describe.each(servers)("a queue in $name", ({ name, isThere, start: startServer, chaos }) => {
  let server: QueueServer;
  beforeAll(async () => {
    const home = join(folder, `server-${name}`);
    mkdirSync(home);
    if (isThere) server = await startServer(home);
  });
  afterAll(() => (isThere ? server.kill() : undefined));

  test.skipIf(!isThere)(
    `${chaos.units} units, ${chaos.workers} workers, ${chaos.kills} kills: each unit is finished once, none is lost, with the bytes of a sweep without a queue`,
    async () => {
      const where = join(folder, `fire-${name}`);
      writeTinySweep(where, chaos.units / 2);
      await sweepUnderFire(where, server, chaos);
      const sweep = sweepIn(where);
      const units = sweep.settings.flatMap((setting) => setting.units);
      expect(units.map(({ status }) => status)).toEqual(units.map(() => "done"));
      expect(finishedIn(where).toSorted()).toEqual(units.map(({ id }) => id).toSorted());
      expect(units).toHaveLength(chaos.units);
      expect([...namesIn(join(where, "sweep/work")), ...namesIn(join(where, "sweep/failed"))]).toEqual([]);

      const plain = join(folder, `plain-${name}`);
      writeTinySweep(plain, 5);
      expect((await runCli(["sweep", "recipe.yaml", "--threads", "1"], plain)).code).toBe(0);
      expect(finishedIn(plain)).toHaveLength(10);
      for (const id of finishedIn(plain))
        expect(digestOf(join(where, "sweep/units", id, "model.onnx"))).toBe(
          digestOf(join(plain, "sweep/units", id, "model.onnx")),
        );
    },
    600_000,
  );

  test.skipIf(!isThere)(
    "an emptied queue is filled with what is missing; a unit that kills its process fails after three tries",
    async () => {
      const where = join(folder, `poison-${name}`);
      writePoisonedSweep(where);
      const coordinator = start(where, "sweep", "recipe.yaml", "--queue", server.url);
      // Before a worker is there: all that the queue knows is lost.
      while (!coordinator.output().includes("No worker serves the queue")) await pause(50);
      server.empty();
      await server.kill();
      await server.start();
      const worker = start(where, ...workerAt(server.url));
      expect(await coordinator.ended, coordinator.output()).toBe(1);
      const units = sweepIn(where).settings.flatMap((setting) => setting.units);
      expect(units.map(({ status }) => status)).toEqual(["done", "failed", "done"]);
      expect(units[1].error).toEqual({ code: "CRASHED", message: "Its process ended by SIGKILL." });
      expect(readFileSync(join(where, "tries.txt"), "utf8")).toBe("xxx");
      worker.child.kill("SIGINT");
      expect(await worker.ended, worker.output()).toBe(130);
    },
    120_000,
  );

  test.skipIf(!isThere)(
    "the unit of a worker that died is computed by another one",
    async () => {
      const where = join(folder, `dead-${name}`);
      // The first to read these samples ends its worker and itself.
      const isFirst = 'indices.some((index) => index >= 8) && !existsSync("tries.txt")';
      writePoisonedSweep(where, `${isFirst} && process.kill(process.ppid, "SIGKILL")`);
      const crew = [0, 1].map(() => start(where, ...workerAt(server.url)));
      const coordinator = start(where, "sweep", "recipe.yaml", "--queue", server.url);
      expect(await coordinator.ended, coordinator.output()).toBe(0);
      expect(readFileSync(join(where, "tries.txt"), "utf8")).toBe("x");
      expect(finishedIn(where)).toHaveLength(3);
      for (const { child } of crew) child.kill("SIGINT");
      const codes = await Promise.all(crew.map(({ ended }) => ended));
      expect(codes.filter((code) => code === 130)).toHaveLength(1);
    },
    120_000,
  );

  test.skipIf(!isThere)(
    "the queue costs at most 50 ms a unit",
    async () => {
      const stopping = new AbortController();
      const [{ signal }, note] = [stopping, () => {}];
      const queue = await openUnitQueue({ url: server.url, signal, note });
      const tasks = Array.from({ length: 200 }, (_, i) => ({ id: `cost-${i}`, name: `${i}` }) as UnitTask);
      let done = 0;
      const served = serveUnits({
        url: server.url,
        signal,
        note,
        lockMs: 10_000,
        compute: async () => null,
        optionsFor: () => ({}),
        onUnit: () => {
          done++;
          if (done === tasks.length) stopping.abort();
        },
      });
      const started = performance.now();
      await queue.add(tasks);
      await served;
      expect((performance.now() - started) / tasks.length).toBeLessThan(50);
      expect(done).toBe(tasks.length);
      await queue.close();
    },
    120_000,
  );
});
