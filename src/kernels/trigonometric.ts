// Kernels of the trigonometric and hyperbolic functions.

import type { Kernel } from "./kernel.ts";
import { plain } from "./pointwise.ts";

export const trigonometricKernels = {
  Tan: plain(Math.tan),
  Asin: plain(Math.asin),
  Acos: plain(Math.acos),
  Atan: plain(Math.atan),
  Sinh: plain(Math.sinh),
  Cosh: plain(Math.cosh),
  Asinh: plain(Math.asinh),
  Acosh: plain(Math.acosh),
  Atanh: plain(Math.atanh),
} satisfies Record<string, Kernel>;
