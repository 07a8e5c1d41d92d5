// PD-Quant's distribution correction (arXiv:2212.07048): a unit's float inputs are moved until what enters its normalizations has, in
// each sample, the mean and the deviation that they remember.
import type { Program, Variables } from "../engines/engine.ts";
import type { Builder } from "../ir/builder.ts";
import { isFloat } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
import type { Graph, Node, ValueType } from "../ir/graph.ts";
import { numbersOf, scalar, sizeOf, type Tensor, zeros } from "../ir/tensor.ts";
import { setBatchSize } from "../passes/set-batch-size.ts";
import { runningNormalizations } from "../passes/train-batch-norm.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withVariables } from "../run/with-program.ts";
import { buildStep, type Step } from "../training/step.ts";
import { optimizerRule } from "../training/update-rules.ts";
import { cutUnit } from "../units/cut-unit.ts";
import type { SomeSamples, UnitData } from "../units/optimize-units.ts";

export interface Correction {
  /** Adam steps of each batch. */
  readonly iterations: number;
  /** The learning rate that they start with. */
  readonly rate: number;
  /** What the squared distance from where inputs were is divided by. */
  readonly freedom: number;
}

export interface CorrectionJob {
  readonly data: UnitData;
  readonly float: Graph;
  /** How many samples, from the first on. */
  readonly samples: number;
  readonly batch: number;
  readonly correction: Correction;
}

/** The unit with its float inputs moved; as it is where none of its normalizations remembers statistics. */
export async function correctInputs(job: CorrectionJob, context: Context): Promise<UnitData> {
  const { data, float, batch, correction } = job;
  const { unit } = data;
  const cut = cutUnit(setBatchSize(float, batch), unit.inputs, unit.outputs);
  if (runningNormalizations(cut).length === 0) return data;
  const step = correctionStep(cut, correction.freedom);
  return withVariables(step.graph, step.initial, context, (program, variables) =>
    data.withFloatInputs(corrected(job, { step, program, variables }, context), context),
  );
}

interface Stepping {
  readonly step: Step;
  readonly program: Program;
  readonly variables: Variables;
}

async function* corrected(
  { data, samples, batch, correction }: CorrectionJob,
  stepping: Stepping,
  context: Context,
): AsyncGenerator<SomeSamples> {
  for (let start = 0; start < samples; start += batch) {
    const count = Math.min(batch, samples - start);
    const chosen = Array.from({ length: batch }, (_, i) => start + Math.min(i, count - 1));
    const values = await moved(await data.inputs("float", chosen), stepping, correction, context);
    context.onProgress?.({ phase: `correct inputs of ${data.unit.name}`, done: start + count, total: samples });
    yield { values, count };
  }
}

/** A batch of inputs after its steps. */
async function moved(
  given: ReadonlyMap<string, Tensor>,
  { step, program, variables }: Stepping,
  { iterations, rate }: Correction,
  context: Context,
): Promise<ReadonlyMap<string, Tensor>> {
  const { graph, initial } = step;
  const moving = [...given].filter(([input]) => initial.has(input));
  const starts = moving.flatMap(([input, value]) => [[input, value] as const, [startOf(input), value] as const]);
  for (const [name, value] of [...initial, ...starts]) await variables.write(name, value);
  const fixed = [...given].filter(([input]) => graph.inputs.includes(input));
  const { dtype } = moving[0][1];
  const schedule = plateauSchedule(rate);
  for (let at = 0; at < iterations; at++) {
    const inputs = new Map([...fixed, [rateInput, scalar(dtype, schedule.rate())]]);
    const outputs = await program.run(inputs, { fetch: [step.loss], ...signalOf(context) });
    const loss = outputs.get(step.loss);
    assert(loss, "a step of the correction gives no loss");
    schedule.see(numbersOf(loss)[0]);
  }
  const values = new Map(given);
  for (const [input] of moving) values.set(input, await variables.read(input));
  return values;
}

