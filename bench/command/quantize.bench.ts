// The whole `quantize` command, ResNet-20, one epoch of CIFAR-10 with augmentation, against the sum of its steps: at most 1.3 times
// that plus 15 s. A step's time is the median of a bench worker's steps in processes right before and after the command's.
// Needs FROSTBIT_DATA. Writes bench/results/<date>-<machine>-command.json.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Report } from "../../src/report/report.ts";
import { medianOf } from "../steps/in-turn.ts";
import type { Measured } from "../steps/request.ts";
import { engineChoice, engineTitle, type Work } from "../steps/variants.ts";
import { runOurs } from "../steps/workers.ts";
import { dataFolder, loadNow, root, writeResults } from "../support/machine.ts";
import type { Variant } from "../support/model-step.ts";

const { values } = parseArgs({
  options: {
    engine: { type: "string", default: "native" },
    method: { type: "string", default: "qat" },
    mode: { type: "string", default: "cwpn" },
    "update-ratio": { type: "string", default: "0.05" },
    limit: { type: "string" },
    threads: { type: "string", default: "2" },
  },
});
const choice = engineChoice(values.engine);
const threads = Number(values.threads);
const work: Work = { model: "resnet20", batch: 128, threads, steps: 12, weights: 4, activations: 8 };
const variant: Variant =
  values.method === "qat"
    ? { mode: "qat", updateRatio: 1 }
    : { mode: values.mode as Variant["mode"], updateRatio: Number(values["update-ratio"]) };

function timeSteps(): Measured {
  const measured = runOurs({ ...work, ...choice, ...variant });
  if (!measured) throw new Error("The step could not be timed.");
  return measured;
}

function runCommand(out: string): { seconds: number; report: Report } {
  const data = dataFolder();
  const options = [
    ...["--data", `cifar10:${join(data, "cifar10")}`, "--preprocess", "imagenet", "--augment", "crop,flip"],
    ...["--method", values.method, "--weights", "4", "--activations", "8", "--epochs", "1", "--batch", "128"],
    ...(values.method === "efqat" ? ["--mode", values.mode, "--update-ratio", values["update-ratio"]] : []),
    ...["--threads", values.threads, "--engine", choice.engine, "--out", out],
    ...(choice.precision === undefined ? [] : ["--precision", choice.precision]),
    ...(values.limit === undefined ? [] : ["--limit", values.limit]),
  ];
  const command = [join(root, "dist", "cli", "main.js"), "quantize"];
  const start = performance.now();
  const model = join(data, "resnet_cifar10", "resnet20.onnx");
  const { status } = spawnSync(process.execPath, [...command, model, ...options], { stdio: "inherit" });
  const seconds = (performance.now() - start) / 1000;
  if (status !== 0) throw new Error("The command failed.");
  return { seconds, report: JSON.parse(readFileSync(join(out, "report.json"), "utf8")) as Report };
}

const loadBefore = loadNow();
const out = mkdtempSync(join(tmpdir(), "frostbit-bench-"));
try {
  const before = timeSteps();
  const { seconds, report } = runCommand(out);
  const after = timeSteps();
  const stepMs = medianOf([before, after]);
  const stepsSeconds = (report.training.steps * stepMs) / 1000;
  const allowed = 1.3 * stepsSeconds + 15;
  const { calibration, training, evaluation } = report.seconds;
  console.log(
    `quantize, ResNet-20, ${engineTitle(choice)}, ${values.method}, ${report.training.steps} steps of ${stepMs.toFixed(1)} ms`,
  );
  console.log(
    `command ${seconds.toFixed(1)} s: calibration ${calibration.toFixed(1)}, training ${training.toFixed(1)}, evaluation ${evaluation.toFixed(1)}`,
  );
  console.log(
    `steps alone ${stepsSeconds.toFixed(1)} s; 1.3 × steps + 15 s = ${allowed.toFixed(1)} s: ${seconds <= allowed ? "within" : "above"}`,
  );
  const figures = { seconds, stepMs, stepsSeconds, allowedSeconds: allowed, reported: report.seconds };
  writeResults("command", loadBefore, { ...work, ...choice, ...variant, ...figures, raw: { before, after } });
} finally {
  rmSync(out, { recursive: true, force: true });
}
