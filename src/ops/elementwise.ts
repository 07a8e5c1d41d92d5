// Elementwise operators, with ONNX's broadcasting.

import { dtypes, isFloat } from "../ir/dtype.ts";
import { FrostbitError } from "../ir/errors.ts";
import { describeNode } from "../ir/graph.ts";
import { toNumbers } from "../ir/tensor.ts";
import { arithmetic, zerosLike } from "./arithmetic.ts";
import { choiceAttribute, mismatch, numberAttribute, stringAttribute, unsupported } from "./attributes.ts";
import type { OpDefinition, OwnOpDefinition } from "./definition.ts";
import { productOf, quotientOf, sumOf } from "./dims.ts";
import { anything, bools, floats, numbers, optional, single, tied } from "./inputs.ts";
import { operand, withElements } from "./operands.ts";
import {
  binary,
  comparison,
  elementwise,
  inferBroadcast,
  inferLikeFirst,
  noCost,
  unary,
  unaryRule,
  unaryWithoutGradient,
  variadic,
} from "./pointwise.ts";
import { alignedSamples } from "./samples.ts";

const keepsAllRows = () => true;

/** da = dy, db = dy */
export const Add: OpDefinition = binary(
  { takes: numbers, introduced: 1 },
  sumOf,
  ({ dy }) => dy,
  ({ dy }) => dy,
);

/** da = dy, db = −dy */
export const Sub: OpDefinition = binary(
  { takes: numbers, introduced: 1 },
  ([a, b]) => sumOf([a, productOf([-1, b])]),
  ({ dy }) => dy,
  ({ dy, neg }) => neg(dy),
);

/** da = dy · b, db = dy · a */
export const Mul: OpDefinition = binary(
  { takes: numbers, introduced: 1 },
  productOf,
  ({ dy, b, mul }) => mul(dy, b),
  ({ dy, a, mul }) => mul(dy, a),
);

/** da = dy / b, db = −dy · y / b */
export const Div: OpDefinition = binary(
  { takes: numbers, introduced: 1 },
  ([a, b]) => {
    if (b === 0) return undefined;
    return typeof a === "number" && typeof b === "number" ? Math.trunc(a / b) : quotientOf([a], [b]);
  },
  ({ dy, b, div }) => div(dy, b),
  ({ dy, b, y, div, mul, neg }) => neg(div(mul(dy, y), b)),
);

/** da = dy · b · a^(b − 1), db = dy · y · log a where a > 0, else 0 */
export const Pow: OpDefinition = {
  ...elementwise,
  introduced: 1,
  inputs: [numbers, numbers],
  infer: inferBroadcast(([a, b]) => (typeof a === "number" && typeof b === "number" ? a ** b : undefined)),
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const { mul, sub, where, call, cast, of } = arithmetic(build, dy);
    const a = node.inputs[0];
    const b = cast(node.inputs[1], build.type(a).dtype);
    const da = (): string => mul(dy, b, call("Pow", a, sub(b, of(1))));
    const db = (): string => {
      const isPositive = call("Greater", a, of(0));
      return mul(dy, node.outputs[0], call("Log", where(isPositive, a, of(1))));
    };
    return [wants(0) === "none" ? undefined : da(), wants(1) === "none" ? undefined : db()];
  },
};

const remainder = binary(
  { takes: numbers, introduced: 10 },
  ([a, b], node) => {
    if (typeof a !== "number" || typeof b !== "number" || b === 0) return undefined;
    return numberAttribute(node, "fmod", 0) === 1 ? a % b : ((a % b) + b) % b;
  },
  ({ dy }) => dy,
  ({ dy, a, b, y, div, mul, sub }) => mul(dy, div(sub(y, a), b)),
);

/** da = dy, db = dy · (y − a) / b */
export const Mod: OpDefinition = {
  ...remainder,
  infer: (context) => {
    const { dtype } = operand(context, 0);
    if (isFloat(dtype) && numberAttribute(context.node, "fmod", 0) !== 1)
      throw mismatch(context.node, `its inputs are ${dtype}, of which ONNX has fmod 1 alone.`);
    return remainder.infer(context);
  },
};

