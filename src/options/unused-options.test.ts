import { expect, test } from "vitest";
import { runOptions } from "./run-options.ts";
import { unusedNotes } from "./unused-options.ts";

const all = Object.keys(runOptions.parse({}));
const notes = (given: Record<string, unknown>, names = Object.keys(given)): readonly string[] =>
  unusedNotes(runOptions.parse(given), names, (name) => `-${name}`);

test("what only training or EfQAT has does nothing in PTQ", () => {
  const given = { method: "ptq", weights: 4, mode: "cwpl", updateRatio: 0.3, lr: 0.1, observer: "mse" };
  expect(notes(given)).toEqual(["-mode, -updateRatio, -lr: no effect with -method ptq."]);
});

test("what EfQAT chooses by does nothing in QAT, what quantizers have in float training", () => {
  expect(notes({ method: "qat", refreshEvery: 64, lr: 0.1, qparamLr: 0.1 })).toEqual([
    "-refreshEvery: no effect with -method qat.",
  ]);
  expect(notes({ method: "float", qparamLr: 0.1, weights: 4, lr: 0.1, storage: "int8" })).toEqual([
    "-qparamLr, -weights, -storage: no effect with -method float.",
  ]);
});

test("options of another optimizer or schedule, and epochs beside steps, do nothing", () => {
  expect(notes({ optimizer: "adam", momentum: 0.5, decay: 0.5, epochs: 2, steps: 3 })).toEqual([
    "-momentum: no effect with -optimizer adam.",
    "-decay: no effect with -schedule constant.",
    "-epochs: no effect with -steps 3.",
  ]);
  expect(notes({ momentum: 0.5, schedule: "step", decay: 0.5, milestones: [0.5], epochs: 2 })).toEqual([]);
});

test("EfQAT reads every option but those of another schedule", () => {
  expect(notes({ method: "efqat" }, all)).toEqual(["-milestones, -decay: no effect with -schedule constant."]);
});
