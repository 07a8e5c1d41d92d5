import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { sampleReport } from "../../test/support/sample-report.ts";
import { runFromRecipe } from "../options/recipe.ts";
import { smooth } from "./charts.ts";
import { renderHtml } from "./render-html.ts";
import { reportSchema } from "./report.ts";
import { shortName } from "./short-name.ts";

describe("the report page", () => {
  const report = reportSchema.parse(sampleReport());

  test("is one page that loads nothing from elsewhere and runs no script", () => {
    const page = renderHtml(report);
    expect(page).not.toMatch(/<script|<link|<img|@import|url\((?!#)/);
    expect(page.replaceAll(/xmlns(:\w+)?="[^"]*"/g, "")).not.toMatch(/https?:/);
    expect(page.length).toBeLessThan(400_000);
  });

  test("has a chart of each thing measured", () => {
    const page = renderHtml(report);
    const labels = [...page.matchAll(/role="img" aria-label="([^"]*)"/g)].map((match) => match[1]);
    const perLayer = labels.filter((label) => /^(Histogram|Importance) of the/.test(label));
    expect(perLayer.length).toBe(3 * report.layers.length);
    expect(new Set(labels.filter((label) => !perLayer.includes(label)))).toEqual(
      new Set([
        "Top-1 accuracy",
        "Training loss",
        "File size",
        "Latency in ONNX Runtime, batch of 1",
        "Latency in ONNX Runtime, batch of 256",
        "Signal to quantization noise per layer",
        "Importance and share trained per layer",
        "Sensitivity per layer",
        "Bits of each layer's weight",
        "Predicted loss by budget",
        "What was lost by size",
        "Error of each unit before and after it trained",
        "Share of weights away from nearest",
      ]),
    );
    expect(page).toContain("90.98");
    expect(page).toContain("prefers-color-scheme: dark");
  });

  test("has nothing of rounding and mixed precision where there was none", () => {
    const layers = report.layers.map((layer) => ({ ...layer, awayFromNearest: null }));
    const page = renderHtml({ ...report, layers, units: [], widths: null });
    expect(page).not.toMatch(/<h2>(Rounding|Mixed precision)/);
    const older = { ...report, units: undefined, widths: undefined };
    expect(reportSchema.parse(older)).toMatchObject({ units: [], widths: null });
  });

  test("names units that training made worse, and has the bits as a recipe", () => {
    const page = renderHtml(report);
    expect(page).toContain("Stayed as they were, since training made them worse: layer3.");
    const [, text] = /<pre[^>]*>([^<]*)<\/pre>/.exec(page) ?? [];
    const recipe: unknown = parse(text.replaceAll("&quot;", '"'));
    const run = runFromRecipe(recipe, "the page");
    expect(run.quantize.layers).toEqual({
      "/layer0/conv/Conv": { weights: 8 },
      "/layer1/conv/Conv": { weights: 5 },
      "/layer2/conv/Conv": { weights: 3 },
      "/layer3/conv/Conv": { weights: 2 },
      "/fc/Gemm": { weights: 8 },
    });
  });

  test("has the size of each layer's weight at its bits, the largest first", () => {
    const [, total, rows] =
      /Bits and size by layer: weights of ([^<]*) in all[^<]*<\/summary>(.*?)<\/details>/s.exec(renderHtml(report)) ??
      [];
    expect(total).toBe("9.4 kB");
    const cells = [...rows.matchAll(/<td[^>]*>(.*?)<\/td>/gs)].map(([, cell]) => cell.replaceAll(/<[^>]*>/g, ""));
    const [sizes, shares] = [3, 4].map((column) => cells.filter((_, i) => i % 5 === column));
    // 8 · 5000, 5 · 2000, 3 · 3000, 8 · 1000 and 2 · 4000 bits.
    expect(sizes).toEqual(["5.0 kB", "1.3 kB", "1.1 kB", "1.0 kB", "1.0 kB"]);
    expect(shares).toEqual(["53.3 %", "13.3 %", "12.0 %", "10.7 %", "10.7 %"]);
  });

  test("stays below 1 MB for a model of 150 layers with 2048 channels", () => {
    const channels = Array.from({ length: 2048 }, (_, i) => Math.abs(Math.sin(i)));
    const layers = Array.from({ length: 150 }, (_, i) => ({
      ...report.layers[0],
      name: `layer${i}`,
      importance: channels,
      channelsTrained: channels,
    }));
    expect(renderHtml({ ...report, layers }).length).toBeLessThan(1_000_000);
  });

  const figures = { samples: 100, classes: null, top1: null, loss: null, meanIou: null, rmse: null, mae: null };
  const noTop1 = { float: null, ptq: null, trained: null, quantized: null, deployed: null };

  test("has the error against measured values, beside the distance to the float model", () => {
    const measured = { ...figures, labels: "values", differentLabels: null } as const;
    const metrics = {
      float: { ...measured, rmse: 0.353, mae: 0.29 },
      deployed: { ...measured, rmse: 0.199, mae: 0.1 },
    };
    const fidelity = { deployed: [{ name: "hz", sqnrDb: 23.4, leastChannelDb: 23.4, agreement: null }] };
    const page = renderHtml({ ...report, top1: noTop1, metrics, fidelity });
    for (const text of ["RMSE, deployed", "Against the labels", "0.353", "0.199", "Against the float model", "23.4"])
      expect(page).toContain(text);
    expect(renderHtml({ ...report, top1: noTop1, fidelity })).toContain("SQNR, deployed");
  });

  test("has the mean IoU of positions", () => {
    const positions = { ...figures, labels: "classes", classes: 4, differentLabels: 4, top1: 90, loss: 1 } as const;
    const metrics = { float: { ...positions, meanIou: 71.5 }, deployed: { ...positions, meanIou: 70.25 } };
    const page = renderHtml({ ...report, metrics });
    expect(page).toContain("Mean IoU: float 71.50 %, deployed 70.25 %.");
    expect(page).toContain("accuracy, deployed");
  });

  test("tells the time of one sample where a batch takes too long", () => {
    const { float, deployed } = report.latencyMs;
    expect(renderHtml(report)).toContain("batch of 256");
    const latencyMs = { float: { ...float, batch256: null }, deployed: { ...deployed, batch256: null } };
    const page = renderHtml({ ...report, latencyMs });
    expect(page).toContain("a batch of 1 takes 0.79 times");
    expect(page).not.toContain("batch of 256");
  });

  test("says how the size changed as it did", () => {
    const sized = (quantized: number): string => renderHtml({ ...report, sizeBytes: { float: 100, quantized } });
    expect(sized(25)).toContain("The model is 4.0 times smaller");
    expect(sized(100)).toContain("The model is as large as before");
    expect(sized(250)).toContain("The model is 2.5 times larger");
  });

  test("says in words what came of it, and which layers to look at", () => {
    const page = renderHtml(report);
    expect(page).toContain("0.75 points below the float model: training won back 55 % of the 1.66 points");
    const worst = [...report.layers].sort((a, b) => (a.sensitivityDb ?? 0) - (b.sensitivityDb ?? 0))[0];
    expect(page).toContain(`Most sensitive: ${worst.name} (${worst.sensitivityDb?.toFixed(1)} dB)`);
  });

  test("marks the channels that trained, the most important first", () => {
    const one = { ...report.layers[0], importance: [1, 4, 2], channelsTrained: [0, 1, 0] };
    const [svg] = /<svg class="small"[^>]*Importance.*?<\/svg>/s.exec(renderHtml({ ...report, layers: [one] })) ?? [""];
    expect([...svg.matchAll(/<path d="([^"]*)" fill="([^"]*)"/g)].map((match) => match.slice(1, 3))).toEqual([
      ["M4 48v-24h3v24zM8 48v-12h3v12z", "var(--frozen)"],
      ["M0 48v-48h3v48z", "var(--series-2)"],
    ]);
  });

  test("long names of layers are drawn short, and whole in a tooltip", () => {
    const page = renderHtml(report);
    const chart = /<svg[^>]*"Sensitivity per layer".*?<\/svg>/s.exec(page)?.[0] ?? "";
    const seen = [...chart.matchAll(/<title>(.*?)<\/title>(.*?)<\/text>/g)].map(([, whole, short]) => [whole, short]);
    expect(seen).toEqual(report.layers.map(({ name }) => [name, shortName(name)]));
  });

  test("the legend of the loss says what a point is", () => {
    const page = renderHtml(report);
    expect(page).toContain(">one step</text>");
    expect(page).toContain(">mean of 10 steps</text>");
  });

  test("is the same bytes for the same report, however often it is made", () => {
    expect(renderHtml(report)).toBe(renderHtml(report));
  });

  test("text from models and options is escaped, in charts too", () => {
    const attack = `</text><script>alert("1")</script>&'`;
    const layers = report.layers.map((layer) => ({ ...layer, name: attack, op: attack }));
    const page = renderHtml({ ...report, layers, title: attack, notes: [attack], options: { [attack]: attack } });
    expect(page).not.toContain("<script");
    expect(page).toContain("&lt;script&gt;");
  });

  test("layers keep names that look like the drawing's own", () => {
    const layers = report.layers.map((layer, i) => ({ ...layer, name: `zr${i}-conv` }));
    const page = renderHtml({ ...report, layers });
    expect(page.match(/>zr3-conv</g)?.length).toBeGreaterThanOrEqual(3);
  });

  test("a layer far below all others leaves their bars their length", () => {
    const at = (decibels: number): string => {
      const layers = report.layers.map((layer, i) => ({ ...layer, sqnrDb: i === 4 ? decibels : layer.sqnrDb }));
      return renderHtml({ ...report, layers });
    };
    const lengths = (page: string): number[] => {
      const drawing =
        /<svg role="img" aria-label="Signal to quantization noise per layer".*?<\/svg>/s.exec(page)?.[0] ?? "";
      return [...drawing.matchAll(/d="M[\d.]+ [\d.]+l([\d.]+) 0l0 /g)].map(([, length]) => Number(length));
    };
    expect(at(-1000)).toContain("-1000.0 dB");
    expect(Math.max(...lengths(at(-1000)))).toBeGreaterThan(20);
  });

  test("says when the test samples were held out of the training data", () => {
    expect(renderHtml(report)).not.toContain("held out of");
    expect(renderHtml({ ...report, data: { ...report.data, heldOut: true } })).toContain("held out");
  });

  test("without training, labels or layers it has the charts that remain", () => {
    const nothing = { trained: 0, all: 0 };
    const page = renderHtml({
      ...report,
      top1: { float: null, ptq: null, trained: null, quantized: null, deployed: null },
      layers: [],
      training: { steps: 0, samples: 0, lossCurve: [], trial: [], blocks: nothing, weights: nothing },
    });
    expect(page).not.toContain("Training loss");
    expect(page).toContain("File size");
    expect(page).not.toContain("NaN");
  });

  test("report.json survives writing and reading", () => {
    expect(reportSchema.parse(JSON.parse(JSON.stringify(report)))).toEqual(report);
  });
});

test("a smoothed curve has at most so many points and keeps the mean", () => {
  const points = Array.from({ length: 1000 }, (_, i) => [i, i % 10] as const);
  const curve = smooth(points, 50);
  expect(curve.length).toBe(50);
  expect(curve.every(([, y]) => y === 4.5)).toBe(true);
});
