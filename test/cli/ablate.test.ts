// frostbit ablate: runs that differ by the options named, stopped, resumed, added to; one that fails ends no other.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ablationFromRecipe } from "../../src/ablate/plan.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { createReferenceEngine } from "../../src/engines/reference/reference-engine.ts";
import type { SampleOutputs } from "../../src/evaluate/own-metric.ts";
import { numbersOf } from "../../src/ir/tensor.ts";
import { type AblateFileJob, ablateFile } from "../../src/node/ablate-file.ts";
import { openData } from "../../src/node/open-data.ts";
import { readModel } from "../../src/node/read-model.ts";
import { verifyRun } from "../../src/node/verify-run.ts";
import { type Ablation, type AblationCell, ablationSchema } from "../../src/report/ablation.ts";
import { reportSchema } from "../../src/report/report.ts";
import { writeDrawnModel } from "../support/drawn-language-model.ts";
import { createRandom } from "../support/random.ts";
import { cliPath, runCli } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet } from "../support/tiny-models.ts";

let folder = "";
const recipe = { quantize: { weights: 4, calibrationSamples: 16 }, methods: ["ptq"], limit: 32 };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-ablate-"));
  await mkdir(join(folder, "cifar"));
  await writeFile(join(folder, "cifar/train_1.bin"), tinyCifar10(64, 1));
  await writeFile(join(folder, "cifar/test_batch.bin"), tinyCifar10(64, 2));
  await writeFile(join(folder, "conv.onnx"), tinyConvNet({ size: 32 }));
});
afterAll(() => rm(folder, { recursive: true }));

/** In this process; `phases`: of each run, what it did. */
async function ablated(
  axes: object,
  change: Partial<AblateFileJob> = {},
): Promise<{ ablation: Ablation; phases: string[]; ran: string[] }> {
  const phases: string[] = [];
  const ran: string[] = [];
  const modelPath = join(folder, "conv.onnx");
  const ablation = await ablateFile({
    plan: ablationFromRecipe({ ...recipe, ablate: { axes } }, "recipe.yaml"),
    title: "conv",
    modelPath,
    model: readModel(modelPath),
    openSource: (seed) => openData(`cifar10:${join(folder, "cifar")}`, { seed }),
    preprocess: resolvePreprocess("imagenet"),
    engineFor: createReferenceEngine,
    out: join(folder, "out"),
    threads: 1,
    resume: false,
    overwrite: false,
    onProgress: (cell, { phase }) => {
      if (phases.at(-1) !== `${cell} ${phase}`) phases.push(`${cell} ${phase}`);
    },
    onCell: (_, { setting, seed }) => ran.push(`${setting.name} ${seed}`),
    ...change,
  });
  return { ablation, phases, ran };
}

const cellsOf = ({ settings }: Ablation): readonly AblationCell[] => settings.flatMap(({ cells }) => cells);
const jsonOf = async (path: string): Promise<unknown> => JSON.parse(await readFile(join(folder, path), "utf8"));

test("each cell is a run of its own; the float model is measured once; what is done is not done again", async () => {
  const axes = { "quantize.weights": [2], "quantize.layers": [{ nosuch: 8 }] };
  const { ablation, phases, ran } = await ablated(axes);
  expect(ran).toEqual(["base 0", "quantize.weights=2 0", 'quantize.layers={"nosuch":8} 0']);
  expect(phases.filter((phase) => phase.endsWith("evaluate float"))).toEqual(["0 evaluate float"]);
  expect(await jsonOf("out/ablation.json")).toEqual(JSON.parse(JSON.stringify(ablationSchema.parse(ablation))));
  const [base, narrow, wrong] = cellsOf(ablation);
  expect(wrong).toMatchObject({ status: "failed", value: null, error: { code: "BAD_OPTION" } });
  expect(wrong.error?.message).toContain("nosuch");
  for (const { folder: cell, value, sizeBytes } of [base, narrow]) {
    const report = reportSchema.parse(await jsonOf(join("out", cell, "report.json")));
    expect([report.top1.deployed, report.sizeBytes.quantized]).toEqual([value, sizeBytes]);
    expect(report.top1.float).toBe(ablation.measure?.float);
    expect((await verifyRun(join(folder, "out", cell))).ok).toBe(true);
  }
  expect(reportSchema.parse(await jsonOf(join("out", narrow.folder, "report.json"))).options["weights"]).toBe(2);

  const more = await ablated({ ...axes, seed: [0, 1] });
  // What failed is tried again.
  expect(more.ran).toEqual([
    "base 1",
    "quantize.weights=2 1",
    ...[0, 1].map((s) => `quantize.layers={"nosuch":8} ${s}`),
  ]);
  expect(cellsOf(more.ablation).filter(({ status }) => status === "done")).toHaveLength(4);
  expect(more.ablation.settings[1].difference).toMatchObject({ seeds: 2 });
  expect(await readFile(join(folder, "out/ablation.html"), "utf8")).toContain("4 of 6 runs are done, 2 failed");
}, 60_000);

