// What methods that train one after the other ask of each other.
import { FrostbitError } from "../ir/errors.ts";
import type { RunOptions } from "./run-options.ts";

type Stage = Pick<RunOptions, "method" | "qparamTraining">;

const isTqt = ({ qparamTraining }: Stage): boolean => qparamTraining === "tqt";

/**
 * Training by "tqt" starts from scales that are powers of two: calibration gives them to a first method that wants them, and no
 * other way of training keeps them so. Throws BAD_OPTION, before anything has trained.
 */
export function checkOrder(stages: readonly Stage[]): void {
  const index = stages.findIndex((stage, i) => i > 0 && isTqt(stage) && !isTqt(stages[i - 1]));
  if (index < 0) return;
  const { method, qparamTraining } = stages[index - 1];
  throw new FrostbitError(
    "BAD_OPTION",
    `qparamTraining of method ${index + 1}, ${stages[index].method}, is tqt, which trains scales that are powers of two; ${method} before it, by ${qparamTraining}, leaves them otherwise. Train by tqt in every method before it, or in this one by another way.`,
  );
}
