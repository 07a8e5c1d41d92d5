// AdaRound (arXiv:2004.10568) for single layers, from second moments alone: no minibatches, no noise, no activations kept.
import { numbersOf, scalar } from "../../ir/tensor.ts";
import type { RoundingProblem } from "../../rounding/problem.ts";
import { betaAt, learningRateOf } from "../../rounding/rounding-schedule.ts";
import { hardIntegers } from "../../rounding/soft-rounding.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { compileOptions } from "../../run/with-program.ts";
import type { AdaroundOptions } from "./options.ts";
import { betaName, lambdaName, learningRateName, roundingStep, variableName } from "./step.ts";

/** The integers, [groups, rows, columns]. */
export async function adaround(
  problem: RoundingProblem,
  options: AdaroundOptions,
  context: Context,
): Promise<Float64Array> {
  const { dtype } = problem;
  const { graph, initial } = roundingStep(problem, dtype);
  const executable = await context.engine.compile(graph, compileOptions(context));
  const variables = await context.engine.variables(initial);
  try {
    const program = executable.bind(variables);
    const rate = scalar(dtype, learningRateOf(options));
    for (let iteration = 1; iteration <= options.iterations; iteration++) {
      const beta = betaAt(iteration, options);
      const inputs = new Map([
        [learningRateName, rate],
        [lambdaName, scalar(dtype, beta === undefined ? 0 : options.lambda)],
        [betaName, scalar(dtype, beta ?? options.betaStart)],
      ]);
      await program.run(inputs, signalOf(context));
    }
    return hardIntegers(problem, numbersOf(await variables.read(variableName)));
  } finally {
    variables.dispose();
    await executable.dispose();
  }
}
