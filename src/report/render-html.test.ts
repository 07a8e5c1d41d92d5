import { describe, expect, test } from "vitest";
import { sampleReport } from "../../test/support/sample-report.ts";
import { smooth } from "./charts.ts";
import { renderHtml } from "./render-html.ts";
import { reportSchema } from "./report.ts";

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
    expect(new Set(labels)).toEqual(
      new Set([
        "Top-1 accuracy",
        "Training loss",
        "File size",
        "Latency in ONNX Runtime, batch of 1",
        "Latency in ONNX Runtime, batch of 256",
        "Signal to quantization noise per layer",
        "Importance and share trained per layer",
        "channels",
      ]),
    );
    expect(page).toContain("90.98");
    expect(page).toContain("prefers-color-scheme: dark");
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

  test("says when the test samples were held out of the training data", () => {
    expect(renderHtml(report)).not.toContain("held out");
    expect(renderHtml({ ...report, data: { ...report.data, heldOut: true } })).toContain("held out");
  });

  test("without training, labels or layers it has the charts that remain", () => {
    const nothing = { trained: 0, all: 0 };
    const page = renderHtml({
      ...report,
      top1: { float: null, ptq: null, trained: null, quantized: null, deployed: null },
      layers: [],
      training: { steps: 0, samples: 0, lossCurve: [], blocks: nothing, weights: nothing },
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
