// Small networks as torch.onnx.export writes them: read, differentiated as PyTorch does it, quantized, trained and deployed.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { gradient } from "../../src/autodiff/gradient.ts";
import { calibrate } from "../../src/calibration/calibrate.ts";
import { readSafetensors } from "../../src/data/safetensors.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { createOnnxRuntimeEngine } from "../../src/engines/onnxruntime/onnxruntime-engine.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import { exportQdq } from "../../src/export/qdq.ts";
import { checkVerification, verifyExport } from "../../src/export/verify.ts";
import type { Graph, OnnxModel } from "../../src/ir/graph.ts";
import { castTensor, numbersOf, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { efqat } from "../../src/methods/efqat/efqat.ts";
import { efqatOptions } from "../../src/methods/efqat/options.ts";
import { fileSource } from "../../src/node/file-source.ts";
import { readOnnx } from "../../src/onnx/read.ts";
import { writeOnnx } from "../../src/onnx/write.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { castFloats } from "../../src/passes/cast-floats.ts";
import { freeBatch } from "../../src/passes/free-batch.ts";
import { setBatchSize } from "../../src/passes/set-batch-size.ts";
import { foldQuantizers } from "../../src/quantizers/fold.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { shapeOfPlan } from "../../src/training/freezing-plan.ts";
import { addLoss, labelsInput } from "../../src/training/loss.ts";
import { parametersOf } from "../../src/training/parameters.ts";
import { expectClose } from "../support/close.ts";
import { createRandom } from "../support/random.ts";
import { runGraph } from "../support/run-graph.ts";
import type { TinyBatch } from "./tiny-models.ts";
import { trainOn, withTrained } from "./train.ts";

interface TorchModel {
  readonly name: string;
  readonly fixture: string;
  /** Linear layers, all of which are quantized. */
  readonly layers: number;
  /** How many of PyTorch's parameters the file has, under their names or transposed. */
  readonly parameters: number;
}

const models: readonly TorchModel[] = [
  { name: "mobilenetv2", fixture: "mobilenetv2", layers: 9, parameters: 26 },
  { name: "mobilenetv2-folded", fixture: "mobilenetv2", layers: 9, parameters: 2 },
  { name: "efficientnet", fixture: "efficientnet", layers: 13, parameters: 34 },
  { name: "efficientnet-folded", fixture: "efficientnet", layers: 13, parameters: 10 },
  { name: "vit", fixture: "vit", layers: 6, parameters: 20 },
  { name: "bert", fixture: "bert", layers: 14, parameters: 39 },
];

const folder = join(import.meta.dirname, "../oracles/torch-models");
const engine = createReferenceEngine();
const onnxruntime = createOnnxRuntimeEngine();
const context = { engine, seed: 0 };

const read = (name: string): OnnxModel =>
  readOnnx(readFileSync(join(folder, `${name}.onnx`)), { name: `${name}.onnx` });

function fixtureOf(name: string): ReadonlyMap<string, Tensor> {
  const file = readSafetensors(fileSource(join(folder, `${name}.safetensors`)), `${name}.safetensors`);
  return file.tensors;
}

const tensorIn = (tensors: ReadonlyMap<string, Tensor>, name: string): Tensor => {
  const found = tensors.get(name);
  if (!found) throw new Error(`internal: no "${name}"`);
  return found;
};

function transposed({ dtype, shape: [rows, columns], data }: Tensor): Tensor {
  const values = Array.from({ length: data.length }, (_, i) =>
    Number(data[(i % rows) * columns + Math.floor(i / rows)]),
  );
  return tensorOf(dtype, [columns, rows], values);
}

const isEqual = (a: Tensor, b: Tensor): boolean =>
  String(a.shape) === String(b.shape) && a.data.every((value: number | bigint, i: number) => value === b.data[i]);

/** The expected gradient of each constant of the graph that is one of PyTorch's parameters, exporters transpose some. */
function expectedGradients(graph: Graph, fixture: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
  const expected = new Map<string, Tensor>();
  const taken = new Set<string>();
  const parameters = [...fixture].filter(([name]) => name.startsWith("parameter/"));
  for (const [constant, value] of graph.constants)
    for (const [name, parameter] of parameters) {
      if (taken.has(name) || expected.has(constant) || value.dtype !== "float32") continue;
      const slope = tensorIn(fixture, name.replace("parameter/", "gradient/"));
      const isMatrix = parameter.shape.length === 2;
      if (isEqual(value, parameter)) expected.set(constant, slope);
      else if (isMatrix && isEqual(value, transposed(parameter))) expected.set(constant, transposed(slope));
      else continue;
      taken.add(name);
    }
  return expected;
}

/** The graph with these constants as inputs, so that none is folded away. */
function withInputs(graph: Graph, names: readonly string[]): Graph {
  const constants = new Map(graph.constants);
  for (const name of names) constants.delete(name);
  return { ...graph, constants, inputs: [...graph.inputs, ...names] };
}

const isTokens = (name: string): boolean => name === "bert";

/** A batch like the fixture's, with a class that can be seen. */
function draw(name: string, count: number, seed: number): TinyBatch {
  const random = createRandom(seed);
  const labels = Array.from({ length: count }, () => random.integer(0, 4));
  const images = isTokens(name)
    ? tensorOf(
        "int64",
        [count, 6],
        labels.flatMap((label, row) =>
          Array.from({ length: 6 }, (_, i) =>
            row % 3 === 0 && i > 3 ? 0 : i === 1 ? label + 3 : random.integer(1, 20),
          ),
        ),
      )
    : tensorOf(
        "float32",
        [count, 3, 12, 12],
        labels.flatMap((label) => Array.from({ length: 3 * 144 }, (_, i) => random.normal() + Number(i % 4 === label))),
      );
  return { images, labels: tensorOf("int64", [count], labels) };
}

const float64 = (value: Tensor): Tensor => (value.dtype === "float32" ? castTensor(value, "float64") : value);

describe.each(models)("$name", ({ name, fixture: fixtureName, layers, parameters }) => {
  const fixture = fixtureOf(fixtureName);
  const [input, labels] = ["input", "labels"].map((each) => tensorIn(fixture, each));

  test("gives PyTorch's logits on both engines, in the original's opset too", async () => {
    const model = read(name);
    const inputs = new Map([["input", input]]);
    const again = readOnnx(writeOnnx(model, { opset: model.origin.opset }), { name: "again.onnx" });
    for (const [graph, on] of [
      [model.graph, engine],
      [model.graph, onnxruntime],
      [again.graph, engine],
    ] as const) {
      expect(graph.values.get("logits")?.shape[1]).toBe(4);
      const logits = (await runGraph(on, graph, inputs)).get("logits") as Tensor;
      expectClose(logits, tensorIn(fixture, "logits"), {
        widen: { factor: 8, because: "a whole network in float32" },
      });
    }
  });

  test("has PyTorch's gradients", async () => {
    const single = read(name).graph;
    const expected = new Map(expectedGradients(single, fixture));
    expect(expected.size).toBe(parameters);
    const given = new Map([...expected.keys()].map((each) => [each, float64(tensorIn(single.constants, each))]));
    if (!isTokens(name)) expected.set("input", tensorIn(fixture, "gradient/input"));
    const float = castFloats(setBatchSize(withInputs(single, [...given.keys()]), input.shape[0]), "float64");
    const build = buildOn(float);
    const loss = addLoss(build, { ...float, outputs: ["logits"] }, { loss: "cross-entropy" });
    const { graph, gradients } = gradient(
      build.graph([loss]),
      loss,
      new Map([...expected.keys()].map((each) => [each, "all"])),
    );
    const outputs = await runGraph(
      engine,
      { ...graph, outputs: [loss, ...gradients.values()] },
      new Map([...given, ["input", float64(input)], [labelsInput, labels]]),
    );
    expectClose(numbersOf(outputs.get(loss) as Tensor), numbersOf(tensorIn(fixture, "loss")), { as: "float32" });
    expect([...gradients.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [each, slope] of expected)
      expectClose(castTensor(outputs.get(gradients.get(each) ?? "") as Tensor, "float32"), slope, {
        what: `gradient of "${each}"`,
      });
  });

  test.each(["inputs", "runtime"] as const)("is quantized, trained and deployed, placement %s", async (placement) => {
    const model = read(name);
    const float = freeBatch(model.graph).graph;
    expect(linearLayers(float).length).toBe(layers);
    const sites = findSites(float, quantizeOptions.parse({ placement }));
    const samples = [new Map([["input", draw(name, 32, 3).images]])];
    async function* batches() {
      yield* samples;
    }
    const observed = { observer: "min-max", calibrationSamples: 32 } as const;
    const start = insertQuantizers(float, sites, await calibrate(float, sites, batches, observed, context));

    const run = await trainOn(draw(name, 16, 5), start, { engine: onnxruntime, dtype: "float32", steps: 12 });
    expect(run.losses[run.losses.length - 1]).toBeLessThan(run.losses[0]);
    const trained = withTrained(start, run);

    const folded = foldQuantizers(trained, placement === "runtime" ? "int32" : "float");
    expect(folded.layers.length).toBe(layers);
    const exported = exportQdq(folded, model.origin, "packed");
    const bytes = writeOnnx(exported.model, { opset: exported.opset });
    const open = (model: Uint8Array | string) => openDeployed(model, { threads: 1 });
    checkVerification(
      await verifyExport({ folded, exported, model: bytes }, { batches: samples, open, context }),
      trained.outputs[0],
    );
  });
});

const isSameData = (a: Tensor, b: Tensor): boolean =>
  a.data.length === b.data.length && a.data.every((value: number | bigint, i: number) => value === b.data[i]);

/** The parameter that a constant holds, and its slope; one that is folded may have lost axes of size 1. */
function slopeOf(fixture: ReadonlyMap<string, Tensor>, value: Tensor): Tensor | undefined {
  for (const [name, parameter] of fixture) {
    if (!name.startsWith("parameter/")) continue;
    const slope = tensorIn(fixture, name.replace("parameter/", "gradient/"));
    if (isSameData(value, parameter)) return slope;
    if (parameter.shape.length === 2 && isEqual(value, transposed(parameter))) return transposed(slope);
  }
  return undefined;
}

describe.each(["vit", "bert"])("one step of %s", (name) => {
  const fixture = fixtureOf(name);
  const model = castFloats(freeBatch(read(name).graph).graph, "float64");
  const [images, labels] = ["input", "labels"].map((each) => tensorIn(fixture, each));
  const batch = { images: float64(images), labels };
  const training = { engine, dtype: "float64" } as const;

  test("changes every parameter of PyTorch's, by its gradient", async () => {
    const parameters = parametersOf(model).map((parameter) => parameter.name);
    expect(parameters.length).toBe([...fixture.keys()].filter((each) => each.startsWith("parameter/")).length);
    const { variables } = await trainOn(batch, model, training);
    for (const parameter of parameters) {
      const before = tensorIn(model.constants, parameter);
      const slope = slopeOf(fixture, castTensor(before, "float32"));
      const change = Array.from(
        numbersOf(tensorIn(variables, parameter)),
        (value, i) => value - Number(before.data[i]),
      );
      const expected = Array.from(numbersOf(slope as Tensor), (g, i) => -0.02 * (g + 1e-4 * Number(before.data[i])));
      expectClose(change, expected, { as: "float32", what: `change of "${parameter}"` });
    }
  });

  test("leaves tables as they are with EfQAT", async () => {
    const options = { ...efqatOptions.parse({ updateRatio: 0 }), seed: 0 };
    const plan = shapeOfPlan(efqat(model, options).select(model.constants, 0));
    const { variables } = await trainOn(batch, model, { ...training, plan });
    const changed = parametersOf(model).filter(
      (parameter) => !isEqual(tensorIn(variables, parameter.name), tensorIn(model.constants, parameter.name)),
    );
    expect(new Set(changed.map(({ role }) => role))).toEqual(
      new Set(name === "vit" ? ["bias", "norm", "vector"] : ["bias", "vector"]),
    );
  });
});
