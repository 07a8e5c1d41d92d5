// Accuracy of every method on ResNet-20 and CIFAR-10, all 10,000 test images, as the README's table gives it.
// Arguments: folder for the runs (a run whose report is there is not repeated), seeds of PTQ, seeds of training.
// Needs FROSTBIT_DATA. Prints the table, and writes bench/results/<date>-<machine>-accuracy.json.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Report } from "../../src/report/report.ts";
import { machineName, root } from "../support/machine.ts";

const [folder = "build/resnet20", ptqSeeds = "3", trainingSeeds = "1"] = process.argv.slice(2);
const data = process.env["FROSTBIT_DATA"];
if (!data) throw new Error("Set FROSTBIT_DATA to the folder with resnet_cifar10/resnet20.onnx and cifar10.");

const common = ["--data", `cifar10:${join(data, "cifar10")}`, "--preprocess", "imagenet", "--threads", "2"];
const training = ["--epochs", "1", "--augment", "crop,flip", "--refresh-every", "16384"];
const methods: Readonly<Record<string, readonly string[]>> = {
  ptq: ["--method", "ptq"],
  qat: ["--method", "qat", ...training],
  efqat0: ["--method", "efqat", "--update-ratio", "0", ...training],
  cwpn5: ["--method", "efqat", "--mode", "cwpn", "--update-ratio", "0.05", ...training],
  lwpn25: ["--method", "efqat", "--mode", "lwpn", "--update-ratio", "0.25", ...training],
};
const titles: Readonly<Record<string, string>> = {
  ptq: "PTQ",
  qat: "QAT, 1 epoch",
  efqat0: "EfQAT 0 %",
  cwpn5: "EfQAT CWPN 5 %",
  lwpn25: "EfQAT LWPN 25 %",
};
const widths = ["8 8", "4 8", "4 4"].map((text) => text.split(" "));

interface Run {
  readonly method: string;
  readonly weights: string;
  readonly activations: string;
  readonly seed: number;
}

const nameOf = ({ method, weights, activations, seed }: Run): string => `${method}-w${weights}a${activations}-${seed}`;

function reportOf(run: Run): Report {
  const out = join(folder, nameOf(run));
  const path = join(out, "report.json");
  if (!existsSync(path)) {
    const bits = ["--weights", run.weights, "--activations", run.activations, "--seed", String(run.seed)];
    const model = join(data ?? "", "resnet_cifar10", "resnet20.onnx");
    const command = [
      join(root, "dist", "cli", "main.js"),
      "quantize",
      model,
      ...common,
      ...bits,
      ...methods[run.method],
      "--out",
      out,
    ];
    const { status } = spawnSync(process.execPath, command, { stdio: "inherit" });
    if (status !== 0) throw new Error(`${nameOf(run)} failed`);
  }
  return JSON.parse(readFileSync(path, "utf8")) as Report;
}

const runs = Object.keys(methods).flatMap((method) =>
  widths
    .filter(([weights]) => method === "ptq" || weights === "4")
    .flatMap(([weights, activations]) =>
      Array.from({ length: Number(method === "ptq" ? ptqSeeds : trainingSeeds) }, (_, seed) => ({
        method,
        weights,
        activations,
        seed,
      })),
    ),
);
const reports = new Map(runs.map((run) => [run, reportOf(run)]));

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: readonly number[]): number =>
  Math.sqrt(
    mean(values.map((value) => (value - mean(values)) ** 2)) * (values.length / Math.max(1, values.length - 1)),
  );

function cell(method: string, [weights, activations]: readonly string[]): string {
  const found = runs.filter(
    (run) => run.method === method && run.weights === weights && run.activations === activations,
  );
  const values = found.map((run) => reports.get(run)?.top1.deployed ?? Number.NaN);
  if (values.length === 0) return "";
  return values.length === 1 ? values[0].toFixed(2) : `${mean(values).toFixed(2)} ± ${deviation(values).toFixed(2)}`;
}

console.log(
  `| deployed, top-1 | ${widths.map(([w, a]) => `W${w}A${a}`).join(" | ")} |\n|---|${widths.map(() => "---|").join("")}`,
);
for (const method of Object.keys(methods))
  console.log(`| ${titles[method]} | ${widths.map((width) => cell(method, width)).join(" | ")} |`);

const raw = runs.map((run) => {
  const report = reports.get(run);
  return {
    name: nameOf(run),
    top1: report?.top1,
    verification: report?.verification,
    seconds: report?.seconds,
    peakMemoryMb: report?.peakMemoryMb,
    sizeBytes: report?.sizeBytes,
    blocks: report?.training.blocks,
    weights: report?.training.weights,
    versions: report?.versions,
  };
});
const file = join(root, "bench", "results", `${new Date().toISOString().slice(0, 10)}-${machineName()}-accuracy.json`);
mkdirSync(join(root, "bench", "results"), { recursive: true });
writeFileSync(file, `${JSON.stringify({ training, runs: raw }, null, 1)}\n`);
