// The table of a run of step benches: whole steps and backward passes, against the fastest peer's and against our own QAT's.
import { medianOf, memoryOf } from "./in-turn.ts";
import type { Measured } from "./request.ts";
import { type EngineChoice, engineTitle, isPeer, variants } from "./variants.ts";

type Results = ReadonlyMap<string, readonly Measured[]>;

interface Row {
  readonly name: string;
  /** Milliseconds. */
  readonly step: number;
  /** Of a step that is one program: the step less the forward program. */
  readonly backward: number;
  /** The backward pass of our own QAT with this engine; NaN for the peer. */
  readonly ownBackward: number;
  /** MB. */
  readonly memory: number;
}

/** Milliseconds: the step's median less the forward program's. */
const backwardOf = (results: Results, choice: EngineChoice, title: string): number =>
  medianOf(results.get(`${engineTitle(choice)} ${title}`)) - medianOf(results.get(`${engineTitle(choice)} forward`));

const peerRows = (results: Results): Row[] =>
  [...results]
    .filter(([name]) => isPeer(name))
    .map(([name, measured]) => ({
      name,
      step: medianOf(measured),
      // A compiled step does part of its backward pass's work in the forward pass; the sum of both is the step's.
      backward: medianOf(measured, "backwardMs"),
      ownBackward: Number.NaN,
      memory: memoryOf(measured),
    }));

function ownRows(results: Results, engines: readonly EngineChoice[]): Row[] {
  return engines.flatMap((choice) =>
    Object.keys(variants)
      .map((title) => ({ title, name: `${engineTitle(choice)} ${title}` }))
      .filter(({ name }) => results.has(name))
      .map(({ title, name }) => {
        const isForward = title === "forward";
        return {
          name,
          step: medianOf(results.get(name)),
          backward: isForward ? Number.NaN : backwardOf(results, choice, title),
          ownBackward: isForward ? Number.NaN : backwardOf(results, choice, "QAT"),
          memory: memoryOf(results.get(name)),
        };
      }),
  );
}

/** The peer's row with the shortest step; undefined where no peer ran. */
const fastestOf = (rows: readonly Row[]): Row | undefined => [...rows].sort((a, b) => a.step - b.step)[0];

export interface StepFigures {
  readonly peers: readonly Row[];
  readonly ours: readonly Row[];
  readonly fastestPeer: string | undefined;
  /** By row of ours: the fastest peer's step over ours. */
  readonly timesFaster: Readonly<Record<string, number>>;
  /** By row of ours: our own QAT's backward pass over this one. */
  readonly backwardOfOwnQat: Readonly<Record<string, number>>;
  /** By row of ours: its memory over the least that any peer of the same run takes. */
  readonly memoryOfPeer: Readonly<Record<string, number>>;
}

export function stepFigures(results: Results, engines: readonly EngineChoice[]): StepFigures {
  const [peers, ours] = [peerRows(results), ownRows(results, engines)];
  const fastest = fastestOf(peers);
  const least = Math.min(...peers.map(({ memory }) => memory));
  const byName = (value: (row: Row) => number): Readonly<Record<string, number>> =>
    Object.fromEntries(ours.map((row) => [row.name, value(row)]).filter(([, ratio]) => Number.isFinite(ratio)));
  return {
    peers,
    ours,
    fastestPeer: fastest?.name,
    timesFaster: byName(({ step }) => (fastest?.step ?? Number.NaN) / step),
    backwardOfOwnQat: byName(({ ownBackward, backward }) => ownBackward / backward),
    memoryOfPeer: byName(({ memory }) => memory / least),
  };
}

const cell = (value: number | undefined, digits: number): string =>
  value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);

const columns = ["step", "backward", "×fastest peer", "bwd ×own QAT", "MB", "of peers' MB"];

/** × columns: how many times faster than the fastest peer (or our own QAT) this row is. */
export function stepTable({ peers, ours, ...ratios }: StepFigures): string {
  const rows = [...peers, ...ours];
  const width = Math.max(...rows.map(({ name }) => name.length));
  const lines = rows.map(({ name, step, backward, memory }) => {
    const cells = [
      cell(step, 1),
      cell(backward, 1),
      name === ratios.fastestPeer ? "1.00" : cell(ratios.timesFaster[name], 2),
      cell(ratios.backwardOfOwnQat[name], 2),
      cell(memory, 0),
      cell(ratios.memoryOfPeer[name], 2),
    ];
    return [name.padEnd(width), ...cells.map((text, i) => text.padStart(Math.max(8, columns[i].length)))].join("  ");
  });
  const header = [" ".repeat(width), ...columns.map((text) => text.padStart(Math.max(8, text.length)))].join("  ");
  return [header, ...lines].join("\n");
}
