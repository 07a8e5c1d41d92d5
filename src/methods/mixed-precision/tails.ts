// A model from where some of its weights are first read: what lies before is the same whatever replaces them, and is computed once.
import { isFloat } from "../../ir/dtype.ts";
import type { Graph } from "../../ir/graph.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import { isStatic } from "../../ops/dims.ts";
import { removeDeadNodes } from "../../passes/remove-dead-nodes.ts";
import { setBatchSize } from "../../passes/set-batch-size.ts";
import { type Context, signalOf } from "../../run/context.ts";
import { withProgram } from "../../run/with-program.ts";
import { cutUnit } from "../../units/cut-unit.ts";
import type { Choice } from "./choices.ts";
import type { Inputs, Subject } from "./replace-weights.ts";

/** Each is compiled; with five, two fifths of what whole runs compute are saved. */
const mostTails = 5;
/** What a tail's inputs may take. */
const mostBytes = 2 ** 28;

/** Choices whose weights nothing before a place reads. */
interface Tail {
  readonly choices: readonly Choice[];
  /** Values of the graph that the tail starts from; none: it is the whole graph. */
  readonly starts: readonly string[];
}

/** Calls `use` for the choices of each tail, the first ones first, with the tail as what is run. */
export async function forEachTail(
  { graph: given, batches, choices }: Omit<Subject, "weights"> & { readonly choices: readonly Choice[] },
  context: Context,
  use: (choices: readonly Choice[], subject: Subject) => Promise<void>,
): Promise<void> {
  const graph = removeDeadNodes(given);
  const samples = batches.reduce((sum, inputs) => sum + (inputs.values().next().value?.shape[0] ?? 0), 0);
  for (const { choices: own, starts } of tailsOf(graph, choices, samples)) {
    const weights = own.map(({ weight }) => weight);
    if (starts.length === 0) await use(own, { graph, weights, batches });
    else {
      const inputs = [...starts, ...graph.inputs];
      const tail = cutUnit(graph, inputs, graph.outputs);
      await use(own, { graph: tail, weights, batches: await valuesAt(graph, starts, batches, context) });
    }
  }
}

function tailsOf(graph: Graph, choices: readonly Choice[], samples: number): readonly Tail[] {
  const firstReader = (weight: string): number => graph.nodes.findIndex(({ inputs }) => inputs.includes(weight));
  const ordered = [...choices].sort((a, b) => firstReader(a.weight) - firstReader(b.weight));
  const size = Math.ceil(ordered.length / mostTails);
  const { values } = setBatchSize(graph, 1);
  const bytesOf = (name: string): number => {
    const { shape } = values.get(name) ?? { shape: [""] };
    return isStatic(shape) ? 4 * samples * sizeOf(shape) : Number.POSITIVE_INFINITY;
  };
  return Array.from({ length: Math.ceil(ordered.length / size) }, (_, i) => {
    const own = ordered.slice(i * size, (i + 1) * size);
    const starts = i === 0 ? [] : startsAt(graph, firstReader(own[0].weight));
    const bytes = starts.reduce((sum, name) => sum + bytesOf(name), 0);
    return { choices: own, starts: bytes <= mostBytes ? starts : [] };
  });
}

/** Floats that nodes before a place give and others read. */
function startsAt({ nodes, values, outputs }: Graph, place: number): readonly string[] {
  const given = new Set(nodes.slice(0, place).flatMap((node) => node.outputs));
  const read = new Set([...nodes.slice(place).flatMap(({ inputs }) => inputs), ...outputs]);
  return [...read].filter((name) => {
    const type = values.get(name);
    return given.has(name) && type !== undefined && isFloat(type.dtype);
  });
}

async function valuesAt(
  graph: Graph,
  starts: readonly string[],
  batches: readonly Inputs[],
  context: Context,
): Promise<readonly Inputs[]> {
  return withProgram(cutUnit(graph, graph.inputs, starts), context, async (program) => {
    const found: Inputs[] = [];
    for (const inputs of batches) {
      const values = await program.run(inputs, signalOf(context));
      found.push(new Map<string, Tensor>([...inputs, ...values]));
    }
    return found;
  });
}
