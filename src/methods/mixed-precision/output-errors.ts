// The error of each layer's own output: noise to signal with its weight alone rounded, its input as it is.
import { takeTurns } from "../../distributed/take-turns.ts";
import { assert } from "../../ir/errors.ts";
import { numbersOf, tensorOf } from "../../ir/tensor.ts";
import { buildOn } from "../../ops/infer.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import { linearLayers } from "../../quantizers/linear-layers.ts";
import { constantOf } from "../../rounding/grid.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { withProgram } from "../../run/with-program.ts";
import type { Measured, Sensitivities } from "./measured.ts";

/** By weight and width, Σ (Δw · x)² / Σ (w · x)² over the layers that read the weight, whose products are linear in it. */
export async function relativeOutputErrors(
  { graph, choices, batches }: Measured,
  context: Context,
): Promise<Sensitivities> {
  const build = buildOn(graph);
  const energy = (node: { op: string; inputs: readonly string[]; attributes: object }, weight: string): string => {
    const output = build.node(node.op, [node.inputs[0], weight], { ...node.attributes });
    return build.node("ReduceSumSquare", [output], { keepdims: 0 });
  };
  const layers = linearLayers(graph);
  const terms = choices.map(({ weight, layers: names, rounded }) => {
    const own = constantOf(graph, weight);
    const values = numbersOf(own);
    const nodes = layers.filter(({ name }) => names.includes(name)).map(({ node }) => node);
    const errors = [...rounded].map(([width, value]) => {
      const moved = numbersOf(value);
      const change = tensorOf(
        own.dtype,
        own.shape,
        Float64Array.from(values, (w, i) => moved[i] - w),
      );
      const constant = build.constant(change, `${weight}_change_${width}`);
      return [width, nodes.map((node) => energy(node, constant))] as const;
    });
    return { signals: nodes.map((node) => energy(node, weight)), errors };
  });
  const outputs = terms.flatMap(({ signals, errors }) => [...signals, ...errors.flatMap(([, names]) => names)]);
  const found = await withProgram(removeDeadNodes(build.graph(outputs)), context, (program) => {
    const compute = async (i: number): Promise<number[]> => {
      const values = await program.run(batches[i], signalOf(context));
      context.onProgress?.({ phase: "measure widths", done: i + 1, total: batches.length });
      return outputs.map((name) => {
        const value = values.get(name);
        assert(value, `no output "${name}"`);
        return numbersOf(value)[0];
      });
    };
    return takeTurns({ count: batches.length, length: outputs.length, compute }, context.communicator);
  });
  const sums = new Map(outputs.map((name, i) => [name, found.reduce((sum, ofBatch) => sum + ofBatch[i], 0)]));
  const total = (names: readonly string[]): number => names.reduce((sum, name) => sum + (sums.get(name) ?? 0), 0);
  return terms.map(({ signals, errors }) => {
    const signal = total(signals);
    return new Map(errors.map(([width, names]) => [width, signal === 0 ? 0 : total(names) / signal]));
  });
}
