// Gradients of recurrent layers: backwards through the steps of a sequence, one direction after the other. What is the same for all
// steps (products with W, gradients of weights) is computed of all at once; products with R are one a step.
import type { Builder } from "../ir/builder.ts";
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { tensorOf } from "../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "./attributes.ts";
import type { GradientContext, GradientRule } from "./definition.ts";

/** Nodes by the name of their operators. */
interface Maths {
  readonly build: Builder;
  readonly op: (op: string, ...inputs: string[]) => string;
  readonly one: string;
  /** Element `index` of the first axis, without it. */
  readonly at: (value: string, index: number) => string;
  /** Parts of equal size along the last axis. */
  readonly split: (value: string, parts: number) => readonly string[];
  /** Along a new first axis. */
  readonly stack: (values: readonly string[]) => string;
  readonly concat: (values: readonly string[], axis: number) => string;
  readonly transpose: (matrix: string) => string;
  readonly withBias: (value: string, bias: string | undefined) => string;
  /** Sums; those that are not there are 0. */
  readonly sum: (...values: readonly (string | undefined)[]) => string | undefined;
}

function mathsOn(build: Builder, like: string): Maths {
  const op = (name: string, ...inputs: readonly string[]): string => build.node(name, inputs);
  return {
    build,
    op,
    one: build.scalar(1, like),
    at: (value, index) => build.node("Gather", [value, build.constant(tensorOf("int64", [], [index]))], { axis: 0 }),
    split: (value, parts) => {
      if (parts === 1) return [value];
      const axis = build.type(value).shape.length - 1;
      const size = Number(build.type(value).shape[axis]) / parts;
      const sizes = build.ints(new Array<number>(parts).fill(size));
      return build.nodes("Split", [value, sizes], new Array<boolean>(parts).fill(true), { axis });
    },
    stack: (values) =>
      build.node(
        "Concat",
        values.map((value) => op("Unsqueeze", value, build.ints([0]))),
        { axis: 0 },
      ),
    concat: (values, axis) => (values.length === 1 ? values[0] : build.node("Concat", values, { axis })),
    transpose: (matrix) => build.node("Transpose", [matrix], { perm: [1, 0] }),
    withBias: (value, bias) => (bias === undefined ? value : op("Add", value, bias)),
    sum: (...values) => {
      const given = values.filter((value) => value !== undefined);
      return given.length === 0 ? undefined : given.reduce((total, value) => op("Add", total, value));
    },
  };
}

/** What of one step is known before its gradient is. */
interface Step {
  /** Of the input's product and bias, and of the state's, [batch, gates × hidden]. */
  readonly row: string;
  readonly inner: string;
  /** Before the step, [batch, hidden]. */
  readonly h: string;
}

/** A gate of which the rows of R are not multiplied by the state. */
interface LastGate {
  readonly rows: string;
  /** The same, transposed. */
  readonly columns: string;
  readonly bias: string | undefined;
  /** The rows of the other gates. */
  readonly others: string;
}

/** Of one direction. */
interface Parameters {
  /** Of the input, output and forget gates, [hidden] each. */
  readonly peepholes: readonly string[] | undefined;
  readonly last: LastGate | undefined;
}

/** Gradients of one step, from those of its state. */
interface StepGradients {
  /** Of `row` and of `inner`: what they are added to is the same gate. */
  readonly row: string;
  readonly inner: string;
  /** What comes to the state before other than through the product with R. */
  readonly h: string | undefined;
  readonly c: string | undefined;
  readonly peepholes: string | undefined;
  /** What was multiplied by the rows of the last gate, where that is not the state. */
  readonly lastInput?: string;
}

interface Cell {
  readonly gates: number;
  /** Whether the rows of its last gate are multiplied by something else than the state. */
  readonly isLastApart?: (node: Node) => boolean;
  /** The gates of a step, and the cell after it, from the cell before it; absent where there is none. */
  readonly gatesOf?: (maths: Maths, step: Step, c: string, parameters: Parameters) => LstmGates;
  readonly back: (
    maths: Maths,
    step: KnownStep,
    dh: string,
    dc: string | undefined,
    parameters: Parameters,
  ) => StepGradients;
}

interface KnownStep extends Step {
  readonly gates: LstmGates | undefined;
}

/** dσ = s (1 − s), dtanh = 1 − t² */
const slopeOfSigmoid = ({ op, one }: Maths, s: string): string => op("Mul", s, op("Sub", one, s));
const slopeOfTanh = ({ op, one }: Maths, t: string): string => op("Sub", one, op("Mul", t, t));

