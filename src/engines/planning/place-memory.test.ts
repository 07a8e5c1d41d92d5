import fc from "fast-check";
import { expect, test } from "vitest";
import { type MemoryStep, placeMemory, type Sized } from "./place-memory.ts";

type Step = MemoryStep<Sized>;

const slot = (bytes: number): Sized => ({ bytes });
const placeSlots = (steps: readonly Step[], early: readonly Sized[], late: readonly Sized[]) =>
  placeMemory({ steps, early, late, isPlaced: () => true });
const step = (inputs: readonly Sized[], outputs: readonly Sized[], inPlace: Step["inPlace"] = []): Step => ({
  inputs,
  outputs,
  inPlace,
});

/** A chain of steps: each reads some earlier slots and writes one of its own. */
const chains = fc.array(fc.record({ bytes: fc.nat(1000), reads: fc.array(fc.nat(), { maxLength: 3 }) }), {
  maxLength: 30,
});

test("slots that are needed at once never share bytes", () => {
  fc.assert(
    fc.property(chains, (links) => {
      const slots = links.map(({ bytes }) => slot(bytes + 1));
      const steps = links.map(({ reads }, i) => {
        const read = i === 0 ? [] : reads.map((at) => slots[at % i]);
        return step(read, [slots[i]]);
      });
      const { offsets, bytes } = placeSlots(steps, [], []);
      const lives = slots.map((each, i) => {
        const last = steps.findLastIndex(({ inputs }) => inputs.includes(each));
        return { first: i, last: Math.max(i, last), offset: offsets.get(each) ?? -1, bytes: each.bytes };
      });
      for (const a of lives) {
        expect(a.offset).toBeGreaterThanOrEqual(0);
        expect(a.offset + a.bytes).toBeLessThanOrEqual(bytes);
        for (const b of lives) {
          const meet = a !== b && a.first <= b.last && b.first <= a.last;
          if (meet) expect(a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset).toBe(true);
        }
      }
    }),
  );
});

test("a chain of steps that work in place takes the memory of one value", () => {
  const slots = Array.from({ length: 5 }, () => slot(640));
  const steps = slots.slice(1).map((to, i) => step([slots[i]], [to], [[0, 0]]));
  expect(placeSlots(steps, [slots[0]], [slots[4]]).bytes).toBe(640);
});

test("a value that a step reads elsewhere too is not overwritten in place", () => {
  const [x, y] = [slot(64), slot(64)];
  const { offsets } = placeSlots([step([x, x], [y], [[0, 0]])], [x], [y]);
  expect(offsets.get(x)).not.toBe(offsets.get(y));
});

test("two results of a step do not take the same value's bytes, though one is never read", () => {
  const [x, y, z] = [slot(64), slot(64), slot(64)];
  const both = [
    [0, 0],
    [1, 0],
  ] as const;
  const { offsets } = placeSlots([step([x], [y, z], both)], [x], [z]);
  expect(offsets.get(y)).not.toBe(offsets.get(z));
});

test("a value that is read later is not overwritten in place", () => {
  const [x, y, z] = [slot(64), slot(64), slot(64)];
  const { offsets } = placeSlots([step([x], [y], [[0, 0]]), step([x, y], [z])], [x], [z]);
  expect(offsets.get(x)).not.toBe(offsets.get(y));
});
