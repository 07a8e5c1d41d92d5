import { describe, expect, test } from "vitest";
import type { Goal } from "../options/goal.ts";
import { type Climber, climb, nextWidth, type Trial } from "./climb.ts";
import type { Rung } from "./rungs.ts";

const goal = (given: Partial<Goal> = {}): Goal => ({ fixed: [], ...given });

/** Each rung takes a second; `lossOf` says what it loses. */
function climberOf(
  lossOf: (rung: Rung) => number | "failed",
  depthwise: readonly string[] = [],
  timeOf: (rung: Rung) => number = () => 0.5,
  slow: readonly string[] = [],
): Climber<Trial> & { tried: string[] } {
  const tried: string[] = [];
  return {
    tried,
    tryRung: async (rung) => {
      tried.push(rung.name);
      const mean = lossOf(rung);
      if (mean === "failed") return { failed: "it cannot be had" };
      const bytes = 1000 * Number(rung.quantize["weights"] ?? 8);
      return { rung, drop: { what: "accuracy", mean, error: 0.1 }, bytes };
    },
    defaultDrop: 0.5,
    predict: () => 10,
    elapsed: () => tried.length,
    loss: "cross-entropy",
    depthwise,
    sensitiveLayers: async () => ["a", "b", "c", "d"],
    timeOf: async ({ rung }) => timeOf(rung),
    slowLayers: async () => slow,
  };
}

const bitsOf = ({ quantize }: Rung): number => Number(quantize["weights"] ?? 8);

describe("the ladder", () => {
  test("ends with the first rung that is good enough", async () => {
    const climber = climberOf(() => 0.1);
    const { chosen, isReached, records } = await climb(goal(), climber);
    expect(climber.tried).toEqual(["weights of 8 bits, min-max ranges"]);
    expect(isReached).toBe(true);
    expect(records).toEqual([
      {
        rung: chosen?.rung,
        predicted: 10,
        outcome: "tried",
        drop: chosen?.drop,
        bytes: 8000,
        latency: 0.5,
        seconds: 1,
      },
    ]);
  });

  test("counts the standard error against what it accepts", async () => {
    const climber = climberOf(({ name }) => (name.includes("squared") ? 0.35 : 0.65));
    expect((await climb(goal(), climber)).chosen?.rung.name).toMatch(/ranges of least squared error/);
    expect(climber.tried).toHaveLength(2);
  });

  test("keeps what lost least where nothing is good enough, and differences within the error decide nothing", async () => {
    const losses: Readonly<Record<string, number>> = { "min-max": 2, squared: 1, equalization: 0.95, efqat: 3 };
    const lossOf = ({ name }: Rung): number => {
      if (name.includes("in float")) return 1;
      return Object.entries(losses).find(([part]) => name.includes(part))?.[1] ?? 9;
    };
    const { chosen, isReached } = await climb(goal(), climberOf(lossOf));
    expect(chosen?.rung.name).toMatch(/ranges of least squared error/);
    expect(isReached).toBe(false);
  });

  test("leaves sensitive layers in float where methods do not suffice", async () => {
    const climber = climberOf(({ name }) => (name.includes("2 of the most") ? 0.1 : 2));
    const { chosen } = await climb(goal(), climber);
    expect(chosen?.rung.quantize["layers"]).toEqual({ a: "float", b: "float" });
    expect(climber.tried.at(-2)).toMatch(/1 of the most sensitive layers in float/);
  });

  test("narrows weights as far as the drop that was given allows", async () => {
    const lossAt: Readonly<Record<number, number>> = { 8: 0, 4: 0.2, 3: 0.7, 2: 5 };
    const { chosen, isReached } = await climb(
      goal({ maxDrop: 1 }),
      climberOf((rung) => lossAt[bitsOf(rung)]),
    );
    expect(chosen?.rung.quantize).toMatchObject({ weights: 3, firstLast: 8 });
    expect(isReached).toBe(true);
    const wide = await climb(
      goal({ maxDrop: 1 }),
      climberOf((rung) => (bitsOf(rung) < 6 ? 5 : 0.2)),
    );
    expect(wide.chosen?.rung.quantize["weights"]).toBe(6);
  });

  test("a width whose file is no smaller is given up at once", async () => {
    const climber = climberOf((rung) => (bitsOf(rung) < 4 ? 5 : 0.2));
    const least = 4000;
    const tryRung = async (rung: Rung): Promise<Trial | { readonly failed: string }> => {
      const trial = await climber.tryRung(rung);
      return "failed" in trial ? trial : { ...trial, bytes: Math.max(least, trial.bytes) };
    };
    const { chosen } = await climb(goal({ maxDrop: 1 }), { ...climber, tryRung });
    expect(chosen?.rung.quantize["weights"]).toBe(4);
    expect(climber.tried.filter((name) => name.startsWith("weights of 3 bits"))).toEqual([
      "weights of 3 bits, adaround",
    ]);
  });

  test("depthwise layers keep 8 bits where the others have few", async () => {
    const climber = climberOf((rung) => (bitsOf(rung) === 3 ? 5 : 0.2), ["dw"]);
    const { chosen } = await climb(goal({ maxDrop: 1 }), climber);
    expect(chosen?.rung.quantize).toEqual({ weights: 4, firstLast: 8, layers: { dw: 8 } });
    expect(climber.tried[1]).toBe("weights of 4 bits, gptq and bias correction");
  });

  test("what is given stays as it is", async () => {
    const climber = climberOf(() => 0.1);
    await climb(goal({ maxDrop: 1, fixed: ["weights"] }), climber);
    expect(climber.tried).toEqual(["min-max ranges"]);
  });

  test("within a budget it goes on until nothing is lost", async () => {
    const climber = climberOf(({ name }) => (name.includes("qdrop") ? 0.05 : 0.4));
    const { chosen } = await climb(goal({ maxBits: 3 }), climber);
    expect(chosen?.rung.name).toBe("widths by layer, qdrop");
    expect(chosen?.rung.methods).toEqual([{ "mixed-precision": { maxBits: 3 } }, "ptq", "qdrop"]);
    expect(climber.tried).toHaveLength(3);
  });

  test("nothing begins that the time does not suffice for, but the first", async () => {
    const { records } = await climb(
      goal({ budget: "5s" }),
      climberOf(() => 2),
    );
    expect(records.map(({ outcome }) => outcome).slice(0, 4)).toEqual(["tried", "tried", "left out", "left out"]);
  });

  test("what fails is passed by", async () => {
    const climber = climberOf(({ name }) => (name.includes("min-max") ? "failed" : 0.1));
    const { chosen, records } = await climb(goal(), climber);
    expect(records[0]).toMatchObject({ outcome: "failed", why: "it cannot be had" });
    expect(chosen?.rung.name).toMatch(/least squared error/);
  });
});

