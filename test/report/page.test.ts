// The pages as a browser shows them: nothing sticks out, and every chart has something on it.
import sharp from "sharp";
import { describe, expect, test } from "vitest";
import { inspectModel } from "../../src/inspect/inspect-model.ts";
import { renderAblation } from "../../src/report/render-ablation.ts";
import { renderHtml } from "../../src/report/render-html.ts";
import { renderInspection } from "../../src/report/render-inspection.ts";
import { type Box, chromium, type Frame, showPage } from "../support/chromium.ts";
import { sampleAblation } from "../support/sample-ablation.ts";
import { sampleReport } from "../support/sample-report.ts";
import { tinyClassifier } from "../support/tiny-classifier.ts";

const desktop: Frame = { width: 1280, scheme: "light" };
const phone: Frame = { width: 360, scheme: "dark" };

const pages = {
  report: () => renderHtml(sampleReport()),
  ablation: () => renderAblation(sampleAblation()),
  inspection: () => renderInspection({ title: "tiny.onnx", opset: 17, ...inspectModel(tinyClassifier("float32")) }),
};

/** Of the box, the share of pixels that differ clearly from its corner. */
async function inkOf(png: Buffer, { x, y, width, height }: Box): Promise<number> {
  const area = { left: Math.ceil(x), top: Math.ceil(y), width: Math.floor(width) - 1, height: Math.floor(height) - 1 };
  const { data, info } = await sharp(png).extract(area).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  let ink = 0;
  for (let i = 0; i < data.length; i += info.channels)
    if (Math.abs(data[i] - data[0]) + Math.abs(data[i + 1] - data[1]) + Math.abs(data[i + 2] - data[2]) > 60) ink++;
  return (ink * info.channels) / data.length;
}

const brightness = async (png: Buffer, left: number): Promise<number> =>
  (await sharp(png).extract({ left, top: 0, width: 4, height: 4 }).greyscale().raw().toBuffer())[0];

if (chromium === undefined) console.warn("Chromium is missing: the test of what the pages look like is skipped.");

describe.skipIf(chromium === undefined)("in Chromium", () => {
  test.each(["report", "inspection", "ablation"] as const)(
    "the %s fits a desk and a phone, light and dark",
    async (name) => {
      const height = name === "report" ? 11000 : 4000;
      const { shown, png } = await showPage(pages[name](), [desktop, phone], height);
      expect(shown.map(({ contentWidth }) => contentWidth)).toEqual([desktop.width, phone.width]);
      expect(await brightness(png, 0)).toBeGreaterThan(240);
      expect(await brightness(png, desktop.width)).toBeLessThan(40);
      for (const { charts } of shown) {
        expect(charts.length).toBeGreaterThan(name === "ablation" ? 2 : 5);
        const visible = charts.filter((box) => box.y + box.height < height);
        expect(visible.length).toBeGreaterThan(charts.length / 2);
        for (const box of visible) {
          expect(box.width, box.label).toBeGreaterThan(100);
          expect(await inkOf(png, box), box.label).toBeGreaterThan(0.01);
        }
      }
    },
    120_000,
  );
});