interface LstmGates {
  /** Before the step. */
  readonly c: string;
  readonly i: string;
  readonly f: string;
  readonly g: string;
  readonly cell: string;
  /** Before its Sigmoid, and before it sees the new cell. */
  readonly output: string;
}

function lstmGates(
  { op, split }: Maths,
  { row, inner }: Step,
  c: string,
  { peepholes: [ofInput, , ofForget] = [] }: Parameters,
): LstmGates {
  const [i, output, f, g] = split(op("Add", row, inner), 4);
  const gate = (sum: string, weight: string | undefined): string =>
    op("Sigmoid", weight === undefined ? sum : op("Add", sum, op("Mul", weight, c)));
  const [input, forget, candidate] = [gate(i, ofInput), gate(f, ofForget), op("Tanh", g)];
  const cell = op("Add", op("Mul", forget, c), op("Mul", input, candidate));
  return { c, i: input, f: forget, g: candidate, cell, output };
}

const lstm: Cell = {
  gates: 4,
  gatesOf: lstmGates,
  back: (maths, { gates }, dh, dc, { peepholes }) => {
    const { op, concat, sum, build } = maths;
    assert(gates !== undefined, "an LSTM has gates");
    const { c, i, f, g, cell, output } = gates;
    const [ofInput, ofOutput, ofForget] = peepholes ?? [];
    const o = op("Sigmoid", ofOutput === undefined ? output : op("Add", output, op("Mul", ofOutput, cell)));
    const t = op("Tanh", cell);
    const dOutput = op("Mul", op("Mul", dh, t), slopeOfSigmoid(maths, o));
    const seen = ofOutput && op("Mul", dOutput, ofOutput);
    const dCell = sum(op("Mul", op("Mul", dh, o), slopeOfTanh(maths, t)), dc, seen) ?? "";
    const dInput = op("Mul", op("Mul", dCell, g), slopeOfSigmoid(maths, i));
    const dForget = op("Mul", op("Mul", dCell, c), slopeOfSigmoid(maths, f));
    const dCandidate = op("Mul", op("Mul", dCell, i), slopeOfTanh(maths, g));
    const sums = concat([dInput, dOutput, dForget, dCandidate], 1);
    const before = sum(
      op("Mul", dCell, f),
      ofInput && op("Mul", dInput, ofInput),
      ofForget && op("Mul", dForget, ofForget),
    );
    const overBatch = (value: string): string => build.node("ReduceSum", [value, build.ints([0])], { keepdims: 0 });
    const dPeepholes = (): string =>
      concat([op("Mul", dInput, c), op("Mul", dOutput, cell), op("Mul", dForget, c)].map(overBatch), 0);
    return {
      row: sums,
      inner: sums,
      h: undefined,
      c: before,
      peepholes: peepholes && dPeepholes(),
    };
  },
};

const gru: Cell = {
  gates: 3,
  isLastApart: (node) => numberAttribute(node, "linear_before_reset", 0) === 0,
  back: (maths, { row, inner, h }, dh, _, { last }) => {
    const { op, split, concat, one } = maths;
    const [rowZ, rowR, rowN] = split(row, 3);
    const [innerZ, innerR, innerN] = split(inner, 3);
    const [z, reset] = [op("Sigmoid", op("Add", rowZ, innerZ)), op("Sigmoid", op("Add", rowR, innerR))];
    const kept = last && op("Mul", reset, h);
    const product =
      last && kept ? maths.withBias(op("MatMul", kept, last.columns), last.bias) : op("Mul", reset, innerN);
    const n = op("Tanh", op("Add", rowN, product));
    const dSum = op("Mul", op("Mul", dh, op("Sub", one, z)), slopeOfTanh(maths, n));
    const dz = op("Mul", op("Mul", dh, op("Sub", h, n)), slopeOfSigmoid(maths, z));
    const dKept = last && op("MatMul", dSum, last.rows);
    const dReset = dKept === undefined ? op("Mul", dSum, innerN) : op("Mul", dKept, h);
    const dr = op("Mul", dReset, slopeOfSigmoid(maths, reset));
    const direct = op("Mul", dh, z);
    const sums = concat([dz, dr, dSum], 1);
    return {
      row: sums,
      inner: last ? sums : concat([dz, dr, op("Mul", dSum, reset)], 1),
      h: dKept === undefined ? direct : op("Add", direct, op("Mul", dKept, reset)),
      c: undefined,
      peepholes: undefined,
      ...(kept !== undefined && { lastInput: kept }),
    };
  },
};

const rnn: Cell = {
  gates: 1,
  back: (maths, { row, inner }, dh) => {
    const sums = maths.op("Mul", dh, slopeOfTanh(maths, maths.op("Tanh", maths.op("Add", row, inner))));
    return { row: sums, inner: sums, h: undefined, c: undefined, peepholes: undefined };
  },
};

