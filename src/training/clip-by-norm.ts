// Gradient clipping.
import type { Builder } from "../ir/builder.ts";

/** The gradients of `names`, together no longer than `most`: times min(1, most / (norm + 1e-6)), as PyTorch's clip_grad_norm_. */
export function clipByNorm(
  build: Builder,
  gradients: ReadonlyMap<string, string>,
  names: readonly string[],
  most: number,
): ReadonlyMap<string, string> {
  const clipped = names.flatMap((name) => {
    const gradient = gradients.get(name);
    return gradient === undefined ? [] : [[name, gradient] as const];
  });
  if (clipped.length === 0) return gradients;
  const squares = clipped.map(([, gradient]) =>
    build.node("ReduceSum", [build.node("Mul", [gradient, gradient])], { keepdims: 0 }),
  );
  const like = squares[0];
  const total = squares.reduce((sum, square) => build.node("Add", [sum, square]));
  const norm = build.node("Add", [build.node("Sqrt", [total]), build.scalar(1e-6, like)]);
  const share = build.node("Div", [build.scalar(most, like), norm]);
  const factor = build.node("Min", [share, build.scalar(1, like)]);
  return new Map([
    ...gradients,
    ...clipped.map(([name, gradient]) => [name, build.node("Mul", [gradient, factor])] as const),
  ]);
}
