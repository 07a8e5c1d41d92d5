// Gradients of a loss without labels by the weights, wherever the weights are moved to.
import { gradient } from "../../autodiff/gradient.ts";
import { randomBits } from "../../data/random.ts";
import type { Builder } from "../../ir/builder.ts";
import { assert } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { numbersOf, type Tensor, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { floatOutputs } from "../../passes/class-scores.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { compileOptions, withProgram } from "../../run/with-program.ts";
import { addLoss } from "../../training/loss.ts";
import { makeVariables } from "../../training/make-variables.ts";
import { classLogits, type Inputs, logSoftmax, type Subject, type Weights } from "./replace-weights.ts";

/** The gradients by all weights at `weights`, of the loss of one batch. */
export type Gradients = (inputs: Inputs, weights: Weights) => Promise<ReadonlyMap<string, ArrayLike<number>>>;

/**
 * Of how far the outputs are from those of the model as it is: cross-entropy to its probabilities, or where it has no class scores
 * the mean squared error. All batches have the size of the first.
 */
export const withDistanceGradients = <T>(
  subject: Subject,
  context: Context,
  use: (gradients: Gradients) => Promise<T>,
): Promise<T> => {
  const batchSize = sizeOfBatches(subject);
  const teacher = setBatchSize(subject.graph, batchSize);
  const loss = classLogits(subject.graph) === undefined ? "mse" : "distill";
  const run = { batchSize, addLoss: (build: Builder, graph: Graph) => addLoss(build, graph, { loss, teacher }) };
  return withGradients(subject, run, context, (gradients) => use((inputs, weights) => gradients(inputs, weights)));
};

const directionInput = "frostbit/direction";

/**
 * Of the log-likelihood of outputs drawn from the model itself, one sample a batch: the mean of its squares is Fisher's
 * information. Classes are drawn by their probabilities; other outputs count as means of unit normals, whose information signs at
 * random give.
 */
export function withLikelihoodGradients<T>(
  subject: Subject,
  context: Context,
  use: (gradients: (inputs: Inputs, index: number) => ReturnType<Gradients>) => Promise<T>,
): Promise<T> {
  const logits = classLogits(subject.graph);
  const outputs = logits === undefined ? floatOutputs(subject.graph) : [logits];
  const inputOf = (output: string): string => `${directionInput}:${output}`;
  const addDirections = (build: Builder, graph: Graph): string => {
    const products = outputs.map((output) => {
      const value = logits === undefined ? output : build.node("LogSoftmax", [output], { axis: -1 });
      const { dtype, shape } = graph.values.get(output) ?? build.type(output);
      const direction = build.input(inputOf(output), { dtype, shape });
      return build.node("ReduceSum", [build.node("Mul", [value, direction])], { keepdims: 0 });
    });
    return build.node("Identity", [products.reduce((sum, product) => build.node("Add", [sum, product]))]);
  };
  const forward = removeDeadNodes({ ...subject.graph, outputs });
  return withProgram(forward, context, (program) =>
    withGradients(subject, { batchSize: 1, addLoss: addDirections }, context, (gradients) =>
      use(async (inputs, index) => {
        const values = await program.run(inputs, signalOf(context));
        const directions = outputs.map((output, i) => {
          const value = values.get(output);
          assert(value, `no output "${output}"`);
          const counters = [context.seed, index, i] as const;
          return [
            inputOf(output),
            logits === undefined ? randomSigns(value, counters) : drawnClass(value, counters),
          ] as const;
        });
        return gradients(new Map([...inputs, ...directions]), new Map());
      }),
    ),
  );
}

type Counters = readonly [seed: number, sample: number, output: number];

const uniform = (...counters: readonly number[]): number => randomBits(...counters) / 2 ** 32;

/** One-hot, of a class drawn by the probabilities. */
function drawnClass(scores: Tensor, counters: Counters): Tensor {
  const probabilities = logSoftmax(numbersOf(scores), scores.shape[1]).map(Math.exp);
  let left = uniform(...counters);
  const drawn = probabilities.findIndex((probability) => {
    left -= probability;
    return left < 0;
  });
  const chosen = drawn < 0 ? probabilities.length - 1 : drawn;
  return tensorOf(
    scores.dtype,
    scores.shape,
    probabilities.map((_, i) => Number(i === chosen)),
  );
}

const randomSigns = ({ dtype, shape, data }: Tensor, counters: Counters): Tensor =>
  tensorOf(
    dtype,
    shape,
    Float64Array.from(data as Float64Array, (_, i) => (uniform(...counters, i) < 0.5 ? -1 : 1)),
  );

const sizeOfBatches = ({ batches }: Subject): number => {
  const [first] = batches;
  assert(first, "there are no batches");
  return first.values().next().value?.shape[0] ?? 1;
};

interface GradientRun {
  readonly batchSize: number;
  readonly addLoss: (build: Builder, graph: Graph) => string;
}

async function withGradients<T>(
  { graph, weights }: Subject,
  { batchSize, addLoss: addTo }: GradientRun,
  context: Context,
  use: (gradients: Gradients) => Promise<T>,
): Promise<T> {
  const { graph: replaceable, initial } = makeVariables(graph, weights);
  const sized = setBatchSize(replaceable, batchSize);
  const build = buildOn(sized);
  const loss = addTo(build, sized);
  const { graph: whole, gradients } = gradient(
    build.graph([loss]),
    loss,
    new Map(weights.map((name) => [name, "all"] as const)),
  );
  const outputs = [...gradients.values()];
  const executable = await context.engine.compile(
    removeDeadNodes({ ...whole, outputs: [...new Set(outputs)] }),
    compileOptions(context),
  );
  const variables = await context.engine.variables(initial);
  try {
    const program = executable.bind(variables);
    return await use(async (inputs, moved) => {
      for (const name of weights) {
        const value = moved.get(name) ?? initial.get(name);
        assert(value, `no weight "${name}"`);
        await variables.write(name, value);
      }
      const results = await program.run(inputs, signalOf(context));
      return new Map(
        weights.map((name) => {
          const found = gradients.get(name);
          const value = found === undefined ? undefined : results.get(found);
          return [name, value ? numbersOf(value) : new Float64Array(initial.get(name)?.data.length ?? 0)] as const;
        }),
      );
    });
  } finally {
    variables.dispose();
    await executable.dispose();
  }
}