/** Gradients of one direction's inputs, without the axis of directions. */
interface DirectionGradients {
  readonly x: string;
  readonly w: string;
  readonly r: string;
  readonly bias: string;
  readonly h: string;
  readonly c: string | undefined;
  readonly peepholes: string | undefined;
}

interface Sequence {
  readonly context: GradientContext;
  readonly cell: Cell;
  readonly maths: Maths;
  /** What the layer gives of all steps. */
  readonly y: string;
  readonly steps: number;
  readonly batch: number;
  readonly hidden: number;
  /** Of each step, 1 where a sample is that long, [batch, 1]; absent where all are. */
  readonly isWithin: readonly string[] | undefined;
}

/** `columns`: the transposed rows of all gates; `bias`: theirs. */
function lastGateOf(
  { split, transpose, concat }: Maths,
  columns: string,
  bias: string | undefined,
  gates: number,
): LastGate {
  const ofGates = split(columns, gates);
  const rows = ofGates.map(transpose);
  return {
    rows: rows[gates - 1],
    columns: ofGates[gates - 1],
    bias: bias && split(bias, gates)[gates - 1],
    others: concat(rows.slice(0, -1), 0),
  };
}

/** The rows of a GRU's last gate are multiplied by what the reset gate leaves of the state, those of the others by the state. */
function gradientOfR(sequence: Sequence, inners: string, before: string, lastInputs: readonly string[]): string {
  const { maths, hidden, cell, steps, batch } = sequence;
  const { op, build, split, transpose, concat, stack } = maths;
  const flat = (value: string, size: number): string => op("Reshape", value, build.ints([steps * batch, size]));
  const states = flat(before, hidden);
  const [whole, width] = [flat(inners, cell.gates * hidden), hidden];
  if (lastInputs.length === 0) return op("MatMul", transpose(whole), states);
  const parts = split(whole, cell.gates);
  const last = flat(stack(lastInputs), width);
  return concat(
    parts.map((part, gate) => op("MatMul", transpose(part), gate === cell.gates - 1 ? last : states)),
    0,
  );
}

function gradientsOfDirection(sequence: Sequence, direction: number, isReverse: boolean): DirectionGradients {
  const { context, cell, maths, y, steps, batch, hidden, isWithin } = sequence;
  const { node, dys, type } = context;
  const { op, build, at, stack, split, transpose, sum, concat, withBias } = maths;
  const [x, w, r, b, , initialH, initialC, p] = node.inputs;
  const part = (value: string | undefined): string | undefined => (value ? at(value, direction) : undefined);
  const ofDirection = (value: string): string =>
    build.node("Gather", [value, build.constant(tensorOf("int64", [], [direction]))], { axis: 1 });
  const zero = build.node("Expand", [build.scalar(0, x), build.ints([batch, hidden])]);
  const [rowBias, innerBias] = b ? split(at(b, direction), 2) : [undefined, undefined];
  const weights = { w: at(w, direction), r: at(r, direction) };
  const columns = transpose(weights.r);
  const last = cell.isLastApart?.(node) ? lastGateOf(maths, columns, innerBias, cell.gates) : undefined;
  const parameters: Parameters = { peepholes: p ? split(at(p, direction), 3) : undefined, last };
  const order = Array.from({ length: steps }, (_, i) => (isReverse ? steps - 1 - i : i));
  const ofAll = ofDirection(y);
  const outputs = order.map((t) => at(ofAll, t));
  const firstH = part(initialH || undefined) ?? zero;
  /** `value` where the sample is that long, else `other`. */
  const within = (t: number, value: string, other: string): string =>
    isWithin ? op("Add", op("Mul", isWithin[t], value), op("Mul", op("Sub", maths.one, isWithin[t]), other)) : value;
  // Backwards, a short sample begins at its own end.
  const states = order.map((_, i) =>
    i === 0 ? firstH : isReverse ? within(order[i - 1], outputs[i - 1], firstH) : outputs[i - 1],
  );
  const rows = withBias(op("MatMul", x, transpose(weights.w)), rowBias);
  const before = stack(states);
  const inners = withBias(op("MatMul", before, columns), innerBias);
  const known: KnownStep[] = [];
  let c = part(initialC || undefined) ?? zero;
  for (const [i, t] of order.entries()) {
    const step: Step = { row: at(rows, t), inner: at(inners, i), h: states[i] };
    const gates = cell.gatesOf?.(maths, step, c, parameters);
    known.push({ ...step, gates });
    if (gates && i < steps - 1) c = within(t, gates.cell, c);
  }
  const ofLast = (dy: string | undefined): string => part(dy) ?? zero;
  let [dh, dc] = [ofLast(dys[1]), cell.gatesOf ? ofLast(dys[2]) : undefined];
  const [dRows, dInners]: [string[], string[]] = [new Array<string>(steps), new Array<string>(steps)];
  const lastInputs: string[] = [];
  let dPeepholes: string | undefined;
  const ofSteps = dys[0] === undefined ? undefined : ofDirection(dys[0]);
  for (const [i, t] of [...order.entries()].reverse()) {
    const whole = ofSteps === undefined ? dh : op("Add", dh, at(ofSteps, t));
    const masked = (value: string): string => (isWithin ? op("Mul", value, isWithin[t]) : value);
    const found = cell.back(maths, known[i], masked(whole), dc && masked(dc), parameters);
    dRows[t] = found.row;
    dInners[i] = found.inner;
    if (found.lastInput !== undefined) lastInputs.unshift(found.lastInput);
    dPeepholes = sum(dPeepholes, found.peepholes);
    const gates = last ? concat(split(found.inner, cell.gates).slice(0, -1), 1) : found.inner;
    const through = op("MatMul", gates, last?.others ?? weights.r);
    const kept = (value: string): string | undefined =>
      isWithin ? op("Mul", value, op("Sub", maths.one, isWithin[t])) : undefined;
    const held = kept(dh);
    dh = sum(through, found.h, held) ?? through;
    if (dc !== undefined) dc = sum(found.c, kept(dc));
  }
  const size = Number(type(x).shape[2]);
  const flat = (value: string, width: number): string => op("Reshape", value, build.ints([steps * batch, width]));
  const [all, allInner] = [stack(dRows), stack(dInners)];
  const overSteps = (value: string): string => build.node("ReduceSum", [value, build.ints([0, 1])], { keepdims: 0 });
  return {
    x: op("MatMul", all, weights.w),
    w: op("MatMul", transpose(flat(all, cell.gates * hidden)), flat(x, size)),
    r: gradientOfR(sequence, allInner, before, lastInputs),
    bias: concat([overSteps(all), overSteps(allInner)], 0),
    h: dh,
    c: dc,
    peepholes: dPeepholes,
  };
}

