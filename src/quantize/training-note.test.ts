import { describe, expect, test } from "vitest";
import { trainingNote } from "./training-note.ts";

describe("a note on training that made the model worse", () => {
  test("says how many points were lost and what to try", () => {
    expect(trainingNote(96.5, 50, 200)).toBe(
      "Training lost 46.50 points of what rounding alone reaches. Try a smaller --lr and --qparam-lr, or --warmup; --method ptq does not train.",
    );
  });

  test("there is none where accuracy rose, fell by what few samples vary by, or was not measured", () => {
    expect(trainingNote(86.78, 91.6, 5000)).toBeUndefined();
    expect(trainingNote(90, 84, 200)).toBeUndefined();
    expect(trainingNote(90, 84, 10000)).toBeDefined();
    expect(trainingNote(null, 84, 10000)).toBeUndefined();
    expect(trainingNote(90, null, 10000)).toBeUndefined();
  });
});
