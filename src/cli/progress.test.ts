import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import { createProgress, formatSeconds } from "./progress.ts";

function record(isTTY: boolean): { stream: NodeJS.WriteStream; text: () => string } {
  const stream = new PassThrough();
  const parts: string[] = [];
  stream.on("data", (part) => parts.push(String(part)));
  return {
    stream: Object.assign(stream, { isTTY, columns: 120 }) as unknown as NodeJS.WriteStream,
    text: () => parts.join(""),
  };
}

describe("progress", () => {
  test("off a terminal is at most one plain line every five seconds", () => {
    const { stream, text } = record(false);
    let time = 0;
    const progress = createProgress({ stream, now: () => time });
    for (let done = 0; done <= 1000; done += 10) {
      progress.show({ phase: "train", done, total: 1000, note: "loss 0.5" });
      time += 100;
    }
    progress.stop();
    expect(text().trim().split("\n")).toEqual([
      "train 0 %, 0 of 1000, loss 0.5",
      "train 50 %, 500 of 1000, 100/s, 5 s left, loss 0.5",
      "train 100 %, 1000 of 1000, 100/s, 0 s left, loss 0.5",
    ]);
  });

  test("the rate of a resumed phase counts from where it started", () => {
    const { stream, text } = record(false);
    let time = 0;
    const progress = createProgress({ stream, now: () => time });
    progress.show({ phase: "train", done: 900, total: 1000 });
    time = 5000;
    progress.show({ phase: "train", done: 950, total: 1000 });
    expect(text()).toContain("train 95 %, 950 of 1000, 10.0/s, 5 s left");
  });

  test("a second training in the same phase counts from its own start", () => {
    const { stream, text } = record(false);
    let time = 0;
    const progress = createProgress({ stream, now: () => time });
    for (const total of [1000, 500])
      for (const done of [100, 200]) {
        progress.show({ phase: "train", done, total });
        time += 10_000;
      }
    expect(text().trim().split("\n")).toEqual([
      "train 10 %, 100 of 1000",
      "train 20 %, 200 of 1000, 10.0/s, 1 min 20 s left",
      "train 20 %, 100 of 500",
      "train 40 %, 200 of 500, 10.0/s, 30 s left",
    ]);
  });

  test("large rates are plain digits", () => {
    const { stream, text } = record(false);
    let time = 0;
    const progress = createProgress({ stream, now: () => time });
    progress.show({ phase: "evaluate", done: 0, total: 22000 });
    time = 5000;
    progress.show({ phase: "evaluate", done: 11000, total: 22000 });
    expect(text()).toContain("2200/s, 5 s left");
  });

  test("on a terminal is a bar with per cent, rate and time left", () => {
    const { stream, text } = record(true);
    const progress = createProgress({ stream });
    progress.show({ phase: "calibrate", done: 1, total: 4 });
    progress.show({ phase: "calibrate", done: 4, total: 4, note: "done" });
    progress.stop();
    expect(text()).toMatch(/calibrate .*100 % \| .* left \| done/);
  });

  test("times are printed in the units that fit", () => {
    expect([5, 65, 7300].map(formatSeconds)).toEqual(["5 s", "1 min 5 s", "2 h 1 min"]);
  });
});
