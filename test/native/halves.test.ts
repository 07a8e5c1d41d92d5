// float16 and bfloat16 as our own kernels read and write them, for each instruction set that the processor has: whole vectors and
// what is left over. The pool's threads take float32's denormals for zeros; float16's are none, bfloat16's may be narrowed to zeros.
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { bfloat16ToNumber, float16ToNumber } from "../support/half-bits.ts";
import { addonPath, isNativeBuilt, notBuilt } from "../support/native.ts";

/** All patterns of 16 bits but the last, in rows of 15, none of which fills a vector; widened, and narrowed again. */
const script = `
  const { createRequire } = await import("node:module");
  const { Memory, Program } = createRequire(import.meta.url)(process.argv[1]);
  const count = 65535;
  const results = {};
  for (const type of ["float16", "bfloat16"]) {
    const memory = new Memory(1 << 20);
    memory.write(0, Uint16Array.from({ length: count }, (_, i) => i));
    const none = new Float64Array();
    const [halves, wide, again] = [[0, 0, 2 * count], [0, 131072, 4 * count], [0, 393216, 2 * count]];
    const operations = [
      { kernel: "widen:" + type, places: Float64Array.from([...halves, ...wide]), ints: none, floats: none },
      { kernel: "narrow:" + type, places: Float64Array.from([...wide, ...again, -1, 0, 0]), ints: none, floats: none },
    ];
    const step = { kernel: "fused", places: none, ints: Float64Array.of(count, 15), floats: none, operations };
    const [floats, bits] = [new Float32Array(count), new Uint16Array(count)];
    await new Program(1, [memory], [step], 1).run(none, [memory, 131072, floats, memory, 393216, bits]);
    results[type] = { floats: Buffer.from(floats.buffer).toString("base64"), bits: Array.from(bits) };
  }
  console.log(JSON.stringify(results));`;

type Results = Record<"float16" | "bfloat16", { floats: string; bits: number[] }>;

/** In bfloat16. */
const isDenormal = (bits: number): boolean => (bits & 0x7f80) === 0;

const resultsWith = (set: string): Results =>
  JSON.parse(
    execFileSync(process.execPath, ["--input-type=module", "-e", script, addonPath], {
      encoding: "utf8",
      maxBuffer: 1 << 24,
      env: { ...process.env, FROSTBIT_MAX_CPU_ISA: set },
    }),
  );

describe.skipIf(!isNativeBuilt)(`halves${isNativeBuilt ? "" : ` (${notBuilt})`}`, () => {
  test.each(["generic", "avx2", "avx512"])("are widened and narrowed exactly by the loops of %s", (set) => {
    const results = resultsWith(set);
    for (const [type, toNumber] of [
      ["float16", float16ToNumber],
      ["bfloat16", bfloat16ToNumber],
    ] as const) {
      const { floats, bits } = results[type];
      const bytes = Uint8Array.from(Buffer.from(floats, "base64"));
      const wrong = [...new Float32Array(bytes.buffer)].flatMap((value, i) => {
        const expected = toNumber(i);
        const narrowed = type === "bfloat16" && isDenormal(i) && bits[i] === (i & 0x8000) ? i : bits[i];
        const isSame = Object.is(value, expected) && (Number.isNaN(expected) || narrowed === i);
        return isSame ? [] : [`${i.toString(16)}: ${value} and ${bits[i].toString(16)}, expected ${expected}`];
      });
      expect(wrong, type).toEqual([]);
    }
  });
});