test("methods train by the loss that the labels want, and records say so", async () => {
  const { records } = await climb(goal(), { ...climberOf(() => 2), loss: "mse" });
  expect(records.map(({ rung }) => rung.methods).slice(2, 4)).toEqual([
    ["cross-layer-equalization", "ptq", "bias-correction"],
    ["ptq", { efqat: { trialSteps: 24, loss: "mse" } }],
  ]);
});

describe("a file slower than the float model", () => {
  const inFloat = ({ quantize }: Rung): boolean => quantize["activations"] === "float";

  test("gives way to one that computes in float, also where weights become narrower", async () => {
    const climber = climberOf(
      () => 0.1,
      [],
      (rung) => (inFloat(rung) ? 1.01 : 1.4),
    );
    const { chosen, records } = await climb(goal({ maxDrop: 1 }), climber);
    expect(climber.tried.slice(0, 3)).toEqual([
      "weights of 8 bits, min-max ranges",
      "weights of 8 bits, min-max ranges, computed in float",
      "weights of 4 bits, adaround, computed in float",
    ]);
    expect(chosen?.rung.quantize).toMatchObject({ weights: 2, activations: "float" });
    expect(records.slice(0, 2)).toMatchObject([{ latency: 1.4 }, { latency: 1.01 }]);
  });

  test("stays where computing in float is no faster, or loses too much", async () => {
    const same = climberOf(
      () => 0.1,
      [],
      () => 1.4,
    );
    expect(inFloat((await climb(goal(), same)).chosen?.rung as Rung)).toBe(false);
    const lossy = climberOf(
      (rung) => (inFloat(rung) ? 3 : 0.1),
      [],
      (rung) => (inFloat(rung) ? 1 : 1.4),
    );
    expect(inFloat((await climb(goal(), lossy)).chosen?.rung as Rung)).toBe(false);
  });

  test("stays where a file that computes in float is larger, as of recurrent layers", async () => {
    const climber = climberOf(
      () => 0.1,
      [],
      (rung) => (inFloat(rung) ? 1.01 : 1.4),
    );
    const tryRung = async (rung: Rung): Promise<Trial | { readonly failed: string }> => {
      const trial = await climber.tryRung(rung);
      return "failed" in trial ? trial : { ...trial, bytes: inFloat(rung) ? 3 * trial.bytes : trial.bytes };
    };
    const { chosen, records } = await climb(goal(), { ...climber, tryRung });
    expect(inFloat(chosen?.rung as Rung)).toBe(false);
    expect(records).toHaveLength(2);
  });

  test("has its slow layers computed in float, also where weights become narrower", async () => {
    const partly = (rung: Rung): boolean => JSON.stringify(rung.quantize["layers"] ?? {}).includes("float");
    const climber = climberOf(
      () => 0.1,
      ["b"],
      (rung) => (partly(rung) ? 0.7 : inFloat(rung) ? 1 : 0.9),
      ["a", "b"],
    );
    const { chosen, records } = await climb(goal({ maxDrop: 1 }), climber);
    expect(climber.tried.slice(0, 2)).toEqual([
      "weights of 8 bits, min-max ranges",
      "weights of 8 bits, min-max ranges, 2 layers computed in float",
    ]);
    expect(climber.tried.filter((name) => name.endsWith("ranges, computed in float"))).toEqual([]);
    expect(records.slice(0, 2)).toMatchObject([{ latency: 0.9 }, { latency: 0.7 }]);
    expect(chosen?.rung.quantize).toEqual({
      weights: 2,
      firstLast: 8,
      layers: { a: { activations: "float" }, b: { weights: 8, activations: "float" } },
    });
  });

  test("computes all layers in float where those that are slow do not suffice", async () => {
    const climber = climberOf(
      () => 0.1,
      [],
      (rung) => (inFloat(rung) ? 1 : rung.quantize["layers"] ? 1.2 : 1.4),
      ["a"],
    );
    const { chosen, records } = await climb(goal(), climber);
    expect(records.map((record) => record.outcome === "tried" && record.latency)).toEqual([1.4, 1.2, 1]);
    expect(chosen?.rung.quantize["activations"]).toBe("float");
  });

  test("stays where the user said how activations are computed", async () => {
    const climber = climberOf(
      () => 0.1,
      [],
      () => 1.4,
    );
    await climb(goal({ fixed: ["placement"] }), climber);
    expect(climber.tried).toEqual(["weights of 8 bits, min-max ranges"]);
  });
});