/** dx = −dy */
export const Neg: OpDefinition = {
  ...unary(
    { takes: numbers, introduced: 1 },
    ({ dy, neg }) => neg(dy),
    (x) => (typeof x === "number" ? 0 - x : undefined),
  ),
  keepsRows: keepsAllRows,
};

/** dx = dy · sign x */
export const Abs: OpDefinition = unary(
  { takes: numbers, introduced: 1 },
  ({ dy, x, mul, call }) => mul(dy, call("Sign", x)),
  (x) => (typeof x === "number" ? Math.abs(x) : x),
);

/** dx = dy / 2y */
export const Sqrt: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, y, div, mul, of }) =>
  div(mul(dy, of(0.5)), y),
);

/** dx = −dy · y² */
export const Reciprocal: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, y, mul, neg }) =>
  neg(mul(dy, y, y)),
);

/** dx = dy · y */
export const Exp: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, y, mul }) => mul(dy, y));

/** dx = dy / x */
export const Log: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, x, div }) => div(dy, x));

/** dx = dy · 2/√π · exp(−x²) */
export const Erf: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, neg, call, of }) =>
  mul(dy, of(2 / Math.sqrt(Math.PI)), call("Exp", neg(mul(x, x)))),
);

/** dx = dy · (1 − y²) */
export const Tanh: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, y, mul, sub, of }) =>
  mul(dy, sub(of(1), mul(y, y))),
);

/** dx = dy · y · (1 − y) */
export const Sigmoid: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, y, mul, sub, of }) =>
  mul(dy, y, sub(of(1), y)),
);

/** dx = dy where y > 0, else 0 */
export const Relu: OpDefinition = unary({ takes: numbers, introduced: 1 }, ({ dy, y, call }) =>
  call("ReluGradient", dy, y),
);

/** Our own: inputs dy and y, dy where y > 0, else 0. Its derivative by y is zero almost everywhere. */
export const ReluGradient: OwnOpDefinition = {
  ...elementwise,
  introduced: "own",
  inputs: [tied(floats), tied(floats)],
  infer: inferBroadcast(),
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const y = node.inputs[1];
    return [build.node("ReluGradient", [dy, y]), wants(1) === "none" ? undefined : zerosLike(build, y)];
  },
};

/** dx = dy where x ≥ 0, else alpha · dy */
export const LeakyRelu: OpDefinition = unary(
  { takes: floats, introduced: 1 },
  ({ dy, x, node, mul, where, call, of }) =>
    where(call("Less", x, of(0)), mul(dy, of(numberAttribute(node, "alpha", 0.01))), dy),
);

/** dx = dy where x ≥ 0, else dy · (y + alpha) */
export const Elu: OpDefinition = unary(
  { takes: floats, introduced: 1 },
  ({ dy, x, y, node, mul, add, where, call, of }) =>
    where(call("Less", x, of(0)), mul(dy, add(y, of(numberAttribute(node, "alpha", 1)))), dy),
);

/** dx = gamma · dy where x > 0, else dy · (y + gamma · alpha) */
export const Selu: OpDefinition = unary(
  { takes: floats, introduced: 1 },
  ({ dy, x, y, node, mul, add, where, call, of }) => {
    const alpha = numberAttribute(node, "alpha", 1.6732632423543772);
    const gamma = numberAttribute(node, "gamma", 1.0507009873554805);
    return mul(dy, where(call("Greater", x, of(0)), of(gamma), add(y, of(gamma * alpha))));
  },
);

/** dx = dy where x ≥ 0, else dy · (y / alpha + 1) */
const celu = unary({ takes: floats, introduced: 12 }, ({ dy, x, y, node, mul, add, div, where, call, of }) => {
  const slope = add(div(y, of(numberAttribute(node, "alpha", 1))), of(1));
  return where(call("Less", x, of(0)), mul(dy, slope), dy);
});

export const Celu: OpDefinition = {
  ...celu,
  infer: (context) => {
    if (numberAttribute(context.node, "alpha", 1) === 0)
      throw mismatch(context.node, "alpha is 0, which it divides by.");
    return celu.infer(context);
  },
};

/** dx = dy where x ≥ 0, else dy · slope; dslope = dy · x where x < 0, else 0 */
export const PRelu: OpDefinition = binary(
  { takes: numbers, introduced: 1 },
  undefined,
  ({ dy, a: x, b: slope, mul, where, call, of }) => where(call("Less", x, of(0)), mul(dy, slope), dy),
  ({ dy, a: x, mul, where, call, of }) => where(call("Less", x, of(0)), mul(dy, x), of(0)),
);

