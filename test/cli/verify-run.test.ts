// frostbit verify-run: every file that a report states, changed by one byte, is named.
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type RunVerification, verifyRun } from "../../src/node/verify-run.ts";
import { type Report, reportSchema } from "../../src/report/report.ts";
import { type CliResult, runCli } from "../support/run-cli.ts";
import { tinyCifar10, tinyConvNet } from "../support/tiny-models.ts";

let folder = "";
let report: Report;
const run = (...args: string[]): Promise<CliResult> => runCli(args, folder);
const data = ["--data", "cifar10:cifar"];

const verified = async (...args: string[]): Promise<{ code: number | null; verification: RunVerification }> => {
  const { code, stdout } = await run("verify-run", "out", "--json", ...args);
  return { code, verification: JSON.parse(stdout) as RunVerification };
};

const named = ({ checks }: RunVerification, ...statuses: readonly string[]): string[] =>
  checks.filter(({ status }) => statuses.includes(status)).map(({ what }) => what);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "frostbit-verify-run-"));
  await mkdir(join(folder, "cifar"));
  await writeFile(join(folder, "cifar/train_1.bin"), tinyCifar10(64, 1));
  await writeFile(join(folder, "cifar/test_batch.bin"), tinyCifar10(64, 2));
  await writeFile(join(folder, "conv.onnx"), tinyConvNet());
  const settings = ["--preprocess", "imagenet", "--batch", "16", "--calibration-samples", "16", "--steps", "1"];
  const { code, stderr } = await run("quantize", "conv.onnx", ...data, ...settings, "--method", "qat", "--out", "out");
  expect(code, stderr).toBe(0);
  report = reportSchema.parse(JSON.parse(await readFile(join(folder, "out/report.json"), "utf8")));
});
afterAll(() => rm(folder, { recursive: true }));

test("a report states every file of its folder but itself and its page", async () => {
  const there = (await readdir(join(folder, "out"), { recursive: true })).map((name) => name.replaceAll("\\", "/"));
  const stated = [...report.files.map(({ name }) => name), "report.json", "report.html", "checkpoint"];
  expect(there.toSorted()).toEqual(stated.toSorted());
  expect(report.files.length).toBeGreaterThan(2);
  expect(Object.keys(report.versions)).toEqual(expect.arrayContaining(["frostbit", "node", "onnxruntime-node"]));
});

test("what nobody touched is the same, with the data where it is given", async () => {
  const plain = await verified();
  expect(plain).toMatchObject({ code: 0, verification: { ok: true } });
  expect(named(plain.verification, "not checked")).toEqual(["train data", "test data"]);
  const whole = await verified(...data);
  expect(whole).toMatchObject({ code: 0, verification: { ok: true } });
  expect(named(whole.verification, "not checked")).toEqual([]);
  const { stdout } = await run("verify-run", "out", ...data);
  expect(stdout).toMatch(/All \d+ that were checked are as the report states\./);
});

/** Runs `check` while a file holds other bytes. */
async function changed(path: string, check: () => Promise<void>): Promise<void> {
  const [file, kept] = [join(folder, path), join(folder, "kept")];
  await copyFile(file, kept);
  const bytes = await readFile(file);
  bytes[Math.floor(bytes.length / 2)] ^= 1;
  await writeFile(file, bytes);
  try {
    await check();
  } finally {
    await copyFile(kept, file);
  }
}

test("each file that one bit changed is named, and no other", async () => {
  const files = [...report.files.map(({ name }) => name), "report.html"];
  for (const name of files)
    await changed(join("out", name), async () => {
      const { code, verification } = await verified();
      expect(code, name).toBe(1);
      expect(named(verification, "differs")).toEqual([name]);
    });
  await changed("conv.onnx", async () => {
    const { code, verification } = await verified();
    expect(code).toBe(1);
    expect(named(verification, "differs")).toEqual(["model as given: conv.onnx"]);
  });
});

/** Of every kind of field one, by its path with the places in lists left out. */
function fieldsOf(value: object, path: readonly string[] = []): ReadonlyMap<string, readonly string[]> {
  const fields = new Map<string, readonly string[]>();
  for (const [key, inner] of Object.entries(value)) {
    const own = [...path, key];
    const found = typeof inner === "object" && inner !== null ? fieldsOf(inner, own) : [["", own] as const];
    for (const [, field] of found) {
      const kind = field.filter((part) => !/^\d+$/.test(part)).join(".");
      if (!fields.has(kind)) fields.set(kind, field);
    }
  }
  return fields;
}

