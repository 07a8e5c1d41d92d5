// Sweeps whose units are in a bucket, on a local server of S3's protocol.
import { copyFileSync, readdirSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Storage } from "../../src/data/storage.ts";
import { openStore } from "../../src/node/sweep/open-store.ts";
import { openS3 } from "../../src/node/sweep/s3-storage.ts";
import { bucketStore } from "../../src/node/sweep/unit-bucket.ts";
import { verifyRun } from "../../src/node/verify-run.ts";
import { type Sweep, sweepSchema } from "../../src/report/sweep.ts";
import { startCli } from "../support/cli-process.ts";
import { redisServer, startRedis } from "../support/queue-servers.ts";
import { runCli } from "../support/run-cli.ts";
import { hasS3, type S3Server, startS3 } from "../support/s3-server.ts";
import { writeTinySweep } from "../support/tiny-sweep.ts";

const bucket = "sweeps";

describe.skipIf(!hasS3)("a sweep in a bucket (@aws-sdk/client-s3, s3rver)", () => {
  let folder = "";
  let server: S3Server;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "frostbit-s3-"));
    server = await startS3(join(folder, "server"), bucket);
    await mkdir(join(folder, "tmp"));
    for (const [name, value] of Object.entries({ ...server.env, TMPDIR: join(folder, "tmp") })) vi.stubEnv(name, value);
  });
  afterAll(() => {
    vi.unstubAllEnvs();
    server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const below = async (url: string): Promise<Storage> => (await openS3(url))("");
  const sweepAt = async (url: string): Promise<Sweep> => {
    const bytes = await (await below(url)).read("sweep.json");
    return sweepSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
  };
  const unitsAt = async (url: string) => (await sweepAt(url)).settings.flatMap(({ units }) => units);
  const sweep = (url: string) => ["sweep", "recipe.yaml", "--threads", "1", "--out", url];

  test("objects are written, read, listed below their prefix and removed", async () => {
    const open = await openS3(`s3://${bucket}/objects/`);
    const [storage, other] = [open("a/"), open("ab/")];
    await Promise.all(
      ["2.json", "1.json", "folder/x.bin", "empty"].map((name, i) => storage.write(name, new Uint8Array(i).fill(i))),
    );
    await other.write("1.json", new Uint8Array(9));
    expect(await storage.list()).toEqual(["1.json", "2.json", "empty", "folder/x.bin"]);
    expect(await storage.read("empty")).toEqual(new Uint8Array([3, 3, 3]));
    expect(await storage.read("2.json")).toEqual(new Uint8Array());
    expect(await storage.read("nosuch")).toBeUndefined();
    await storage.remove("1.json");
    await storage.remove("nosuch");
    expect(await storage.list()).toEqual(["2.json", "empty", "folder/x.bin"]);
    expect(await other.list()).toEqual(["1.json"]);
  });

  test("more objects than a page has are listed", async () => {
    const storage = (await openS3(`s3://${bucket}/pages`))("");
    await storage.write("1000", new Uint8Array(1));
    const names = Array.from({ length: 1001 }, (_, i) => `${1000 + i}`);
    const place = join(folder, "server", bucket, "pages");
    // As the server keeps them.
    for (const file of readdirSync(place))
      for (const name of names.slice(1)) copyFileSync(join(place, file), join(place, file.replace("1000", name)));
    expect(await storage.list()).toEqual(names);
  });

  test("a unit whose upload is cut off is not there; the next try is whole", async () => {
    const url = `s3://${bucket}/cut`;
    const computed = join(folder, "computed");
    await mkdir(join(computed, "onnx"), { recursive: true });
    for (const name of ["model.onnx", "onnx/weights.bin", "report.json"]) await writeFile(join(computed, name), name);
    const open = await openS3(url);
    let writes = 0;
    const cut = await bucketStore(url, (prefix) => ({
      ...open(prefix),
      write: (name, bytes) => {
        if (++writes > 3) throw new Error("cut off");
        return open(prefix).write(name, bytes);
      },
    }));
    await expect(cut.finishUnit("unit", computed)).rejects.toThrow("cut off");
    const store = await openStore(url);
    expect([await store.resultOf("unit"), [...(await store.finishedUnits())]]).toEqual([undefined, []]);

    const place = await store.finishUnit("unit", computed);
    expect([...(await store.finishedUnits())]).toEqual(["unit"]);
    expect(await open(`${place}/`).list()).toEqual(["model.onnx", "onnx/weights.bin", "report.json"]);
    await store.remove("unit");
    expect(await open("").list()).toEqual([]);
  });

  test("units are whole runs; what is there is not computed again, what failed has its error", async () => {
    const where = join(folder, "whole");
    const url = `s3://${bucket}/some/sweep`;
    writeTinySweep(where, 1, { axes: { "quantize.layers": [{ nosuch: 8 }, {}], seed: [0, 1] } });
    const second = await runCli(["unit", "recipe.yaml", "--index", "2", "--out", `${url}/`, "--json"], where);
    expect(second.code, second.stderr).toBe(0);
    const all = await runCli(sweep(url), where);
    expect(all.code, all.stderr).toBe(1);
    expect(all.stderr.match(/: done, /g)).toHaveLength(1);
    expect(all.stdout).toContain(`${url}/sweep.html has the charts`);
    const units = await unitsAt(url);
    expect(units.map(({ status, error }) => [status, error?.code])).toEqual([
      ["failed", "BAD_OPTION"],
      ["failed", "BAD_OPTION"],
      ["done", undefined],
      ["done", undefined],
    ]);
    expect(second.json()).toEqual({ index: 2, id: units[2].id, folder: units[2].folder });
    const storage = await below(url);
    const names = await storage.list();
    expect(names.filter((name) => !name.startsWith("units/"))).toEqual([
      ...units
        .slice(0, 2)
        .map(({ id }) => `failed/${id}.json`)
        .toSorted(),
      ...units
        .slice(2)
        .map(({ id }) => `finished/${id}.json`)
        .toSorted(),
      "sweep.html",
      "sweep.json",
    ]);
    expect(readdirSync(join(folder, "tmp"), { recursive: true }).filter((name) => `${name}`.includes("work"))).toEqual(
      [],
    );

    for (const { id, folder: place } of units.slice(2)) {
      const files = names.filter((name) => name.startsWith(`${place}/`));
      expect(files.map((name) => name.slice(place.length + 1))).toEqual([
        "model.onnx",
        "recipe.yaml",
        "report.html",
        "report.json",
      ]);
      const copy = join(folder, "copy", id);
      await mkdir(copy, { recursive: true });
      for (const file of files) await writeFile(join(copy, basename(file)), (await storage.read(file)) ?? "");
      expect(await verifyRun(copy)).toMatchObject({ ok: true, unstated: [] });
    }
  });

  test.skipIf(redisServer === undefined)("workers of a queue upload what they compute", async () => {
    const where = join(folder, "queue");
    const url = `s3://${bucket}/queue`;
    writeTinySweep(where, 1);
    await mkdir(join(folder, "redis"));
    const queue = await startRedis(join(folder, "redis"));
    const worker = startCli(["worker", "--queue", queue.url, "--threads", "1"], where);
    const swept = await runCli(["sweep", "recipe.yaml", "--queue", queue.url, "--out", url], where);
    worker.child.kill("SIGINT");
    await worker.ended;
    await queue.kill();
    expect(swept.code, swept.stderr).toBe(0);
    expect((await unitsAt(url)).map(({ status }) => status)).toEqual(["done", "done"]);
  });

  test("a bucket that is not there, a key that is unknown and what names no bucket are refused", async () => {
    const missing = await openStore("s3://nosuch/sweep");
    await expect(missing.resultOf("unit")).rejects.toThrow(
      /^Cannot read "s3:\/\/nosuch\/sweep\/finished\/unit.json": NoSuchBucket: /,
    );
    for (const url of ["s3:", "s3://", "s3:///sweep", "s3:bucket"])
      await expect(openStore(url)).rejects.toThrow(`--out is ${url}; expected a folder, or s3://BUCKET/PREFIX.`);

    vi.stubEnv("AWS_ACCESS_KEY_ID", "wrong");
    vi.resetModules();
    const { openS3: openWithOthers } = await import("../../src/node/sweep/s3-storage.ts");
    const storage = (await openWithOthers(`s3://${bucket}`))("");
    await expect(storage.write("x", new Uint8Array(1))).rejects.toThrow("InvalidAccessKeyId");
    await expect(storage.list()).rejects.toThrow(`Cannot list "s3://${bucket}/": InvalidAccessKeyId`);
  });
});
