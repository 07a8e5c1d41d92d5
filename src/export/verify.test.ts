import { expect, test } from "vitest";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import { FrostbitError } from "../ir/errors.ts";
import { writeOnnx } from "../onnx/write.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import type { Context } from "../training/context.ts";
import { exportQdq } from "./qdq.ts";
import { type OpenDeployed, verifyExport } from "./verify.ts";

/** Verifies with files that only count how many are open. */
async function verify(context: Partial<Context>, failAt: number): Promise<{ failure: unknown; open: number }> {
  const folded = foldQuantizers(quantizeTiny(tinyClassifier("float32")), "float");
  const exported = exportQdq(folded, tinyOrigin, "packed");
  const bytes = writeOnnx(exported.model, { opset: exported.opset });
  const state = { opened: 0, open: 0 };
  const open: OpenDeployed = async () => {
    if (++state.opened === failAt) throw new FrostbitError("ENGINE", "no memory");
    state.open++;
    const file: ModelFile = {
      inputs: new Map(),
      outputs: new Map(),
      run: async () => new Map(),
      dispose: async () => void state.open--,
    };
    return file;
  };
  const batches = [new Map([["input", tinyBatch("float32", 2).images]])];
  const whole: Context = { engine: createReferenceEngine(), seed: 0, ...context };
  const failure = await verifyExport(folded, exported, bytes, batches, open, whole).catch((error: unknown) => error);
  return { failure, open: state.open };
}

test("files are closed where one cannot be opened", async () => {
  const { failure, open } = await verify({}, 3);
  expect(failure).toMatchObject({ code: "ENGINE" });
  expect(open).toBe(0);
});

test("verification can be stopped", async () => {
  const { failure, open } = await verify({ signal: AbortSignal.abort() }, 0);
  expect(failure).toMatchObject({ code: "ABORTED" });
  expect(open).toBe(0);
});
