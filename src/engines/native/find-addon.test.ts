import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FrostbitError } from "../../ir/errors.ts";
import { checkMethods, planError } from "./find-addon.ts";

describe("an addon that refuses a plan", () => {
  let folder = "";
  let path = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "frostbit-addon-"));
    path = join(folder, "frostbit.node");
    writeFileSync(path, "");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const builtAt = (date: Date): void => utimesSync(path, date, date);
  const refused = (reason: string): Error => planError({ path, origin: "built here" }, new Error(reason));

  test("is of another version where it lacks a kernel: which addon, and how to build it again", () => {
    builtAt(new Date(Date.now() + 60_000));
    const error = refused("there is no kernel fused");
    expect(error).toBeInstanceOf(FrostbitError);
    expect(error.message).toContain(`${path} was built from another version of its sources: there is no kernel fused.`);
    expect(error.message).toMatch(/npm (run build:native|install frostbit-native)/);
  });

  test("is of another version where its sources are newer", () => {
    builtAt(new Date(0));
    expect(refused("fill4 wants 2 integers")).toBeInstanceOf(FrostbitError);
  });

  test("else the fault is ours", () => {
    builtAt(new Date(Date.now() + 60_000));
    const error = refused("fill4 wants 2 integers");
    expect(error).not.toBeInstanceOf(FrostbitError);
    expect(error.message).toBe("fill4 wants 2 integers");
  });
});

describe("an addon of another version", () => {
  const found = { path: "frostbit.node", origin: "package" } as const;
  class Memory {
    write(): void {}
    read(): void {}
  }

  test("lacks a method, which is named with what to do", () => {
    expect(() => checkMethods({ Memory }, found)).toThrow(
      /frostbit\.node was built from another version of its sources: there is no Memory\.dispose\. Build or install it again: /,
    );
  });

  test("lacks a function", () => {
    class Program {
      run(): void {}
      abort(): void {}
      describe(): void {}
      times(): void {}
      dispose(): void {}
    }
    class WholeMemory extends Memory {
      dispose(): void {}
    }
    const addon = { Memory: WholeMemory, Program, information: () => undefined, removeAtSignal: () => undefined };
    expect(() => checkMethods(addon, found)).toThrow("there is no endAfterSignal");
  });

  test("lacks what its methods belong to", () => {
    expect(() => checkMethods({}, found)).toThrow("there is no Memory.constructor");
  });
});
