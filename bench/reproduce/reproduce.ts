// npm run reproduce -- efqat-resnet20: runs the cells of the EfQAT paper's tables that are not yet in the raw file, writes each
// as soon as it is done, and the page. Needs FROSTBIT_DATA.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { engineChoice, engineTitle } from "../steps/variants.ts";
import { root } from "../support/machine.ts";
import { type Cell, cellsOf } from "./cells.ts";
import { markdownOf } from "./markdown.ts";
import { addCell, addTiming, readRaw } from "./records.ts";
import { type RunSettings, runCells } from "./run-cells.ts";
import { runTimings } from "./run-timings.ts";

const usage = `npm run reproduce -- efqat-resnet20 [options]
  --only REGEX       cells whose id matches, e.g. "w4a8/(qat|cwpn-5)/"; timings have the id "timings"
  --seeds 0,1,2      in this order
  --engine native    what computes; --precision float32|mixed, the engine's default where absent
  --threads 2
  --queue URL        cells are units that workers compute: frostbit worker --queue URL, in the same clone
  --out FOLDER       where units are, which the workers see too, or s3://BUCKET/PREFIX; build/reproduce/efqat-resnet20
  --most N           stop after so many cells
  --list             print the cells and whether they were run, run nothing
  --write            write the page from the raw file, run nothing
  --rounds 3, --steps 8   of the timings
  --limit N          samples of each split, for a try; needs --raw and --page
  --raw FILE         instead of bench/results/efqat-resnet20.json
  --page FILE        instead of docs/results/efqat-resnet20.md`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", default: "" },
    seeds: { type: "string", default: "0,1,2" },
    engine: { type: "string", default: "native" },
    precision: { type: "string" },
    threads: { type: "string", default: "2" },
    queue: { type: "string" },
    out: { type: "string", default: join(root, "build", "reproduce", "efqat-resnet20") },
    most: { type: "string", default: "Infinity" },
    list: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
    rounds: { type: "string", default: "3" },
    steps: { type: "string", default: "8" },
    limit: { type: "string" },
    raw: { type: "string" },
    page: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

if (values.help) {
  console.log(usage);
  process.exit(0);
}
if (positionals.join() !== "efqat-resnet20") fail(usage);
if (values.limit !== undefined && (values.raw === undefined || values.page === undefined))
  fail("--limit makes figures that are not the table's: give --raw and --page other files.");

const rawPath = resolve(values.raw ?? join(root, "bench", "results", "efqat-resnet20.json"));
const pagePath = resolve(values.page ?? join(root, "docs", "results", "efqat-resnet20.md"));
const choice = engineChoice(values.precision === undefined ? values.engine : `${values.engine}:${values.precision}`);
const setting = engineTitle(choice);
const settings: RunSettings = {
  choice,
  threads: Number(values.threads),
  out: values.out,
  ...(values.queue === undefined ? {} : { queue: values.queue }),
  ...(values.limit === undefined ? {} : { limit: Number(values.limit) }),
};
const only = new RegExp(values.only);
const timingsId = "timings";

const isDone = ({ id }: Cell): boolean =>
  readRaw(rawPath).cells.some((record) => record.id === id && record.setting === setting);
const areTimingsDone = (): boolean => readRaw(rawPath).timings.some((record) => record.setting === setting);

function writePage(): void {
  mkdirSync(dirname(pagePath), { recursive: true });
  writeFileSync(pagePath, markdownOf(readRaw(rawPath)));
}

async function runMissing(cells: readonly Cell[]): Promise<void> {
  const left = cells.filter((cell) => !isDone(cell)).slice(0, Number(values.most));
  console.log(`${setting}: ${cells.length} cells chosen, ${left.length} to run`);
  let done = 0;
  const failures = await runCells(left, settings, (record) => {
    addCell(rawPath, record);
    writePage();
    done++;
    const accuracy = record.top1.deployed?.toFixed(2) ?? "–";
    console.log(
      `[${done}/${left.length}] ${record.id.padEnd(34)} ${accuracy} %  ${record.seconds["total"].toFixed(0)} s, training ${record.seconds["training"].toFixed(0)} s`,
    );
  });
  if (failures > 0) process.exitCode = 1;
}

const cells = cellsOf(values.seeds.split(",").map(Number)).filter(({ id }) => only.test(id));
if (values.list) {
  for (const cell of cells) console.log(`${isDone(cell) ? "done" : "    "}  ${cell.id}`);
  if (only.test(timingsId)) console.log(`${areTimingsDone() ? "done" : "    "}  ${timingsId}`);
} else if (!values.write) {
  await runMissing(cells);
  if (only.test(timingsId) && !areTimingsDone() && values.most === "Infinity") {
    console.log("timing the backward passes");
    addTiming(rawPath, runTimings(choice, settings.threads, Number(values.rounds), Number(values.steps)));
  }
  writePage();
} else writePage();
