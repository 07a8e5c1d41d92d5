// Properties over random cases, whose results must be the reference's to the last bit.
import { type Tensor, toNumbers } from "../../src/ir/tensor.ts";

/** More cases with FROSTBIT_FUZZ_ROUNDS, others with FROSTBIT_FUZZ_SEED. */
export const randomRuns = (usual: number): { readonly numRuns: number; readonly seed: number } => ({
  numRuns: Number(process.env["FROSTBIT_FUZZ_ROUNDS"] ?? usual),
  seed: Number(process.env["FROSTBIT_FUZZ_SEED"] ?? 7),
});

/** With 0 in the place of −0, which equals it. */
export const plainNumbers = (value: Tensor | undefined): number[] => toNumbers(value as Tensor).map((each) => each + 0);
