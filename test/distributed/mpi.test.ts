// The command under mpiexec: the bytes of one process, mismatches that are refused, processes that are killed or hang.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isBuilt, type Mpi, mpis } from "../../src/node/mpi.ts";
import type { Report } from "../../src/report/report.ts";
import { writeInputs } from "../cli/durability.ts";
import { writeDrawnModel } from "../support/drawn-language-model.ts";
import { isNativeBuilt } from "../support/native.ts";
import { cliPath } from "../support/run-cli.ts";
import { tinyCifar10 } from "../support/tiny-models.ts";

const hasLauncher = (mpi: Mpi): boolean => spawnSync(`mpiexec.${mpi}`, ["--version"]).status === 0;
const usable = mpis.filter((mpi) => isBuilt(mpi) && hasLauncher(mpi));
const why = "mpiexec or the addon for it is missing: npm run build:mpi";

/** What each launcher needs to start more processes than there are cores, as the superuser too. */
const launches: Readonly<Record<Mpi, { readonly flags: readonly string[]; readonly env: NodeJS.ProcessEnv }>> = {
  openmpi: {
    flags: ["--oversubscribe"],
    env: { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" },
  },
  mpich: { flags: [], env: {} },
};

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly seconds: number;
}

interface Start {
  readonly command?: "quantize" | "evaluate";
  readonly mpi?: Mpi;
  readonly processes?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Called until it is true, and from then on no more. */
  readonly watch?: () => boolean;
}

let folder = "";

async function runWhole(args: readonly string[], start?: Start): Promise<string> {
  const { code, stdout, stderr } = await run(args, start);
  expect(code, stderr).toBe(0);
  return stdout;
}

/** `seconds`: since `watch` was true, or the start. */
function run(
  args: readonly string[],
  { command: name = "quantize", mpi, processes = 1, env = {}, watch }: Start = {},
): Promise<Ended> {
  const command = [process.execPath, cliPath, name, ...args];
  const [program, ...rest] = mpi
    ? [`mpiexec.${mpi}`, "-n", String(processes), ...launches[mpi].flags, ...command]
    : command;
  const child = spawn(program, rest, {
    cwd: folder,
    env: { ...process.env, ...(mpi && launches[mpi].env), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (part) => {
    stdout += String(part);
  });
  child.stderr.on("data", (part) => {
    stderr += String(part);
  });
  let since = performance.now();
  const timer =
    watch &&
    setInterval(() => {
      if (!watch()) return;
      since = performance.now();
      clearInterval(timer);
    }, 20);
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      clearInterval(timer);
      resolve({ code, stdout, stderr, seconds: (performance.now() - since) / 1000 });
    });
  });
}

/** The process of this rank, or of any, that works for `out`. */
function processOf(rank: number | "any", out: string): number | undefined {
  const text = (pid: string, file: string): string => {
    try {
      return readFileSync(join("/proc", pid, file), "latin1");
    } catch {
      return "";
    }
  };
  const found = readdirSync("/proc").find(
    (pid) =>
      /^\d+$/.test(pid) &&
      text(pid, "cmdline").startsWith(process.execPath) &&
      text(pid, "cmdline").includes(`\0${out}\0`) &&
      new RegExp(`\\0(OMPI_COMM_WORLD_RANK|PMI_RANK)=${rank === "any" ? "\\d+" : rank}\\0`).test(text(pid, "environ")),
  );
  return found === undefined ? undefined : Number(found);
}

const files = (out: string): ReadonlyMap<string, Buffer> => {
  const names = readdirSync(join(folder, out), { recursive: true, encoding: "utf8" });
  const kept = names.filter((name) => /\.(onnx|onnx\.data|safetensors)$|state\.json$/.test(name)).sort();
  return new Map(kept.map((name) => [name, readFileSync(join(folder, out, name))]));
};

/** What of the report does not come from a clock or from where it ran. */
function figures(out: string): object {
  const { training, top1, metrics, layers, units, sizeBytes, verification, options, methods } = JSON.parse(
    readFileSync(join(folder, out, "report.json"), "utf8"),
  ) as Report;
  return { training, top1, metrics, layers, units, sizeBytes, verification, options, methods };
}

function expectSame(out: string, as: string): void {
  expect([...files(out).keys()]).toEqual([...files(as).keys()]);
  for (const [name, bytes] of files(out)) expect(bytes.equals(files(as).get(name) ?? Buffer.of()), name).toBe(true);
  expect(figures(out)).toEqual(figures(as));
}

