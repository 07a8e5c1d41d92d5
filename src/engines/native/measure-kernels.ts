// Times kernels that compute the same, over memory of their own.
import type { Tuning } from "../engine.ts";
import type { NativeAddon, NativeMemory, NativeProgram, NativeStep } from "./addon.ts";
import type { KernelQuestion, Operand, TrialStep } from "./lowering.ts";

/** By kernel, the least milliseconds of several turns. */
export type KernelTimes = Readonly<Record<string, number>>;

interface Effort {
  /** More are left to fewer images. */
  readonly multiplyAdds: number;
  /** So many rounds in which no kernel was faster than before end a measurement: where others work on the machine, it takes more. */
  readonly calmRounds: number;
  /** After which no round begins. */
  readonly ms: number;
}

const efforts: Readonly<Record<Exclude<Tuning, "off">, Effort>> = {
  fast: { multiplyAdds: 2e8, calmRounds: 4, ms: 120 },
  thorough: { multiplyAdds: Number.POSITIVE_INFINITY, calmRounds: 20, ms: 2000 },
};

/** What is faster by less than this share is as fast. */
const asFast = 0.98;

/** A kernel is preferred to the rule's where it takes less than so much of its time: what differs by less, noise decides. */
const clearly = 0.95;

/** The fastest kernel; the rule's where no other is clearly faster. */
export function fastest({ preferred, candidates }: KernelQuestion, times: KernelTimes): string {
  const best = candidates.reduce((a, b) => (times[b.kernel] < times[a.kernel] ? b : a)).kernel;
  return times[best] < clearly * times[preferred] ? best : preferred;
}

interface Trial {
  readonly kernel: string;
  readonly program: NativeProgram;
}

/**
 * All candidates in turn, after a first one that only warms up: one thread on its share of the images. Where others work on the
 * machine, threads that wait for each other would mostly measure these.
 */
export async function measureKernels(
  addon: NativeAddon,
  threads: number,
  question: KernelQuestion,
  tuning: Exclude<Tuning, "off">,
): Promise<KernelTimes> {
  const effort = efforts[tuning];
  const images = imagesWithin(question, threads, effort.multiplyAdds);
  const trials = question.candidates.map(({ kernel, steps }) => ({ kernel, steps: steps(images) }));
  const { memory, offsets } = memoryOf(
    addon,
    trials.flatMap((trial) => trial.steps.flatMap(operandsOf)),
  );
  const programs: Trial[] = [];
  try {
    for (const { kernel, steps } of trials) {
      const native = steps.map((step) => nativeStep(step, offsets));
      programs.push({ kernel, program: new addon.Program(1, [memory], native, 0) });
    }
    const turn = () => turnOf(programs, question.counts);
    await turn();
    return await leastTimes(turn, effort);
  } finally {
    for (const { program } of programs) program.dispose();
    memory.dispose();
  }
}

/** Of all candidates, one after the other. */
async function turnOf(programs: readonly Trial[], counts: readonly number[]): Promise<KernelTimes> {
  const times: Record<string, number> = {};
  for (const { kernel, program } of programs) times[kernel] = await timeOf(program, counts);
  return times;
}

/** The least times of turns, which end when they do not get less any more. */
export async function leastTimes(
  turn: () => Promise<KernelTimes>,
  { calmRounds, ms }: Pick<Effort, "calmRounds" | "ms">,
): Promise<KernelTimes> {
  const started = performance.now();
  const least: Record<string, number> = { ...(await turn()) };
  for (let calm = 0; calm < calmRounds && performance.now() - started < ms; calm++)
    for (const [kernel, time] of Object.entries(await turn())) {
      if (time < asFast * least[kernel]) calm = -1;
      least[kernel] = Math.min(time, least[kernel]);
    }
  return least;
}

/** A thread's share, at least one. */
function imagesWithin({ images, multiplyAdds }: KernelQuestion, threads: number, most: number): number {
  const fewer = Math.floor((images * most) / multiplyAdds);
  return Math.max(1, Math.min(Math.ceil(images / threads), fewer));
}

/** With each number of rows, added up. */
async function timeOf(program: NativeProgram, counts: readonly number[]): Promise<number> {
  let time = 0;
  for (const count of counts.length === 0 ? [0] : counts) {
    await program.run(Float64Array.of(count), []);
    time += program.times().reduce((sum, ms) => sum + ms, 0);
  }
  return time;
}

const isMemory = (operand: TrialStep["operands"][number]): operand is Operand =>
  operand !== undefined && operand !== "passing" && operand.buffer === undefined;

const operandsOf = ({ operands, operations = [] }: TrialStep): readonly Operand[] => [
  ...operands.filter(isMemory),
  ...operations.flatMap(operandsOf),
];

const alignment = 64;

function memoryOf(addon: NativeAddon, operands: readonly Operand[]) {
  const offsets = new Map<Operand, number>();
  let bytes = 0;
  for (const operand of operands) {
    if (offsets.has(operand)) continue;
    offsets.set(operand, bytes);
    bytes += Math.ceil(operand.bytes / alignment) * alignment;
  }
  const memory = new addon.Memory(bytes);
  fill(memory, bytes);
  for (const [{ data }, offset] of offsets) if (data) memory.write(offset, data);
  return { memory, offsets };
}

/** Numbers whose magnitude is 0.5 to 1, as float32 and as bfloat16: pages that nobody wrote would all be one page of zeros. */
const numbers = Uint16Array.from({ length: 1 << 18 }, (_, i) => {
  const mixed = Math.imul(i + 1, 0x9e3779b1) >>> 16;
  return 0x3f00 | (mixed & 0x807f);
});

function fill(memory: NativeMemory, bytes: number): void {
  for (let offset = 0; offset < bytes; offset += numbers.byteLength)
    memory.write(offset, numbers.subarray(0, Math.min(numbers.length, (bytes - offset) / 2)));
}

function nativeStep(
  { kernel, operands, ints, operations }: TrialStep,
  offsets: ReadonlyMap<Operand, number>,
): NativeStep {
  const place = (operand: Operand | "passing" | undefined): readonly number[] => {
    if (operand === undefined) return [-1, 0, 0];
    if (operand === "passing") return [-2, 0, 0];
    if (operand.buffer !== undefined) return [-3, operand.buffer, operand.bytes];
    return [0, offsets.get(operand) ?? 0, operand.bytes];
  };
  return {
    kernel,
    places: Float64Array.from(operands.flatMap(place)),
    ints: Float64Array.from(ints),
    floats: new Float64Array(),
    ...(operations ? { operations: operations.map((operation) => nativeStep(operation, offsets)) } : {}),
  };
}
