// Recurrent layers over a sequence: what they compute is in kernels/recurrent.ts.
import type { Dim, Node, ValueType } from "../ir/graph.ts";
import { choiceAttribute, mismatch, numberAttribute, printShape, unsupported } from "./attributes.ts";
import type { CostRule, InferRule, OpDefinition, SampleRule } from "./definition.ts";
import { floats, type InputSchema, optional, tied, wholeNumbers } from "./inputs.ts";
import { operand } from "./operands.ts";
import { gruGradient, lstmGradient, rnnGradient } from "./recurrent-gradient.ts";

const isSame = (a: Dim | undefined, b: Dim): boolean => typeof a === "string" || typeof b === "string" || a === b;

function checkShape(node: Node, type: ValueType | undefined, what: string, expected: readonly Dim[]): void {
  if (!type) return;
  const { shape } = type;
  if (shape.length === expected.length && expected.every((size, axis) => isSame(shape[axis], size))) return;
  throw mismatch(node, `${what} is ${printShape(shape)}; expected ${printShape(expected)}.`);
}

/** What no kernel here computes. */
function checkForm(node: Node, defaults: readonly string[], directions: number): void {
  const given = node.attributes["activations"];
  const wanted = Array.from({ length: directions }, () => defaults).flat();
  const isDefault =
    given === undefined ||
    (Array.isArray(given) && given.map((name) => String(name).toLowerCase()).join() === wanted.join().toLowerCase());
  if (!isDefault) throw unsupported(node, `its activations are ${String(given)}; ${wanted.join(", ")} alone are read.`);
  if (numberAttribute(node, "clip", 0) !== 0) throw unsupported(node, "it clips its gates (clip).");
  if (numberAttribute(node, "input_forget", 0) !== 0) throw unsupported(node, "its gates are coupled (input_forget).");
  if (numberAttribute(node, "layout", 0) !== 0)
    throw unsupported(
      node,
      "its layout is 1, which ONNX Runtime's processor kernels lack. Export it with the sequence first (layout 0), between Transposes.",
    );
}

/** `gates`: how many rows of the weights there are for each number of the state. */
const inferRecurrent =
  (gates: number, activations: readonly string[], hasCell: boolean): InferRule =>
  (context) => {
    const { node, inputs } = context;
    const [x, w, r] = [0, 1, 2].map((i) => operand(context, i));
    if (x.shape.length !== 3)
      throw mismatch(node, `its input is ${printShape(x.shape)}; expected [sequence, batch, size].`);
    const [sequence, batch, size] = x.shape;
    const directions =
      choiceAttribute(node, "direction", ["forward", "reverse", "bidirectional"]) === "bidirectional" ? 2 : 1;
    checkForm(node, activations, directions);
    const hidden = numberAttribute(node, "hidden_size") ?? r.shape[2];
    if (typeof hidden !== "number") throw mismatch(node, "hidden_size is not known.");
    const rows = gates * hidden;
    checkShape(node, w, "its weight W", [directions, rows, size]);
    checkShape(node, r, "its weight R", [directions, rows, hidden]);
    checkShape(node, inputs[3], "its bias B", [directions, 2 * rows]);
    checkShape(node, inputs[4], "sequence_lens", [batch]);
    checkShape(node, inputs[5], "initial_h", [directions, batch, hidden]);
    if (hasCell) checkShape(node, inputs[6], "initial_c", [directions, batch, hidden]);
    if (hasCell) checkShape(node, inputs[7], "P", [directions, 3 * hidden]);
    const state = { dtype: x.dtype, shape: [directions, batch, hidden] };
    const all = { dtype: x.dtype, shape: [sequence, directions, batch, hidden] };
    return [all, state, ...(hasCell ? [state] : [])];
  };

/** Samples are along axis 2 of all outputs of the sequence, along axis 1 of the last ones: where both are read, along no one axis. */
const recurrentSamples: SampleRule = ({ node, axes }) => {
  const [x, w, r, bias = -1, lengths = -1, initialH = -1, initialC = -1, peepholes = -1] = axes;
  const areShared = [w, r, bias, peepholes].every((axis) => axis < 0);
  const isFree = x === 1 && areShared && lengths <= 0 && [initialH, initialC].every((axis) => axis < 0 || axis === 1);
  const [all = "", ...last] = node.outputs;
  if (!isFree) return "coupled";
  if (all === "") return 1;
  return last.every((name) => name === "") ? 2 : "coupled";
};

/** Each step multiplies the input and the state by their weights. */
const costOfSteps: CostRule = ([x, w, r]) => {
  const [sequence = Number.NaN, batch = Number.NaN, size = Number.NaN] = x ?? [];
  const [directions = Number.NaN, rows = Number.NaN] = w ?? [];
  return { multiplyAdds: sequence * batch * directions * rows * (size + (r?.[2] ?? Number.NaN)) };
};

const float = tied(floats);
const common: readonly InputSchema[] = [float, float, float, optional(float), optional(wholeNumbers), optional(float)];

type Recurrent = Pick<OpDefinition, "inputs" | "outputs" | "infer" | "gradient">;

const recurrent = ({ inputs, outputs, infer, gradient }: Recurrent): OpDefinition => ({
  introduced: 7,
  inputs,
  outputs,
  sampleAxis: recurrentSamples,
  movesValues: false,
  infer,
  gradient,
  cost: costOfSteps,
});

export const LSTM: OpDefinition = recurrent({
  inputs: [...common, optional(float), optional(float)],
  outputs: 3,
  infer: inferRecurrent(4, ["Sigmoid", "Tanh", "Tanh"], true),
  gradient: lstmGradient,
});
export const GRU: OpDefinition = recurrent({
  inputs: common,
  outputs: 2,
  infer: inferRecurrent(3, ["Sigmoid", "Tanh"], false),
  gradient: gruGradient,
});
export const RNN: OpDefinition = recurrent({
  inputs: common,
  outputs: 2,
  infer: inferRecurrent(1, ["Tanh"], false),
  gradient: rnnGradient,
});