/** Everything that trains by a plan, one after the other: statistics of the batch, clipping, rows that are chosen again. */
const recipe = `quantize: { weights: 4, activations: 8, calibrationSamples: 64 }
accuracies: deployed
methods:
  - qat: { steps: 3, batch: 32, accumulate: 4, clipNorm: 1, freezeStatistics: 1 }
  - efqat: { mode: cwpl, updateRatio: 0.3, steps: 3, batch: 32, accumulate: 4, refreshEvery: 32, freezeStatistics: 1 }
  - efqat: { mode: cwpn, updateRatio: 0.3, steps: 3, batch: 32, accumulate: 4, refreshEvery: 32, optimizer: adam }
  - efqat: { mode: lwpn, updateRatio: 0.5, steps: 3, batch: 32, accumulate: 4, refreshEvery: 32, qparamTraining: lsq }
`;
const images = ["conv.onnx", "--data", "cifar10:cifar", "--preprocess", "imagenet", "--threads", "1", "--accept-loss"];
const byRecipe = [...images, "--recipe", "recipe.yaml"];
const long = [
  ...images,
  ..."--calibration-samples 64 --weights 4 --activations 4 --method efqat --mode cwpn --steps 60 --batch 32 --accumulate 4 --checkpoint-every 2 --accuracies deployed".split(
    " ",
  ),
];
const decoder = [
  "qwen2",
  ..."--text text.txt --length 16 --weights 2 --group-size 16 --method efficient-qat,e2e-qp --training-samples 16 --validation-samples 4 --batch 4 --accumulate 4 --epochs 1 --threads 1 --accept-loss".split(
    " ",
  ),
];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "frostbit-mpi-"));
  writeInputs(folder);
  writeFileSync(join(folder, "recipe.yaml"), recipe);
  writeDrawnModel(join(folder, "qwen2"), "qwen2");
  const letters = Array.from({ length: 6000 }, (_, i) => "abcdefghijklmnopqrstu"[(i * i + 3 * i) % 21]);
  writeFileSync(join(folder, "text.txt"), letters.join(""));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const counts = usable.flatMap((mpi) => [2, 4].map((processes) => ({ mpi, processes })));

