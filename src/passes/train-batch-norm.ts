// Batch normalization in training mode: statistics of the batch, and running statistics that follow them.
import type { Builder } from "../ir/builder.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { numberAttribute } from "../ops/attributes.ts";
import { buildOn, inferNode } from "../ops/infer.ts";

/** Statistics that nodes compute are not running ones: such a normalization trains in the form that it has. */
export const runningNormalizations = ({ nodes, constants, variables }: Graph): readonly Node[] =>
  nodes.filter(
    ({ op, inputs }) =>
      op === "BatchNormalization" &&
      inputs.slice(3, 5).every((name) => constants.has(name) || variables.includes(name)),
  );

/** Names of the running mean and variance of every batch normalization: variables of the training graph. */
export const runningStatistics = (graph: Graph): readonly string[] =>
  runningNormalizations(graph).flatMap((node) => node.inputs.slice(3, 5));

/** Replaces every BatchNormalization of running statistics; the running variance is the unbiased one, as PyTorch's. Needs static shapes. */
export function trainBatchNorm(graph: Graph): Graph {
  const { build, normalizations } = withBatchStatistics(graph);
  const latest = new Map<string, string>();
  for (const node of normalizations) followStatistics(build, node, latest, (running) => running);
  for (const [running, value] of latest) build.update(running, value);
  return build.graph(graph.outputs);
}

/** What one part of a batch does to a running statistic, which becomes itself times `keeps` and the value `adds`. */
export interface PartStatistic {
  readonly name: string;
  readonly adds: string;
  readonly keeps: number;
}

/** As `trainBatchNorm`, of a part of a batch: the running statistics stay until what all parts add is known. */
export function trainBatchNormOfPart(graph: Graph): {
  readonly graph: Graph;
  readonly statistics: readonly PartStatistic[];
} {
  const { build, normalizations } = withBatchStatistics(graph);
  const latest = new Map<string, string>();
  const keeps = new Map<string, number>();
  for (const node of normalizations) {
    followStatistics(build, node, latest, () => undefined);
    for (const name of node.inputs.slice(3, 5)) keeps.set(name, (keeps.get(name) ?? 1) * momentumOf(node));
  }
  const statistics = [...latest].map(([name, adds]) => ({ name, adds, keeps: keeps.get(name) ?? 1 }));
  return { graph: build.graph(graph.outputs), statistics };
}

function withBatchStatistics(graph: Graph): { readonly build: Builder; readonly normalizations: readonly Node[] } {
  const normalizations = runningNormalizations(graph);
  const values = new Map(graph.values);
  const nodes = graph.nodes.map((node) => {
    if (!normalizations.includes(node)) return node;
    const training = trainingNode(node);
    const types = inferNode(
      training,
      (value) => values.get(value),
      (value) => graph.constants.get(value),
    );
    for (const [i, output] of training.outputs.entries()) values.set(output, types[i]);
    return training;
  });
  const build = buildOn({ ...graph, nodes, values });
  for (const name of runningStatistics(graph)) build.variable(name, build.type(name));
  return { build, normalizations };
}

const momentumOf = (node: Node): number => numberAttribute(node, "momentum", 0.9);

const trainingNode = (node: Node): Node => ({
  name: node.name,
  op: "BatchNormalizationTraining",
  inputs: node.inputs.slice(0, 3),
  outputs: [node.outputs[0], `${node.outputs[0]}/mean`, `${node.outputs[0]}/variance`],
  attributes: { epsilon: numberAttribute(node, "epsilon", 1e-5) },
});

/**
 * `latest`: the value of each running statistic so far; nodes that share one, as a module used twice, follow in turn. `start`: its
 * value before the first of them, or 0.
 */
function followStatistics(
  build: Builder,
  node: Node,
  latest: Map<string, string>,
  start: (running: string) => string | undefined,
): void {
  const momentum = momentumOf(node);
  const shape = build.type(node.inputs[0]).shape.map(Number);
  const count = shape.reduce((product, size) => product * size, 1) / shape[1];
  const follow = (running: string, batch: string, factor: number): void => {
    const before = latest.get(running) ?? start(running);
    const kept = before === undefined ? undefined : build.node("Mul", [before, build.scalar(momentum, running)]);
    const added = build.node("Mul", [batch, build.scalar((1 - momentum) * factor, running)]);
    latest.set(running, kept === undefined ? added : build.node("Add", [kept, added]));
  };
  follow(node.inputs[3], `${node.outputs[0]}/mean`, 1);
  follow(node.inputs[4], `${node.outputs[0]}/variance`, count > 1 ? count / (count - 1) : 1);
}
