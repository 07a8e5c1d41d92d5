// What each runtime does well, as options: a target fills in those that are not given.

/** Why each is chosen is told in docs/guide/targets.md. */
const targets = {
  onnxruntime: { placement: "runtime", storage: "packed", symmetricActivations: false },
  tensorrt: { placement: "inputs", storage: "int8", symmetricActivations: true, asymmetricWeights: false },
  web: { placement: "runtime", storage: "packed", symmetricActivations: false },
  avx2: { placement: "runtime", storage: "packed", symmetricActivations: false, weights: 7 },
} as const;

export type TargetName = keyof typeof targets;
export const targetNames = Object.keys(targets) as [TargetName, ...TargetName[]];

/** The options given, and those that their target, if they name a known one, chooses. */
export function withTarget(given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const target = targetNames.find((name) => name === given["target"]);
  return target === undefined ? given : { ...targets[target], ...given };
}

interface TargetOptions {
  readonly target?: TargetName | undefined;
  readonly weights: number;
  readonly activations: number | "float";
  readonly placement?: "inputs" | "runtime" | undefined;
  readonly symmetricActivations: boolean;
  readonly groupSize: number | "whole";
  readonly weightGrid: "uniform" | "power" | "codebook";
  readonly asymmetricWeights?: boolean | undefined;
  readonly firstLast?: number | undefined;
}

/** What no runtime, or the target's, can do: the option at fault and why. */
export function targetConflicts(options: TargetOptions): readonly { option: string; message: string }[] {
  const { target, weights, activations, placement, symmetricActivations, groupSize, asymmetricWeights, firstLast } =
    options;
  const conflicts: { option: string; message: string }[] = [];
  if (placement === "runtime" && activations === "float")
    conflicts.push({
      option: "activations",
      message: "is float; placement runtime is for integer kernels, which want activations of 8 bits or fewer",
    });
  conflicts.push(...tableConflicts(options));
  if (target === "tensorrt" && activations !== 8)
    conflicts.push({ option: "activations", message: `is ${activations}; TensorRT has activations of 8 bits alone` });
  if (target === "tensorrt" && !symmetricActivations)
    conflicts.push({ option: "symmetricActivations", message: "is false; TensorRT takes zero point 0 alone" });
  if (target === "tensorrt" && groupSize !== "whole")
    conflicts.push({ option: "groupSize", message: `is ${groupSize}; TensorRT has one scale per output channel` });
  if (target === "tensorrt" && asymmetricWeights)
    conflicts.push({ option: "asymmetricWeights", message: "is true; TensorRT takes zero point 0 alone" });
  if (target === "tensorrt" && firstLast !== undefined && firstLast !== 8)
    conflicts.push({ option: "firstLast", message: `is ${firstLast}; TensorRT has activations of 8 bits alone` });
  if (target === "avx2" && firstLast === 8)
    conflicts.push({
      option: "firstLast",
      message: "is 8; with 8 bits, sums of two products overflow 16 bits on AVX2: expected 7 or less",
    });
  if (target === "avx2" && weights > 7)
    conflicts.push({
      option: "weights",
      message: `is ${weights}; with 8 bits, sums of two products overflow 16 bits on AVX2: expected 7 or less`,
    });
  return conflicts;
}

/** Weights that files hold as indices of a table are floats to a runtime, with one table for a layer and one scale for a row. */
function tableConflicts({
  target,
  weightGrid,
  placement,
  groupSize,
  asymmetricWeights,
}: TargetOptions): readonly { option: string; message: string }[] {
  if (weightGrid === "uniform") return [];
  const refused = [
    [placement === "runtime", "placement runtime is for integer kernels, which know evenly spaced weights alone"],
    [target === "tensorrt", "TensorRT knows evenly spaced weights alone"],
    [groupSize !== "whole", `groupSize is ${groupSize}; a table has one scale per output channel`],
    [asymmetricWeights === true, "asymmetricWeights is true; a table has no zero points"],
  ] as const;
  return refused.flatMap(([isRefused, why]) =>
    isRefused ? [{ option: "weightGrid", message: `is ${weightGrid}; ${why}` }] : [],
  );
}
