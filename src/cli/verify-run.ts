// frostbit verify-run: whether the files of a run are still those that its report states.
import type { Command } from "commander";
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import { dataKinds, openData } from "../node/open-data.ts";
import { type RunCheck, type RunVerification, verifyRun } from "../node/verify-run.ts";
import { createCommand } from "./command.ts";
import { addSchemaOptions, parseSchemaOptions } from "./options-from-schema.ts";
import { formatTable } from "./table.ts";

export const verifyRunOptions = z.object({
  model: z.string().optional().describe("Where the model that was quantized is now; by default, where it was."),
  data: z.string().optional().describe(`The run's data, to be compared too: ${dataKinds}.`),
  testData: z.string().optional().describe("The run's test data, where it was given."),
});

export function verifyRunCommand(): Command {
  const command = createCommand(
    "verify-run",
    "Compare the files of a run with the digests in its report.",
    async ([out], values, { print }) => {
      const { model, data, testData } = parseSchemaOptions(verifyRunOptions, values);
      if (data === undefined && testData !== undefined)
        throw new FrostbitError("BAD_OPTION", "--test-data goes with --data. Give both.");
      const verification = await verifyRun(out, {
        ...(model === undefined ? {} : { modelPath: model }),
        ...(data === undefined
          ? {}
          : {
              openSource: (seed: number) => openData(data, { seed, ...(testData === undefined ? {} : { testData }) }),
            }),
      });
      print(verification, describe(verification));
      if (!verification.ok) process.exitCode = 1;
    },
  ).argument("<out>", "Folder that `quantize` wrote.");
  return addSchemaOptions(command, verifyRunOptions);
}

const shownDigits = 12;
const short = (digest: string | null): string => digest?.slice(0, shownDigits) ?? "";

const row = ({ what, status, stated, found }: RunCheck): readonly string[] => [
  what,
  status,
  short(stated),
  status === "differs" ? short(found) : "",
];

/** How many files beside the run's are named. */
const shownFiles = 10;

function describeUnstated(names: readonly string[]): readonly string[] {
  if (names.length === 0) return [];
  const more = names.length > shownFiles ? ` and ${names.length - shownFiles} more` : "";
  const list = names.slice(0, shownFiles).map((name) => `"${name}"`);
  return [
    `Beside what the report states: ${list.join(", ")}${more}. The run did not write ${names.length === 1 ? "it" : "them"}.`,
  ];
}

function describe({ ok, checks, unstated, versions }: RunVerification): readonly string[] {
  const count = (...statuses: readonly RunCheck["status"][]): number =>
    checks.filter(({ status }) => statuses.includes(status)).length;
  const idle = count("not checked");
  return [
    ...formatTable(["what", "status", "SHA-256 stated", "found"], checks.map(row)),
    "",
    ...versions.map(({ name, run, now }) => `${name} was ${run} in the run and is ${now} here.`),
    ...describeUnstated(unstated),
    ok
      ? `All ${count("same")} that were checked are as the report states${idle > 0 ? `; ${idle} were not checked` : ""}.`
      : `${count("differs", "missing")} of ${checks.length} are not as the report states.`,
  ];
}
