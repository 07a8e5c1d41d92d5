// Cuts a graph into stages that run one after the other, so that the constants of one stage alone need be in memory.
import { isFloat } from "../ir/dtype.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { knownContents } from "./fold-constants.ts";
import { bytesOf } from "./peak-bytes.ts";

/**
 * Graphs that give in turn, from the graph's inputs and what those before them give, what the graph gives. Each has constants of about
 * `constantBytes` at most, where between two nodes nothing but floats passes, or what is known before a run; types are those of the graph.
 */
export function cutIntoStages(given: Graph, constantBytes: number): readonly Graph[] {
  const graph = { ...given, nodes: besideReaders(given) };
  const crossing = crossingValues(graph);
  const canCut = (at: number): boolean =>
    crossing(at).every(
      (value) => isFloat(graph.values.get(value)?.dtype ?? "int64") || knownContents(graph, value) !== undefined,
    );
  const ends: number[] = [];
  let start = 0;
  for (let at = 1; at < graph.nodes.length; at++)
    // What reads no more than those before it, as what follows one product of a large matrix, stays with them.
    while (bytesOfConstants(graph, start, at + 1) > Math.max(constantBytes, bytesOfConstants(graph, start, at))) {
      const end = bestCut(start + 1, at, canCut, (place) => crossing(place).length);
      if (end === undefined) break;
      ends.push(end);
      start = end;
    }
  const bounds = [0, ...ends, graph.nodes.length];
  return bounds.slice(1).map((end, index) => stageOf(graph, bounds[index], end));
}

/** The nodes, those of constants alone directly before the first that reads them: what they give does not pass through the stages before. */
function besideReaders({ nodes, constants }: Graph): readonly Node[] {
  const waiting = new Map<string, Node>();
  const isKnown = (input: string): boolean => input === "" || constants.has(input) || waiting.has(input);
  const ofConstants = new Set<Node>();
  for (const node of nodes)
    if (node.inputs.every(isKnown)) {
      ofConstants.add(node);
      for (const output of node.outputs) if (output !== "") waiting.set(output, node);
    }
  const due = new Set(ofConstants);
  const placed: Node[] = [];
  const place = (node: Node): void => {
    for (const input of node.inputs) {
      const maker = waiting.get(input);
      if (maker && due.delete(maker)) place(maker);
    }
    placed.push(node);
  };
  for (const node of nodes) if (!ofConstants.has(node)) place(node);
  for (const node of ofConstants) if (due.delete(node)) place(node);
  return placed;
}

/** Of those that some nodes read. */
function bytesOfConstants({ nodes, constants }: Graph, start: number, end: number): number {
  const read = new Set(nodes.slice(start, end).flatMap(({ inputs }) => inputs));
  return [...read].reduce((sum, name) => {
    const value = constants.get(name);
    return value ? sum + bytesOf(value) : sum;
  }, 0);
}

/** Where the fewest values pass; of such places the last. */
function bestCut(
  from: number,
  to: number,
  canCut: (at: number) => boolean,
  countAt: (at: number) => number,
): number | undefined {
  let best: number | undefined;
  for (let at = from; at <= to; at++) if (canCut(at) && (best === undefined || countAt(at) <= countAt(best))) best = at;
  return best;
}

/** What nodes before a place give to those from it on, or to the graph. */
function crossingValues({ nodes, outputs }: Graph): (at: number) => readonly string[] {
  const madeAt = new Map(nodes.flatMap((node, at) => node.outputs.map((output) => [output, at] as const)));
  const lastRead = new Map<string, number>();
  nodes.forEach(({ inputs }, at) => {
    for (const input of inputs) lastRead.set(input, at);
  });
  for (const output of outputs) lastRead.set(output, nodes.length);
  const places: string[][] = Array.from({ length: nodes.length + 1 }, () => []);
  for (const [value, made] of madeAt)
    for (let at = made + 1; at <= (lastRead.get(value) ?? made); at++) places[at].push(value);
  return (at) => places[at];
}

function stageOf(graph: Graph, start: number, end: number): Graph {
  const nodes = graph.nodes.slice(start, end);
  const own = new Set(nodes.flatMap(({ outputs }) => outputs));
  const given = [...new Set(nodes.flatMap(({ inputs }) => inputs))].filter((value) => value !== "" && !own.has(value));
  const isInput = (value: string): boolean => graph.inputs.includes(value);
  const known = given.flatMap((value) => {
    const constant = graph.constants.get(value) ?? (isInput(value) ? undefined : knownContents(graph, value));
    return constant ? [[value, constant] as const] : [];
  });
  const constants = new Map(known);
  const readLater = new Set([...graph.outputs, ...graph.nodes.slice(end).flatMap(({ inputs }) => inputs)]);
  const names = new Set([...given, ...own]);
  return {
    ...graph,
    name: `${graph.name}:${start}-${end}`,
    inputs: given.filter((value) => !constants.has(value)),
    outputs: [...own].filter((value) => value !== "" && readLater.has(value)),
    nodes,
    constants,
    values: new Map([...graph.values].filter(([name]) => names.has(name))),
  };
}
