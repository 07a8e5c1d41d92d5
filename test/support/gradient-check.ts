// Checks one operator's gradient rule against central differences of its reference kernel, in float64.

import type { Builder } from "../../src/ir/builder.ts";
import { assert } from "../../src/ir/errors.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { numbersOf, sizeOf, type Tensor, tensorOf, toNumbers } from "../../src/ir/tensor.ts";
import type { Kernel } from "../../src/kernels/kernel.ts";
import type { AnyOpDefinition, Wanted } from "../../src/ops/definition.ts";
import { opDefinition } from "../../src/ops/index.ts";
import { buildOn } from "../../src/ops/infer.ts";
import { expectClose } from "./close.ts";
import { createRandom, type Random } from "./random.ts";

export type Inputs = readonly (Tensor | undefined)[];
export type KernelTable = Readonly<Record<string, Kernel>>;
type Attributes = Node["attributes"];

export interface GradientCheckOptions {
  readonly kernels: KernelTable;
  /** Inputs whose gradients are checked, by default every float64 one; the others are constants of the graph. */
  readonly wanted?: readonly number[];
  /** How many outputs the node has, by default 1. */
  readonly outputs?: number;
  /** Outputs that a cotangent reaches, by default the first. */
  readonly cotangents?: readonly number[];
  /** The differentiable stand-in for a straight-through operator's forward. */
  readonly surrogate?: (inputs: Inputs) => Inputs;
  readonly seed?: number;
}

/** Runs a graph's nodes one after the other and gives all its values. */
export function runGraph(graph: Graph, inputs: ReadonlyMap<string, Tensor>, kernels: KernelTable): Map<string, Tensor> {
  const values = new Map([...graph.constants, ...inputs]);
  for (const node of graph.nodes) {
    const kernel = kernels[node.op];
    assert(kernel, `no kernel for ${node.op}`);
    const results = kernel(
      node.inputs.map((name) => values.get(name)),
      node,
    );
    node.outputs.forEach((name, i) => {
      const result = results[i];
      if (name === "") return;
      assert(result, `kernel of ${node.op} left output ${i} out`);
      expectInferred(graph, node, name, result);
      values.set(name, result);
    });
  }
  return values;
}

/** What a kernel gives has the type that inference promised. */
function expectInferred(graph: Graph, node: Node, name: string, result: Tensor): void {
  const type = graph.values.get(name);
  const shape = type?.shape.map((dim, axis) => (typeof dim === "string" ? result.shape[axis] : dim));
  const inferred = `${type?.dtype} [${shape}]`;
  const computed = `${result.dtype} [${result.shape}]`;
  assert(inferred === computed, `${node.op}: inferred ${inferred}, kernel gave ${computed} for "${name}"`);
}

interface OneNode {
  readonly build: Builder;
  readonly node: Node;
  readonly definition: AnyOpDefinition;
  /** What the graph must be given: the wanted inputs by name. */
  readonly feeds: Map<string, Tensor>;
}

const isFloat64 = (input: Tensor | undefined): boolean => input?.dtype === "float64";

const wantedInputs = (inputs: Inputs, options: GradientCheckOptions): readonly number[] =>
  options.wanted ?? inputs.flatMap((input, i) => (isFloat64(input) ? [i] : []));

function buildOneNode(op: string, inputs: Inputs, attributes: Attributes, options: GradientCheckOptions): OneNode {
  const definition = opDefinition(op);
  assert(definition, `unknown operator ${op}`);
  const build = buildOn();
  const feeds = new Map<string, Tensor>();
  const wanted = wantedInputs(inputs, options);
  const names = inputs.map((input, i) => {
    if (!input) return undefined;
    if (!wanted.includes(i)) return build.constant(input, `input${i}`);
    feeds.set(`input${i}`, input);
    return build.input(`input${i}`, { dtype: input.dtype, shape: input.shape });
  });
  build.nodes(
    op,
    names,
    Array.from({ length: options.outputs ?? 1 }, () => true),
    attributes,
  );
  const node = build.graph([]).nodes[0];
  return { build, node, definition, feeds };
}

function forward({ build, node, feeds }: OneNode, kernels: KernelTable): Tensor[] {
  const values = runGraph(build.graph([...node.outputs]), feeds, kernels);
  return node.outputs.map((name) => values.get(name) as Tensor);
}

/** Adds the rule's nodes, given cotangents, and runs everything. */
function runRule(
  one: OneNode,
  cotangents: readonly (Tensor | undefined)[],
  wants: (input: number) => Wanted,
  kernels: KernelTable,
): (Tensor | undefined)[] {
  const { build, node, definition, feeds } = one;
  assert(definition.gradient !== "none", `${node.op} has no gradient rule`);
  const given = new Map(feeds);
  const dys = cotangents.map((dy, i) => {
    if (!dy) return undefined;
    given.set(`dy${i}`, dy);
    return build.input(`dy${i}`, { dtype: dy.dtype, shape: dy.shape });
  });
  const gradients = definition.gradient({ node, build, dys, wants, type: build.type });
  const values = runGraph(build.graph(gradients.flatMap((name) => (name ? [name] : []))), given, kernels);
  return gradients.map((name) => (name === undefined ? undefined : values.get(name)));
}

function dot(a: Tensor, b: Tensor): number {
  const x = numbersOf(a);
  const y = numbersOf(b);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
  return sum;
}