test("cells of other data are other cells: neither takes the place of the other", async () => {
  const out = join(folder, "other");
  const first = await ablated({ seed: [7] }, { out });
  const openSource = (seed: number) => openData(`cifar10:${join(folder, "changed")}`, { seed });
  await mkdir(join(folder, "changed"));
  await writeFile(join(folder, "changed/train_1.bin"), tinyCifar10(64, 9));
  await writeFile(join(folder, "changed/test_batch.bin"), tinyCifar10(64, 2));
  const again = { out, openSource };
  const other = await ablated({ seed: [7] }, again);
  expect(other.ran).toEqual(["base 7"]);
  expect(cellsOf(other.ablation)[0].folder).not.toBe(cellsOf(first.ablation)[0].folder);
  expect((await ablated({ seed: [7] }, again)).ran).toEqual([]);
  expect((await ablated({ seed: [7] }, { out })).ran).toEqual([]);
  expect((await ablated({ seed: [7] }, { ...again, overwrite: true })).ran).toEqual(["base 7"]);
  await expect(ablated({ seed: [7] }, { ...again, overwrite: true, resume: true })).rejects.toThrow("Give only one");
  await expect(ablated({ seed: [7] }, { out: "s3://bucket/ablation" })).rejects.toThrow(
    "is an address; expected a folder",
  );
}, 60_000);

const yaml = `
quantize: { weights: 4, calibrationSamples: 16 }
methods: [{ qdrop: { iterations: 30, roundingSamples: 32, batch: 8 } }]
limit: 32
ablate:
  axes:
    qdrop.drop: [0]
    quantize.layers: [{ nosuch: 8 }]
`;

test("Ctrl-C ends it within a second, and --resume goes on; a failed run gives exit code 1", async () => {
  await writeFile(join(folder, "recipe.yaml"), yaml);
  const args = "ablate recipe.yaml --model conv.onnx --data cifar10:cifar --preprocess imagenet --threads 1 --out cli";
  const child = spawn(process.execPath, [cliPath, ...args.split(" ")], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let [stderr, sent] = ["", 0];
  child.stderr.on("data", (part) => {
    stderr += String(part);
    if (sent > 0 || !stderr.includes("1 of 3, base, seed 0: top-1 ")) return;
    sent = performance.now();
    child.kill("SIGINT");
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code, stderr).toBe(130);
  expect(performance.now() - sent).toBeLessThan(1500);
  const [base, ...others] = cellsOf(ablationSchema.parse(await jsonOf("cli/ablation.json")));
  expect([base, ...others].map(({ status }) => status)).toEqual(["done", "not run", "not run"]);
  const written = (await stat(join(folder, "cli", base.folder, "model.onnx"))).mtimeMs;

  const { code: last, stdout, json } = await runCli([...args.split(" "), "--resume", "--json"], folder);
  expect(last, stdout).toBe(1);
  const cells = cellsOf(ablationSchema.parse(json()));
  expect(cells.map(({ status }) => status)).toEqual(["done", "done", "failed"]);
  expect((await stat(join(folder, "cli", base.folder, "model.onnx"))).mtimeMs).toBe(written);

  const refused = await runCli(["quantize", "conv.onnx", "--data", "cifar10:cifar", "--recipe", "recipe.yaml"], folder);
  expect(refused.stderr).toContain('ablate: no option of one run; "frostbit ablate recipe.yaml" does the runs');
}, 120_000);

test("with --text, runs of a language model are compared by perplexity, which evaluate finds in their files", async () => {
  writeDrawnModel(join(folder, "qwen2"), "qwen2");
  const random = createRandom(4);
  const letters = (count: number): string =>
    Array.from({ length: count }, () => "abcdefghijklmnopqrstu"[Math.floor(random.uniform(0, 21))]).join("");
  await writeFile(join(folder, "train.txt"), letters(2000));
  await writeFile(join(folder, "test.txt"), letters(1000));
  await writeFile(join(folder, "text.yaml"), "quantize: { weights: 2 }\nablate: { axes: { quantize.weights: [8] } }\n");
  const args = "--model qwen2 --text train.txt --test-text test.txt --threads 1 --out text --json";
  const { code, stderr, json } = await runCli(["ablate", "text.yaml", ...args.split(" ")], folder);
  expect(code, stderr).toBe(0);
  const { measure, settings } = ablationSchema.parse(json());
  expect(settings.map(({ name }) => name)).toEqual(["base", "quantize.weights=8"]);
  const [narrow, wide] = settings.map(({ cells: [cell] }) => cell);
  const distance = ({ value }: AblationCell): number =>
    Math.abs((value ?? Number.NaN) - (measure?.float ?? Number.NaN));
  expect(measure?.name).toBe("perplexity");
  expect(distance(wide)).toBeLessThan(distance(narrow) / 10);
  const cell = join("text", wide.folder);
  const evaluated = await runCli(["evaluate", cell, "--text", "test.txt", "--json"], folder);
  expect(evaluated.json()).toMatchObject({ perplexity: expect.closeTo(wide.value ?? Number.NaN, 2) });
}, 60_000);

test("cells are compared by a metric of one's own, which is no other's", async () => {
  const metric = { name: "first score", higherIsBetter: false, of: firstScore };
  const { ablation } = await ablated({ "quantize.weights": [2] }, { metric, out: join(folder, "metric") });
  expect(ablation.measure).toMatchObject({ name: "first score", unit: "", better: "less" });
  for (const { value } of cellsOf(ablation)) expect(value).toBeTypeOf("number");
  const other = await ablated({ "quantize.weights": [2] }, { out: join(folder, "metric") });
  expect(other.ran).toHaveLength(2);
  expect(other.ablation.measure?.name).toBe("top-1");
}, 60_000);

const firstScore = (outputs: SampleOutputs): number => numbersOf(Object.values(outputs)[0])[0];
