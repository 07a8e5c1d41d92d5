import { mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scalar } from "../ir/tensor.ts";
import { saveCheckpoint } from "../training/checkpoint.ts";
import { claimOut, fingerprintOf, type RunFields } from "./claim-out.ts";
import { folderStorage } from "./storage.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-claim-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("a checkpoint in the folder", () => {
  const parts: RunFields = { lr: "0.001", data: `digits 400 ${"0".repeat(64)}`, batch: "32" };
  const claim = async (changed: RunFields, how: "anew" | "resume" | "overwrite"): Promise<readonly string[]> => {
    const out = await mkdtemp(join(folder, "out-"));
    const storage = folderStorage(join(out, "checkpoint"));
    const state = { fingerprint: fingerprintOf(parts), step: 300, losses: [] };
    await saveCheckpoint(storage, { state, own: {}, variables: new Map([["w", scalar("float32", 1)]]) });
    if (changed["finished"] !== undefined) {
      await writeFile(join(out, "report.json"), "{}");
      await utimes(join(out, "report.json"), Date.now(), Date.now() + 10);
    }
    const { finished: _, ...others } = changed;
    const given = { ...parts, ...others };
    await claimOut({ out, storage, fields: given, resume: how === "resume", overwrite: how === "overwrite" });
    return storage.list();
  };
  const kept = ["state.json", "variables-300.safetensors"];

  test("of the same run is resumed", async () => expect(await claim({}, "resume")).toEqual(kept));
  test("of the same run, finished, does not hinder the run again", async () =>
    expect(await claim({ finished: "" }, "anew")).toEqual(kept));
  test("of the same run, stopped, is not lost by leaving out --resume", async () =>
    expect(claim({}, "anew")).rejects.toThrow(
      /holds this run, stopped after step 300\. Continue with --resume, or start again with --overwrite\./,
    ));
  test("of another run is not resumed: what differs is said", async () => {
    await expect(claim({ lr: "0.5", batch: "64" }, "resume")).rejects.toThrow(
      /other options\. In ".*", lr was 0\.001 and is 0\.5, batch was 32 and is 64\. Resume with what it was made with/,
    );
    await expect(claim({ data: `digits 400 ${"1".repeat(64)}` }, "resume")).rejects.toThrow(/", data differs\./);
    await expect(claim({ seed: "1" }, "resume")).rejects.toThrow("seed was not given and is 1");
  });
  test("of another run is not lost, finished or not", async () => {
    for (const finished of [{}, { finished: "" }])
      await expect(claim({ ...finished, lr: "0.5" }, "anew")).rejects.toThrow(
        /holds what another run trained: lr was 0\.001 and is 0\.5\. Choose another --out folder, or replace it with --overwrite\./,
      );
  });
  test("is removed with --overwrite", async () => expect(await claim({ lr: "0.5" }, "overwrite")).toEqual([]));
});
