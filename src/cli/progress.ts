// Progress on standard error: a bar on a terminal, else a plain line now and then.
import { Presets, SingleBar } from "cli-progress";
import { formatDigits } from "../report/format-digits.ts";
import { printable } from "./printable.ts";

interface Progress {
  readonly phase: string;
  /** Samples, or whatever the phase counts. */
  readonly done: number;
  readonly total: number;
  readonly note?: string;
}

export interface ProgressDisplay {
  readonly show: (progress: Progress) => void;
  /** Before anything else is printed. */
  readonly stop: () => void;
}

export interface ProgressOptions {
  readonly stream?: NodeJS.WriteStream;
  /** Milliseconds that never go back. */
  readonly now?: () => number;
}

const lineEveryMs = 5000;

/** `3 min 20 s` */
export function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

interface Pace {
  readonly rate: string;
  readonly left: string;
}

const unknown = "–";

/** Rate and time left, from where the phase started: a resumed run does not start at 0. */
function paceOf({ done, total }: Progress, from: number, elapsedMs: number): Pace {
  const rate = elapsedMs > 0 ? ((done - from) * 1000) / elapsedMs : 0;
  if (rate <= 0) return { rate: unknown, left: unknown };
  return { rate: `${formatDigits(rate)}/s`, left: formatSeconds((total - done) / rate) };
}

export function createProgress({
  stream = process.stderr,
  now = () => performance.now(),
}: ProgressOptions = {}): ProgressDisplay {
  const draw = stream.isTTY ? barDisplay(stream) : lineDisplay(stream, now);
  let current = { phase: "", total: 0, done: 0, from: 0, since: 0 };
  return {
    show: (given) => {
      const { done, total } = given;
      const phase = printable(given.phase);
      const progress = { ...given, phase, ...(given.note !== undefined && { note: printable(given.note) }) };
      // Methods that train one after the other have one phase, each from its start.
      if (phase !== current.phase || total !== current.total || done < current.done) {
        draw.stop();
        current = { phase, total, done, from: done, since: now() };
      }
      current.done = done;
      draw.show(progress, paceOf(progress, current.from, now() - current.since));
    },
    stop: () => {
      draw.stop();
      current = { phase: "", total: 0, done: 0, from: 0, since: 0 };
    },
  };
}

interface Drawing {
  readonly show: (progress: Progress, pace: Pace) => void;
  readonly stop: () => void;
}

function barDisplay(stream: NodeJS.WriteStream): Drawing {
  let bar: SingleBar | undefined;
  const start = (total: number, phase: string): SingleBar => {
    const format = "{phase} {bar} {percentage} % | {rate} | {left} left {note}";
    const bar = new SingleBar(
      { stream, format, hideCursor: true, barsize: 24, gracefulExit: false },
      Presets.shades_classic,
    );
    bar.start(total, 0, { phase, rate: "–", left: "–", note: "" });
    return bar;
  };
  return {
    show: ({ phase, done, total, note }, pace) => {
      bar ??= start(total, phase);
      bar.update(done, { phase, ...pace, note: note === undefined ? "" : `| ${note}` });
    },
    stop: () => {
      bar?.stop();
      bar = undefined;
    },
  };
}

function lineDisplay(stream: NodeJS.WriteStream, now: () => number): Drawing {
  let last = Number.NEGATIVE_INFINITY;
  return {
    show: ({ phase, done, total, note }, { rate, left }) => {
      if (now() - last < lineEveryMs) return;
      last = now();
      const percent = total > 0 ? Math.floor((100 * done) / total) : 100;
      const pace = rate === unknown ? "" : `, ${rate}, ${left} left`;
      stream.write(`${phase} ${percent} %, ${done} of ${total}${pace}${note === undefined ? "" : `, ${note}`}\n`);
    },
    stop: () => {},
  };
}
