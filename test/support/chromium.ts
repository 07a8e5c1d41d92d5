// Pages as Chromium shows them: their measures, and a picture.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const chromium = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** One frame in which the page is shown; frames stand side by side. */
export interface Frame {
  readonly width: number;
  readonly scheme: "light" | "dark";
}

export interface Box {
  readonly label: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export interface Shown {
  /** Of the page's content; larger than the frame's width where something sticks out. */
  readonly contentWidth: number;
  readonly height: number;
  /** Every drawing, from the picture's left and top. */
  readonly charts: readonly Box[];
}

/** Measures the frames when they are loaded, and leaves the result where the dumped page has it. */
const script = `
onload = () => {
  const shown = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument;
    const charts = [...page.querySelectorAll("svg")].map((svg) => {
      const { x, y, width, height } = svg.getBoundingClientRect();
      return { label: svg.getAttribute("aria-label") ?? "", x: x + frame.offsetLeft, y, width, height };
    });
    return { contentWidth: page.documentElement.scrollWidth, height: page.documentElement.scrollHeight, charts };
  });
  document.getElementById("result").textContent = JSON.stringify(shown);
};`;

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll('"', "&quot;");

function wrapper(page: string, frames: readonly Frame[], height: number): string {
  const iframes = frames.map(
    ({ width, scheme }) =>
      `<iframe srcdoc="${escaped(page)}" style="border:0;width:${width}px;height:${height}px;color-scheme:${scheme}"></iframe>`,
  );
  return `<!doctype html><meta charset="utf-8"><body style="margin:0;display:flex;align-items:start;width:max-content">${iframes.join("")}
<script type="application/json" id="result"></script><script>${script}</script>`;
}

/** The page in each frame, and a PNG of all of them, `height` pixels tall. */
export async function showPage(
  page: string,
  frames: readonly Frame[],
  height: number,
): Promise<{ shown: readonly Shown[]; png: Buffer }> {
  if (chromium === undefined) throw new Error("Chromium is missing.");
  const folder = await mkdtemp(join(tmpdir(), "frostbit-page-"));
  const width = frames.reduce((sum, frame) => sum + frame.width, 0);
  const file = join(folder, "page.html");
  const picture = join(folder, "page.png");
  const flags = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    `--user-data-dir=${folder}/profile`,
  ];
  const start = (...more: string[]) =>
    run(chromium ?? "", [...flags, `--window-size=${width},${height}`, ...more, `file://${file}`], {
      maxBuffer: 2 ** 26,
    });
  try {
    await writeFile(file, wrapper(page, frames, height));
    const { stdout } = await start("--dump-dom");
    const found = /<script type="application\/json" id="result">([^<]*)</.exec(stdout)?.[1] ?? "";
    await start(`--screenshot=${picture}`);
    return { shown: JSON.parse(found) as Shown[], png: await readFile(picture) };
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
