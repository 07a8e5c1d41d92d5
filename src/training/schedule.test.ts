import { describe, expect, test } from "vitest";
import { expectClose } from "../../test/support/close.ts";
import { type ScheduleOptions, scheduleFactor } from "./schedule.ts";

const plain: ScheduleOptions = { schedule: "constant", warmup: 0, milestones: [0.5, 0.75], decay: 0.1 };
const factors = (options: Partial<ScheduleOptions>, total: number): readonly number[] =>
  Array.from({ length: total }, (_, step) => scheduleFactor({ ...plain, ...options }, step, total));

describe("schedules", () => {
  test("cosine falls from 1 along half a wave", () => {
    expectClose(factors({ schedule: "cosine" }, 4), [1, (1 + Math.SQRT1_2) / 2, 0.5, (1 - Math.SQRT1_2) / 2]);
  });

  test("step multiplies by the decay at each milestone", () => {
    expectClose(factors({ schedule: "step" }, 8), [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]);
    expectClose(factors({ schedule: "step", milestones: [0.1], decay: 0.5 }, 3), [1, 0.5, 0.5]);
  });

  test("one-cycle is PyTorch 1.13's OneCycleLR of 11 steps", () => {
    expectClose(
      factors({ schedule: "one-cycle" }, 11),
      [
        0.040000000000000036, 0.4223411137347358, 0.9602614247226174, 0.9797465678213015, 0.8844757247686303,
        0.7260870492975283, 0.5305827080875998, 0.3300580289872949, 0.15743251279950787, 0.041045543206290856, 4e-6,
      ],
    );
  });

  test("one-cycle of a step or two has no rise", () => {
    expect(factors({ schedule: "one-cycle" }, 1)).toEqual([1]);
    expect(factors({ schedule: "one-cycle" }, 2)[0]).toBe(1);
  });

  test("warm-up rises to the schedule, which has the steps that are left", () => {
    expectClose(factors({ warmup: 0.4 }, 5), [1 / 3, 2 / 3, 1, 1, 1]);
    expectClose(factors({ schedule: "cosine", warmup: 0.5 }, 4), [1 / 3, 2 / 3, 1, 0.5]);
  });
});
