// Trigonometric and hyperbolic functions; sine, cosine and tanh are among the elementwise operators.
import type { OpDefinition } from "./definition.ts";
import { floats } from "./inputs.ts";
import { unary } from "./pointwise.ts";

/** dx = dy · (1 + y²) */
export const Tan: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, y, mul, add, of }) =>
  mul(dy, add(of(1), mul(y, y))),
);

/** dx = dy / √(1 − x²) */
export const Asin: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, x, mul, sub, div, call, of }) =>
  div(dy, call("Sqrt", sub(of(1), mul(x, x)))),
);

/** dx = −dy / √(1 − x²) */
export const Acos: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, x, mul, sub, div, neg, call, of }) =>
  neg(div(dy, call("Sqrt", sub(of(1), mul(x, x))))),
);

/** dx = dy / (1 + x²) */
export const Atan: OpDefinition = unary({ takes: floats, introduced: 7 }, ({ dy, x, mul, add, div, of }) =>
  div(dy, add(of(1), mul(x, x))),
);

/** dx = dy · cosh x */
export const Sinh: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, call }) =>
  mul(dy, call("Cosh", x)),
);

/** dx = dy · sinh x */
export const Cosh: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, call }) =>
  mul(dy, call("Sinh", x)),
);

/** dx = dy / √(x² + 1) */
export const Asinh: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, add, div, call, of }) =>
  div(dy, call("Sqrt", add(mul(x, x), of(1)))),
);

/** dx = dy / √(x² − 1) */
export const Acosh: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, sub, div, call, of }) =>
  div(dy, call("Sqrt", sub(mul(x, x), of(1)))),
);

/** dx = dy / (1 − x²) */
export const Atanh: OpDefinition = unary({ takes: floats, introduced: 9 }, ({ dy, x, mul, sub, div, of }) =>
  div(dy, sub(of(1), mul(x, x))),
);