/** 1 for the steps of each sample, [batch, 1], by step. */
function stepsWithin({ build, op, at }: Maths, lengths: string, steps: number, dtype: string): readonly string[] {
  const numbers = build.constant(tensorOf(build.type(lengths).dtype, [steps, 1], [...new Array(steps).keys()]));
  const isWithin = build.node("Cast", [op("Less", numbers, lengths)], { to: dtype });
  return Array.from({ length: steps }, (_, t) => op("Unsqueeze", at(isWithin, t), build.ints([1])));
}

const gradientOf =
  (cell: Cell): GradientRule =>
  (context) => {
    const { node, build, type, wants } = context;
    const [x, , r, , lengths] = node.inputs;
    const { dtype, shape } = type(x);
    const maths = mathsOn(build, x);
    const wanted = node.outputs.map((_, i) => i === 0);
    // Its steps are computed again where nobody reads them.
    const y = node.outputs[0] || build.nodes(node.op, node.inputs, wanted, node.attributes)[0];
    const steps = Number(shape[0]);
    const sequence: Sequence = {
      context,
      cell,
      maths,
      y,
      steps,
      batch: Number(shape[1]),
      hidden: Number(type(r).shape[2]),
      isWithin: lengths ? stepsWithin(maths, lengths, steps, dtype) : undefined,
    };
    const direction = stringAttribute(node, "direction", "forward");
    const ways = direction === "bidirectional" ? [false, true] : [direction === "reverse"];
    const found = ways.map((isReverse, i) => gradientsOfDirection(sequence, i, isReverse));
    const stacked = (of: (gradients: DirectionGradients) => string | undefined): string =>
      maths.stack(found.map((each) => of(each) ?? ""));
    const byInput: readonly (() => string | undefined)[] = [
      () => maths.sum(...found.map((each) => each.x)),
      () => stacked((each) => each.w),
      () => stacked((each) => each.r),
      () => stacked((each) => each.bias),
      () => undefined,
      () => stacked((each) => each.h),
      () => stacked((each) => each.c),
      () => stacked((each) => each.peepholes),
    ];
    return node.inputs.map((input, i) => (input === "" || wants(i) === "none" ? undefined : byInput[i]()));
  };

export const lstmGradient = gradientOf(lstm);
export const gruGradient = gradientOf(gru);
export const rnnGradient = gradientOf(rnn);
