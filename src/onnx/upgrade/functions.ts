// Operators that are functions of others, read as what they are made of: they train, quantize and run in every opset.
import { numberAttribute, numbersAttribute, printShape } from "../../ops/attributes.ts";
import { isStatic } from "../../ops/dims.ts";
import { resolveAxis } from "../../ops/operands.ts";
import { resolveWindow, spanOf, windowOutput } from "../../ops/window.ts";
import { replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext, withoutAttributes } from "./upgrade.ts";

const rankOf = ({ node, type }: UpgradeContext): number => type(node.inputs[0]).shape.length;
const axesUpTo = (start: number, end: number): number[] => Array.from({ length: end - start }, (_, i) => start + i);
/** Keeps roots and quotients of sums that are 0 finite, and their gradients 0. */
const tiny = 1e-30;

/** y = x · sigmoid(alpha · x) */
export const swish: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { call, of, finish } = replacement(context);
    const { node } = context;
    const [x] = node.inputs;
    const alpha = numberAttribute(node, "alpha", 1);
    const scaled = alpha === 1 ? x : call("Mul", [x, of(alpha, x)]);
    return finish(call("Mul", [x, call("Sigmoid", [scaled])]));
  },
};

/** y = log Σ x */
export const logOfSum: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const { call, finish } = replacement(context);
    return finish(call("Log", [call("ReduceSum", node.inputs, node.attributes)]));
  },
};

/** y = x / ‖x‖ along one axis, 0 where the norm is */
export const lpNormalization: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, opset } = context;
    const { call, ints, of, finish } = replacement(context);
    const [x] = node.inputs;
    const p = numberAttribute(node, "p", 2);
    if (p !== 1 && p !== 2) throw cannotUpgrade(node, opset, `p is ${p}; ONNX has 1 and 2.`);
    const norm = call(`ReduceL${p}`, [x, ints([numberAttribute(node, "axis", -1)])], { keepdims: 1 });
    return finish(call("Div", [x, call("Max", [norm, of(tiny, x)])]));
  },
};

/** y = (x − mean) / (√(mean((x − mean)²)) + 1e-9) */
export const meanVarianceNormalization: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const { call, ints, of, finish } = replacement(context);
    const [x] = node.inputs;
    const axes = ints(numbersAttribute(node, "axes", [0, 2, 3]));
    const meanOf = (value: string): string => call("ReduceMean", [value, axes], { keepdims: 1 });
    const centred = call("Sub", [x, meanOf(x)]);
    const deviation = call("Sqrt", [meanOf(call("Mul", [centred, centred]))]);
    return finish(call("Div", [centred, call("Add", [deviation, of(1e-9, x)])]));
  },
};

/** y = x / (bias + alpha · mean of the squares of `size` neighbouring channels)^beta, zeros beyond the ends */
export const localResponseNormalization: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, opset, type } = context;
    const { call, ints, of, finish } = replacement(context);
    const [x] = node.inputs;
    const rank = rankOf(context);
    if (rank !== 3 && rank !== 4)
      throw cannotUpgrade(node, opset, `its input is ${printShape(type(x).shape)}; expected 3 or 4 axes.`);
    const size = numberAttribute(node, "size", 1);
    const spatial = new Array<number>(rank - 2);
    const squares = call("Unsqueeze", [call("Mul", [x, x]), ints([1])]);
    const mean = call("AveragePool", [squares], {
      kernel_shape: [size, ...spatial.fill(1)],
      pads: [Math.floor((size - 1) / 2), ...spatial.fill(0), Math.ceil((size - 1) / 2), ...spatial.fill(0)],
      count_include_pad: 1,
    });
    const weighed = call("Mul", [call("Squeeze", [mean, ints([1])]), of(numberAttribute(node, "alpha", 1e-4), x)]);
    const base = call("Add", [weighed, of(numberAttribute(node, "bias", 1), x)]);
    return finish(call("Div", [x, call("Pow", [base, of(numberAttribute(node, "beta", 0.75), x)])]));
  },
};