/** dx = alpha · dy where 0 < y < 1, else 0 */
export const HardSigmoid: OpDefinition = unary(
  { takes: floats, introduced: 1 },
  ({ dy, y, node, mul, where, call, of }) => {
    const isInside = call("And", call("Greater", y, of(0)), call("Less", y, of(1)));
    return where(isInside, mul(dy, of(numberAttribute(node, "alpha", 0.2))), of(0));
  },
);

/** dx = dy · (x/3 + 1/2) where |x| < 3, dy where x ≥ 3, else 0 */
export const HardSwish: OpDefinition = unary(
  { takes: floats, introduced: 14 },
  ({ dy, x, mul, add, div, where, call, of }) => {
    const inside = mul(dy, add(div(x, of(3)), of(0.5)));
    const outside = where(call("Greater", x, of(0)), dy, of(0));
    return where(call("Less", call("Abs", x), of(3)), inside, outside);
  },
);

/** dx = dy where min ≤ x ≤ max, else 0; dmin = dy where x < min; dmax = dy where x > max */
export const Clip: OpDefinition = {
  ...elementwise,
  introduced: 1,
  inputs: [tied(numbers), optional(single(tied(numbers))), optional(single(tied(numbers)))],
  infer: inferLikeFirst(),
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const [x, low, high] = node.inputs;
    const { where, call, of } = arithmetic(build, dy);
    const bound = (i: number, comparison: "Less" | "Greater"): string | undefined =>
      wants(i) === "none" || !node.inputs[i] ? undefined : where(call(comparison, x, node.inputs[i]), dy, of(0));
    const dx = low || high ? build.node("ClipGradient", [dy, x, low, high]) : dy;
    return [wants(0) === "none" ? undefined : dx, bound(1, "Less"), bound(2, "Greater")];
  },
};

/** Our own: inputs dy, x, min and max, 0 where x < min or x > max, else dy. Its derivatives but that by dy are zero almost everywhere. */
export const ClipGradient: OwnOpDefinition = {
  ...elementwise,
  introduced: "own",
  inputs: [tied(floats), tied(floats), optional(single(tied(floats))), optional(single(tied(floats)))],
  infer: inferLikeFirst(),
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const [, ...rest] = node.inputs;
    const zeros = rest.map((input, i) => (input && wants(i + 1) !== "none" ? zerosLike(build, input) : undefined));
    return [build.node("ClipGradient", [dy, ...rest]), ...zeros];
  },
};

/** dx = dy · sigmoid x */
export const Softplus: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, x, mul, call }) =>
  mul(dy, call("Sigmoid", x)),
);

/** dx = dy / (1 + |x|)² */
export const Softsign: OpDefinition = unary({ takes: floats, introduced: 1 }, ({ dy, x, mul, add, div, call, of }) => {
  const root = add(of(1), call("Abs", x));
  return div(dy, mul(root, root));
});

/** t = tanh(softplus x): dx = dy · (t + x · (1 − t²) · sigmoid x) */
export const Mish: OpDefinition = unary({ takes: floats, introduced: 18 }, ({ dy, x, mul, add, sub, call, of }) => {
  const t = call("Tanh", call("Softplus", x));
  return mul(dy, add(t, mul(x, sub(of(1), mul(t, t)), call("Sigmoid", x))));
});

/**
 * none: dx = dy · (½(1 + erf(x/√2)) + x · exp(−x²/2)/√(2π));
 * tanh: t = tanh(u), u = √(2/π)(x + c·x³), c = 0.044715: dx = dy · (½(1 + t) + ½x(1 − t²) · √(2/π)(1 + 3c·x²))
 */
