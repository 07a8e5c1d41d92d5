import { expect, test } from "vitest";
import { createRandom } from "../../test/support/random.ts";
import { quantizeTiny, tinyBatch, tinyClassifier, tinyOrigin } from "../../test/support/tiny-classifier.ts";
import { twoHeadedGraph, twoHeadedSize } from "../../test/support/two-headed.ts";
import { calibrate } from "../calibration/calibrate.ts";
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import { createReferenceEngine } from "../engines/reference/reference-engine.ts";
import { FrostbitError } from "../ir/errors.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { writeOnnx } from "../onnx/write.ts";
import { foldQuantizers } from "../quantizers/fold.ts";
import { insertQuantizers } from "../quantizers/insert.ts";
import { quantizeOptions } from "../quantizers/quantize-options.ts";
import { findSites } from "../quantizers/sites.ts";
import type { Context } from "../run/context.ts";
import { exportQdq } from "./qdq.ts";
import { checkVerification, type OpenDeployed, verifyExport } from "./verify.ts";

/** Verifies with files that count how many are open, and how many are at most. */
async function verify(
  context: Partial<Context>,
  failAt: number,
): Promise<{ failure: unknown; open: number; most: number }> {
  const folded = foldQuantizers(quantizeTiny(tinyClassifier("float32")), "float");
  const exported = exportQdq(folded, tinyOrigin, "packed");
  const bytes = writeOnnx(exported.model, { opset: exported.opset });
  const state = { opened: 0, open: 0, most: 0 };
  const open: OpenDeployed = async (model, options) => {
    if (++state.opened === failAt) throw new FrostbitError("ENGINE", "no memory");
    const file = await openDeployed(model, options);
    state.most = Math.max(state.most, ++state.open);
    const dispose = async (): Promise<void> => {
      state.open--;
      await file.dispose();
    };
    return { ...file, dispose };
  };
  const batches = [new Map([["input", tinyBatch("float32", 2).images]])];
  const whole: Context = { engine: createReferenceEngine(), seed: 0, ...context };
  const failure = await verifyExport({ folded, exported, model: bytes }, { batches, open, context: whole }).catch(
    (error: unknown) => error,
  );
  return { failure, open: state.open, most: state.most };
}

test("every output is compared, not the first alone", async () => {
  const sites = findSites(twoHeadedGraph(), quantizeOptions.parse({ placement: "inputs" }));
  const images = createRandom(3).uniformTensor("float32", [4, twoHeadedSize, twoHeadedSize, 3], 0, 1);
  const batches = [new Map([["x", images]])];
  const context: Context = { engine: createReferenceEngine(), seed: 0 };
  const observed = { observer: "min-max", calibrationSamples: 4 } as const;
  async function* samples() {
    yield* batches;
  }
  const qparams = await calibrate(twoHeadedGraph(), sites, samples, observed, context);
  const folded = foldQuantizers(insertQuantizers(twoHeadedGraph(), sites, qparams), "float");
  const exported = exportQdq(folded, tinyOrigin, "packed");
  const bytes = writeOnnx(exported.model, { opset: exported.opset });
  /** The whole file, opened first, gives a second output that is off by a tenth. */
  const spoiled = (): OpenDeployed => {
    let opened = 0;
    return async (model, options) => {
      const file = await openDeployed(model, options);
      if (opened++ > 0) return file;
      return { ...file, run: async (inputs) => withNoise(await file.run(inputs), "probabilities") };
    };
  };
  const verify = (open: OpenDeployed) => verifyExport({ folded, exported, model: bytes }, { batches, open, context });
  const good = await verify(openDeployed);
  expect(good.outputs.map(({ name, agreement }) => [name, agreement])).toEqual([
    ["mask", undefined],
    ["probabilities", 1],
  ]);
  expect(() => checkVerification(good, "probabilities")).not.toThrow();
  const bad = await verify(spoiled());
  expect(bad.outputs[0]).toEqual(good.outputs[0]);
  expect(() => checkVerification(bad, undefined)).toThrow(
    /output "probabilities" is at \d\.\d dB SQNR \(at least 15\)/,
  );
});

function withNoise(outputs: ReadonlyMap<string, Tensor>, name: string): ReadonlyMap<string, Tensor> {
  const given = outputs.get(name);
  if (!given) throw new Error(`no output ${name}`);
  const data = Float32Array.from(numbersOf(given), (value, i) => value + (i % 2 === 0 ? 0.2 : -0.2));
  return new Map([...outputs, [name, { ...given, data }]]);
}

test("files are closed where one cannot be opened", async () => {
  const { failure, open } = await verify({}, 3);
  expect(failure).toMatchObject({ code: "ENGINE" });
  expect(open).toBe(0);
});

test("one file is open at a time, however many layers there are", async () => {
  const { failure, open, most } = await verify({}, 0);
  expect(failure).toMatchObject({
    layers: [{ name: "conv1" }, { name: "conv2" }, { name: "linear" }],
    layerSamples: 2,
  });
  expect([open, most]).toEqual([0, 1]);
});

test("verification can be stopped", async () => {
  const { failure, open } = await verify({ signal: AbortSignal.abort() }, 0);
  expect(failure).toMatchObject({ code: "ABORTED" });
  expect(open).toBe(0);
});