/** y = (Σ |x|^p)^(1/p) over windows: an average pool that counts its pads, times the taps */
export const lpPool: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node } = context;
    const { call, of, finish } = replacement(context);
    const [x] = node.inputs;
    const p = numberAttribute(node, "p", 2);
    const taps = numbersAttribute(node, "kernel_shape", []).reduce((product, size) => product * size, 1);
    const powers = p === 2 ? call("Mul", [x, x]) : call("Pow", [call("Abs", [x]), of(p, x)]);
    const attributes = { ...withoutAttributes(node, "p", "ceil_mode"), ...padsOf(context), count_include_pad: 1 };
    const sum = call("Mul", [call("AveragePool", [powers], attributes), of(taps, x)]);
    if (p === 1) return finish(sum);
    const positive = call("Max", [sum, of(tiny, x)]);
    return finish(p === 2 ? call("Sqrt", [positive]) : call("Pow", [positive, of(1 / p, x)]));
  },
};

/** Pads that ceil_mode's last windows end in, so that all windows count as many taps. */
function padsOf({ node, opset, type }: UpgradeContext): Readonly<Record<string, readonly number[] | string>> {
  if (numberAttribute(node, "ceil_mode", 0) === 0) return {};
  const spatial = type(node.inputs[0]).shape.slice(2);
  if (!isStatic(spatial)) throw cannotUpgrade(node, opset, "ceil_mode 1 needs an image of known size.");
  const window = resolveWindow(node, numbersAttribute(node, "kernel_shape", []), spatial);
  const ends = windowOutput(node, window, spatial).map((size, axis) => {
    const [begin, end] = [window.pads[axis], window.pads[axis + spatial.length]];
    return Math.max(end, (size - 1) * window.strides[axis] + spanOf(window, axis) - spatial[axis] - begin);
  });
  return { auto_pad: "NOTSET", pads: [...window.pads.slice(0, spatial.length), ...ends] };
}

/** As LpPool over all positions */
export const globalLpPool: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, opset } = context;
    const { call, ints, finish } = replacement(context);
    const p = numberAttribute(node, "p", 2);
    if (p !== 1 && p !== 2) throw cannotUpgrade(node, opset, `p is ${p}; 1 and 2 are handled.`);
    const axes = ints(axesUpTo(2, rankOf(context)));
    return finish(call(`ReduceL${p}`, [node.inputs[0], axes], { keepdims: 1 }));
  },
};

/** 1 at the first largest element along an axis, else 0 */
export const hardmax: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, type, constant } = context;
    const { call, size, finish } = replacement(context);
    const [x] = node.inputs;
    const { dtype } = type(x);
    const axis = resolveAxis(node, numberAttribute(node, "axis", -1), rankOf(context));
    const first = call("ArgMax", [x], { axis, keepdims: 0 });
    const values = constant("values", { dtype: "float32", shape: [2], data: Float32Array.of(0, 1) });
    const hot = call("OneHot", [first, size(x, axis), values], { axis });
    return finish(dtype === "float32" ? hot : call("Cast", [hot], { to: dtype }));
  },
};

export const castLike: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, type } = context;
    const { call, finish } = replacement(context);
    return finish(call("Cast", [node.inputs[0]], { to: type(node.inputs[1]).dtype }));
  },
};

/** From 18 to 20 scale and bias were per group: instance normalization of the groups. */
export const perGroup: Upgrade = {
  before: 21,
  upgrade: (context) => {
    const { node } = context;
    const { call, reshape, finish } = replacement(context);
    const [x, scale, bias] = node.inputs;
    const groups = reshape(x, [0, numberAttribute(node, "num_groups", 1), -1]);
    const normalized = call("InstanceNormalization", [groups, scale, bias], {
      epsilon: numberAttribute(node, "epsilon", 1e-5),
    });
    return finish(call("Reshape", [normalized, call("Shape", [x])]));
  },
};