test("what exceeds the goal by less than chance is enough at 8 bits, and not for narrower weights", async () => {
  const climber = climberOf((rung) => (bitsOf(rung) === 8 ? 0.55 : 0.45));
  const { chosen, isReached } = await climb(goal({ maxDrop: 0.5 }), climber);
  expect([chosen?.rung.name, isReached]).toEqual(["weights of 8 bits, min-max ranges", true]);
});

test("narrower weights whose loss may be chance give way to what costs more at the same width", async () => {
  const climber = climberOf(({ name, ...rung }) => {
    if (bitsOf({ name, ...rung }) < 4) return 5;
    return name.includes("qdrop") ? 0.3 : 0.45;
  });
  const { chosen } = await climb(goal({ maxDrop: 0.5 }), climber);
  expect(chosen?.rung.name).toBe("weights of 4 bits, qdrop");
});

test("layers in float that are enough are kept, though chance may be all that they gained", async () => {
  const climber = climberOf(({ name }) => (name.includes("1 of the most") ? 0.58 : 0.65));
  const { chosen, isReached } = await climb(goal(), climber);
  expect(chosen?.rung.name).toMatch(/1 of the most sensitive layers in float/);
  expect(isReached).toBe(true);
});

test.each([
  [8, 1, 4],
  [4, 1, 3],
  [3, 1, 2],
  [2, 1, undefined],
  [8, 4, 6],
  [6, 4, 5],
  [8, 6, 7],
  [4, 3, undefined],
])("after %i bits that are enough and %i that are not comes %s", (enough, tooNarrow, expected) => {
  expect(nextWidth(enough, tooNarrow)).toBe(expected);
});
