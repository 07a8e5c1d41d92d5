// The cross-entropy of a model whose scores take much memory, computed for some positions at a time.
import { ignoredLabel } from "../../data/labels.ts";
import type { Builder } from "../../ir/builder.ts";
import { type Graph, producers } from "../../ir/graph.ts";
import { arithmetic } from "../../ops/arithmetic.ts";
import { type ClassPlace, scoresAt } from "../../passes/class-scores.ts";
import { inlineGraph } from "../../passes/inline-graph.ts";
import { labelsInput, meanCrossEntropy } from "../../training/loss.ts";
import { cutUnit } from "../../units/cut-unit.ts";

/** What the scores of a slice take at most. */
const sliceBytes = 2 ** 24;

export interface SlicedLoss {
  readonly loss: string;
  /** Of each slice, the names of its nodes. */
  readonly slices: readonly ReadonlySet<string>[];
}

/**
 * The mean cross-entropy of the labels of all positions that count, as the sum over slices of positions of their own means. `undefined`
 * where the scores of all positions [batch, positions, classes] are no more than a slice's, or follow from more than their own position.
 */
export function addSlicedCrossEntropy(
  build: Builder,
  graph: Graph,
  classes: ClassPlace | undefined,
  bytes = sliceBytes,
): SlicedLoss | undefined {
  const [batch, length, count] = build.type(graph.outputs[0]).shape.map(Number);
  if (count === undefined || (classes && classes.axis !== 2)) return undefined;
  const { logits } = scoresAt(graph, { axis: 2, classes: count });
  const size = Math.max(1, Math.floor(bytes / (4 * batch * count)));
  const hidden = hiddenOf(graph, logits);
  if (hidden === undefined || length <= size) return undefined;
  const labels = build.input(labelsInput, { dtype: "int64", shape: [batch, length] });
  const ignored = ignoredLabel({ classes: count });
  const head = cutUnit(graph, [hidden], [logits]);
  const own = [...head.constants.keys()].map((name) => [name, name] as const);
  const { add, mul, div, sub, of, cast } = arithmetic(build, logits);
  const { dtype } = build.type(logits);
  const sizes = Array.from({ length: Math.ceil(length / size) }, (_, index) => Math.min(size, length - index * size));
  // The gradient of Split joins those of the slices; those of Slices would be filled up to all positions each.
  const split = (value: string): readonly string[] =>
    build.nodes(
      "Split",
      [value, build.ints(sizes)],
      sizes.map(() => true),
      { axis: 1 },
    );
  const [hiddens, targets] = [split(hidden), split(labels)];
  const parts = sizes.map((_, index) => {
    const before = namesIn(build);
    const scores = inlineGraph(build, head, `slice${index}/`, new Map([[hidden, hiddens[index]], ...own])).get(logits);
    const wanted = targets[index];
    const mean = meanCrossEntropy(build, { logits: scores ?? "", axis: 2, classes: count }, wanted);
    const isIgnored = build.node("Equal", [wanted, build.ints([ignored])]);
    const counts = build.node("ReduceSum", [sub(of(1), cast(isIgnored, dtype))], { keepdims: 0 });
    return { sum: mul(mean, counts), counts, names: new Set([...namesIn(build)].filter((name) => !before.has(name))) };
  });
  const total = (of: "sum" | "counts"): string => parts.map((part) => part[of]).reduce(add);
  const all = build.node("Max", [total("counts"), of(1)]);
  const loss = build.node("Identity", [div(total("sum"), all)], {}, "loss");
  return { loss, slices: parts.map(({ names }) => names) };
}

const namesIn = (build: Builder): ReadonlySet<string> => new Set(build.graph([]).nodes.map(({ name }) => name));

/** Operators that give of each position what follows from it alone. */
const byPosition: ReadonlySet<string> = new Set(["Identity", "Add", "Sub", "Mul", "Div", "Tanh"]);

/** What the product with the head's matrix reads, behind which every position goes by itself. */
function hiddenOf(graph: Graph, logits: string): string | undefined {
  const made = producers(graph);
  let node = made.get(logits);
  for (; node && byPosition.has(node.op); node = made.get(node.inputs[0]))
    if (node.inputs.slice(1).some((input) => !graph.constants.has(input))) return undefined;
  const isProduct = node?.op === "MatMul" || (node?.op === "Einsum" && node.attributes["equation"] === "blh,vh->blv");
  return isProduct && graph.constants.has(node?.inputs[1] ?? "") ? node?.inputs[0] : undefined;
}
