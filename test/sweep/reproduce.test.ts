// Cells of the paper's tables as units of a queue: workers compute them, and what is finished is not computed again.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cellsOf } from "../../bench/reproduce/cells.ts";
import type { CellRecord } from "../../bench/reproduce/records.ts";
import { runCells } from "../../bench/reproduce/run-cells.ts";
import { type CliProcess, killNow, startCli } from "../support/cli-process.ts";
import { redisServer, startRedis } from "../support/queue-servers.ts";
import { tinyCifar10, tinyConvNet } from "../support/tiny-models.ts";

let folder = "";
let worker: CliProcess | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-reproduce-"));
  for (const name of ["resnet_cifar10", "cifar10"]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "resnet_cifar10/resnet20.onnx"), tinyConvNet({ size: 32 }));
  writeFileSync(join(folder, "cifar10/data_batch_1.bin"), tinyCifar10(300, 1));
  writeFileSync(join(folder, "cifar10/test_batch.bin"), tinyCifar10(100, 2));
  vi.stubEnv("FROSTBIT_DATA", folder);
});
afterAll(() => {
  if (worker) killNow(worker.child.pid);
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

test.skipIf(redisServer === undefined)(
  "cells are units of a queue, and have their records once they are finished",
  async () => {
    const server = await startRedis(folder);
    const settings = {
      choice: { engine: "onnxruntime", precision: "float32" },
      threads: 1,
      limit: 256,
      out: join(folder, "units-of-cells"),
      queue: server.url,
    } as const;
    const cells = cellsOf([0]).filter(({ id }) => /^w4a8\/(ptq|cwpn-5)\/seed0$/.test(id));
    const run = async (): Promise<readonly CellRecord[]> => {
      const records: CellRecord[] = [];
      expect(await runCells(cells, settings, (record) => records.push(record))).toBe(0);
      return records.toSorted((a, b) => (a.id < b.id ? -1 : 1));
    };
    worker = startCli(["worker", "--queue", server.url, "--threads", "1"], folder);
    const records = await run();
    expect(records.map(({ id }) => id)).toEqual(["w4a8/cwpn-5/seed0", "w4a8/ptq/seed0"]);
    expect(records[0].steps).toBe(2);
    expect(records[0].options.join(" ")).toMatch(/--mode cwpn --update-ratio 0.05 .*--threads 1 --precision float32$/);
    for (const { top1 } of records) expect(top1.deployed).toBeGreaterThanOrEqual(0);
    killNow(worker.child.pid);
    expect(await run()).toEqual(records);
    expect(existsSync(join(folder, "units-of-cells/units"))).toBe(true);
    await server.kill();
  },
  60_000,
);
