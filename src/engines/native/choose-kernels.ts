// Chooses among kernels that compute the same: as a run chose before, as was measured on this machine, or by rule.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import type { Node } from "../../ir/graph.ts";
import type { KernelChoices } from "../engine.ts";
import { createQueue } from "../planning/queue.ts";
import { describeAddon, loadAddon } from "./addon.ts";
import { faultyKernels } from "./check-kernels.ts";
import {
  canRemember,
  isWritable,
  type KernelCache,
  kernelCachePath,
  type RememberedKernel,
  readKernelCache,
  rememberKernels,
} from "./kernel-cache.ts";
import type { KernelQuestion, Numerics } from "./lowering.ts";
import { fastest, measureKernels } from "./measure-kernels.ts";
import type { Plan } from "./plan.ts";

/** The kernels of the plans of one executable. */
export interface KernelChooser {
  readonly choose: Numerics["choose"];
  /** Measures what was asked and nobody knew. Whether kernels differ from what was answered, so that a plan is made again. */
  readonly settle: () => Promise<boolean>;
  /** What was measured for a node's question; nothing where nobody did. */
  readonly timesOf: (node: Node) => Readonly<Record<string, number>> | undefined;
}

/** By file and machine: what processes remember, as far as this one knows. */
const known = new Map<string, ReadonlyMap<string, RememberedKernel>>();
const notedPaths = new Set<string>();
/** Measurements would disturb each other. */
const measuring = createQueue();

let addonDigest: string | undefined;

/** What a kernel's time depends on besides its question and the number of threads. */
function processorAndKernels(): string {
  const { path, oneDnn, oneDnnKernels, kernels } = describeAddon();
  addonDigest ??= createHash("sha256").update(readFileSync(path)).digest("hex").slice(0, 12);
  const processor = cpus()[0]?.model.trim() ?? "unknown";
  return `${processor}; own kernels ${addonDigest} with ${kernels}; oneDNN ${oneDnn} with ${oneDnnKernels}`;
}

/** What the file has answers by. */
export const machineOf = (threads: number): string => `${processorAndKernels()}; ${threads} threads`;

/** For plans of so many threads. Without `kernels`, by rule. */
export function createKernelChooser(
  threads: number,
  { tuning, chosen, onNote }: KernelChoices = { tuning: "off", chosen: new Map() },
): KernelChooser {
  const path = kernelCachePath();
  const asked = new Map<Node, KernelQuestion>();
  const open = new Map<string, KernelQuestion>();
  const memory = tuning === "off" ? undefined : createMemory(path, machineOf(threads), onNote);
  const answerTo = ({ key, candidates }: KernelQuestion): RememberedKernel | undefined => {
    const found = memory?.get(key);
    const isServed = candidates.some(({ kernel }) => kernel === found?.kernel);
    return found && isServed && (tuning === "fast" || found.tuning === "thorough") ? found : undefined;
  };
  const choose: KernelChooser["choose"] = (question, node) => {
    const { key, candidates, preferred } = question;
    asked.set(node, question);
    const before = chosen.get(key);
    if (before !== undefined && candidates.some(({ kernel }) => kernel === before)) return before;
    const answer = answerTo(question);
    if (tuning !== "off" && !answer) {
      open.set(key, question);
      return preferred;
    }
    const kernel = answer?.kernel ?? preferred;
    chosen.set(key, kernel);
    return kernel;
  };
  const measureUnknown = async (questions: readonly KernelQuestion[]): Promise<void> => {
    memory?.refresh();
    const unknown = questions.filter((question) => !answerTo(question));
    if (tuning === "off" || !memory || unknown.length === 0 || !(await memory.canAdd())) return;
    const measured = new Map<string, RememberedKernel>();
    for (const question of unknown) {
      const ms = await measureKernels(loadAddon(), threads, question, tuning);
      measured.set(question.key, { kernel: fastest(question, ms), tuning, ms });
    }
    await memory.add(measured);
  };
  return {
    choose,
    timesOf: (node) => {
      const question = asked.get(node);
      return question && memory?.get(question.key)?.ms;
    },
    settle: async () => {
      const questions = [...open.values()];
      open.clear();
      if (memory && questions.length > 0) await measuring.run(() => measureUnknown(questions));
      const changed = questions.filter((question) => {
        const kernel = answerTo(question)?.kernel ?? question.preferred;
        chosen.set(question.key, kernel);
        return kernel !== question.preferred;
      });
      return changed.length > 0;
    },
  };
}

