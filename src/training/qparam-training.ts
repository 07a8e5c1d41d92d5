// How the quantizers' scales and zero points train: what the optimizer steps, by which gradient, and by default how far.
import type { Builder } from "../ir/builder.ts";
import { assert, FrostbitError } from "../ir/errors.ts";
import type { Graph } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf, zeros } from "../ir/tensor.ts";
import { type Quantizer, quantizersOf } from "../quantizers/quantizer.ts";
import { addUpdate, type Optimizer } from "./optimizer.ts";
import type { Parameter } from "./parameters.ts";
import type { GradientStep } from "./step.ts";

export const qparamTrainings = ["direct", "log2", "lsq", "lsq+", "pact", "tqt"] as const;
export type QparamTraining = (typeof qparamTrainings)[number];

export interface QparamOptions {
  readonly training: QparamTraining;
  readonly optimizer: Optimizer;
}

/** EfQAT's choice. */
export const directQparams: QparamOptions = { training: "direct", optimizer: { kind: "adam", weightDecay: 0 } };

/** What each way is stepped by where the user does not say: Adam at this rate, or as the weights are. */
const defaultRates: Readonly<Record<QparamTraining, number | "as weights">> = {
  direct: 1e-6,
  log2: 1e-6,
  lsq: "as weights",
  "lsq+": "as weights",
  pact: "as weights",
  tqt: 1e-2,
};

/** PACT decays its clipping levels as the weights; the others decay nothing. */
export function qparamOptionsOf(training: QparamTraining, weights: Optimizer): QparamOptions {
  if (defaultRates[training] !== "as weights") return { ...directQparams, training };
  return { training, optimizer: training === "pact" ? weights : { ...weights, weightDecay: 0 } };
}

/** The learning rate of qparams: as given, else the one that their way of training has by default. */
export function qparamRateOf(options: {
  readonly qparamTraining: QparamTraining;
  readonly qparamLr?: number | undefined;
  readonly lr: number;
}): number {
  const rate = options.qparamLr ?? defaultRates[options.qparamTraining];
  return rate === "as weights" ? options.lr : rate;
}

const isZeroPoint = ({ role }: Parameter): boolean => role.endsWith("zero-point");

export const isQparam = (parameter: Parameter): boolean => parameter.role.endsWith("scale") || isZeroPoint(parameter);

/** Only LSQ+ and EfQAT train zero points; PACT leaves the scales to its clipping levels. */
export function trainsQparam(training: QparamTraining, parameter: Parameter): boolean {
  if (training === "pact") return false;
  return !isZeroPoint(parameter) || training === "direct" || training === "log2" || training === "lsq+";
}

type QparamUpdate = (build: Builder, optimizer: Optimizer, step: GradientStep) => string;

/** Adds the update of a scale or zero point that trains; gives the new value's name, not yet bound. */
export function addQparamUpdate(
  build: Builder,
  { training, optimizer }: QparamOptions,
  role: Parameter["role"],
  step: GradientStep,
): string {
  const { name } = step;
  if (training === "lsq" || training === "lsq+") {
    const gradient = build.node("Mul", [step.gradient, build.scalar(lsqFactor(build.graph([]), name), name)]);
    return addUpdate(build, optimizer, { ...step, gradient });
  }
  const ways: Partial<Record<QparamTraining, QparamUpdate>> = { log2: addLogarithmicUpdate, tqt: addThresholdUpdate };
  const update = (role.endsWith("scale") && ways[training]) || addUpdate;
  return update(build, optimizer, step);
}

/** LSQ's gradient scale, 1/√(N · p): N values share the scale (of an activation: of one sample), p is the highest integer. */
function lsqFactor(graph: Graph, name: string): number {
  const quantizer = quantizersOf(graph).find(({ scale, zeroPoint }) => scale === name || zeroPoint === name);
  assert(quantizer, `no quantizer reads "${name}"`);
  const shape = graph.values.get(quantizer.value)?.shape.map(Number) ?? [];
  const scales = graph.values.get(quantizer.scale)?.shape.map(Number) ?? [];
  const sharing = sizeOf(shape) / (quantizer.granularity === "tensor" ? shape[0] : sizeOf(scales));
  return 1 / Math.sqrt(sharing * highOf(graph, quantizer));
}

function highOf(graph: Graph, { node }: Quantizer): number {
  const high = graph.constants.get(node.inputs[4]);
  assert(high, `the bounds of "${node.name}" are not constants`);
  return numbersOf(high)[0];
}

/** ∂L/∂θ of θ = log₂ scale: ∂L/∂scale · scale · ln 2, of the rows that train. */
function gradientOfLogarithm(build: Builder, { name: scale, gradient, rows }: GradientStep): string {
  const trained = rows ? build.node("Gather", [scale, rows.rows], { axis: 0 }) : scale;
  return build.node("Mul", [gradient, build.node("Mul", [trained, build.scalar(Math.LN2, scale)])]);
}

/**
 * One step of θ = log₂ scale (EfQAT appendix A.2). What is kept is the scale, times 2^Δθ a step: θ itself would be rounded to
 * 5e-7, as much as a step; rows that do not train keep their bytes.
 */
const addLogarithmicUpdate: QparamUpdate = (build, optimizer, step) => {
  const { name: scale } = step;
  const { dtype, shape } = build.type(scale);
  const origin = build.constant(zeros(dtype, shape.map(Number)), `${scale}/origin`);
  const gradient = gradientOfLogarithm(build, step);
  const change = addUpdate(build, optimizer, { ...step, gradient }, origin);
  return build.node("Mul", [scale, build.node("Pow", [build.scalar(2, scale), change])]);
};

const thresholdOf = (scale: string): string => `${scale}/threshold`;

/** TQT (arXiv:1903.08066): scale = 2^⌈t⌉, t straight through its rounding up. */
const addThresholdUpdate: QparamUpdate = (build, optimizer, step) => {
  const { name: scale } = step;
  const threshold = build.variable(thresholdOf(scale), build.type(scale));
  const gradient = gradientOfLogarithm(build, step);
  const next = addUpdate(build, optimizer, { ...step, gradient }, threshold);
  build.update(threshold, next);
  return build.node("Pow", [build.scalar(2, scale), build.node("Ceil", [next])]);
};

/** The variables that a way of training adds for a scale, at their start. TQT's t starts halfway between two roundings. */
export function qparamVariables(
  { training }: QparamOptions,
  { name, role }: Parameter,
  value: Tensor,
): ReadonlyMap<string, Tensor> {
  if (training !== "tqt" || !role.endsWith("scale")) return new Map();
  const exponents = Array.from(numbersOf(value), Math.log2);
  const fractional = exponents.findIndex((exponent) => !Number.isInteger(exponent));
  if (fractional >= 0)
    throw new FrostbitError(
      "BAD_OPTION",
      `qparamTraining is "tqt", which trains powers of two, but scale "${name}" holds ${numbersOf(value)[fractional]}. Quantize the model for it, with powerOfTwoQparams.`,
    );
  const thresholds = exponents.map((exponent) => exponent - 0.5);
  return new Map([[thresholdOf(name), tensorOf(value.dtype, value.shape, thresholds)]]);
}
