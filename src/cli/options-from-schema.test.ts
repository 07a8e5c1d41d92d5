import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { flagOf } from "../options/flag-of.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";

const schema = z.object({
  updateRatio: z.number().min(0).max(1).default(0.05).describe("Share that trains."),
  mode: z.enum(["cwpl", "cwpn"]).default("cwpn").describe("What competes."),
  steps: z.int().positive().optional().describe("Steps."),
  lr: z.number().positive().default(1e-3).describe("Learning rate."),
  augment: z
    .array(z.enum(["crop", "flip"]))
    .default([])
    .describe("Changes."),
  mean: z.array(z.number()).optional(),
  layers: z
    .record(z.string(), z.union([z.int().min(2).max(8), z.literal("float"), z.object({ weights: z.int().optional() })]))
    .default({}),
  resume: z.boolean().default(false),
  groupSize: z.literal([16, 32, "whole"]).default("whole"),
});

const parse = (...args: string[]): z.infer<typeof schema> => {
  const command = addSchemaOptions(new Command().exitOverride().configureOutput({ writeErr: () => {} }), schema);
  command.parse(args, { from: "user" });
  return parseSchemaOptions(schema, command.opts());
};

describe("options from a schema", () => {
  test("defaults are the schema's", () => {
    expect(parse()).toEqual({
      updateRatio: 0.05,
      mode: "cwpn",
      lr: 1e-3,
      augment: [],
      layers: {},
      resume: false,
      groupSize: "whole",
    });
  });

  test("numbers, choices, lists, records and flags are parsed", () => {
    const args = [
      "--update-ratio",
      "1/4",
      "--mode",
      "cwpl",
      "--steps",
      "7",
      "--augment",
      "crop,flip",
      "--mean",
      "0.1,.2",
    ];
    expect(parse(...args, "--layers", "conv*=8,a=b=float", "--resume")).toEqual({
      updateRatio: 0.25,
      mode: "cwpl",
      steps: 7,
      lr: 1e-3,
      augment: ["crop", "flip"],
      mean: [0.1, 0.2],
      layers: { "conv*": 8, "a=b": "float" },
      resume: true,
      groupSize: "whole",
    });
    expect([parse("--group-size", "32"), parse("--group-size", "whole")].map(({ groupSize }) => groupSize)).toEqual([
      32,
      "whole",
    ]);
    expect(parse("--layers", '{"conv1":"float"}').layers).toEqual({ conv1: "float" });
  });

  test.each([
    [["--group-size", "24"], '--group-size is 24; expected 16, 32 or "whole".'],
    [["--update-ratio", "3"], "--update-ratio is 3; expected a number from 0 to 1."],
    [["--update-ratio", "much"], "--update-ratio is much; expected a number from 0 to 1."],
    [["--steps", "1.5"], "--steps is 1.5; expected a whole number above 0."],
    [["--lr", "0"], "--lr is 0; expected a number above 0."],
    [["--layers", "conv"], '--layers: "conv" has no "="; expected name=value,…'],
    [
      ["--layers", "conv=12"],
      '--layers is conv=12; expected name=value,… with each value a whole number from 2 to 8, "float" or JSON with "weights".',
    ],
    [["--augment", "crop,turn"], '--augment is crop,turn; expected values separated by commas, each "crop" or "flip".'],
    [["--mean", "0.1,x"], "--mean is 0.1,x; expected values separated by commas, each a number."],
    [["--mode", "all"], '--mode is all; expected "cwpl" or "cwpn".'],
    [["--mode", "cwpm"], '--mode is cwpm; did you mean "cwpl"? Expected "cwpl" or "cwpn".'],
    [
      ["--augment", "crop,flp"],
      '--augment is crop,flp; did you mean "flip"? Expected values separated by commas, each',
    ],
    [["--update-ration", "1"], "(Did you mean --update-ratio?)"],
  ])("%j is refused with what was expected", (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });

  test("what is missing is named with what it takes", () => {
    const required = z.object({ data: z.string().describe('"npy:FILES" or "cifar10:DIR".') });
    expect(() => parseSchemaOptions(required, {})).toThrow(
      /^--data is missing; it takes "npy:FILES" or "cifar10:DIR"\.$/,
    );
  });

  test("the help has descriptions, choices and defaults", () => {
    const help = addSchemaOptions(new Command(), schema).configureHelp({ helpWidth: 200 }).helpInformation();
    expect(help).toMatch(/--update-ratio <number>\s+Share that trains\. \(default: 0\.05\)/);
    expect(help).toContain('What competes. (default: cwpn) (choices: "cwpl", "cwpn")');
  });

  test("flags are in kebab-case", () => {
    expect(flagOf("calibrationSamples")).toBe("--calibration-samples");
  });
});
