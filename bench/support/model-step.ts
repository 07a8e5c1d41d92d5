// A training step of a model on random data, ready to run: what the step benches time.
import { join } from "node:path";
import { calibrate } from "../../src/calibration/calibrate.ts";
import type { CompileOptions, Engine } from "../../src/engines/engine.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { scalar, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { efqat } from "../../src/methods/efqat/efqat.ts";
import { efqatOptions } from "../../src/methods/efqat/options.ts";
import { readModel } from "../../src/node/read-model.ts";
import { removeDeadNodes } from "../../src/passes/remove-dead-nodes.ts";
import { runningStatistics } from "../../src/passes/train-batch-norm.ts";
import { insertQuantizers } from "../../src/quantizers/insert.ts";
import { linearLayers } from "../../src/quantizers/linear-layers.ts";
import { quantizeOptions } from "../../src/quantizers/quantize-options.ts";
import { findSites } from "../../src/quantizers/sites.ts";
import { type FreezingPlan, shapeOfPlan } from "../../src/training/freezing-plan.ts";
import { labelsInput } from "../../src/training/loss.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { buildPlannedStep, learningRateInput, qparamLearningRateInput } from "../../src/training/planned-step.ts";
import type { Step } from "../../src/training/step.ts";
import { depthwiseNetwork } from "./depthwise.ts";
import { encoderLayer } from "./encoder.ts";
import { dataFolder } from "./machine.ts";
import { resnet50 } from "./resnet50.ts";
import { uniform } from "./tensors.ts";

export interface StepOfModel {
  readonly run: () => Promise<void>;
  /** What training does every so many samples: reads all weights and chooses the blocks again. */
  readonly reselect: () => Promise<void>;
  readonly compileMs: number;
  readonly dispose: () => Promise<void>;
}

export interface Variant {
  /**
   * "qat", EfQAT's mode, training without quantizers, or the forward pass of the QAT step alone: loss and batch statistics, no
   * gradient, no update.
   */
  readonly mode: "qat" | "cwpl" | "cwpn" | "lwpn" | "float" | "forward";
  readonly updateRatio: number;
}

export type ModelName = "resnet20" | "resnet50" | "encoder" | "depthwise";

/** The lowest and the highest value of a Clip; `null` where it bounds nothing. */
export type Bounds = readonly [number | null, number | null];

export interface StepSettings {
  readonly batch: number;
  readonly compile: CompileOptions;
  /** Bits. */
  readonly weights: number;
  readonly activations: number;
}

const models: Readonly<Record<ModelName, () => Graph>> = {
  resnet20: () => readModel(join(dataFolder(), "resnet_cifar10", "resnet20.onnx")).graph,
  resnet50,
  encoder: () => encoderLayer(),
  depthwise: depthwiseNetwork,
};

/** With a Clip of these bounds in place of each Relu where there are any. */
export function benchModel(name: ModelName, bounds?: Bounds): Graph {
  const graph = models[name]();
  return bounds ? clipped(graph, bounds) : graph;
}

function clipped(graph: Graph, bounds: Bounds): Graph {
  const named = bounds.map((bound, i) =>
    bound === null ? undefined : ([`bound${i}`, scalar("float32", bound)] as const),
  );
  const constants = named.filter((entry) => entry !== undefined);
  const clip = (node: Node): Node => ({
    ...node,
    op: "Clip",
    inputs: [node.inputs[0], ...named.map((entry) => entry?.[0] ?? "")],
  });
  return {
    ...graph,
    nodes: graph.nodes.map((node) => (node.op === "Relu" ? clip(node) : node)),
    constants: new Map([...graph.constants, ...constants]),
    values: new Map([
      ...graph.values,
      ...constants.map(([bound]) => [bound, { dtype: "float32", shape: [] }] as const),
    ]),
  };
}

