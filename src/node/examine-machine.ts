// What of this machine and installation matters: processor, instruction sets, versions, engines.
import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { isNativeBuilt } from "../engines/native/addon.ts";
import { describeKernels, type KernelState } from "../engines/native/choose-kernels.ts";
import { type EngineEntry, engineEntries } from "../engines/table.ts";
import { versions } from "./versions.ts";

interface EngineState {
  readonly name: string;
  readonly available: boolean;
  /** Why not, and what to do; or what it is. */
  readonly detail: string;
}

export interface Machine {
  readonly platform: string;
  readonly processor: string;
  readonly threads: number;
  readonly memoryMb: number;
  /** Those that matter for integer and half-precision arithmetic; `null` where the platform does not tell. */
  readonly instructionSets: readonly string[] | null;
  readonly versions: Readonly<Record<string, string>>;
  readonly engines: readonly EngineState[];
  /** Where the native engine remembers which kernels were measured to be the fastest; `null` where it is not there. */
  readonly kernels: KernelState | null;
  /** What is missing or too old, with the remedy. */
  readonly problems: readonly string[];
}

const interesting: ReadonlySet<string> = new Set([
  ...["avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx512_bf16"],
  ...["amx_int8", "amx_bf16", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2"],
]);

const oldestNode = 20;

/** Of the first processor in the text of /proc/cpuinfo. */
export function parseInstructionSets(cpuInfo: string): readonly string[] {
  const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuInfo)?.[1] ?? "";
  return line.split(/\s+/).filter((flag) => interesting.has(flag));
}

/** Those that matter for arithmetic; `null` where the platform does not tell. */
export function instructionSets(): readonly string[] | null {
  if (platform() !== "linux") return null;
  return parseInstructionSets(readFileSync("/proc/cpuinfo", "utf8"));
}

async function examineEngine(name: string, { describe }: EngineEntry): Promise<EngineState> {
  try {
    return { name, available: true, detail: await describe(versions()) };
  } catch (error) {
    return { name, available: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

export async function examineMachine(): Promise<Machine> {
  const examined = await Promise.all(engineEntries.map(([name, entry]) => examineEngine(name, entry)));
  const problems = engineEntries.flatMap(([name, { isRequired }], i) =>
    isRequired && !examined[i].available ? [`Engine ${name}: ${examined[i].detail}`] : [],
  );
  if (Number(process.versions.node.split(".")[0]) < oldestNode)
    problems.push(`Node ${process.versions.node} is too old; install Node ${oldestNode} or newer.`);
  return {
    platform: `${platform()} ${arch()} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? "unknown",
    threads: availableParallelism(),
    memoryMb: Math.round(totalmem() / 2 ** 20),
    instructionSets: instructionSets(),
    versions: versions(),
    engines: examined,
    kernels: isNativeBuilt() ? await describeKernels() : null,
    problems,
  };
}
