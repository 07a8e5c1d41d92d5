// The table of a run of step benches: whole steps and backward passes, against the peer's and against our own QAT's.
import { medianOf, memoryOf } from "./in-turn.ts";
import type { Measured } from "./request.ts";
import { type EngineChoice, engineTitle, peers, variants } from "./variants.ts";

type Results = ReadonlyMap<string, readonly Measured[]>;

interface Row {
  readonly name: string;
  readonly step: number;
  /** Of a step that is one program: the step less the forward program. */
  readonly backward: number;
  /** The backward pass of our own QAT with this engine; NaN for the peer. */
  readonly ownBackward: number;
  readonly memory: number;
}

/** Milliseconds: the step's median less the forward program's. */
const backwardOf = (results: Results, choice: EngineChoice, title: string): number =>
  medianOf(results.get(`${engineTitle(choice)} ${title}`)) - medianOf(results.get(`${engineTitle(choice)} forward`));

function rowsOf(results: Results, engines: readonly EngineChoice[]): Row[] {
  const peerRows = Object.values(peers).map((name) => ({
    name,
    step: medianOf(results.get(name)),
    backward: medianOf(results.get(name), "backwardMs"),
    ownBackward: Number.NaN,
    memory: memoryOf(results.get(name)),
  }));
  const ourRows = engines.flatMap((choice) =>
    Object.keys(variants).map((title) => {
      const name = `${engineTitle(choice)} ${title}`;
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
  return [...peerRows, ...ourRows].filter(({ name }) => results.has(name));
}

const cell = (value: number, digits: number): string => (Number.isFinite(value) ? value.toFixed(digits) : "–");

const columns = ["step", "backward", "step ×f32", "step ×amp", "bwd ×f32", "bwd ×own QAT", "MB"];

/** × columns: how many times faster than the peer (or our own QAT) this row is. */
export function stepTable(results: Results, engines: readonly EngineChoice[]): string {
  const rows = rowsOf(results, engines);
  const [float32, autocast] = Object.values(peers).map((name) => rows.find((row) => row.name === name));
  const width = Math.max(...rows.map(({ name }) => name.length));
  const lines = rows.map(({ name, step, backward, ownBackward, memory }) => {
    const cells = [
      cell(step, 1),
      cell(backward, 1),
      cell((float32?.step ?? Number.NaN) / step, 2),
      cell((autocast?.step ?? Number.NaN) / step, 2),
      cell((float32?.backward ?? Number.NaN) / backward, 2),
      cell(ownBackward / backward, 2),
      cell(memory, 0),
    ];
    return [name.padEnd(width), ...cells.map((text, i) => text.padStart(Math.max(8, columns[i].length)))].join("  ");
  });
  const header = [" ".repeat(width), ...columns.map((text) => text.padStart(Math.max(8, text.length)))].join("  ");
  return [header, ...lines].join("\n");
}
