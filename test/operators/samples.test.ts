// A batch that is freed: each sample must come out as it does alone. Every example, with the batch along each of its axes.
import { describe, expect, test } from "vitest";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { Builder } from "../../src/ir/builder.ts";
import { FrostbitError } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import { isOwn, type OpType, opTypes } from "../../src/ops/index.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { freeBatch } from "../../src/passes/free-batch.ts";
import { expectClose } from "../support/close.ts";
import { takeRows } from "../support/gradient-check.ts";
import type { Form } from "./examples/example.ts";
import { formsOf } from "./examples/index.ts";

/** Which inputs have samples, along which axis each. */
type Placement = ReadonlyMap<number, number>;

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** One input along each of its axes; and any two, and all that can, along any of theirs. */
function placements({ inputs }: Form): readonly Placement[] {
  const places = inputs.flatMap((input, i) => range(input?.shape.length ?? 0).map((axis) => [i, axis] as const));
  const pairs = places.flatMap((a) => places.filter((b) => b[0] > a[0]).map((b) => [a, b]));
  const sameAxis = range(3).map((axis) =>
    inputs.flatMap((input, i) => (axis < (input?.shape.length ?? 0) ? [[i, axis] as const] : [])),
  );
  return [...places.map((place) => [place]), ...pairs, ...sameAxis.filter(({ length }) => length > 2)].map(
    (each) => new Map(each),
  );
}

/** The axis moved to the front, as a graph's input has its batch. */
const toFront = (rank: number, axis: number): number[] => [axis, ...range(rank).filter((each) => each !== axis)];

function transposed(value: Tensor, perm: readonly number[]): Tensor {
  const strides = value.shape.map((_, axis) => value.shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const shape = perm.map((axis) => value.shape[axis]);
  const at = range(value.data.length).map((i) =>
    perm.reduce((sum, axis, k) => {
      const inner = shape.slice(k + 1).reduce((a, b) => a * b, 1);
      return sum + (Math.floor(i / inner) % shape[k]) * strides[axis];
    }, 0),
  );
  const data = toNumbers(value);
  return tensorOf(
    value.dtype,
    shape,
    at.map((index) => data[index]),
  );
}

interface Case {
  readonly graph: Graph;
  readonly feeds: ReadonlyMap<string, Tensor>;
}

/** The node behind Transposes that put the samples of its inputs, `batch` of each, where `placement` says. */
function caseOf(op: OpType, { inputs, attributes = {}, outputs = 1 }: Form, placement: Placement, batch: number): Case {
  const build: Builder = buildOn();
  const feeds = new Map<string, Tensor>();
  const names = inputs.map((input, i) => {
    if (!input) return undefined;
    const axis = placement.get(i);
    if (axis === undefined) return build.constant(input);
    const perm = toFront(input.shape.length, axis);
    const samples = takeRows(transposed(input, perm), 0, range(batch));
    feeds.set(`x${i}`, samples);
    const x = build.input(`x${i}`, { dtype: input.dtype, shape: samples.shape });
    return build.node("Transpose", [x], { perm: perm.map((_, each) => perm.indexOf(each)) });
  });
  const wanted = range(outputs).map(() => true);
  return { graph: build.graph([...build.nodes(op, names, wanted, attributes)]), feeds };
}

const engine = createReferenceEngine();

async function run(graph: Graph, feeds: ReadonlyMap<string, Tensor>): Promise<readonly Tensor[]> {
  const executable = await engine.compile(graph);
  const results = await executable.bind(await engine.variables(new Map())).run(feeds);
  return graph.outputs.map((name) => results.get(name) as Tensor);
}

/** Three samples at once, and each alone. */
async function expectApart(freed: Graph, feeds: ReadonlyMap<string, Tensor>): Promise<void> {
  const take = (rows: readonly number[]) =>
    new Map([...feeds].map(([name, value]) => [name, takeRows(value, 0, rows)]));
  const order = [0, 1, 1].map((row) => row % [...feeds.values()][0].shape[0]);
  const together = await run(freed, take(order));
  for (const [place, row] of order.entries()) {
    const alone = await run(freed, take([row]));
    freed.outputs.forEach((name, i) => {
      const axis = freed.values.get(name)?.shape.indexOf("N") ?? -1;
      expect(together[i].shape[axis], `samples of output ${i}`).toBe(order.length);
      expectClose(takeRows(together[i], axis, [place]), alone[i], { what: `sample ${place} of output ${i}` });
    });
  }
}

/** How many ways a batch was freed. */
async function checkSamples(op: OpType, form: Form): Promise<number> {
  let count = 0;
  for (const placement of placements(form)) {
    const sizes = [...placement].map(([i, axis]) => form.inputs[i]?.shape[axis] ?? 0);
    const fewest = Math.min(...sizes);
    for (const batch of fewest === 0 ? [] : new Set([1, fewest])) {
      const given = fitting(op, form, placement, batch);
      const { graph, freed } = given ? freeBatch(given.graph) : { graph: undefined, freed: false };
      if (!given || !graph || !freed) continue;
      count++;
      const samples = fitting(op, form, placement, fewest) ?? given;
      await expectApart(graph, samples.feeds).catch((error: Error) => {
        throw new Error(`batch of ${batch} along ${JSON.stringify([...placement])}: ${error.message}`);
      });
    }
  }
  return count;
}

/** `undefined` where the inputs no longer fit each other. */
function fitting(op: OpType, form: Form, placement: Placement, batch: number): Case | undefined {
  try {
    return caseOf(op, form, placement, batch);
  } catch (error) {
    if (error instanceof FrostbitError) return undefined;
    throw error;
  }
}

/** No example of these is freed: their outputs depend on all samples or on the samples' positions, or have no samples. */
const neverFreed: readonly OpType[] = [
  ...(["Constant", "ConstantOfShape", "NonZero", "Range", "Shape", "Size"] as const),
  ...(["ScatterElements", "ScatterND", "SoftmaxCrossEntropyLoss"] as const),
];

describe("samples of a freed batch come out as they do alone", () => {
  test.each(opTypes.filter((op) => !isOwn(op) || op === "FakeQuantize"))("%s", async (op) => {
    let count = 0;
    for (const form of formsOf[op]) count += await checkSamples(op, form);
    expect(count > 0, `${op} is ${count > 0 ? "" : "never "}freed`).toBe(!neverFreed.includes(op));
  });
});
