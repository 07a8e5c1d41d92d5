// What a unit is compared with its float self by.
import type { Builder } from "../ir/builder.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { inlineGraph } from "../passes/inline-graph.ts";
import { linearLayers } from "../quantizers/linear-layers.ts";
import type { UnitLoss } from "../units/train-unit.ts";
import { addRest, type Rest } from "./rest.ts";

export const lossNames = ["mse", "lp", "cosine", "prediction", "fisher-diagonal", "fisher-full"] as const;
export type LossName = (typeof lossNames)[number];

export interface UnitLossSettings {
  readonly kind: LossName;
  /** Whether it is the mean over channels too, not their sum. */
  readonly isMean?: boolean;
  /** Of mse: whether the error of each position, along the last axis, is divided by the power of its target. */
  readonly isRelative?: boolean;
  /** Of lp. */
  readonly power?: number;
  /** Of prediction: what class scores are divided by, and what their divergence is multiplied by. */
  readonly temperature?: number;
  readonly predictionWeight?: number;
  /** Of fisher-diagonal and fisher-full: what is added to the gradients that elements are weighed by. */
  readonly damping?: number;
}

/** Keeps a sample of zeros from dividing by 0. */
const least = 1e-12;

/** The value of a step's loss. */
export const lossName = "frostbit/loss";

/**
 * The sum over the targets of the mean over samples and positions of Σ |output − target|^power over channels, which are those of the
 * unit's layers, `unit` as it is before its weights are made soft; `cosine`: of twice what its angle alone makes of that for power 2.
 */
export const channelLoss =
  (unit: Graph, settings: UnitLossSettings, rest?: Rest): UnitLoss =>
  (build, forward, targets) => {
    const losses = [...targets].map(([output, target]) =>
      targetLoss(build, [output, target], settings.isMean ? 1 : channelsOf(unit, output), settings),
    );
    if (rest && settings.kind === "prediction") losses.push(predictionLoss(build, forward, rest, settings));
    return build.node("Identity", [losses.reduce((sum, each) => build.node("Add", [sum, each]))], {}, lossName);
  };

type Pair = readonly [output: string, target: string];

function targetLoss(build: Builder, pair: Pair, channels: number, settings: UnitLossSettings): string {
  const { kind, power = 2, isRelative = false } = settings;
  if (kind === "cosine") return cosineLoss(build, pair, channels);
  if (isRelative) return relativeLoss(build, pair);
  if (kind === "fisher-full") return fullFisherLoss(build, pair);
  const [output] = pair;
  const difference = weighted(build, pair, kind);
  const raised =
    kind !== "lp"
      ? build.node("Mul", [difference, difference])
      : build.node("Pow", [build.node("Abs", [difference]), build.scalar(power, output)]);
  return meanOverPositions(build, raised, channels);
}

/** The mean over positions of Σ (y − t)² / Σ t²: what a normalization behind the unit makes of its output. */
function relativeLoss(build: Builder, [output, target]: Pair): string {
  const power = (value: string): string =>
    build.node("ReduceMean", [build.node("Mul", [value, value]), build.ints([-1])], { keepdims: 0 });
  const wanted = build.node("Add", [power(target), build.scalar(least, target)]);
  const ratios = build.node("Div", [power(build.node("Sub", [output, target])), wanted]);
  return build.node("ReduceMean", [ratios], { keepdims: 0 });
}

/** The input that holds how much each element of an output counts. */
export const fisherInput = (output: string): string => `frostbit/fisher:${output}`;

function weighted(build: Builder, [output, target]: Pair, kind: LossName): string {
  const difference = build.node("Sub", [output, target]);
  if (!isFisher(kind)) return difference;
  return build.node("Mul", [difference, build.input(fisherInput(output), build.type(output))]);
}

export const isFisher = (kind: LossName): boolean => kind === "fisher-diagonal" || kind === "fisher-full";

/** Whether a loss is told by the class scores. */
export const looksAtScores = (kind: LossName): boolean => kind === "prediction" || isFisher(kind);

/** All but the first. */
const axesOfSample = (build: Builder, value: string): string =>
  build.ints(
    build
      .type(value)
      .shape.slice(1)
      .map((_, i) => i + 1),
  );

/** BRECQ's: the mean of (Σ |Δ| g) |Δ| g, the sum over a sample, over 100. */
function fullFisherLoss(build: Builder, pair: Pair): string {
  const size = build.node("Abs", [weighted(build, pair, "fisher-full")]);
  const sums = build.node("ReduceSum", [size, axesOfSample(build, size)], { keepdims: 1 });
  const mean = build.node("ReduceMean", [build.node("Mul", [sums, size])], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(0.01, mean)]);
}

function meanOverPositions(build: Builder, value: string, channels: number): string {
  const mean = build.node("ReduceMean", [value], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(channels, mean)]);
}

