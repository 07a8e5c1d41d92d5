// Forms that need no data in onnxruntime-web's WebAssembly, which browsers run.
import * as web from "onnxruntime-web";
import { expect, test } from "vitest";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { openDeployedIn } from "../../src/engines/onnxruntime/open-deployed.ts";
import type { OrtModule } from "../../src/engines/onnxruntime/ort-module.ts";
import { isSound } from "../../src/forms/agreement.ts";
import { formNames } from "../../src/forms/table.ts";
import { writeForms } from "../../src/forms/write-forms.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { createRandom } from "../support/random.ts";
import { tinyClassifier, tinyOrigin } from "../support/tiny-classifier.ts";

const random = createRandom(6);

function encoder(): Graph {
  const build = buildOn();
  const ids = build.input("ids", { dtype: "int64", shape: ["batch", "sequence"] });
  const words = build.node("Gather", [build.constant(random.tensor("float32", [200, 64]), "words"), ids], { axis: 0 });
  const dense = build.node("MatMul", [words, build.constant(random.uniformTensor("float32", [64, 96], -0.2, 0.2))]);
  return build.graph([build.node("Tanh", [dense], {}, "y")]);
}

const graphs = { encoder: encoder(), classifier: tinyClassifier("float32", 2, 24) };

test.each(Object.entries(graphs))("%s: every form opens, and computes what it computes in Node", async (_, graph) => {
  const job = { forms: formNames, blockSize: 32, sizes: new Map(), seed: 0 };
  const model = { graph, origin: { ...tinyOrigin, opset: 17 } };
  const inNode = await writeForms({ model, ...job, open: openDeployed });
  const inBrowsers = await writeForms({
    model,
    ...job,
    open: (bytes, options) => openDeployedIn(web as unknown as OrtModule, bytes, { ...options, threads: 1 }),
  });
  expect(inBrowsers.refused.map(({ form }) => form)).toEqual(inNode.refused.map(({ form }) => form));
  for (const [i, { form, agreement }] of inBrowsers.written.entries()) {
    expect(agreement.every(isSound), form).toBe(true);
    expect(Math.abs(agreement[0].cosine - inNode.written[i].agreement[0].cosine), form).toBeLessThan(2e-3);
  }
});