describe.skipIf(usable.length === 0 || !isNativeBuilt)(`under mpiexec (${usable.join(", ") || why})`, () => {
  test("QAT and each mode of EfQAT leave the bytes and figures of one process", async () => {
    await runWhole([...byRecipe, "--out", "one"]);
    for (const { mpi, processes } of counts) {
      const out = `${mpi}-${processes}`;
      await runWhole([...byRecipe, "--out", out], { mpi, processes });
      expectSame(out, "one");
      const { distributed } = JSON.parse(readFileSync(join(folder, out, "report.json"), "utf8")) as Report;
      const { summedBytes = 0, sentBytes = 0, sums = 0 } = distributed ?? {};
      expect(distributed).toMatchObject({ processes, sums: 12 });
      expect(sentBytes).toBeGreaterThan(0);
      // Shares differ by an element at each halving.
      expect(sentBytes).toBeLessThanOrEqual(
        (2 * (processes - 1) * summedBytes) / processes + 4 * sums * Math.log2(processes),
      );
    }
  }, 300_000);

  test("calibration, sensitivities, second moments of layers and evaluation are shared where nothing trains", async () => {
    const shared = [
      ...images,
      ..."--max-bits 4 --method gptq --observer percentile --calibration-samples 256".split(" "),
    ];
    await runWhole([...shared, "--out", "gptq-one"]);
    for (const mpi of usable) {
      const out = `gptq-${mpi}`;
      await runWhole([...shared, "--out", out], { mpi, processes: 4 });
      expectSame(out, "gptq-one");
      const { distributed } = JSON.parse(readFileSync(join(folder, out, "report.json"), "utf8")) as Report;
      expect(distributed?.sums).toBeGreaterThan(0);
    }
  }, 300_000);

  test("evaluate has the figures of one process, printed once", async () => {
    const command = "evaluate";
    const [mpi] = usable;
    const measured = "conv.onnx --data cifar10:cifar --preprocess imagenet --threads 1 --json".split(" ");
    const one = await runWhole(measured, { command });
    expect(JSON.parse(one)).toMatchObject({ samples: 200 });
    expect(await runWhole(measured, { command, mpi, processes: 4 })).toBe(one);
    const text = "qwen2 --text text.txt --length 16 --threads 1 --json".split(" ");
    expect(await runWhole(text, { command, mpi, processes: 2 })).toBe(await runWhole(text, { command }));
  }, 120_000);

  test("eight processes leave the bytes and figures of one", async () => {
    const step = [...images, ..."--method qat --steps 2 --batch 16 --accumulate 8 --calibration-samples 64".split(" ")];
    const mpi = usable[usable.length - 1];
    await runWhole([...step, "--out", "eight-one"]);
    await runWhole([...step, "--out", "eight"], { mpi, processes: 8 });
    expectSame("eight", "eight-one");
  }, 300_000);

  test("Block-AP and E2E-QP leave the bytes and figures of one process", async () => {
    await runWhole([...decoder, "--out", "decoder-one"]);
    for (const mpi of usable) {
      const [out, processes] = [`decoder-${mpi}`, mpi === "openmpi" ? 4 : 2];
      await runWhole([...decoder, "--out", out], { mpi, processes });
      expectSame(out, "decoder-one");
    }
  }, 300_000);

  test.each(usable)(
    "a process that is killed ends all, and a run resumed with another number of them leaves the same bytes (%s)",
    async (mpi) => {
      const [out, whole] = [`killed-${mpi}`, "long"];
      if (!existsSync(join(folder, whole))) await runWhole([...long, "--out", whole]);
      const kill = (): boolean => {
        const pid = existsSync(join(folder, out, "checkpoint/state.json")) ? processOf(1, out) : undefined;
        return pid !== undefined && process.kill(pid, "SIGKILL");
      };
      const { code, seconds } = await run([...long, "--out", out], { mpi, processes: 2, watch: kill });
      expect(code).not.toBe(0);
      expect(seconds).toBeLessThan(5);
      expect(existsSync(join(folder, out, "model.onnx"))).toBe(false);
      expect(processOf("any", out)).toBeUndefined();
      await runWhole([...long, "--out", out, "--resume"], { mpi, processes: 4 });
      expectSame(out, whole);
      expect(readdirSync(join(folder, out)).filter((name) => /tmp|lock/.test(name))).toEqual([]);
    },
    300_000,
  );

  test("a process that hangs is named by the others, which end", async () => {
    const [mpi] = usable;
    const stop = (): boolean => {
      const pid = existsSync(join(folder, "hanging/checkpoint/state.json")) ? processOf(1, "hanging") : undefined;
      return pid !== undefined && process.kill(pid, "SIGSTOP");
    };
    const args = [...long, "--out", "hanging", "--rank-timeout", "2"];
    const { code, stderr, seconds } = await run(args, { mpi, processes: 4, watch: stop });
    expect(code).not.toBe(0);
    expect(seconds).toBeLessThan(15);
    expect(stderr).toMatch(/error: process 1 \(\S+, \d+\) did not answer within 2 s, while the others waited/);
    expect(existsSync(join(folder, "hanging/model.onnx"))).toBe(false);
    expect(processOf("any", "hanging")).toBeUndefined();
  }, 120_000);

  /** Two processes that run `first`, in which `rank` is theirs, before the command; what they say. */
  function refusal(first: string, args: readonly string[]): string {
    const [mpi] = usable;
    const script = `const rank = process.env.OMPI_COMM_WORLD_RANK ?? process.env.PMI_RANK; ${first}; await import(${JSON.stringify(cliPath)});`;
    writeFileSync(join(folder, "first.mjs"), script);
    const command = [process.execPath, "first.mjs", "quantize", ...args, "--out", "refused"];
    const child = spawnSync(`mpiexec.${mpi}`, ["-n", "2", ...launches[mpi].flags, ...command], {
      cwd: folder,
      env: { ...process.env, ...launches[mpi].env },
      encoding: "utf8",
    });
    expect(child.status).not.toBe(0);
    expect(child.stderr).not.toContain("calibrate");
    expect(existsSync(join(folder, "refused"))).toBe(false);
    return child.stderr;
  }

  test("processes that were not told the same, or have other samples, are refused by name, before anything is computed", () => {
    expect(refusal('process.argv.push("--seed", rank)', long)).toMatch(
      /process 1 \(\S+, \d+\): seed is 0 in process 0 and 1 here/,
    );
    mkdirSync(join(folder, "elsewhere"));
    writeInputs(join(folder, "elsewhere"));
    writeFileSync(join(folder, "elsewhere/cifar/test_batch.bin"), tinyCifar10(200, 3));
    expect(refusal('if (rank === "1") process.chdir("elsewhere")', [...images, "--method", "ptq"])).toMatch(
      /process 1 \(\S+, \d+\): samples differs/,
    );
  }, 60_000);

  test("parts that the processes cannot share, and runs without data, are refused", async () => {
    const [mpi] = usable;
    const of = async (args: readonly string[]): Promise<string> => (await run(args, { mpi, processes: 2 })).stderr;
    const plain = [...images, "--out", "refused"];
    expect(await of([...plain, "--method", "qat", "--accumulate", "3", "--batch", "33"])).toMatch(
      /qat\.accumulate is 3; expected a multiple of the 2 processes/,
    );
    expect(await of(["conv.onnx"])).toContain("2 processes share a run with data");
  }, 60_000);

  test.skipIf(usable.length < 2)(
    "an addon of another MPI than the launcher's is refused",
    async () => {
      const env = { FROSTBIT_MPI: "openmpi", ...launches.openmpi.env };
      const { code, stderr } = await run([...long, "--out", "refused"], { mpi: "mpich", processes: 2, env });
      expect(code).not.toBe(0);
      expect(stderr).toMatch(/MPICH's mpiexec started 2 processes \(PMI_SIZE\), but Open MPI \S+.* finds 1/);
      expect(existsSync(join(folder, "refused"))).toBe(false);
    },
    60_000,
  );
});