const gelu = unary({ takes: floats, introduced: 20 }, ({ dy, x, node, mul, add, sub, neg, call, of }) => {
  const squared = mul(x, x);
  if (stringAttribute(node, "approximate", "none") === "none") {
    const cumulative = mul(of(0.5), add(of(1), call("Erf", mul(x, of(Math.SQRT1_2)))));
    const density = mul(call("Exp", neg(mul(of(0.5), squared))), of(1 / Math.sqrt(2 * Math.PI)));
    return mul(dy, add(cumulative, mul(x, density)));
  }
  const root = Math.sqrt(2 / Math.PI);
  const t = call("Tanh", mul(x, of(root), add(of(1), mul(of(0.044715), squared))));
  const du = mul(of(root), add(of(1), mul(of(3 * 0.044715), squared)));
  const tail = mul(of(0.5), x, sub(of(1), mul(t, t)), du);
  return mul(dy, add(mul(of(0.5), add(of(1), t)), tail));
});

export const Gelu: OpDefinition = {
  ...gelu,
  infer: (context) => {
    choiceAttribute(context.node, "approximate", ["none", "tanh"]);
    return gelu.infer(context);
  },
};

/** dx = dy where x > alpha, else 0 */
export const ThresholdedRelu: OpDefinition = unary(
  { takes: floats, introduced: 10 },
  ({ dy, x, node, where, call, of }) => where(call("Greater", x, of(numberAttribute(node, "alpha", 1))), dy, of(0)),
);

/** dx = dy where |x| > lambd, else 0 */
export const Shrink: OpDefinition = unary({ takes: numbers, introduced: 9 }, ({ dy, x, node, where, call, of }) =>
  where(call("Greater", call("Abs", x), of(numberAttribute(node, "lambd", 0.5))), dy, of(0)),
);

/** dx = dy · cos x */
export const Sin: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, x, mul, call }) =>
  mul(dy, call("Cos", x)),
);

/** dx = −dy · sin x */
export const Cos: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, x, mul, neg, call }) =>
  neg(mul(dy, call("Sin", x))),
);

/** dx_i = dy · [x_i = y] / (number of inputs equal to y) */
const gradientOfExtreme: OpDefinition["gradient"] = ({ node, build, dys: [dy], wants }) => {
  if (dy === undefined) return [];
  const { add, mul, div, call, cast } = arithmetic(build, dy);
  const { dtype } = build.type(dy);
  const isExtreme = node.inputs.map((x) => cast(call("Equal", x, node.outputs[0]), dtype));
  const share = div(dy, isExtreme.reduce(add));
  return isExtreme.map((mask, i) => (wants(i) === "none" ? undefined : mul(mask, share)));
};

const foldExtreme =
  (extreme: (...values: number[]) => number) =>
  (elements: readonly (number | string)[]): number | string | undefined => {
    if (elements.every((element) => element === elements[0])) return elements[0];
    const numbers = elements.filter((element) => typeof element === "number");
    return numbers.length === elements.length ? extreme(...numbers) : undefined;
  };

export const Min: OpDefinition = variadic({ takes: numbers, introduced: 1 }, foldExtreme(Math.min), gradientOfExtreme);
export const Max: OpDefinition = variadic({ takes: numbers, introduced: 1 }, foldExtreme(Math.max), gradientOfExtreme);

/** dx_i = dy */
export const Sum: OpDefinition = variadic({ takes: numbers, introduced: 1 }, sumOf, ({ node, dys: [dy] }) =>
  node.inputs.map(() => dy),
);

/** dx_i = dy / n */
export const Mean: OpDefinition = variadic(
  { takes: floats, introduced: 1 },
  () => undefined,
  ({ node, build, dys: [dy] }) => {
    if (dy === undefined) return [];
    const { mul, of } = arithmetic(build, dy);
    const share = mul(dy, of(1 / node.inputs.length));
    return node.inputs.map(() => share);
  },
);

export const Sign: OpDefinition = unaryWithoutGradient({ takes: numbers, introduced: 9 }, (x) =>
  typeof x === "number" ? Math.sign(x) : undefined,
);
export const Floor: OpDefinition = unaryWithoutGradient({ takes: floats, introduced: 1 });
export const Ceil: OpDefinition = unaryWithoutGradient({ takes: floats, introduced: 1 });
/** Half to even. */
export const Round: OpDefinition = unaryWithoutGradient({ takes: floats, introduced: 11 });
export const IsNaN: OpDefinition = unaryWithoutGradient({ takes: floats, introduced: 9 }, undefined, "bool");
export const IsInf: OpDefinition = unaryWithoutGradient({ takes: floats, introduced: 10 }, undefined, "bool");
export const Not: OpDefinition = unaryWithoutGradient(
  { takes: bools, introduced: 1 },
  (x) => (typeof x === "number" ? Number(!x) : undefined),
  "bool",
);

