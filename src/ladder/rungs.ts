// What is tried for a goal, as recipes, from what costs least on.
import { budgetsOf, type Goal } from "../options/goal.ts";

/** The `quantize` and `methods` of a recipe: what the goal and its run fix comes on top. */
export interface Rung {
  readonly name: string;
  readonly quantize: Readonly<Record<string, unknown>>;
  readonly methods: readonly unknown[];
  /** About how many samples' forward passes it takes, of so many that there are for training and of so many layers. */
  readonly passes: (samples: number, layers: number) => number;
}

/** The ways to a good file of given widths. */
interface Way {
  readonly name: string;
  readonly observer?: string;
  readonly methods: readonly unknown[];
  readonly passes: Rung["passes"];
}

const calibrating = 2_000;

/** Of each of five learning rates, before the one that is best trains. */
const trialSteps = 24;

/** Each layer's mean output is measured behind those that are corrected before it. */
const correcting = (layers: number): number => 512 * layers;

const ways = {
  ptq: { name: "min-max ranges", observer: "min-max", methods: ["ptq"], passes: () => calibrating },
  mse: { name: "ranges of least squared error", observer: "mse", methods: ["ptq"], passes: () => 2 * calibrating },
  equalized: {
    name: "equalization and bias correction",
    observer: "mse",
    methods: ["cross-layer-equalization", "ptq", "bias-correction"],
    passes: (_, layers) => 3 * calibrating + correcting(layers),
  },
  gptq: {
    name: "gptq and bias correction",
    methods: ["ptq", { gptq: { positions: 64 } }, "bias-correction"],
    passes: (samples, layers) => 10 * Math.min(samples, 1024) + correcting(layers),
  },
  adaround: { name: "adaround", methods: ["ptq", "adaround"], passes: (samples) => 15 * Math.min(samples, 1024) },
  qdrop: { name: "qdrop", methods: ["ptq", "qdrop"], passes: (samples) => 400 * Math.min(samples, 1024) },
  efqat: {
    name: "efqat",
    methods: ["ptq", { efqat: { trialSteps } }],
    passes: (samples) => 3 * samples + 6 * trialSteps * 5 * 128,
  },
} satisfies Record<string, Way>;

/** First and last layers at 8 bits, as papers do, where the others have fewer than 6. */
const endsOf = (bits: number): Readonly<Record<string, unknown>> => (bits < 6 ? { firstLast: 8 } : {});

const rungOf = (way: Way, quantize: Rung["quantize"], before: readonly unknown[] = [], title = ""): Rung => ({
  name: `${title}${way.name}`,
  quantize: { ...quantize, ...(way.observer === undefined ? {} : { observer: way.observer }) },
  methods: [...before, ...way.methods],
  passes: way.passes,
});

/**
 * Of weights of so many bits: at 8 rounding suffices; at 5 and fewer it is learned at once. Depthwise layers hold few weights, and
 * rounding costs them most: they keep 8 bits.
 */
export function rungsAt(bits: number, depthwise: readonly string[] = []): readonly Rung[] {
  const isNarrow = bits < 6;
  const kept = isNarrow ? depthwise : [];
  const tried =
    bits === 8
      ? [ways.ptq, ways.mse, ways.equalized, ways.efqat]
      : isNarrow
        ? [...(kept.length > 0 ? [ways.gptq] : []), ways.adaround, ways.qdrop, ways.efqat]
        : [ways.ptq, ways.equalized, ways.adaround];
  const layers = kept.length > 0 ? { layers: Object.fromEntries(kept.map((name) => [name, 8])) } : {};
  return tried.map((way) =>
    rungOf(way, { weights: bits, ...endsOf(bits), ...layers }, [], `weights of ${bits} bits, `),
  );
}

/** At the widths that were given. */
export const rungsAsGiven: readonly Rung[] = [
  ways.ptq,
  ways.mse,
  ways.equalized,
  ways.adaround,
  ways.qdrop,
  ways.efqat,
].map((way) => rungOf(way, {}));

/** Widths chosen layer by layer within the goal's budgets. */
export function rungsWithin(goal: Goal): readonly Rung[] {
  const mixed = { "mixed-precision": Object.fromEntries(budgetsOf(goal)) };
  return [ways.equalized, ways.adaround, ways.qdrop, ways.efqat].map((way) => {
    const [first, ...rest] = way.methods;
    return first === "cross-layer-equalization"
      ? { ...rungOf(way, {}, [], "widths by layer, "), methods: [first, mixed, ...rest] }
      : rungOf(way, {}, [mixed], "widths by layer, ");
  });
}

/** The rung's options of quantization beside those that the run fixes: these decide, and of layers they leave the others to the rung. */
export function besideFixed({ quantize }: Rung, fixed: Rung["quantize"]): Rung["quantize"] {
  const layers = { ...(quantize["layers"] as object | undefined), ...(fixed["layers"] as object | undefined) };
  return { ...quantize, ...fixed, ...(Object.keys(layers).length > 0 && { layers }) };
}

export type TrainedLoss = "cross-entropy" | "distill" | "mse";

/** The rung whose methods train by this loss; the first is theirs already. */
export const trainedBy = (rung: Rung, loss: TrainedLoss): Rung =>
  loss === "cross-entropy" || !rung.methods.some(trains)
    ? rung
    : { ...rung, methods: rung.methods.map(withLoss(loss)) };

const trains = (entry: unknown): entry is { readonly efqat: object } =>
  typeof entry === "object" && entry !== null && "efqat" in entry;

const withLoss =
  (loss: TrainedLoss) =>
  (entry: unknown): unknown =>
    trains(entry) ? { efqat: { ...entry.efqat, loss } } : entry;

/** The rung with these layers in float. */
export const inFloat = (rung: Rung, layers: readonly string[]): Rung => ({
  ...rung,
  name: `${rung.name}, ${layers.length} of the most sensitive layers in float`,
  quantize: { ...rung.quantize, layers: Object.fromEntries(layers.map((name) => [name, "float"])) },
});

/** Exceptions by layer, of which these compute with floats; their weights are the integers that they were. */
export function withFloatKernels<Choice>(
  layers: Readonly<Record<string, Choice>>,
  names: readonly string[],
): Readonly<Record<string, Choice | { readonly weights?: number; readonly activations: "float" }>> {
  const chosen = names.map((name) => {
    const weights = layers[name];
    return [name, { ...(typeof weights === "number" && { weights }), activations: "float" as const }] as const;
  });
  return { ...layers, ...Object.fromEntries(chosen) };
}

/** The rung with these layers computed with floats. */
export const besideFloatLayers = (rung: Rung, names: readonly string[]): Rung => ({
  ...rung,
  name: `${rung.name}, ${names.length} layer${names.length === 1 ? "" : "s"} computed in float`,
  quantize: {
    ...rung.quantize,
    layers: withFloatKernels((rung.quantize["layers"] ?? {}) as Readonly<Record<string, unknown>>, names),
  },
});

/** The rung whose activations stay floats: small, and computed as the float model is. Zero points of weights gain nothing at 8 bits, and take bytes. */
export const besideFloats = (rung: Rung): Rung => ({
  ...rung,
  name: `${rung.name}, computed in float`,
  quantize: {
    ...rung.quantize,
    activations: "float",
    ...(rung.quantize["weights"] === 8 && { asymmetricWeights: false }),
  },
});
