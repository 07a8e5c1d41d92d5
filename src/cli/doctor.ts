// frostbit doctor: what is there, what is missing, and how to get it.
import type { Command } from "commander";
import { examineMachine, type Machine } from "../node/examine-machine.ts";
import { createCommand } from "./command.ts";

export const doctorCommand = (): Command =>
  createCommand(
    "doctor",
    "Show engines, instruction sets and versions, and what is missing.",
    async (_args, _values, { print }) => {
      const machine = await examineMachine();
      print(machine, describe(machine));
    },
  );

function describe({
  platform,
  processor,
  threads,
  memoryMb,
  instructionSets,
  versions,
  engines,
  kernels,
  problems,
}: Machine): readonly string[] {
  const line = (label: string, text: string): string => `${label.padEnd(18)}  ${text}`;
  return [
    line("platform", platform),
    line("processor", `${processor}, ${threads} threads, ${memoryMb} MB`),
    line(
      "instruction sets",
      instructionSets === null ? "unknown on this platform" : instructionSets.join(" ") || "none that matter",
    ),
    ...Object.entries(versions).map(([name, version]) => line(name, version)),
    ...engines.map(({ name, available, detail }) => line(`engine ${name}`, `${available ? "yes" : "no"}, ${detail}`)),
    ...(kernels ? [line("measured kernels", describeMeasured(kernels))] : []),
    ...(kernels?.faulty ?? []).map((kernel) => line("faulty kernel", `${kernel} differs from plain loops; not used`)),
    ...(problems.length === 0
      ? [withoutProblems(engines)]
      : ["", "Missing:", ...problems.map((problem) => `  ${problem}`)]),
  ];
}

function describeMeasured({ path, here, elsewhere, problem }: NonNullable<Machine["kernels"]>): string {
  if (problem !== null) return `none: "${path}" is not used, ${problem}`;
  const others = elsewhere === 0 ? "" : `, ${elsewhere} of other processors or versions`;
  return `${here} of this processor${others}, in "${path}"`;
}

function withoutProblems(engines: Machine["engines"]): string {
  const absent = engines.filter(({ available }) => !available).map(({ name }) => name);
  if (absent.length === 0) return "Nothing is missing.";
  return `Nothing that is needed is missing. The ${absent.join(", ")} engine is optional.`;
}