/** The walk's repair of broadcasting, on numbers. */
function sumTo(value: Tensor, shape: readonly number[]): Tensor {
  if (String(value.shape) === String(shape)) return value;
  const result = new Float64Array(sizeOf(shape));
  const rank = value.shape.length;
  numbersOf(value).forEach((element: number, index: number) => {
    let rest = index;
    let offset = 0;
    let stride = 1;
    for (let axis = rank - 1; axis >= 0; axis--) {
      const coordinate = rest % value.shape[axis];
      rest = Math.floor(rest / value.shape[axis]);
      const size = shape[axis - rank + shape.length] ?? 1;
      if (size > 1) offset += coordinate * stride;
      stride *= size;
    }
    result[offset] += element;
  });
  return tensorOf("float64", shape, result);
}

const step = 1e-5;

/** Central difference of Σ⟨dy, y⟩ along `direction` of one input. */
function directionalDerivative(
  evaluate: (inputs: Inputs) => Inputs,
  inputs: Inputs,
  input: number,
  direction: Tensor,
  cotangents: readonly (Tensor | undefined)[],
): number {
  const along = numbersOf(direction);
  const loss = (amount: number): number => {
    const source = inputs[input] as Tensor;
    const moved = numbersOf(source).map((value, i) => value + amount * along[i]);
    const outputs = evaluate(inputs.with(input, { ...source, data: moved }));
    return cotangents.reduce((sum, dy, i) => sum + (dy ? dot(dy, outputs[i] as Tensor) : 0), 0);
  };
  return (loss(step) - loss(-step)) / (2 * step);
}

const randomCotangents = (outputs: readonly Tensor[], options: GradientCheckOptions, random: Random) =>
  outputs.map((output, i) =>
    (options.cotangents ?? [0]).includes(i) ? random.tensor("float64", output.shape) : undefined,
  );

/** Fails unless the rule's gradients agree with finite differences along random directions. Inputs are float64. */
export function checkGradients(
  op: string,
  inputs: Inputs,
  attributes: Attributes,
  options: GradientCheckOptions,
): void {
  const random = createRandom(options.seed ?? 1);
  const wanted = wantedInputs(inputs, options);
  const one = buildOneNode(op, inputs, attributes, options);
  const cotangents = randomCotangents(forward(one, options.kernels), options, random);
  const gradients = runRule(one, cotangents, (i) => (wanted.includes(i) ? "all" : "none"), options.kernels);
  const evaluate = options.surrogate ?? ((moved) => options.kernels[op](moved, one.node) as Inputs);
  for (const i of wanted) {
    const gradient = gradients[i];
    const input = inputs[i] as Tensor;
    assert(gradient, `the rule of ${op} gave no gradient for input ${i}`);
    const direction = random.tensor("float64", input.shape);
    const expected = directionalDerivative(evaluate, inputs, i, direction, cotangents);
    assert(Number.isFinite(expected), `${op}: the difference by input ${i} is ${expected}`);
    const summed = sumTo(gradient, input.shape);
    expectClose([dot(summed, direction)], [expected], {
      as: "finiteDifferences",
      what: `${op}: derivative by input ${i}`,
    });
  }
}

/** The elements of `value` at `rows` along `axis`. */
export function takeRows(value: Tensor, axis: number, rows: readonly number[]): Tensor {
  const inner = sizeOf(value.shape.slice(axis + 1));
  const outer = sizeOf(value.shape.slice(0, axis));
  const data = toNumbers(value);
  const taken: number[] = [];
  for (let o = 0; o < outer; o++)
    for (const row of rows) for (let i = 0; i < inner; i++) taken.push(data[(o * value.shape[axis] + row) * inner + i]);
  return tensorOf(value.dtype, value.shape.with(axis, rows.length), taken);
}

export interface RowsCheck {
  readonly input: number;
  readonly axis: number;
  readonly rows: readonly number[];
}

/** Fails unless the rule, asked for some rows of one input, gives exactly those rows of the whole gradient. */
export function checkRows(
  op: string,
  inputs: Inputs,
  attributes: Attributes,
  check: RowsCheck,
  options: GradientCheckOptions,
): void {
  const { input, axis, rows } = check;
  const whole = buildOneNode(op, inputs, attributes, options);
  const cotangents = randomCotangents(forward(whole, options.kernels), options, createRandom(options.seed ?? 1));
  const all = runRule(whole, cotangents, (i) => (i === input ? "all" : "none"), options.kernels)[input];
  assert(all, `the rule of ${op} gave no gradient for input ${input}`);

  const part = buildOneNode(op, inputs, attributes, options);
  const keeps = part.definition.keepsRows?.(input, axis, part.node) ?? false;
  const computes = part.definition.computesRows?.(input, axis, part.node) ?? false;
  assert(keeps || computes, `${op} neither keeps nor computes rows of input ${input} along axis ${axis}`);
  const compact = keeps ? cotangents.map((dy) => dy && takeRows(dy, axis, rows)) : cotangents;
  const name = part.build.input("rows", { dtype: "int64", shape: ["rows"] });
  part.feeds.set(name, tensorOf("int64", [rows.length], rows));
  const want: Wanted = { rows: name, axis };
  const some = runRule(part, compact, (i) => (i === input ? want : "none"), options.kernels)[input];
  assert(some, `the rule of ${op} gave no rows for input ${input}`);
  expectClose(some, takeRows(all, axis, rows), { what: `${op}: rows [${rows}] of input ${input}'s gradient` });
}
