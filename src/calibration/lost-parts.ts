// Values that are joined of parts of very different ranges: a quantizer for all of them rounds the narrow ones away.
import type { Builder } from "../ir/builder.ts";
import { type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { buildOn } from "../ops/infer.ts";
import { keepsRange } from "../quantizers/integer-kernels.ts";
import type { Range } from "../quantizers/qparams.ts";
import type { Site } from "../quantizers/sites.ts";
import { type Context, signalOf } from "../run/context.ts";
import { withProgram } from "../run/with-program.ts";

/** A part of which one quantizer for all leaves few values, or none. */
export interface LostPart {
  readonly site: Site;
  /** The node that joins it to others. */
  readonly join: Node;
  readonly name: string;
  readonly range: Range;
  /** Of all that is joined. */
  readonly whole: Range;
  readonly step: number;
}

/** By operator, the inputs whose elements its output takes as they are. */
const joinedInputs: Readonly<Record<string, (node: Node) => readonly string[]>> = {
  Concat: ({ inputs }) => inputs,
  Max: ({ inputs }) => inputs,
  Min: ({ inputs }) => inputs,
  Where: ({ inputs: [, a, b] }) => [a, b],
  ScatterND: ({ inputs: [data, , updates] }) => [data, updates],
  ScatterElements: ({ inputs: [data, , updates] }) => [data, updates],
  Pad: ({ inputs: [data, , value] }) => (value ? [data, value] : [data]),
};

/** They take some of the elements: their own range says what a quantizer leaves. */
const selectingOps: ReadonlySet<string> = new Set(["Slice", "Split", "Gather", "MaxPool"]);

/** They compute each element from that of their first input, where the other inputs are one number for all. */
const scalarOps: ReadonlySet<string> = new Set(["Relu", "Clip", "LeakyRelu", "Add", "Sub", "Mul", "Div"]);

interface Part {
  readonly join: Node;
  /** As the model calls it. */
  readonly name: string;
  /** What becomes of it on the way to the joined value. */
  readonly value: string;
}

function isOfScalars(graph: Graph, { op, inputs }: Node): boolean {
  const isOne = (input: string): boolean => input === "" || graph.constants.get(input)?.data.length === 1;
  return scalarOps.has(op) && inputs.slice(1).every(isOne);
}

/** The parts that a value is joined of; none where it is not. */
function partsOf(graph: Graph, build: Builder, value: string, makers: ReadonlyMap<string, Node>): readonly Part[] {
  const node = makers.get(value);
  if (!node) return [];
  const joined = keepsRange(graph, node) ? undefined : joinedInputs[node.op]?.(node);
  if (joined)
    return joined.flatMap((input) => {
      const within = partsOf(graph, build, input, makers);
      return within.length > 0
        ? within.map((part) => ({ ...part, join: node }))
        : [{ join: node, name: input, value: input }];
    });
  const parts = (): readonly Part[] => partsOf(graph, build, node.inputs[0], makers);
  if (keepsRange(graph, node)) return selectingOps.has(node.op) ? [] : parts();
  if (!isOfScalars(graph, node)) return [];
  const rest = node.inputs.slice(1);
  return parts().map((part) => ({ ...part, value: build.node(node.op, [part.value, ...rest], node.attributes) }));
}

/** Fewer than so many steps of a quantizer are a part lost, or than this share of them. */
const [minSteps, minShare] = [8, 1 / 8];

const widthOf = ({ min, max }: Range): number => max - min;

function stepOf({ bits, symmetric }: Site, { min, max }: Range): number {
  const [low, high] = [Math.min(0, min), Math.max(0, max)];
  return symmetric ? (2 * Math.max(-low, high)) / (2 ** bits - 2) : (high - low) / (2 ** bits - 1);
}

/** A part that is one number has nothing to lose. */
const isLost = (site: Site, part: Range, step: number): boolean =>
  widthOf(part) > 0 && widthOf(part) < Math.min(minSteps, minShare * 2 ** site.bits) * step;

/** Looks at the first batch; without joined values nothing is run. */
export async function findLostParts(
  { graph, sites }: { readonly graph: Graph; readonly sites: readonly Site[] },
  batches: () => AsyncIterable<ReadonlyMap<string, Tensor>>,
  context: Context,
): Promise<readonly LostPart[]> {
  const build = buildOn(graph);
  const makers = producers(graph);
  const isEmpty = (value: string): boolean => build.type(value).shape.includes(0);
  const joins = sites.flatMap((site) => {
    if (isEmpty(site.value)) return [];
    const parts = partsOf(graph, build, site.value, makers).filter(({ value }) => !isEmpty(value));
    return parts.length > 1 ? [{ site, parts }] : [];
  });
  if (joins.length === 0) return [];
  const values = [...new Set(joins.flatMap(({ site, parts }) => [site.value, ...parts.map(({ value }) => value)]))];
  const extremes = new Map(
    values.map((value) => [value, ["ReduceMin", "ReduceMax"].map((op) => build.node(op, [value], { keepdims: 0 }))]),
  );
  return withProgram(build.graph([...extremes.values()].flat()), context, async (program) => {
    for await (const inputs of batches()) {
      const outputs = await program.run(inputs, signalOf(context));
      const rangeOf = (value: string): Range => {
        const [min, max] = (extremes.get(value) ?? []).map((name) => numbersOf(outputs.get(name) as Tensor)[0]);
        return { min, max };
      };
      return joins.flatMap(({ site, parts }) => {
        const whole = rangeOf(site.value);
        const step = stepOf(site, whole);
        const ranges = parts.map((part) => ({ ...part, range: rangeOf(part.value) }));
        return ranges.flatMap(({ join, name, range }) =>
          isLost(site, range, step) ? [{ site, join, name, range, whole, step }] : [],
        );
      });
    }
    return [];
  });
}