/** What is known of kernels here, for people. */
export interface KernelState {
  readonly path: string;
  /** Questions that were measured here, with any number of threads. */
  readonly here: number;
  /** Of other processors, other versions and other instruction sets. */
  readonly elsewhere: number;
  /** Our own kernels that this processor computes wrongly, and that are not used. */
  readonly faulty: readonly string[];
  /** Why the file is not used; `null` where it is, or is not there yet. */
  readonly problem: string | null;
}

/** Throws ENGINE where the addon is not built. */
export async function describeKernels(): Promise<KernelState> {
  const path = kernelCachePath();
  const { machines, problem } = readKernelCache(path);
  const own = `${processorAndKernels()}; `;
  const counts = [...machines].map(([name, answers]) => ({ isHere: name.startsWith(own), count: answers.size }));
  const count = (isHere: boolean): number =>
    counts.reduce((sum, each) => sum + (each.isHere === isHere ? each.count : 0), 0);
  return {
    path,
    here: count(true),
    elsewhere: count(false),
    faulty: [...(await faultyKernels())],
    problem: problem ?? ((await isWritable(path)) ? null : "its folder cannot be written, so that fixed rules choose"),
  };
}

/** What the file remembers of this machine's plans of so many threads: by question, the kernel. */
export const rememberedKernels = (path: string, threads: number): readonly (readonly [string, string])[] =>
  [...(readKernelCache(path).machines.get(machineOf(threads)) ?? [])].map(
    ([question, { kernel }]) => [question, kernel] as const,
  );

/** Makes a plan, and makes it again where what was measured for it says otherwise. */
export async function lowerSettled(chooser: KernelChooser, lower: () => Plan): Promise<Plan> {
  const plan = lower();
  return (await chooser.settle()) ? lower() : plan;
}

/** What this machine remembers, in the file and in this process. */
function createMemory(path: string, machine: string, onNote: KernelChoices["onNote"]) {
  const key = `${path}\n${machine}`;
  const take = ({ machines, problem }: KernelCache): ReadonlyMap<string, RememberedKernel> => {
    if (problem !== undefined)
      note(`The remembered kernels of "${path}" cannot be read and are measured again: ${problem}`);
    // What the file lost stays known.
    const all = new Map([...(known.get(key) ?? []), ...(machines.get(machine) ?? [])]);
    known.set(key, all);
    return all;
  };
  const note = (text: string): void => {
    if (notedPaths.has(path)) return;
    notedPaths.add(path);
    onNote?.(text);
  };
  const cannot = (): void =>
    note(
      `Kernels were not measured, since nothing can be remembered in "${path}": fixed rules choose them. XDG_CACHE_HOME may name another folder.`,
    );
  return {
    get: (question: string): RememberedKernel | undefined =>
      (known.get(key) ?? take(readKernelCache(path))).get(question),
    refresh: (): void => {
      take(readKernelCache(path));
    },
    /** What cannot be remembered is not measured: the next process would choose otherwise. */
    canAdd: async (): Promise<boolean> => {
      const can = await canRemember(path);
      if (!can) cannot();
      return can;
    },
    add: async (measured: ReadonlyMap<string, RememberedKernel>): Promise<void> => {
      const all = await rememberKernels(path, machine, measured);
      if (all) known.set(key, all);
      else cannot();
    },
  };
}
