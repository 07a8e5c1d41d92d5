import { deflateRawSync } from "node:zlib";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { readZip } from "./read-zip.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const all = (): boolean => true;
const read = (bytes: Uint8Array): ReadonlyMap<string, Uint8Array> => plain(readZip(bytes, "a.npz", all));
const plain = (files: ReadonlyMap<string, Uint8Array>): ReadonlyMap<string, Uint8Array> =>
  new Map([...files].map(([name, bytes]) => [name, new Uint8Array(bytes)]));

const content = text("what is packed, again and again and again and again and again");
const archive = (level: 0 | 6): Uint8Array =>
  zipSync({ "x.npy": [content, { level }], "y.npy": [text("y"), { level }] });

describe("an archive", () => {
  test("is read as it was written, stored or deflated, with a comment after it, all of it or what is wanted", () => {
    for (const level of [0, 6] as const) {
      expect([...read(archive(level))]).toEqual([
        ["x.npy", content],
        ["y.npy", text("y")],
      ]);
      expect([...readZip(archive(level), "a.npz", (name) => name === "y.npy").keys()]).toEqual(["y.npy"]);
    }
    const comment = new Uint8Array([...archive(6), ...text("abc")]);
    comment[archive(6).length - 2] = 3;
    expect(read(comment).size).toBe(2);
  });

  test("whose sizes are written as zip64's is read", () => {
    expect([
      ...read(
        handMade([{ name: "x.npy", packed: content, method: 0, unpacked: content.length, crc: 0xc94f0831 }], true),
      ),
    ]).toEqual([["x.npy", content]]);
  });

  test.each([0, 6] as const)("with any one byte of its data changed is refused by name (level %i)", (level) => {
    const whole = archive(level);
    const start = 30 + "x.npy".length;
    const end = whole.indexOf(0x50, start + 10) - 1;
    let refused = 0;
    for (let at = start; at < end; at++) {
      const damaged = whole.slice();
      damaged[at] ^= 0x10;
      expect(() => read(damaged), `byte ${at}`).toThrow(/Cannot unpack "a\.npz": "x\.npy"/);
      refused++;
    }
    expect(refused).toBeGreaterThan(20);
  });

  test("that is cut off anywhere is refused", () => {
    const whole = archive(6);
    for (let length = 0; length < whole.length; length++)
      expect(() => read(whole.subarray(0, length)), `${length}`).toThrow('Cannot unpack "a.npz"');
  });

  test("with any byte changed is refused, or gives what it held", () => {
    const whole = archive(6);
    const held = [content, text("y")];
    for (let at = 0; at < whole.length; at++) {
      const damaged = whole.slice();
      damaged[at] ^= 0xff;
      try {
        for (const bytes of read(damaged).values()) expect(held).toContainEqual(bytes);
      } catch (error) {
        expect(String(error)).toMatch(/^FrostbitError: (Cannot unpack )?"a\.npz"/);
      }
    }
  });
});

interface HandMade {
  readonly name: string;
  readonly packed: Uint8Array;
  readonly method: number;
  readonly unpacked: number;
  readonly crc: number;
  /** Of an entry before, whose bytes it shares. */
  readonly at?: number;
}

const le = (value: number, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) % 256);

function handMade(files: readonly HandMade[], is64 = false): Uint8Array {
  const parts: number[][] = [];
  const directory: number[] = [];
  let length = 0;
  for (const { name, packed, method, unpacked, crc, at } of files) {
    const start = at ?? length;
    const [short, extra] = is64
      ? [
          [...le(2 ** 32 - 1, 4), ...le(2 ** 32 - 1, 4)],
          [...le(1, 2), ...le(16, 2), ...le(unpacked, 8), ...le(packed.length, 8)],
        ]
      : [[...le(packed.length, 4), ...le(unpacked, 4)], []];
    if (at === undefined) {
      const header = [...le(0x04034b50, 4), ...le(45, 2), ...le(0, 2), ...le(method, 2), ...le(0, 4), ...le(crc, 4)];
      const part = [
        ...header,
        ...le(packed.length, 4),
        ...le(unpacked, 4),
        ...le(name.length, 2),
        ...le(0, 2),
        ...text(name),
        ...packed,
      ];
      parts.push(part);
      length += part.length;
    }
    directory.push(
      ...le(0x02014b50, 4),
      ...le(45, 2),
      ...le(45, 2),
      ...le(0, 2),
      ...le(method, 2),
      ...le(0, 4),
      ...le(crc, 4),
    );
    directory.push(
      ...short,
      ...le(name.length, 2),
      ...le(extra.length, 2),
      ...le(0, 10),
      ...le(start, 4),
      ...text(name),
      ...extra,
    );
  }
  const end = [...le(0x06054b50, 4), ...le(0, 4), ...le(files.length, 2), ...le(files.length, 2)];
  return new Uint8Array([...parts.flat(), ...directory, ...end, ...le(directory.length, 4), ...le(length, 4), 0, 0]);
}

describe("small archives that unpack to much", () => {
  const zeros = deflateRawSync(new Uint8Array(2 ** 20));
  const file = (i: number, more: Partial<HandMade>): HandMade => ({
    name: `x${i}.npy`,
    packed: zeros,
    method: 8,
    unpacked: 2 ** 20,
    crc: 0,
    ...more,
  });

  test("by files that share their bytes are refused", () => {
    const shared = Array.from({ length: 200 }, (_, i) => file(i, i > 0 ? { at: 0 } : {}));
    expect(() => read(handMade(shared))).toThrow('"x0.npy" and "x1.npy" overlap');
  });

  test("are refused before anything is unpacked, and say how to go on", () => {
    const large = Array.from({ length: 20 }, (_, i) => file(i, { unpacked: 10 ** 9 }));
    const started = performance.now();
    expect(() => read(handMade(large))).toThrow(
      /^"a\.npz" unpacks \d+ bytes to 20000000000 or more; what is unpacked are 128 MiB, or 256 times the packed bytes up to 4 GiB\. If the data are meant, give them unpacked, or in parts\.$/,
    );
    expect(performance.now() - started).toBeLessThan(500);
  });

  test("more than they say are refused", () => {
    expect(() => read(handMade([file(0, { unpacked: 1000 })]))).toThrow('Cannot unpack "a.npz": "x0.npy"');
  });

  test("by a method that is not read, encrypted, or twice under one name are refused", () => {
    expect(() => read(handMade([file(0, { method: 12 })]))).toThrow('"x0.npy" is compressed by method 12; expected 0');
    expect(() => read(handMade([file(0, {}), file(0, {})]))).toThrow('it has two files "x0.npy"');
  });
});
