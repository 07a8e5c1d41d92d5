// examples/browser in Chromium: the page quantizes, shows the loss as it falls, and hands out a file that does in Node what it did there.
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { build, type PreviewServer, preview } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { limit } from "../../src/data/dataset.ts";
import { resolvePreprocess } from "../../src/data/preprocess.ts";
import { openDeployed } from "../../src/engines/onnxruntime/deployed.ts";
import { evaluateModel } from "../../src/evaluate/evaluate-model.ts";
import { openTestData } from "../../src/node/open-data.ts";
import { readOnnx } from "../../src/onnx/read.ts";

const root = join(import.meta.dirname, "../..");
const executablePath = "/usr/bin/chromium";
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.warn(`${executablePath} is missing: the test of the page in the browser is skipped.`);

const images = 256;

let folder = "";
let server: PreviewServer;
let browser: Browser;
let page: Page;
const problems: string[] = [];

describe.skipIf(!hasChromium)("the page in Chromium", () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "frostbit-browser-"));
    const config = {
      configFile: join(root, "examples/browser/vite.config.js"),
      logLevel: "error",
      build: { outDir: folder },
      preview: { host: "127.0.0.1", port: 0 },
    } as const;
    await build(config);
    server = await preview(config);
    browser = await chromium.launch({ executablePath, headless: true, args: ["--no-sandbox"] });
    page = await browser.newPage();
    page.on("pageerror", (error) => problems.push(error.message));
    await page.goto(server.resolvedUrls?.local[0] ?? "");
  });

  afterAll(async () => {
    await browser?.close();
    await server?.close();
    await rm(folder, { recursive: true, force: true });
  });

  test("quantizes the shapes network to 3 bits and hands out its file", async () => {
    await page.selectOption("[name=bits]", "3");
    await page.fill("[name=steps]", "30");
    await page.fill("[name=images]", String(images));
    await page.click("button");
    await page.waitForSelector("#status.done, #status.failed", { timeout: 240_000 });
    expect(await page.textContent("#status")).toMatch(/^Done in \d+ s: /);
    expect(problems).toEqual([]);

    const heights = await heightsOf(".mean");
    expect(heights).toHaveLength(30);
    expect(heights[29]).toBeLessThan(0.9 * heights[9]);

    const [float, rounded, deployed] = await accuraciesOf();
    expect(float).toBeGreaterThan(88);
    expect(deployed).toBeGreaterThan(rounded + 3);

    const bytes = await downloaded();
    const { graph } = readOnnx(bytes, { name: "shapes-3-bits.onnx" });
    expect(graph.nodes.filter(({ op }) => op === "DequantizeLinear").length).toBeGreaterThan(19);
    const inNode = await accuracyInNode(bytes);
    const oneImage = 100 / images;
    expect(Math.abs(inNode - deployed)).toBeLessThanOrEqual(2 * oneImage + 0.01); // the page rounds to 0.01
  }, 300_000);

  test("says what is wrong with what it is asked for", async () => {
    await page.fill("[name=images]", "16");
    await page.evaluate("document.querySelector('form').noValidate = true");
    await page.click("button");
    await page.waitForSelector("#status.failed");
    expect(await page.textContent("#status")).toBe(
      "batch is 32, but the training data has 16 samples. Choose a smaller --batch.",
    );
  });
});

/** The points of a line of the chart, upwards from its foot. */
async function heightsOf(line: string): Promise<readonly number[]> {
  const points = (await page.getAttribute(`#chart ${line}`, "points")) ?? "";
  return points.split(" ").map((point) => 98 - Number(point.split(",")[1]));
}

async function accuraciesOf(): Promise<readonly number[]> {
  const cells = await page.locator("#figures td:last-child").allTextContents();
  return cells.map((text) => Number.parseFloat(text));
}

async function downloaded(): Promise<Uint8Array> {
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  expect(download.suggestedFilename()).toBe("shapes-3-bits.onnx");
  return readFileSync(await download.path());
}

async function accuracyInNode(bytes: Uint8Array): Promise<number> {
  const test = limit(await openTestData(`module:${join(root, "examples/shapes/shapes.js")}`), images);
  const file = await openDeployed(bytes, { threads: 1 });
  const { top1 } = await evaluateModel(file, test, { preprocess: resolvePreprocess("unit") });
  await file.dispose();
  return top1 ?? Number.NaN;
}
