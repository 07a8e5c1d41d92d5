// Finds the steps that work on the same elements one after the other, and makes each such group one step, chunk by chunk: what
// passes between its parts stays in the cache, and what passes between groups may be kept in 16 bits.
import { assert } from "../../ir/errors.ts";
import { fusedStep } from "./lowering.ts";
import type { Fused, Part, Slot, Step } from "./plan.ts";

interface Group {
  readonly count: number;
  readonly isLate: boolean;
  width: number;
  readonly parts: Part[];
  /** Slots that other groups read too, as this group names what it loads of them. */
  readonly loaded: Map<Slot, Slot>;
}

type Unit = Step | Group;

const isGroup = (unit: Unit): unit is Group => "loaded" in unit;
const present = (slots: readonly (Slot | undefined)[]): readonly Slot[] => slots.filter((slot) => slot !== undefined);
const resultsOf = (group: Group): readonly Slot[] => group.parts.flatMap(({ results }) => present(results));

/** The steps with element-wise ones fused. `kept` slots stay where they are, in float32; others between groups may be narrowed. */
export function fuse(steps: readonly Step[], kept: ReadonlySet<Slot>, narrows: boolean): Step[] {
  const units = group(steps, kept);
  settleResults(units, kept, narrows);
  return units.map((unit) => {
    if (!isGroup(unit)) return unit;
    placeLocals(unit);
    const { count, width, parts, isLate } = unit;
    return fusedStep({ count, width, parts, isLate, isLoad: false });
  });
}

/** Each step joins the group that makes what it reads, if everything else that it reads is there before that group. */
function group(steps: readonly Step[], kept: ReadonlySet<Slot>): Unit[] {
  const units: Unit[] = [];
  const order = new Map<Slot, number>();
  const loads = new Map<Slot, Step>();
  const add = (unit: Unit, made: readonly Slot[]): void => {
    for (const slot of made) order.set(slot, units.length);
    units.push(unit);
  };
  const startGroup = ({ fused }: Step): Group => {
    assert(fused, "only fused steps form groups");
    return { count: fused.count, width: fused.width, isLate: fused.isLate, parts: [], loaded: new Map() };
  };
  const makeLoad = (slot: Slot): void => {
    const load = loads.get(slot);
    if (!load?.fused) return;
    const alone = startGroup(load);
    alone.parts.push(...load.fused.parts);
    loads.delete(slot);
    add(
      alone,
      load.outputs.filter((each) => each !== undefined),
    );
  };
  for (const step of steps) {
    const { fused } = step;
    if (!fused) {
      for (const slot of present(step.inputs)) makeLoad(slot);
      add(step, present(step.outputs));
      continue;
    }
    const [part] = fused.parts;
    if (fused.isLoad) {
      for (const slot of present(part.results)) loads.set(slot, step);
      for (const slot of present(part.results)) if (kept.has(slot)) makeLoad(slot);
      continue;
    }
    for (const slot of present(part.whole)) makeLoad(slot);
    const found = findGroup(step, units, order, loads) ?? findBeside(fused, units, order, loads);
    const target = found ?? startGroup(step);
    join(target, part, fused.width, loads);
    const made = present([...part.results, ...part.ends]);
    if (!found) add(target, made);
    else for (const slot of made) order.set(slot, units.indexOf(found));
  }
  return units;
}

/** What only gradients want is computed when they are: done early it would be kept all the time between. */
const fits = (group: Group, { count, width, isLate }: Fused): boolean =>
  group.count === count && group.isLate === isLate && (group.width === width || group.width === 0 || width === 0);

function findGroup(
  { fused }: Step,
  units: readonly Unit[],
  order: ReadonlyMap<Slot, number>,
  loads: ReadonlyMap<Slot, Step>,
): Group | undefined {
  if (!fused) return undefined;
  const [part] = fused.parts;
  const streams = present(part.streams);
  const at = Math.max(-1, ...streams.map((slot) => order.get(slot) ?? -1));
  const candidate = units[at];
  if (!candidate || !isGroup(candidate) || !fits(candidate, fused)) return undefined;
  const made = new Set(resultsOf(candidate));
  const isBefore = (slot: Slot): boolean => (order.get(slot) ?? -1) < at;
  const isThere = (slot: Slot): boolean => {
    const load = loads.get(slot);
    return load
      ? present(load.inputs).every((each) => isBefore(each) || made.has(each))
      : made.has(slot) || isBefore(slot);
  };
  return streams.every(isThere) && present(part.whole).every(isBefore) ? candidate : undefined;
}

/** How far back a step looks for a group that reads what it reads: what it makes is kept from there on. */
const mostBetween = 3;

/** A group that reads a stream of the step's anyway, if nothing between makes what the step reads. */
function findBeside(
  fused: Fused,
  units: readonly Unit[],
  order: ReadonlyMap<Slot, number>,
  loads: ReadonlyMap<Slot, Step>,
): Group | undefined {
  const [part] = fused.parts;
  const streams = present(part.streams);
  const reads = (unit: Group): boolean =>
    streams.some((slot) => unit.loaded.has(slot) || unit.parts.some((each) => each.streams.includes(slot)));
  for (let at = units.length - 1; at >= Math.max(0, units.length - mostBetween); at--) {
    const unit = units[at];
    const isBefore = (slot: Slot): boolean =>
      present(loads.get(slot)?.inputs ?? [slot]).every((each) => (order.get(each) ?? -1) < at);
    if (isGroup(unit) && fits(unit, fused) && reads(unit) && [...streams, ...present(part.whole)].every(isBefore))
      return unit;
  }
  return undefined;
}

