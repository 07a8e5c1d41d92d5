// The first thing a newcomer does, whole: what README promises of it.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import { openData } from "../../src/node/open-data.ts";
import { readModel } from "../../src/node/read-model.ts";
import type { Report } from "../../src/report/report.ts";

const root = join(import.meta.dirname, "../..");
const shapes = join(root, "examples/shapes");

interface Summary {
  readonly report: string;
  readonly top1: Readonly<Record<"float" | "ptq" | "trained" | "quantized" | "deployed", number>>;
  readonly sizeBytes: { readonly float: number; readonly quantized: number };
  readonly ladder: NonNullable<Report["ladder"]>;
  readonly next: string;
}

describe("npm run quickstart", () => {
  let folder = "";
  let printed = { stdout: "", stderr: "" };
  let summary: Summary;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "frostbit-quickstart-"));
    const command = ["run", "--silent", "quickstart", "--", "--json", "--out", folder];
    printed = await promisify(execFile)("npm", command, { cwd: root });
    summary = JSON.parse(printed.stdout.trimEnd().split("\n").at(-1) ?? "");
  }, 600_000);
  afterAll(() => rm(folder, { recursive: true }));

  test("shows the ladder: the smallest file within a point, no slower than the float model by more than chance", () => {
    const { float, deployed } = summary.top1;
    expect(float).toBeGreaterThanOrEqual(88);
    expect(float).toBeLessThanOrEqual(98);
    expect(deployed).toBeGreaterThanOrEqual(float - 1);
    const { rungs, isReached } = summary.ladder;
    expect(isReached).toBe(true);
    expect(rungs[0]).toMatchObject({ name: "weights of 8 bits, min-max ranges", outcome: "tried" });
    expect(rungs[0].flags).toBe("--method ptq --weights 8 --observer min-max");
    expect(rungs.filter(({ isChosen }) => isChosen)).toHaveLength(1);
    expect(summary.sizeBytes.quantized).toBeLessThan(0.4 * summary.sizeBytes.float);
  });

  test("leaves the page with the pictures, and says what to type next", async () => {
    expect(await readFile(summary.report, "utf8")).toContain("<svg");
    expect(summary.next).toMatch(/^npx frostbit quantize /);
  });

  test("prints the command that does the same, which is the example's", async () => {
    const [command] = printed.stderr.split("\n");
    const documented = (await readFile(join(shapes, "README.md"), "utf8")).replaceAll(/ \\\n\s*/g, " ");
    expect(command).toContain("--max-drop 1");
    expect(documented).toContain(command.replace(folder, "out/quickstart"));
  });
});

describe("the example's network and data", () => {
  test("a network of at most a quarter of ResNet-20's operations, in less than a megabyte", async () => {
    const path = join(shapes, "shapes.onnx");
    expect(inspectModel(readModel(path).graph).multiplyAdds).toBeLessThan(40.8e6 / 4);
    expect((await stat(path)).size).toBeLessThan(1e6);
  });

  test("20,000 and 5,000 colour images of 32 × 32 in ten classes, the same whatever the order", async () => {
    const { train, test, classes } = await openData(`module:${join(shapes, "shapes.js")}`);
    expect([train.length, test.length, classes?.length]).toEqual([20_000, 5_000, 10]);
    const [first, again] = [
      await train.read(Int32Array.of(7, 19_999)),
      await train.read(Int32Array.of(19_999, 3, 7)),
    ].map(({ inputs }) => inputs.get("image"));
    expect(first?.shape).toEqual([2, 3, 32, 32]);
    const size = 3 * 32 * 32;
    expect(again?.data.slice(2 * size)).toEqual(first?.data.slice(0, size));
    expect(again?.data.slice(0, size)).toEqual(first?.data.slice(size));
    const tested = (await test.read(Int32Array.of(7))).inputs.get("image");
    expect(tested?.data).not.toEqual(first?.data.slice(0, size));
  });
});
