// Slice before 10: ranges as attributes, steps of 1 only.
import { type Downgrade, NeedsOpset, withAttributes } from "./downgrade.ts";

export const rangesToAttributes: Downgrade = {
  before: 10,
  downgrade: ({ node, numbersOf }) => {
    const steps = numbersOf(4, 10) ?? [];
    if (steps.some((step) => step !== 1)) throw new NeedsOpset(10, `its steps are [${steps.join(", ")}]`);
    const ranges = { starts: bounded(numbersOf(1, 10)), ends: bounded(numbersOf(2, 10)), axes: numbersOf(3, 10) };
    return [withAttributes({ ...node, inputs: [node.inputs[0]] }, ranges)];
  },
};

/** The largest 64-bit integers, which mean "to the end", are not exact numbers. */
const bounded = (values: readonly number[] | undefined): readonly number[] | undefined =>
  values?.map((value) => Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER));