export async function stepOf(
  graph: Graph,
  engine: Engine,
  variant: Variant,
  settings: StepSettings,
): Promise<StepOfModel> {
  const { batch, compile } = settings;
  const [input] = graph.inputs;
  const sizes = graph.values.get(input)?.shape.slice(1).map(Number) ?? [];
  const data = uniform([batch, ...sizes], 2, 0);
  const labels = tensorOf(
    "int64",
    [batch],
    Array.from({ length: batch }, (_, i) => i % 10),
  );
  const model = variant.mode === "float" ? graph : await quantized(graph, engine, settings, sizes);
  const plan = planOf(model, variant);
  const before = performance.now();
  const step = trainingStep(model, plan, batch);
  const program = variant.mode === "forward" ? forwardOnly(step.graph, model) : step.graph;
  const executable = await engine.compile(program, compile);
  const compileMs = performance.now() - before;
  const variables = await engine.variables(step.initial);
  const bound = executable.bind(variables);
  const inputs = new Map<string, Tensor>([
    [input, data],
    [labelsInput, labels],
    [learningRateInput, scalar("float32", 1e-3)],
    [qparamLearningRateInput, scalar("float32", 1e-6)],
    ...rowsOf(step, plan),
  ]);
  for (const name of inputs.keys()) if (!program.inputs.includes(name)) inputs.delete(name);
  return {
    run: async () => {
      await bound.run(inputs, { fetch: [step.loss] });
    },
    reselect: async () => {
      const values = new Map<string, Tensor>();
      for (const { weight } of linearLayers(model)) values.set(weight, await variables.read(weight));
      planOf(model, variant, values);
    },
    compileMs,
    dispose: async () => {
      await executable.dispose();
      variables.dispose();
    },
  };
}

/** Calibrated on a few samples alone, so that a process's peak memory is its step's. */
export async function quantized(
  graph: Graph,
  engine: Engine,
  { weights, activations, compile }: StepSettings,
  sizes: readonly number[],
): Promise<Graph> {
  const samples = 4;
  const sites = findSites(graph, quantizeOptions.parse({ placement: "inputs", weights, activations }));
  async function* batches(): AsyncGenerator<ReadonlyMap<string, Tensor>> {
    yield new Map([[graph.inputs[0], uniform([samples, ...sizes], 2, 1)]]);
  }
  const context = { engine, seed: 0, ...compile };
  const qparams = await calibrate(graph, sites, batches, { observer: "min-max", calibrationSamples: samples }, context);
  return insertQuantizers(graph, sites, qparams);
}

function planOf(model: Graph, { mode, updateRatio }: Variant, values = model.constants): FreezingPlan {
  const weights = linearLayers(model).map(({ weight }) => weight);
  if (mode === "qat" || mode === "float" || mode === "forward")
    return new Map(weights.map((weight) => [weight, "all"]));
  return efqat(model, { ...efqatOptions.parse({ mode, updateRatio }), seed: 0 }).select(values, 0);
}

const trainingStep = (model: Graph, plan: FreezingPlan, batchSize: number): Step =>
  buildPlannedStep(model, {
    ...trainingOptions.parse({}),
    batchSize,
    loss: "cross-entropy",
    optimizer: { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 },
    plan: shapeOfPlan(plan),
  });

/** The step's very nodes as far as the loss and the running statistics need them. */
function forwardOnly(step: Graph, model: Graph): Graph {
  const kept = new Set(runningStatistics(model));
  const graph = removeDeadNodes({ ...step, updates: new Map([...step.updates].filter(([name]) => kept.has(name))) });
  const read = new Set(graph.nodes.flatMap(({ inputs }) => inputs));
  return { ...graph, inputs: graph.inputs.filter((name) => read.has(name)) };
}

function rowsOf({ rowInputs }: Step, plan: FreezingPlan): (readonly [string, Tensor])[] {
  return [...rowInputs].map(([weight, name]) => {
    const rows = plan.get(weight);
    const list = rows instanceof Int32Array ? rows : new Int32Array();
    return [name, { dtype: "int64", shape: [list.length], data: BigInt64Array.from(list, BigInt) }];
  });
}
