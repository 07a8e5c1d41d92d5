// Which values a model cannot have in float16, found by running it.
import { difference, sqnrDb } from "../evaluate/difference.ts";
import type { ModelFile } from "../evaluate/model-file.ts";
import type { OpenDeployed } from "../export/verify.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import { namedValues, watchValues } from "../onnx/watch-values.ts";
import { largestHeld } from "./half.ts";

type Values = ReadonlyMap<string, Tensor>;

export interface Watched {
  readonly bytes: Uint8Array;
  readonly open: OpenDeployed;
  readonly batches: readonly Values[];
}

/** For each batch, every value of a file that the graph has in float32. */
async function* watchFloats({ bytes, open, batches }: Watched, { values }: Graph): AsyncGenerator<Values, void, void> {
  const named = namedValues(bytes);
  const floats = named.computed.filter((name) => values.get(name)?.dtype === "float32");
  const file: ModelFile = await open(watchValues(bytes, named, floats), { spinning: false });
  try {
    for (const batch of batches) yield await file.run(batch, floats);
  } finally {
    await file.dispose();
  }
}

/** By value, the largest magnitude that it had; infinity where it was not finite. */
export async function largestOf(watched: Watched, graph: Graph): Promise<ReadonlyMap<string, number>> {
  const largest = new Map<string, number>();
  for await (const floats of watchFloats(watched, graph))
    for (const [name, value] of floats) largest.set(name, Math.max(largest.get(name) ?? 0, magnitudeOf(value)));
  return largest;
}

function magnitudeOf(value: Tensor): number {
  let largest = 0;
  for (const each of numbersOf(value)) if (!(Math.abs(each) <= largest)) largest = Math.abs(each);
  return Number.isNaN(largest) ? Number.POSITIVE_INFINITY : largest;
}

export const tooLarge = (largest: ReadonlyMap<string, number>): ReadonlySet<string> =>
  new Set([...largest].flatMap(([name, value]) => (value > largestHeld ? [name] : [])));

/** Below it a value in float16 is not what it was, in dB. */
const soundDb = 40;
/** What a node loses besides what it was given, in dB. */
const lostDb = 10;

/** Where outputs are not sound on the first batch: what goes in and out of the nodes that lose most. */
export async function lostValues(float: Watched, half: Uint8Array, graph: Graph): Promise<ReadonlySet<string>> {
  const first = async (bytes: Uint8Array): Promise<Values> => {
    const watched = { ...float, bytes, batches: float.batches.slice(0, 1) };
    for await (const floats of watchFloats(watched, graph)) return floats;
    return new Map();
  };
  const [expected, actual] = [await first(float.bytes), await first(half)];
  const decibelsOf = (name: string): number => {
    const [a, b] = [expected.get(name), actual.get(name)];
    if (!a || !b) return Number.POSITIVE_INFINITY;
    const db = sqnrDb(difference(numbersOf(a), numbersOf(b)));
    return Number.isNaN(db) ? Number.NEGATIVE_INFINITY : db;
  };
  const decibels = new Map([...expected.keys()].map((name) => [name, decibelsOf(name)]));
  if (graph.outputs.every((name) => (decibels.get(name) ?? soundDb) >= soundDb)) return new Set();
  const worst = (names: readonly string[]): number =>
    Math.min(...names.map((name) => decibels.get(name) ?? Number.POSITIVE_INFINITY));
  const isLossy = ({ inputs, outputs }: Node): boolean => {
    const given = worst(outputs);
    return given < soundDb && worst(inputs) - given >= lostDb;
  };
  const floats = (names: readonly string[]): readonly string[] =>
    names.filter((name) => graph.values.get(name)?.dtype === "float32" && !graph.constants.has(name));
  return new Set(graph.nodes.filter(isLossy).flatMap(({ inputs, outputs }) => [...floats(inputs), ...floats(outputs)]));
}
