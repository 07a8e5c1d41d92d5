// What of this machine and installation matters: processor, instruction sets, versions, engines.
import { readFileSync } from "node:fs";
import { arch, availableParallelism, cpus, platform, release, totalmem } from "node:os";
import { describeAddon } from "../engines/native/addon.ts";
import { loadOrt } from "../engines/onnxruntime/ort-module.ts";
import { versions } from "./versions.ts";

export interface EngineState {
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

function instructionSets(): readonly string[] | null {
  if (platform() !== "linux") return null;
  return parseInstructionSets(readFileSync("/proc/cpuinfo", "utf8"));
}

async function examineOnnxRuntime(version: string): Promise<EngineState> {
  const name = "onnxruntime";
  try {
    await loadOrt();
    return { name, available: true, detail: `onnxruntime-node ${version}` };
  } catch (error) {
    return { name, available: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

function examineNative(): EngineState {
  const name = "native";
  try {
    const { oneDnn, oneDnnKernels, kernels, path, origin } = describeAddon();
    const detail = `oneDNN ${oneDnn} with ${oneDnnKernels}, own kernels with ${kernels}; ${origin}: ${path}`;
    return { name, available: true, detail };
  } catch (error) {
    return { name, available: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

/** The native engine is never missing: what it runs, the others run too. */
const optionalEngine = "native";

export async function examineMachine(): Promise<Machine> {
  const found = versions();
  const engines = [
    await examineOnnxRuntime(found["onnxruntime-node"]),
    examineNative(),
    { name: "reference", available: true, detail: "built in; exact and slow" },
  ];
  const problems = engines
    .filter(({ name, available }) => !available && name !== optionalEngine)
    .map(({ name, detail }) => `Engine ${name}: ${detail}`);
  if (Number(process.versions.node.split(".")[0]) < oldestNode)
    problems.push(`Node ${process.versions.node} is too old; install Node ${oldestNode} or newer.`);
  return {
    platform: `${platform()} ${arch()} ${release()}`,
    processor: cpus()[0]?.model.trim() ?? "unknown",
    threads: availableParallelism(),
    memoryMb: Math.round(totalmem() / 2 ** 20),
    instructionSets: instructionSets(),
    versions: found,
    engines,
    problems,
  };
}