/** Adds a part, and before it the loads of what it reads. */
function join(target: Group, part: Part, width: number, loads: ReadonlyMap<Slot, Step>): void {
  target.width = Math.max(target.width, width);
  const loaded = (slot: Slot | undefined): Slot | undefined => {
    const load = slot && loads.get(slot)?.fused?.parts[0];
    return load ? loadInto(target, slot, load) : slot;
  };
  target.parts.push({ ...part, streams: part.streams.map(loaded) });
}

/** What a group calls a slot that it loads for itself. */
function loadInto(target: Group, slot: Slot, load: Part, at = target.parts.length): Slot {
  const known = target.loaded.get(slot);
  if (known) return known;
  const own: Slot = { bytes: slot.bytes, home: { kind: "arena" } };
  target.parts.splice(at, 0, { ...load, results: [own] });
  target.loaded.set(slot, own);
  return own;
}

/** What stays in a core's own cache anyway is not worth rounding. */
const fewestBytes = 1 << 16;

/** Results that only their group reads become buffers; those that pass to other groups are narrowed. */
function settleResults(units: Unit[], kept: ReadonlySet<Slot>, narrows: boolean): void {
  const readers = new Map<Slot, Unit[]>();
  for (const unit of units) {
    const slots = isGroup(unit)
      ? unit.parts.flatMap(({ streams, whole }) => present([...streams, ...whole]))
      : present(unit.inputs);
    for (const slot of new Set(slots)) readers.set(slot, [...(readers.get(slot) ?? []), unit]);
  }
  for (const maker of units.filter(isGroup))
    for (const slot of resultsOf(maker)) {
      if (kept.has(slot)) continue;
      const others = (readers.get(slot) ?? []).filter((unit) => unit !== maker);
      if (others.length === 0) slot.home = unplaced;
      else if (
        narrows &&
        slot.bytes >= fewestBytes &&
        slot.bytes === 4 * maker.count &&
        others.every((unit) => readsByElement(unit, slot))
      )
        narrow(maker, slot, others.filter(isGroup));
    }
}

/** A buffer whose index is not chosen yet. */
const unplaced = { kind: "local", index: -1 } as const;

const readsByElement = (unit: Unit, slot: Slot): boolean =>
  isGroup(unit) && unit.parts.every(({ whole }) => !whole.includes(slot)) && is32Bit(unit, slot);

/** Whether all that read a slot take it as float32. */
const is32Bit = (unit: Group, slot: Slot): boolean =>
  slot.bytes === 4 * unit.count &&
  unit.parts.every(({ kernel, streams }) => kernel !== "rescale" || !streams.includes(slot));

/** Forward values keep 11 bits of their fraction, gradients their range. */
function narrow(maker: Group, slot: Slot, others: readonly Group[]): void {
  const type = maker.isLate ? "bfloat16" : "float16";
  const stored: Slot = { bytes: slot.bytes / 2, home: { kind: "arena" } };
  const empty = { whole: [], ends: [], ints: [], floats: [] };
  const made = maker.parts.findIndex(({ results }) => results.includes(slot));
  maker.parts.splice(made + 1, 0, { ...empty, kernel: `narrow:${type}`, streams: [slot], results: [stored, slot] });
  slot.home = unplaced;
  for (const reader of others) {
    const first = reader.parts.findIndex(({ streams }) => streams.includes(slot));
    const load: Part = { ...empty, kernel: `widen:${type}`, streams: [stored], results: [slot] };
    const own = loadInto(reader, slot, load, first);
    own.home = unplaced;
    reader.parts.forEach((part, i) => {
      reader.parts[i] = { ...part, streams: part.streams.map((each) => (each === slot ? own : each)) };
    });
  }
}

/**
 * A buffer serves the next slot when its own is read for the last time; a part may write where it reads, but not where it reads
 * one number for each row.
 */
function placeLocals({ count, parts, loaded }: Group): void {
  for (const own of loaded.values()) own.home = unplaced;
  const isLocal = (slot: Slot): boolean => slot.home.kind === "local";
  const touched = parts.map(
    ({ streams, results }) => new Set([...present(streams), ...present(results)].filter(isLocal)),
  );
  const last = (slot: Slot): number => touched.findLastIndex((slots) => slots.has(slot));
  const free: number[] = [];
  let buffers = 0;
  const placed = new Set<Slot>();
  parts.forEach(({ streams, results }, at) => {
    const ended = [...new Set(present(streams).filter(isLocal))].filter(
      (slot) => last(slot) === at && !results.includes(slot),
    );
    const release = (slots: readonly Slot[]): void => {
      for (const { home } of slots) if (home.kind === "local") free.push(home.index);
    };
    release(ended.filter(({ bytes }) => bytes === 4 * count));
    for (const slot of present(results).filter(isLocal)) {
      if (placed.has(slot)) continue;
      placed.add(slot);
      slot.home = { kind: "local", index: free.pop() ?? buffers++ };
    }
    release(ended.filter(({ bytes }) => bytes !== 4 * count));
    release([...new Set(present(results).filter(isLocal))].filter((slot) => last(slot) === at));
  });
}
