// Recurrent layers, one step after the other; gates in the order of ONNX.
import { assert } from "../ir/errors.ts";
import type { Node } from "../ir/graph.ts";
import { type Tensor, toNumbers } from "../ir/tensor.ts";
import { numberAttribute, stringAttribute } from "../ops/attributes.ts";
import { float64Of, fromFloat64 } from "./float64.ts";
import type { Kernel } from "./kernel.ts";

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** One direction's parameters of one layer. */
interface Weights {
  readonly w: Float64Array;
  readonly r: Float64Array;
  /** Of input and state, rows of gates each. */
  readonly bias: Float64Array;
  readonly peepholes: Float64Array | undefined;
}

/** A sample's state; LSTM has a cell too. */
interface State {
  readonly h: Float64Array;
  readonly c: Float64Array;
}

/** Changes the state by one step. `row(i)`: W x + its bias; `inner(i)`: R h + its bias, of gate row i. */
type Step = (
  state: State,
  row: (i: number) => number,
  inner: (i: number) => number,
  given: { readonly weights: Weights; readonly hidden: number; readonly node: Node },
) => void;

/** i, o, f, c: c' = f c + i g, h' = o tanh(c'); the output gate sees the new cell. */
const lstmStep: Step = ({ h, c }, row, inner, { weights: { peepholes }, hidden }) => {
  const seen = (gate: number, k: number, cell: number): number => (peepholes ? peepholes[gate * hidden + k] * cell : 0);
  const sum = (gate: number, k: number): number => row(gate * hidden + k) + inner(gate * hidden + k);
  const sums = Array.from({ length: hidden }, (_, k) => [sum(0, k), sum(1, k), sum(2, k), sum(3, k)]);
  sums.forEach(([i, o, f, g], k) => {
    const cell = sigmoid(f + seen(2, k, c[k])) * c[k] + sigmoid(i + seen(0, k, c[k])) * Math.tanh(g);
    h[k] = sigmoid(o + seen(1, k, cell)) * Math.tanh(cell);
    c[k] = cell;
  });
};

/** z, r, h: the reset gate acts on the state before its product, or on the product (linear_before_reset). */
const gruStep: Step = ({ h }, row, inner, { weights: { r, bias }, hidden, node }) => {
  const gate = (place: number): number[] =>
    Array.from({ length: hidden }, (_, k) => sigmoid(row(place * hidden + k) + inner(place * hidden + k)));
  const [update, reset] = [gate(0), gate(1)];
  const isLinear = numberAttribute(node, "linear_before_reset", 0) !== 0;
  const candidate = Array.from({ length: hidden }, (_, k) => {
    const at = 2 * hidden + k;
    if (isLinear) return Math.tanh(row(at) + reset[k] * inner(at));
    let product = bias[3 * hidden + at];
    for (let j = 0; j < hidden; j++) product += r[at * hidden + j] * reset[j] * h[j];
    return Math.tanh(row(at) + product);
  });
  for (let k = 0; k < hidden; k++) h[k] = (1 - update[k]) * candidate[k] + update[k] * h[k];
};

const rnnStep: Step = ({ h }, row, inner, { hidden }) => {
  const next = Array.from({ length: hidden }, (_, k) => Math.tanh(row(k) + inner(k)));
  h.set(next);
};

/** Where the inputs of both directions are, in the order of ONNX. */
const kernelOf =
  (gates: number, step: Step): Kernel =>
  ([x, w, r, b, lengths, initialH, initialC, p], node) => {
    assert(x && w && r, `${node.op} lacks inputs`);
    const [sequence, batch, size] = x.shape;
    const [directions, rows, hidden] = [w.shape[0], w.shape[1], r.shape[2]];
    assert(rows === gates * hidden, `${node.op} has ${rows} rows of weights for a state of ${hidden}`);
    const parts = (value: Tensor | undefined, direction: number): Float64Array | undefined => {
      const all = value && float64Of(value, node);
      return all?.subarray((direction * all.length) / directions, ((direction + 1) * all.length) / directions);
    };
    const data = float64Of(x, node);
    const last = lengths ? toNumbers(lengths) : new Array<number>(batch).fill(sequence);
    const y = new Float64Array(sequence * directions * batch * hidden);
    const [finalH, finalC] = [0, 1].map(() => new Float64Array(directions * batch * hidden));
    const isReverse = stringAttribute(node, "direction", "forward") === "reverse";
    for (let direction = 0; direction < directions; direction++) {
      const weights: Weights = {
        w: parts(w, direction) ?? new Float64Array(),
        r: parts(r, direction) ?? new Float64Array(),
        bias: parts(b, direction) ?? new Float64Array(2 * rows),
        peepholes: parts(p, direction),
      };
      const [starts, cells] = [parts(initialH, direction), parts(initialC, direction)];
      for (let sample = 0; sample < batch; sample++) {
        const own = (values: Float64Array | undefined): Float64Array =>
          values ? values.slice(sample * hidden, (sample + 1) * hidden) : new Float64Array(hidden);
        const state: State = { h: own(starts), c: own(cells) };
        for (let t = 0; t < last[sample]; t++) {
          const at = isReverse || direction === 1 ? last[sample] - 1 - t : t;
          const input = (at * batch + sample) * size;
          const before = state.h.slice();
          const row = (i: number): number => {
            let sum = weights.bias[i];
            for (let j = 0; j < size; j++) sum += weights.w[i * size + j] * data[input + j];
            return sum;
          };
          const inner = (i: number): number => {
            let sum = weights.bias[rows + i];
            for (let j = 0; j < hidden; j++) sum += weights.r[i * hidden + j] * before[j];
            return sum;
          };
          step(state, row, inner, { weights, hidden, node });
          y.set(state.h, ((at * directions + direction) * batch + sample) * hidden);
        }
        finalH.set(state.h, (direction * batch + sample) * hidden);
        finalC.set(state.c, (direction * batch + sample) * hidden);
      }
    }
    const states = [directions, batch, hidden];
    const whole = fromFloat64(x.dtype, [sequence, directions, batch, hidden], y, node);
    const finals = node.op === "LSTM" ? [finalH, finalC] : [finalH];
    return [whole, ...finals.map((values) => fromFloat64(x.dtype, states, values, node))];
  };

export const recurrentKernels = {
  LSTM: kernelOf(4, lstmStep),
  GRU: kernelOf(3, gruStep),
  RNN: kernelOf(1, rnnStep),
} satisfies Readonly<Record<string, Kernel>>;