export const Equal: OpDefinition = comparison({ takes: anything, introduced: 1 }, (a, b) => a === b);
export const Greater: OpDefinition = comparison({ takes: numbers, introduced: 1 }, (a, b) => a > b);
export const GreaterOrEqual: OpDefinition = comparison({ takes: numbers, introduced: 12 }, (a, b) => a >= b);
export const Less: OpDefinition = comparison({ takes: numbers, introduced: 1 }, (a, b) => a < b);
export const LessOrEqual: OpDefinition = comparison({ takes: numbers, introduced: 12 }, (a, b) => a <= b);
export const And: OpDefinition = comparison({ takes: bools, introduced: 1 }, (a, b) => a !== 0 && b !== 0);
export const Or: OpDefinition = comparison({ takes: bools, introduced: 1 }, (a, b) => a !== 0 || b !== 0);
export const Xor: OpDefinition = comparison({ takes: bools, introduced: 1 }, (a, b) => (a !== 0) !== (b !== 0));

/** da = dy where the condition holds, else 0; db = dy where it does not, else 0 */
export const Where: OpDefinition = {
  ...elementwise,
  introduced: 9,
  inputs: [bools, tied(anything), tied(anything)],
  infer: (context) => {
    const choose = inferBroadcast(([condition, a, b]) => {
      if (typeof condition === "number") return condition ? a : b;
      return a === b ? a : undefined;
    }, operand(context, 1).dtype);
    return choose(context);
  },
  gradient: ({ node, build, dys: [dy], wants }) => {
    if (dy === undefined) return [];
    const { where, of } = arithmetic(build, dy);
    const condition = node.inputs[0];
    return [
      undefined,
      wants(1) === "none" ? undefined : where(condition, dy, of(0)),
      wants(2) === "none" ? undefined : where(condition, of(0), dy),
    ];
  },
};

/** dx = dy, cast back */
export const Cast: OpDefinition = {
  ...elementwise,
  introduced: 1,
  inputs: [anything],
  infer: (context) => {
    const to = stringAttribute(context.node, "to", "");
    if (!(to in dtypes))
      throw new FrostbitError(
        "BAD_MODEL",
        `${describeNode(context.node)}: attribute "to" is "${to}"; expected one of ${Object.keys(dtypes).join(", ")}.`,
      );
    return inferLikeFirst(
      (x) => (to === "bool" && typeof x === "number" ? Number(x !== 0) : x),
      to as keyof typeof dtypes,
    )(context);
  },
  gradient: unaryRule(({ dy, x, y, node, build, cast }) => {
    const from = build.type(x).dtype;
    const to = build.type(y).dtype;
    if (isFloat(from) && isFloat(to)) return cast(dy, from);
    throw new FrostbitError(
      "NO_GRADIENT",
      `${describeNode(node)}: a cast from ${from} to ${to} has no gradient, and it is between the loss and a trained value.`,
    );
  }),
  cost: noCost,
  keepsRows: keepsAllRows,
};

/** dx = dy */
export const Identity: OpDefinition = {
  ...unary(
    { takes: anything, introduced: 1 },
    ({ dy }) => dy,
    (x) => x,
  ),
  movesValues: true,
  cost: noCost,
  keepsRows: keepsAllRows,
};

/** The form of inference: y = x; dx = dy. */
export const Dropout: OpDefinition = {
  introduced: 1,
  inputs: [anything, optional(anything), optional(anything)],
  outputs: 2,
  sampleAxis: alignedSamples,
  movesValues: true,
  infer: (context) => {
    const { dtype, shape } = operand(context, 0);
    const trainingMode = context.constant(2);
    if (context.inputs[2] && (trainingMode === undefined || toNumbers(trainingMode)[0] !== 0))
      throw unsupported(
        context.node,
        "it drops values (training_mode is true or not constant), which is not supported. Export the model in inference mode.",
      );
    return [{ dtype, shape }, withElements("bool", shape, undefined)];
  },
  gradient: unaryRule(({ dy }) => dy),
  cost: noCost,
  keepsRows: keepsAllRows,
};