/** PyTorch's ReduceLROnPlateau as the authors have it: a tenth after more than 100 losses that are no less, and not below 1e-5. */
export function plateauSchedule(start: number) {
  const [patience, factor, threshold, lowest] = [100, 0.1, 1e-4, 1e-5];
  let [rate, best, bad] = [start, Number.POSITIVE_INFINITY, 0];
  return {
    rate: (): number => rate,
    see: (loss: number): void => {
      const isBetter = loss < best * (1 - threshold);
      if (isBetter) best = loss;
      bad = isBetter ? 0 : bad + 1;
      if (bad <= patience) return;
      rate = Math.max(rate * factor, Math.min(rate, lowest));
      bad = 0;
    },
  };
}

const rateInput = "frostbit/correction_rate";

/** The variable that holds where an input was. */
const startOf = (input: string): string => `frostbit/start:${input}`;

/** Inputs of floats are variables that step by Adam; their start is zeros until a batch is written there. */
export function correctionStep(unit: Graph, freedom: number): Step {
  const typeOf = (input: string) => {
    const { dtype = "float32", shape = [] } = unit.values.get(input) ?? {};
    return { dtype, shape: shape.map(Number) };
  };
  const moving = unit.inputs.filter((input) => isFloat(typeOf(input).dtype));
  const all: readonly (readonly [string, ReturnType<typeof typeOf>])[] = moving.flatMap((input) =>
    [input, startOf(input)].map((name) => [name, typeOf(input)] as const),
  );
  const rule = optimizerRule({ kind: "adam", weightDecay: 0 });
  const trained = { rule, learningRate: rateInput, trains: "all", isClipped: false } as const;
  return buildStep({
    forward: {
      ...unit,
      inputs: unit.inputs.filter((input) => !moving.includes(input)),
      values: new Map<string, ValueType>([...unit.values, ...all]),
      variables: [...unit.variables, ...all.map(([name]) => name)],
    },
    start: new Map(all.map(([name, { dtype, shape }]) => [name, zeros(dtype, shape)])),
    loss: (build, graph) => {
      const distances = moving.map((input) => strayed(build, input, freedom));
      return [...runningNormalizations(graph).map((node) => distance(build, node)), ...distances].reduce((sum, term) =>
        build.node("Add", [sum, term]),
      );
    },
    parameters: moving.map((name) => ({ ...trained, name })),
    microBatches: 1,
  });
}

/** What the authors add to variances. */
const epsilon = 1e-6;

/** The mean over samples of Σ_c (μ − running mean)² + (σ − running deviation)², each sample's own over its positions. */
function distance(build: Builder, node: Node): string {
  const [x, , , mean, variance] = node.inputs;
  const [, channels, ...plane] = build.type(x).shape.map(Number);
  const positions = sizeOf(plane);
  const axes = build.ints(plane.map((_, i) => i + 2));
  const over = (value: string, keepdims: number): string =>
    plane.length === 0 ? value : build.node("ReduceMean", [value, axes], { keepdims });
  const square = (value: string): string => build.node("Mul", [value, value]);
  const rootOf = (spread: string): string =>
    build.node("Sqrt", [build.node("Add", [spread, build.scalar(epsilon, x)])]);
  const centered = build.node("Sub", [x, over(x, 1)]);
  const spread = build.node("Mul", [
    over(square(centered), 0),
    build.scalar(positions / Math.max(1, positions - 1), x),
  ]);
  const parts = [
    build.node("Sub", [over(x, 0), mean]), // [samples, channels]
    build.node("Sub", [rootOf(spread), rootOf(variance)]),
  ];
  const both = build.node("Add", parts.map(square) as [string, string]);
  const average = build.node("ReduceMean", [both], { keepdims: 0 });
  return build.node("Mul", [average, build.scalar(channels, average)]);
}

/** The mean over all but the channels, the second axis, of Σ_c (x − start)², over `freedom`. */
function strayed(build: Builder, input: string, freedom: number): string {
  const difference = build.node("Sub", [input, startOf(input)]);
  const mean = build.node("ReduceMean", [build.node("Mul", [difference, difference])], { keepdims: 0 });
  const channels = Number(build.type(input).shape[1] ?? 1);
  return build.node("Mul", [mean, build.scalar(channels / freedom, mean)]);
}
