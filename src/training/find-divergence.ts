// Where the first value that is not finite arose in a training step: the step's graph is run again, value by value.

import { dtypes, isFloat } from "../ir/dtype.ts";
import { describeNode, type Graph, type Node, producers } from "../ir/graph.ts";
import { numbersOf, sizeOf, type Tensor } from "../ir/tensor.ts";
import { removeDeadNodes } from "../passes/remove-dead-nodes.ts";
import type { Context } from "../run/context.ts";
import { trainingOptions } from "../run/with-program.ts";
import type { Step } from "./step.ts";

type Values = ReadonlyMap<string, Tensor>;

/** Of a value's elements. */
interface Extent {
  readonly kind: "finite" | "infinite" | "NaN";
  readonly least: number;
  readonly most: number;
}

/** What made the first value that is not finite. */
export interface Divergence {
  /** In words: which node, or which node's gradient, and what it read. */
  readonly what: string;
  /** Whether it read values so large that they alone explain it. */
  readonly hasGrown: boolean;
}

/** Values of a run that are held at once. */
const budgetBytes = 2 ** 28;

/** Products of two such overflow in float32. */
const large = 1e15;
/** Beyond it, exp overflows in float32. */
const largeExponent = 80;

/** `variables`: before the step; `inputs`: what its graph was fed. `undefined` where everything is finite in it. */
export async function findDivergence(
  { graph, loss, gradientsOf }: Pick<Step, "graph" | "loss" | "gradientsOf">,
  inputs: Values,
  variables: Values,
  context: Context,
): Promise<Divergence | undefined> {
  const extents = await extentsOf(graph, inputs, variables, context);
  const made = producers(graph);
  const order = new Map(graph.nodes.flatMap((node, i) => node.outputs.map((output) => [output, i] as const)));
  const isBad = (value: string): boolean => (extents.get(value)?.kind ?? "finite") !== "finite";
  const ends = [...graph.outputs, ...graph.updates.values()].sort((a, b) => (order.get(a) ?? 0) - (order.get(b) ?? 0));
  const [end] = [loss, ...ends].filter(isBad);
  if (end === undefined) return undefined;
  let node = made.get(end);
  for (let next = node; next; node = next ?? node) {
    const [bad] = next.inputs.filter(isBad).sort((a, b) => Number(isNaNIn(extents, b)) - Number(isNaNIn(extents, a)));
    next = bad === undefined ? undefined : made.get(bad);
  }
  return node && describe(node, gradientsOf, extents);
}

const isNaNIn = (extents: ReadonlyMap<string, Extent>, value: string): boolean => extents.get(value)?.kind === "NaN";

function describe(node: Node, gradientsOf: Step["gradientsOf"], extents: ReadonlyMap<string, Extent>): Divergence {
  const forward = gradientsOf.get(node.outputs[0]);
  const [output] = node.outputs.flatMap((name) => extents.get(name) ?? []).filter(({ kind }) => kind !== "finite");
  const read = node.inputs.flatMap((name) => extents.get(name) ?? []);
  const ranges = read.map(({ least, most }) => (least === most ? print(least) : `${print(least)} to ${print(most)}`));
  const most = Math.max(0, ...read.map((each) => Math.max(Math.abs(each.least), Math.abs(each.most))));
  const where = forward ? `the gradient of ${describeNode(forward)}, in ${node.op}` : describeNode(node);
  return {
    what: `The first value that is not finite is in ${where}: it gives ${output?.kind === "NaN" ? "NaN" : "infinity"} from ${ranges.join(" and ")}.`,
    hasGrown: most >= (node.op === "Exp" ? largeExponent : large),
  };
}

const print = (value: number): string => String(Number(value.toPrecision(4)));

/** Of all floats, computed a few at a time. */
async function extentsOf(
  graph: Graph,
  inputs: Values,
  variables: Values,
  context: Context,
): Promise<Map<string, Extent>> {
  const given = [...inputs, ...variables, ...graph.constants].filter(([, { dtype }]) => isFloat(dtype));
  const extents = new Map(given.map(([name, value]) => [name, extentOf(value)] as const));
  const computed = graph.nodes.flatMap(({ outputs }) =>
    outputs.filter((name) => isFloat(graph.values.get(name)?.dtype ?? "bool")),
  );
  for (const outputs of partsOf(computed, graph)) {
    const part = removeDeadNodes({ ...graph, outputs, updates: new Map() });
    const executable = await context.engine.compile(part, trainingOptions(context));
    const held = await context.engine.variables(variables);
    try {
      const run = executable.bind(held);
      const wanted = new Map([...inputs].filter(([name]) => part.inputs.includes(name)));
      for (const [name, value] of await run.run(wanted, { fetch: outputs })) extents.set(name, extentOf(value));
    } finally {
      held.dispose();
      await executable.dispose();
    }
  }
  return extents;
}

function partsOf(values: readonly string[], graph: Graph): readonly string[][] {
  const parts: string[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const name of values) {
    const { dtype, shape } = graph.values.get(name) ?? { dtype: "float32", shape: [] };
    const own = (sizeOf(shape.map(Number)) * dtypes[dtype].bits) / 8;
    if (bytes + own > budgetBytes) {
      parts.push([]);
      bytes = 0;
    }
    parts[parts.length - 1].push(name);
    bytes += own;
  }
  return parts;
}

function extentOf(value: Tensor): Extent {
  const values = numbersOf(value);
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let kind: Extent["kind"] = "finite";
  for (let i = 0; i < values.length; i++) {
    const each = values[i];
    if (Number.isNaN(each)) kind = "NaN";
    else if (kind === "finite" && !Number.isFinite(each)) kind = "infinite";
    if (each < least) least = each;
    if (each > most) most = each;
  }
  return { kind, least, most };
}
