// Finds the steps that work on the same elements one after the other, and makes each such group one step, chunk by chunk: what
// passes between its operations stays in the cache, and what passes between groups may be kept in 16 bits.
import { assert } from "../../ir/errors.ts";
import { fusedStep } from "./lowering.ts";
import type { Fused, FusedOperation, Slot, Step } from "./plan.ts";

interface Group {
  readonly count: number;
  readonly isLate: boolean;
  width: number;
  readonly operations: FusedOperation[];
  /** Slots that other groups read too, as this group names what it loads of them. */
  readonly loaded: Map<Slot, Slot>;
}

type Unit = Step | Group;

const isGroup = (unit: Unit): unit is Group => "loaded" in unit;
const present = (slots: readonly (Slot | undefined)[]): readonly Slot[] => slots.filter((slot) => slot !== undefined);
const resultsOf = (group: Group): readonly Slot[] => group.operations.flatMap(({ results }) => present(results));

/** The steps with element-wise ones fused. `kept` slots stay where they are, in float32; others between groups may be narrowed. */
export function fuse(steps: readonly Step[], kept: ReadonlySet<Slot>, narrows: boolean): Step[] {
  const units = group(steps, kept);
  recompute(units, kept);
  placeResults(units, kept, narrows);
  return units.map((unit) => {
    if (!isGroup(unit)) return unit;
    placeLocals(unit);
    const { count, width, operations, isLate } = unit;
    return fusedStep({ count, width, operations, isLate, isLoad: false });
  });
}

