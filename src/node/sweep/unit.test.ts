import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { writeTinySweep } from "../../../test/support/tiny-sweep.ts";
import { resolvePreprocess } from "../../data/preprocess.ts";
import { createReferenceEngine } from "../../engines/reference/reference-engine.ts";
import { runOptions } from "../../options/recipe.ts";
import { openData } from "../open-data.ts";
import { readModel } from "../read-model.ts";
import { unitsOf } from "./unit.ts";

const folder = mkdtempSync(join(tmpdir(), "frostbit-unit-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the units of a model have the digest of its file as it was when it was read, which is read once for it", async () => {
  writeTinySweep(folder, 1);
  const modelPath = join(folder, "model.onnx");
  const unitsOfFile = () =>
    unitsOf({
      modelPath,
      model: readModel(modelPath),
      openSource: () => openData(`npy:${join(folder, "train.npy")}`, { testData: `npy:${join(folder, "test.npy")}` }),
      preprocess: resolvePreprocess("none"),
    });
  const make = unitsOfFile();
  const unit = (from: typeof make, seed: number) =>
    from({ options: runOptions.parse({ methods: ["ptq"], seed, limit: 8 + seed }), engine: createReferenceEngine() });
  const first = await unit(make, 0);
  // An element of the protocol that says nothing: another file of the same model.
  appendFileSync(modelPath, Uint8Array.of(0x12, 0x00));
  const second = await unit(make, 1);
  expect(second.fields["model"]).toBe(first.fields["model"]);
  expect(second.id).not.toBe(first.id);
  expect((await unit(unitsOfFile(), 0)).fields["model"]).not.toBe(first.fields["model"]);
});