const otherThan = (value: unknown): unknown =>
  typeof value === "number" ? value + 1 : typeof value === "boolean" ? !value : value === null ? 7 : `${value}x`;

test("a report with any field changed is not that of its page, or is refused", async () => {
  const [out, modelPath] = [join(folder, "out"), join(folder, "conv.onnx")];
  const path = join(out, "report.json");
  const text = await readFile(path, "utf8");
  expect((await verifyRun(out, { modelPath })).ok).toBe(true);
  const fields = fieldsOf(JSON.parse(text) as object);
  expect(fields.size).toBeGreaterThan(100);
  for (const [kind, field] of fields) {
    const copy = JSON.parse(text) as Record<string, unknown>;
    const last = field.at(-1) ?? "";
    const holder = field.slice(0, -1).reduce((value, key) => value[key] as Record<string, unknown>, copy);
    holder[last] = otherThan(holder[last]);
    await writeFile(path, `${JSON.stringify(copy, null, 1)}\n`);
    const isFound = await verifyRun(out, { modelPath }).then(
      ({ ok }) => !ok,
      () => true,
    );
    expect(isFound, kind).toBe(true);
  }
  await writeFile(path, text);
});

test("data that one bit changed is named", async () => {
  for (const [file, split] of [
    ["cifar/train_1.bin", "train"],
    ["cifar/test_batch.bin", "test"],
  ])
    await changed(file, async () => {
      const { code, verification } = await verified(...data);
      expect(code).toBe(1);
      expect(named(verification, "differs")).toEqual([`${split} data`]);
    });
});

test("files that the report says nothing of are named, and fail nothing", async () => {
  const added = ["added.bin", "checkpoint/other.safetensors", "deeper/link"];
  await writeFile(join(folder, "out/added.bin"), "x");
  await writeFile(join(folder, "out/checkpoint/other.safetensors"), "x");
  await mkdir(join(folder, "out/deeper"));
  await symlink(folder, join(folder, "out/deeper/link"));
  expect(await verified()).toMatchObject({ code: 0, verification: { ok: true, unstated: added } });
  const { stdout } = await run("verify-run", "out");
  expect(stdout).toContain('"added.bin", "checkpoint/other.safetensors", "deeper/link"');
  for (const name of ["added.bin", "checkpoint/other.safetensors", "deeper"])
    await rm(join(folder, "out", name), { recursive: true });
  expect((await verified()).verification.unstated).toEqual([]);
});

test("a file that is gone is missing, and a model that is elsewhere is found by --model", async () => {
  await rm(join(folder, "out/recipe.yaml"));
  const { code, stdout } = await run("verify-run", "out");
  expect(code).toBe(1);
  expect(stdout).toMatch(/recipe\.yaml +missing/);
  await copyFile(join(folder, "conv.onnx"), join(folder, "moved.onnx"));
  await rm(join(folder, "conv.onnx"));
  const away = (await verified()).verification;
  expect(named(away, "not checked")).toContain("model as given: conv.onnx");
  const found = (await verified("--model", "moved.onnx")).verification;
  expect(named(found, "same")).toContain("model as given: moved.onnx");
});

test("a report that names files elsewhere is refused: nothing there is read", async () => {
  const path = join(folder, "out/report.json");
  const text = await readFile(path, "utf8");
  for (const name of ["../conv.onnx", join(folder, "conv.onnx"), "checkpoint/../../conv.onnx"]) {
    const files = [{ ...report.files[0], name }];
    await writeFile(path, JSON.stringify({ ...(JSON.parse(text) as object), files }));
    await expect(verifyRun(join(folder, "out"))).rejects.toThrow(/names ".*conv\.onnx", which is not in its folder/);
  }
  await writeFile(path, text);
});

test("a report that is damaged is refused by name", async () => {
  await writeFile(join(folder, "out/report.json"), "{");
  const { code, stderr } = await run("verify-run", "out");
  expect(code).toBe(1);
  expect(stderr).toMatch(/report\.json is no JSON; expected the report of a run\./);
});