/** Each step joins the group that makes what it reads, if everything else that it reads is there before that group. */
function group(steps: readonly Step[], kept: ReadonlySet<Slot>): Unit[] {
  const units: Unit[] = [];
  const order = new Map<Slot, number>();
  const pendingLoads = new Map<Slot, Step>();
  const add = (unit: Unit, made: readonly Slot[]): void => {
    for (const slot of made) order.set(slot, units.length);
    units.push(unit);
  };
  const startGroup = ({ fused }: Step): Group => {
    assert(fused, "only fused steps form groups");
    return { count: fused.count, width: fused.width, isLate: fused.isLate, operations: [], loaded: new Map() };
  };
  const makeLoad = (slot: Slot): void => {
    const load = pendingLoads.get(slot);
    if (!load?.fused) return;
    const alone = startGroup(load);
    alone.operations.push(...load.fused.operations);
    pendingLoads.delete(slot);
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
    const [operation] = fused.operations;
    if (fused.isLoad) {
      for (const slot of present(operation.results)) pendingLoads.set(slot, step);
      for (const slot of present(operation.results)) if (kept.has(slot)) makeLoad(slot);
      continue;
    }
    for (const slot of present(operation.broadcast)) makeLoad(slot);
    const found = findGroup(step, units, order, pendingLoads) ?? findBeside(fused, units, order, pendingLoads);
    const target = found ?? startGroup(step);
    join(target, operation, fused.width, pendingLoads);
    const made = present([...operation.results, ...operation.epilogue]);
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
  const [operation] = fused.operations;
  const operands = present(operation.elementwise);
  const at = Math.max(-1, ...operands.map((slot) => order.get(slot) ?? -1));
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
  return operands.every(isThere) && present(operation.broadcast).every(isBefore) ? candidate : undefined;
}

/** How far back a step looks for a group that reads what it reads: what it makes is kept from there on. */
const maxDistance = 3;

/** A group that reads an element-wise operand of the step's anyway, if nothing between makes what the step reads. */
function findBeside(
  fused: Fused,
  units: readonly Unit[],
  order: ReadonlyMap<Slot, number>,
  loads: ReadonlyMap<Slot, Step>,
): Group | undefined {
  const [operation] = fused.operations;
  const operands = present(operation.elementwise);
  const reads = (unit: Group): boolean =>
    operands.some((slot) => unit.loaded.has(slot) || unit.operations.some((each) => each.elementwise.includes(slot)));
  for (let at = units.length - 1; at >= Math.max(0, units.length - maxDistance); at--) {
    const unit = units[at];
    const isBefore = (slot: Slot): boolean =>
      present(loads.get(slot)?.inputs ?? [slot]).every((each) => (order.get(each) ?? -1) < at);
    if (
      isGroup(unit) &&
      fits(unit, fused) &&
      reads(unit) &&
      [...operands, ...present(operation.broadcast)].every(isBefore)
    )
      return unit;
  }
  return undefined;
}

/** Adds an operation, and before it the loads of what it reads. */
function join(target: Group, operation: FusedOperation, width: number, loads: ReadonlyMap<Slot, Step>): void {
  target.width = Math.max(target.width, width);
  const loaded = (slot: Slot | undefined): Slot | undefined => {
    const load = slot && loads.get(slot)?.fused?.operations[0];
    return load ? loadInto(target, slot, load) : slot;
  };
  target.operations.push({ ...operation, elementwise: operation.elementwise.map(loaded) });
}

/** What a group calls a slot that it loads for itself. */
function loadInto(target: Group, slot: Slot, load: FusedOperation, at = target.operations.length): Slot {
  const known = target.loaded.get(slot);
  if (known) return known;
  const own: Slot = { bytes: slot.bytes, location: { kind: "arena" } };
  target.operations.splice(at, 0, { ...load, results: [own] });
  target.loaded.set(slot, own);
  return own;
}

function readersOf(units: readonly Unit[]): ReadonlyMap<Slot, readonly Unit[]> {
  const readers = new Map<Slot, Unit[]>();
  for (const unit of units) {
    const slots = isGroup(unit)
      ? unit.operations.flatMap(({ elementwise, broadcast }) => present([...elementwise, ...broadcast]))
      : present(unit.inputs);
    for (const slot of new Set(slots)) readers.set(slot, [...(readers.get(slot) ?? []), unit]);
  }
  return readers;
}

/** What takes no more time than to write it and to read it again. */
const cheap: ReadonlySet<string> = new Set(["normalization", "clip", "unary", "binary", "binaryRow", "binaryColumn"]);
const isCheap = ({ kernel }: FusedOperation): boolean => cheap.has(kernel);

/** What gradients alone want of a group is computed again by theirs, where they read what it is computed of anyway. */
function recompute(units: readonly Unit[], kept: ReadonlySet<Slot>): void {
  const readers = readersOf(units);
  for (const maker of units.filter(isGroup))
    for (const made of maker.operations.filter(isCheap).flatMap(({ results }) => present(results))) {
      const others = (readers.get(made) ?? []).filter((unit) => unit !== maker);
      if (kept.has(made) || !others.every((unit) => isGroup(unit) && canRecompute(unit, made, maker))) continue;
      for (const reader of others.filter(isGroup))
        for (const operation of remaking(reader, made, maker) ?? []) recomputeIn(reader, operation);
    }
}

const canRecompute = (reader: Group, made: Slot, maker: Group): boolean =>
  reader.isLate &&
  (reader.width === maker.width || maker.width === 0) &&
  reader.operations.every(({ broadcast }) => !broadcast.includes(made)) &&
  remaking(reader, made, maker) !== undefined;

/** The maker's cheap operations that make a slot of what the reader reads anyway; absent where others are among them. */
function remaking(reader: Group, made: Slot, maker: Group): readonly FusedOperation[] | undefined {
  const operation = maker.operations.find(({ results }) => results.includes(made));
  if (!operation || !isCheap(operation)) return undefined;
  const before = present(operation.elementwise).map((slot) =>
    reads(reader, slot) ? [] : remaking(reader, slot, maker),
  );
  return before.every((each) => each !== undefined) ? [...before.flat(), operation] : undefined;
}

const reads = (group: Group, slot: Slot): boolean =>
  group.loaded.has(slot) || group.operations.some(({ elementwise }) => elementwise.includes(slot));

function recomputeIn(reader: Group, operation: FusedOperation): void {
  const [made] = present(operation.results);
  const elementwise = operation.elementwise.map((slot) => slot && (reader.loaded.get(slot) ?? slot));
  const at = 1 + reader.operations.findLastIndex(({ results }) => results.some((slot) => elementwise.includes(slot)));
  readInstead(reader, made, loadInto(reader, made, { ...operation, elementwise }, at));
}

function readInstead(reader: Group, slot: Slot, own: Slot): void {
  reader.operations.forEach((operation, i) => {
    reader.operations[i] = {
      ...operation,
      elementwise: operation.elementwise.map((each) => (each === slot ? own : each)),
    };
  });
}

/** What stays in a core's own cache anyway is not worth rounding. */
const minNarrowedBytes = 1 << 16;

/** Results that only their group reads become buffers; those that pass to other groups are narrowed. */
function placeResults(units: Unit[], kept: ReadonlySet<Slot>, narrows: boolean): void {
  const readers = readersOf(units);
  for (const maker of units.filter(isGroup))
    for (const slot of resultsOf(maker)) {
      if (kept.has(slot)) continue;
      const others = (readers.get(slot) ?? []).filter((unit) => unit !== maker);
      if (others.length === 0) slot.location = unplaced;
      else if (narrows && slot.bytes >= minNarrowedBytes && slot.bytes === 4 * maker.count) {
        const copies = copiesOf(slot, units, readers, kept);
        const isRead = (each: Slot, unit: Unit): boolean =>
          unit === maker || isCopy(unit) || readsByElement(unit, each);
        if (copies && [slot, ...copies].every((each) => (readers.get(each) ?? []).every((unit) => isRead(each, unit))))
          narrow(maker, [slot, ...copies], units, readers);
      }
    }
  if (narrows) roundProducts(units, readers, kept);
}

const isCopy = (unit: Unit): unit is Step => !isGroup(unit) && unit.kernel === "copy4";
const isZeroFill = (unit: Unit): unit is Step =>
  !isGroup(unit) && unit.kernel === "fill4" && present(unit.inputs).length === 0;

/** What holds nothing but elements of a slot, copied, and zeros; absent where copies make something else besides. */
function copiesOf(
  slot: Slot,
  units: readonly Unit[],
  readers: ReadonlyMap<Slot, readonly Unit[]>,
  kept: ReadonlySet<Slot>,
): readonly Slot[] | undefined {
  const found = [slot];
  for (const from of found)
    for (const copy of (readers.get(from) ?? []).filter(isCopy))
      for (const to of present(copy.outputs)) if (!found.includes(to)) found.push(to);
  const copies = found.slice(1);
  const makes = (unit: Unit, to: Slot): boolean => !isGroup(unit) && unit.outputs.includes(to);
  const isOf = (unit: Unit): boolean => isZeroFill(unit) || (isCopy(unit) && found.includes(present(unit.inputs)[0]));
  const isWhole = (to: Slot): boolean => !kept.has(to) && units.filter((unit) => makes(unit, to)).every(isOf);
  return copies.every(isWhole) ? copies : undefined;
}

/** A buffer whose index is not chosen yet. */
const unplaced = { kind: "local", index: -1 } as const;

const readsByElement = (unit: Unit, slot: Slot): boolean =>
  isGroup(unit) && unit.operations.every(({ broadcast }) => !broadcast.includes(slot)) && is32Bit(unit, slot);

/** Whether all that read a slot take it as float32. */
const is32Bit = (unit: Group, slot: Slot): boolean =>
  slot.bytes === 4 * unit.count &&
  unit.operations.every(({ kernel, elementwise }) => kernel !== "rescale" || !elementwise.includes(slot));

const conversion = { broadcast: [], epilogue: [], ints: [], floats: [] } as const;

/**
 * Forward values keep 11 bits of their fraction, gradients their range; what products read in 16 bits anyway is stored once. The
 * first slot is the maker's, others are copies of it.
 */
function narrow(
  maker: Group,
  slots: readonly Slot[],
  units: Unit[],
  readers: ReadonlyMap<Slot, readonly Unit[]>,
): void {
  const type = maker.isLate ? "bfloat16" : "float16";
  const kernel = `narrow:${type}`;
  const { operations } = maker;
  const [slot] = slots;
  const stored = new Map(
    slots.map((each): [Slot, Slot] => [each, { bytes: each.bytes / 2, location: { kind: "arena" } }]),
  );
  const known = operations.findIndex((each) => each.kernel === kernel && each.elementwise.includes(slot));
  const [before] = known < 0 ? [] : operations.splice(known, 1)[0].results;
  if (before) stored.set(slot, before);
  const rounds = { ...conversion, kernel, elementwise: [slot], results: [stored.get(slot), slot] };
  operations.splice(1 + operations.findIndex(({ results }) => results.includes(slot)), 0, rounds);
  for (const [each, narrowed] of stored) {
    const groups = (readers.get(each) ?? []).filter(isGroup).filter((reader) => reader !== maker);
    readWidened(each, narrowed, `widen:${type}`, groups);
  }
  const inStored = (each: Slot | undefined): Slot | undefined => each && (stored.get(each) ?? each);
  units.forEach((unit, i) => {
    if (isGroup(unit) || !unit.outputs.some((each) => each && stored.has(each))) return;
    const [inputs, outputs] = [unit.inputs.map(inStored), unit.outputs.map(inStored)];
    units[i] = { ...unit, kernel: unit.kernel.replace("4", "2"), inputs, outputs };
  });
  slot.location = unplaced;
}

/** Groups read what is stored in 16 bits. */
function readWidened(slot: Slot, stored: Slot, kernel: string, readers: readonly Group[]): void {
  for (const reader of readers) {
    const first = reader.operations.findIndex(({ elementwise }) => elementwise.includes(slot));
    const load: FusedOperation = { ...conversion, kernel, elementwise: [stored], results: [slot] };
    const own = loadInto(reader, slot, load, first);
    own.location = unplaced;
    readInstead(reader, slot, own);
  }
}

/**
 * Products of bfloat16, and of gradients in 8 bits, give bfloat16 where groups alone read them. Where anything is quantized by
 * tensor, gradients alone: as with what passes between groups, 8 bits of a fraction would move values across their bounds.
 */
function roundProducts(units: Unit[], readers: ReadonlyMap<Slot, readonly Unit[]>, kept: ReadonlySet<Slot>): void {
  const quantizes = units.some((unit) => isGroup(unit) && unit.operations.some(({ kernel }) => quantizers.has(kernel)));
  units.forEach((unit, at) => {
    if (isGroup(unit) || !isRoundable(unit)) return;
    const [slot] = present(unit.outputs);
    const all = readers.get(slot) ?? [];
    const groups = all.filter(isGroup).filter(({ isLate }) => isLate || !quantizes);
    if (kept.has(slot) || slot.bytes < minNarrowedBytes || groups.length === 0 || groups.length < all.length) return;
    if (!groups.every((group) => readsByElement(group, slot))) return;
    const stored: Slot = { bytes: slot.bytes / 2, location: { kind: "arena" } };
    units[at] = { ...unit, kernel: `${unit.kernel}:rounded`, outputs: [stored] };
    readWidened(slot, stored, "widen:bfloat16", groups);
  });
}

/** A product that adds nothing. */
const isRoundable = ({ kernel, inputs }: Step): boolean =>
  kernel === "product:dynamic" || (kernel === "product:bfloat16" && !inputs[2]);

const quantizers: ReadonlySet<string> = new Set(["quantize", "fakeQuantize"]);

/**
 * A buffer serves the next slot when its own is read for the last time; an operation may write where it reads, but not where it reads
 * one number for each row, nor where the sizes of elements differ.
 */
function placeLocals({ count, operations, loaded }: Group): void {
  for (const own of loaded.values()) own.location = unplaced;
  const isLocal = (slot: Slot): boolean => slot.location.kind === "local";
  const isCondition = ({ bytes }: Slot): boolean => bytes === count;
  const touched = operations.map(
    ({ elementwise, results }) => new Set([...present(elementwise), ...present(results)].filter(isLocal)),
  );
  const last = (slot: Slot): number => touched.findLastIndex((slots) => slots.has(slot));
  const free: number[] = [];
  let buffers = 0;
  const placed = new Set<Slot>();
  operations.forEach(({ elementwise, results }, at) => {
    const ended = [...new Set(present(elementwise).filter(isLocal))].filter(
      (slot) => last(slot) === at && !results.includes(slot),
    );
    const release = (slots: readonly Slot[]): void => {
      for (const { location } of slots) if (location.kind === "local") free.push(location.index);
    };
    const isInPlace = ({ bytes }: Slot): boolean => bytes === 4 * count && !present(results).some(isCondition);
    release(ended.filter(isInPlace));
    for (const slot of present(results).filter(isLocal)) {
      if (placed.has(slot)) continue;
      placed.add(slot);
      slot.location = { kind: "local", index: free.pop() ?? buffers++ };
    }
    release(ended.filter((slot) => !isInPlace(slot)));
    release([...new Set(present(results).filter(isLocal))].filter((slot) => last(slot) === at));
  });
}
