// `frostbit inspect` on models of many of one thing: processor time and peak memory, at a size and at twice that.
// Writes bench/results/<date>-<machine>-reading.json.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { largeModel } from "../../test/support/large-models.ts";
import { loadNow, root, writeResults } from "../support/machine.ts";

const sizes: Readonly<Record<string, number>> = {
  "outputs of a Split": 10_000,
  "inputs of a fixed batch": 50_000,
  layers: 75_000,
  products: 25_000,
  "initializers that nobody reads": 150_000,
  "layers of an older opset": 20_000,
  "symbolic sizes": 10_000,
  "layers behind a name of 1 MB": 500,
};

/** Prints what the process took when it ends; loaded before the command. */
const usage = `process.on("exit", () => { const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
  process.stderr.write("\\n" + JSON.stringify({ seconds: (userCPUTime + systemCPUTime) / 1e6, megabytes: maxRSS / 1000 })); });`;

interface Figures {
  readonly seconds: number;
  readonly megabytes: number;
}

function inspect(folder: string, kind: string, count: number): Figures {
  const path = join(folder, "model.onnx");
  writeFileSync(path, largeModel(kind, count));
  const args = ["--import", `data:text/javascript,${encodeURIComponent(usage)}`, join(root, "dist", "cli", "main.js")];
  const { stderr, status } = spawnSync(process.execPath, [...args, "inspect", path], {
    encoding: "utf8",
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`${kind}, ${count}: ${stderr}`);
  return JSON.parse(stderr.trimEnd().split("\n").at(-1) ?? "") as Figures;
}

const load = loadNow();
const folder = mkdtempSync(join(tmpdir(), "frostbit-reading-"));
const results = Object.entries(sizes).map(([kind, count]) => {
  const [once, twice] = [inspect(folder, kind, count), inspect(folder, kind, 2 * count)];
  const line = [once, twice].map(({ seconds, megabytes }) => `${seconds.toFixed(1)} s, ${megabytes.toFixed(0)} MB`);
  console.log(
    `${kind}: ${count} ${line[0]}; ${2 * count} ${line[1]}; ${(twice.seconds / once.seconds).toFixed(2)} times`,
  );
  return { kind, count, once, twice, ratio: twice.seconds / once.seconds };
});
rmSync(folder, { recursive: true });
writeResults("reading", load, { results });