/** 2 ‖t‖² (1 − cos(y, t)) of each sample, in place of ‖y − t‖². */
function cosineLoss(build: Builder, [output, target]: Pair, channels: number): string {
  const axes = axesOfSample(build, output);
  const dot = (a: string, b: string): string =>
    build.node("ReduceSum", [build.node("Mul", [a, b]), axes], { keepdims: 0 });
  const root = (value: string): string => build.node("Sqrt", [build.node("Add", [value, build.scalar(least, value)])]);
  const wanted = dot(target, target);
  const norms = build.node("Mul", [root(dot(output, output)), root(wanted)]);
  const cosine = build.node("Div", [dot(output, target), norms]);
  const weight = build.node("Mul", [wanted, build.scalar(2, wanted)]);
  const angles = build.node("Mul", [weight, build.node("Sub", [build.scalar(1, cosine), cosine])]);
  const elements = build
    .type(output)
    .shape.slice(1)
    .reduce<number>((product, size) => product * Number(size), 1);
  const mean = build.node("ReduceMean", [angles], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(channels / elements, mean)]);
}

/** The input that holds the float model's class scores. */
export const scoresInput = "frostbit/scores";

/**
 * PD-Quant (arXiv:2212.07048): w · KL(softmax(t / τ) ‖ softmax(z / τ)) of the float model's class scores t and z, those that the rest
 * of the float model gives for what the unit gives with nothing left to chance: all activations quantized, inputs of that stream.
 */
function predictionLoss(build: Builder, forward: Graph, rest: Rest, settings: UnitLossSettings): string {
  const { temperature = 1, predictionWeight = 1 } = settings;
  const divergence = scoreDivergence(build, addRest(build, rest, withoutChance(build, forward)), rest, temperature);
  return build.node("Mul", [divergence, build.scalar(predictionWeight, divergence)]);
}

/** KL(softmax(t / τ) ‖ softmax(z / τ)) of the float model's class scores, an input, and those given. */
export function scoreDivergence(
  build: Builder,
  scores: string,
  { scores: { axis } }: Rest,
  temperature: number,
): string {
  const wanted = build.input(scoresInput, build.type(scores));
  const heat = build.scalar(temperature, scores);
  const [z, t] = [scores, wanted].map((value) => build.node("Div", [value, heat]));
  return axis === "none" ? bernoulliDivergence(build, z, t) : divergenceAlong(build, z, t, axis);
}

/** The mean over all but the classes of Σ p (log p − log q). */
function divergenceAlong(build: Builder, z: string, t: string, axis: number): string {
  const [logs, wanted] = [z, t].map((value) => build.node("LogSoftmax", [value], { axis }));
  const terms = build.node("Mul", [build.node("Exp", [wanted]), build.node("Sub", [wanted, logs])]);
  const mean = build.node("ReduceMean", [terms], { keepdims: 0 });
  return build.node("Mul", [mean, build.scalar(Number(build.type(z).shape[axis]), mean)]);
}

/** The same where each element scores class 1 against class 0: p (t − z) + softplus(z) − softplus(t) with p = σ(t). */
function bernoulliDivergence(build: Builder, z: string, t: string): string {
  const [zs, ts] = [z, t].map((value) => build.node("Softplus", [value]));
  const linear = build.node("Mul", [build.node("Sigmoid", [t]), build.node("Sub", [t, z])]);
  const terms = build.node("Add", [linear, build.node("Sub", [zs, ts])]);
  return build.node("ReduceMean", [terms], { keepdims: 0 });
}

/** What the unit gives with its choices at random made: quantized activations, inputs of the quantized stream. */
function withoutChance(build: Builder, forward: Graph): ReadonlyMap<string, string> {
  const choices = forward.nodes.filter(({ op }) => op === "RandomChoice");
  if (choices.length === 0) return new Map(forward.outputs.map((output) => [output, output]));
  const shared = [...forward.inputs, ...forward.variables, ...forward.constants.keys()];
  const fixed = forward.nodes.map((node): Node => {
    if (node.op !== "RandomChoice") return node;
    const [first, second] = node.inputs;
    // The second is the float stream's input, or the first is what is not quantized.
    return { ...node, op: "Identity", inputs: [forward.inputs.includes(second) ? first : second], attributes: {} };
  });
  return inlineGraph(build, { ...forward, nodes: fixed }, "certain/", new Map(shared.map((name) => [name, name])));
}

/** Along the axis of the nearest layer's channels where ranks agree, else along the last. */
function channelsOf(unit: Graph, value: string): number {
  const shape = unit.values.get(value)?.shape.map(Number) ?? [];
  const layers = new Map(linearLayers(unit).map((layer) => [layer.node.name, layer]));
  const makers = producers(unit);
  const seen = new Set<string>();
  let front = [value];
  while (front.length > 0) {
    const nodes = front.flatMap((each) => makers.get(each) ?? []);
    const layer = nodes.map(({ name }) => layers.get(name)).find((found) => found !== undefined);
    const rank = layer && unit.values.get(layer.node.outputs[0])?.shape.length;
    if (layer) return rank === shape.length ? shape[layer.channelAxis] : (shape.at(-1) ?? 1);
    front = nodes.flatMap(({ inputs }) => inputs).filter((input) => !seen.has(input));
    for (const input of front) seen.add(input);
  }
  return shape.at(-1) ?? 1;
}
