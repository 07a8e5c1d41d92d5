// Training steps of tiny models.
import type { Engine, Precision } from "../../src/engines/engine.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { numbersOf, scalar, type Tensor, tensorOf } from "../../src/ir/tensor.ts";
import { labelsInput } from "../../src/training/loss.ts";
import type { Optimizer } from "../../src/training/optimizer.ts";
import {
  buildPlannedStep,
  learningRateInput,
  type PlanShape,
  qparamLearningRateInput,
} from "../../src/training/planned-step.ts";
import { batchFor, type FloatType, type TinyBatch, type TinyModel } from "./tiny-models.ts";

const batchSize = 8;
const sgd: Optimizer = { kind: "sgd", momentum: 0.9, weightDecay: 1e-4 };

export interface Run {
  readonly losses: readonly number[];
  readonly variables: ReadonlyMap<string, Tensor>;
}

export type Rows = ReadonlyMap<string, readonly number[]>;

export interface Training {
  readonly engine: Engine;
  readonly dtype: FloatType;
  readonly plan?: PlanShape;
  readonly rows?: Rows;
  readonly steps?: number;
  readonly precision?: Precision;
  readonly threads?: number;
}

/** Steps on one batch again and again. */
export const train = (model: TinyModel, graph: Graph, training: Training): Promise<Run> =>
  trainOn(batchFor(model, training.dtype, batchSize), graph, training);

/** Steps on this batch of the input "input" again and again. */
export async function trainOn({ images, labels }: TinyBatch, graph: Graph, training: Training): Promise<Run> {
  const { engine, dtype, plan = new Map(), rows = new Map(), steps = 1, precision = "float32", threads = 1 } = training;
  const step = buildPlannedStep(graph, { batchSize: images.shape[0], loss: "cross-entropy", optimizer: sgd, plan });
  const inputs = new Map([
    ["input", images],
    [labelsInput, labels],
    [learningRateInput, scalar(dtype, 0.02)],
    [qparamLearningRateInput, scalar(dtype, 1e-4)],
  ]);
  for (const [weight, input] of step.rowInputs) {
    const list = rows.get(weight) ?? [];
    inputs.set(input, tensorOf("int64", [list.length], list));
  }
  const variables = await engine.variables(step.initial);
  const executable = await engine.compile(step.graph, { threads, precision });
  try {
    const program = executable.bind(variables);
    const given = new Map([...inputs].filter(([name]) => step.graph.inputs.includes(name)));
    const losses: number[] = [];
    for (let index = 0; index < steps; index++)
      losses.push(numbersOf((await program.run(given)).get(step.loss) ?? scalar(dtype, Number.NaN))[0]);
    const after = new Map<string, Tensor>();
    for (const name of variables.names()) after.set(name, await variables.read(name));
    return { losses, variables: after };
  } finally {
    variables.dispose();
    await executable.dispose();
  }
}

/** The graph with what a run has trained as its constants. */
export function withTrained(graph: Graph, { variables }: Run): Graph {
  const constants = new Map([...graph.constants].map(([name, value]) => [name, variables.get(name) ?? value]));
  return { ...graph, constants };
}
