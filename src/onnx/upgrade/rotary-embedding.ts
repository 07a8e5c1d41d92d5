// RotaryEmbedding (RoFormer, arXiv:2104.09864, eq. 34): pairs of features turn by angles of their positions.
import { numberAttribute } from "../../ops/attributes.ts";
import { type Replacement, replacement } from "./replacement.ts";
import { always, cannotUpgrade, type Upgrade, type UpgradeContext } from "./upgrade.ts";

interface Heads {
  /** x as [batch, heads, sequence, features], or with heads and sequence swapped. */
  readonly x: string;
  readonly features: number;
  readonly headAxis: 1 | 2;
}

function headsOf(context: UpgradeContext, { reshape }: Replacement): Heads {
  const { node, opset, type } = context;
  const [x] = node.inputs;
  const { shape } = type(x);
  const last = shape[shape.length - 1];
  if (typeof last !== "number") throw cannotUpgrade(node, opset, `its last size "${last}" must be known.`);
  if (shape.length === 4) return { x, features: last, headAxis: 1 };
  const heads = numberAttribute(node, "num_heads", 0);
  if (heads === 0) throw cannotUpgrade(node, opset, "an input of 3 axes needs num_heads.");
  return { x: reshape(x, [0, 0, heads, last / heads]), features: last / heads, headAxis: 2 };
}

/** real = cos · first − sin · second, imaginary = sin · first + cos · second */
function turned(
  { call }: Replacement,
  [first, second]: readonly [string, string],
  cos: string,
  sin: string,
): readonly [string, string] {
  const mul = (a: string, b: string): string => call("Mul", [a, b]);
  return [call("Sub", [mul(cos, first), mul(sin, second)]), call("Add", [mul(sin, first), mul(cos, second)])];
}

export const rotaryEmbedding: Upgrade = {
  before: always,
  upgrade: (context) => {
    const { node, type } = context;
    const made = replacement(context);
    const { call, ints, reshape, finish } = made;
    const [, cosCache, sinCache, positions] = node.inputs;
    const { x, features, headAxis } = headsOf(context, made);
    const turning = numberAttribute(node, "rotary_embedding_dim", 0) || features;
    const isInterleaved = numberAttribute(node, "interleaved", 0) === 1;
    const half = turning / 2;
    const part = (value: string, start: number, end: number): string =>
      call("Slice", [value, ints([start]), ints([end]), ints([-1])]);
    /** [batch, 1, sequence, half], or with the 1 where the heads are. */
    const angles = (cache: string): string => {
      const own = positions ? call("Gather", [cache, positions], { axis: 0 }) : cache;
      const wide = call("Unsqueeze", [own, ints([headAxis])]);
      return isInterleaved ? call("Unsqueeze", [wide, ints([-1])]) : wide;
    };
    const whole = turning < features ? part(x, 0, turning) : x;
    const pairs = isInterleaved ? reshape(whole, [0, 0, 0, half, 2]) : whole;
    const sides: readonly [string, string] = isInterleaved
      ? [part(pairs, 0, 1), part(pairs, 1, 2)]
      : [part(pairs, 0, half), part(pairs, half, turning)];
    const joined = call("Concat", turned(made, sides, angles(cosCache), angles(sinCache)), { axis: -1 });
    const rotated = isInterleaved ? reshape(joined, [0, 0, 0, turning]) : joined;
    const complete = turning < features ? call("Concat", [rotated, part(x, turning, features)], { axis: -1 }) : rotated;
    const { shape } = type(node.inputs[0]);
    return finish(shape.length === 4 ? complete : reshape(complete, [0, 0, Number(shape[2])]));
  },
};
