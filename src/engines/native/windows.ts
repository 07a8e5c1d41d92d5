// Finds the steps around convolutions that go over the same images, and makes each such row of steps one: some images at a time,
// so that what passes between its steps stays in a core's second-level cache. Rows end where something is known of the whole
// batch alone, such as statistics.
import { placeMemory, type Sized } from "../planning/place-memory.ts";
import type { Slot, Step } from "./plan.ts";

/** What a step reads and makes, image by image or as a whole. */
interface Roles {
  /** Images of the batch; absent where any number that divides its rows will do. */
  readonly images?: number;
  /** Rows that are not to be divided, in all. */
  readonly rows?: number;
  readonly reads: readonly Slot[];
  readonly whole: readonly Slot[];
  /** Read as a whole when all images are through. */
  readonly afterwards: readonly Slot[];
  readonly makes: readonly Slot[];
  /** Known before the first image is, so that others of the row may read it as a whole. */
  readonly early: readonly Slot[];
}

/** Steps that become one. */
interface Row {
  readonly steps: Step[];
  /** Of each step. */
  readonly roles: Roles[];
  readonly isLate: boolean;
  images: number | undefined;
  weightBytes: number;
  readonly makes: Set<Slot>;
  readonly early: Set<Slot>;
}

type Unit = Step | Row;

const isRow = (unit: Unit): unit is Row => "weightBytes" in unit;
const present = (slots: readonly (Slot | undefined)[]): readonly Slot[] => slots.filter((slot) => slot !== undefined);

/** Half of the second-level cache of the processors that have bfloat16: the rest is for what passes through. */
export const maxBufferBytes = 512 * 1024;
/** Weights are read again for each window. */
const maxWeightBytes = 1024 * 1024;

const convolution = /^convolution(InputGradient)?(Winograd)?(:\w+)?$/;
const weightGradient = /^weightGradient/;

/** `kept` slots stay in memory. `isLate`: it serves the updates alone. */
export function joinWindows(
  steps: readonly Step[],
  kept: ReadonlySet<Slot>,
  isLate: (step: Step) => boolean,
): readonly Step[] {
  const units: Unit[] = [];
  const makers = new Map<Slot, Unit>();
  for (const step of steps) {
    const roles = rolesOf(step);
    const row = roles && findRow(roles, units, makers, isLate(step));
    const unit = row ?? (roles ? startRow(isLate(step)) : step);
    if (roles && isRow(unit)) add(unit, step, roles);
    if (!row) units.push(unit);
    for (const slot of present(step.outputs)) makers.set(slot, unit);
  }
  const readers = readersOf(units);
  const joined = units.flatMap((unit) => (isRow(unit) ? rowSteps(unit, kept, readers) : [unit]));
  return inTurn(joined);
}

function rolesOf(step: Step): Roles | undefined {
  const { kernel, inputs, outputs, ints, fused } = step;
  if (convolution.test(kernel))
    return {
      images: ints[0],
      reads: present([inputs[0]]),
      whole: present(inputs.slice(1)),
      afterwards: [],
      makes: present(outputs),
      early: [],
    };
  if (weightGradient.test(kernel))
    return {
      images: ints[0],
      reads: present(inputs.slice(0, 2)),
      whole: [],
      afterwards: present(inputs.slice(2)),
      makes: [],
      early: [],
    };
  if (!fused) return undefined;
  const { operations, count, width } = fused;
  const whole = new Set(operations.flatMap(({ broadcast }) => present(broadcast)));
  const ends = new Set(operations.flatMap(({ epilogue }) => present(epilogue)));
  return {
    rows: count / Math.max(1, width),
    reads: present(inputs).filter((slot) => !whole.has(slot)),
    whole: present(inputs).filter((slot) => whole.has(slot)),
    afterwards: [],
    makes: present(outputs).filter((slot) => !ends.has(slot)),
    // What a quantizer knows of its scale before it has seen an element; NaNs among them are told with the window.
    early: operations.flatMap(({ kernel: name, epilogue }) => (name === "quantize" ? present(epilogue) : [])),
  };
}

const startRow = (isLate: boolean): Row => ({
  steps: [],
  roles: [],
  isLate,
  images: undefined,
  weightBytes: 0,
  makes: new Set(),
  early: new Set(),
});

const weightBytesOf = ({ images, whole, afterwards }: Roles): number =>
  images === undefined ? 0 : [...whole, ...afterwards].reduce((sum, { bytes }) => sum + bytes, 0);

function add(row: Row, step: Step, roles: Roles): void {
  row.steps.push(step);
  row.roles.push(roles);
  row.images ??= roles.images;
  row.weightBytes += weightBytesOf(roles);
  for (const slot of roles.makes) row.makes.add(slot);
  for (const slot of roles.early) row.early.add(slot);
}

/** The row that makes what a step reads image by image, if all else is there before it, or can be made before. */
function findRow(roles: Roles, units: Unit[], makers: ReadonlyMap<Slot, Unit>, isLate: boolean): Row | undefined {
  const at = Math.max(-1, ...roles.reads.map((slot) => indexOf(units, makers.get(slot))));
  const row = units[at];
  if (!row || !isRow(row) || row.isLate !== isLate || !fits(row, roles)) return undefined;
  const moved = new Set<Unit>();
  const isBefore = (slot: Slot): boolean => {
    const maker = makers.get(slot);
    const place = indexOf(units, maker);
    if (place < at || (maker && moved.has(maker))) return true;
    if (!maker || isRow(maker) || !present(maker.inputs).every(isBefore)) return false;
    moved.add(maker);
    return true;
  };
  const isThere =
    roles.reads.every((slot) => row.makes.has(slot) || isBefore(slot)) &&
    roles.whole.every((slot) => row.early.has(slot) || isBefore(slot)) &&
    roles.afterwards.every(isBefore);
  if (!isThere) return undefined;
  moveBefore(units, moved, at);
  return row;
}

/** From the end, where most are found. */
const indexOf = (units: readonly Unit[], unit: Unit | undefined): number => (unit ? units.lastIndexOf(unit) : -1);

function moveBefore(units: Unit[], moved: ReadonlySet<Unit>, at: number): void {
  if (moved.size === 0) return;
  const rest = units.splice(at);
  units.push(...moved, ...rest.filter((unit) => !moved.has(unit)));
}

/** Whether a step's images are the row's; which they are, a convolution decides. */
function fits(row: Row, roles: Roles): boolean {
  const images = row.images ?? roles.images;
  if (images === undefined || (roles.images !== undefined && roles.images !== images)) return false;
  if (row.weightBytes + weightBytesOf(roles) > maxWeightBytes) return false;
  const isDivided = [roles, ...row.roles].every(({ rows }) => rows === undefined || rows % images === 0);
  const passing = roles.reads.filter((slot) => row.makes.has(slot));
  return isDivided && passing.every(({ bytes }) => bytes % images === 0 && bytes / images <= maxBufferBytes);
}

function readersOf(units: readonly Unit[]): ReadonlyMap<Slot, ReadonlySet<Unit>> {
  const readers = new Map<Slot, Set<Unit>>();
  for (const unit of units)
    for (const { inputs } of isRow(unit) ? unit.steps : [unit])
      for (const slot of present(inputs)) readers.set(slot, (readers.get(slot) ?? new Set()).add(unit));
  return readers;
}

/** Each begins with the windows that the one before it made last, which are still in a cache. */
function inTurn(steps: readonly Step[]): readonly Step[] {
  let isBackwards = 1;
  return steps.map((step) => {
    if (!step.parts) return step;
    isBackwards = 1 - isBackwards;
    return { ...step, ints: [...step.ints, isBackwards] };
  });
}

/** One step, or as they were those that share no images. */
function rowSteps(row: Row, kept: ReadonlySet<Slot>, readers: ReadonlyMap<Slot, ReadonlySet<Unit>>): readonly Step[] {
  const { steps, images, makes } = row;
  if (images === undefined || steps.length === 1) return steps;
  const isInside = (slot: Slot): boolean =>
    makes.has(slot) && !kept.has(slot) && [...(readers.get(slot) ?? [])].every((unit) => unit === row);
  const buffered = [...makes].filter(isInside);
  const { window, bytes, offsets } = placeBuffers(steps, buffered, images);
  for (const slot of buffered) slot.location = { kind: "window", offset: offsets(slot) };
  const isMemory = (slot: Slot): boolean => slot.location.kind !== "window";
  const outputs = new Set(steps.flatMap((step) => present(step.outputs).filter(isMemory)));
  const inputs = new Set(
    steps.flatMap((step) => present(step.inputs).filter((slot) => isMemory(slot) && !outputs.has(slot))),
  );
  return [
    {
      kernel: "windows",
      inputs: [...inputs],
      outputs: [...outputs],
      ints: [images, window, bytes],
      floats: [],
      inPlace: [],
      parts: steps,
    },
  ];
}

/** As many images a time as fit the cache. */
function placeBuffers(steps: readonly Step[], buffered: readonly Slot[], images: number) {
  const place = (window: number) => {
    const sized = new Map<Slot, Sized>(buffered.map((slot) => [slot, { bytes: (slot.bytes / images) * window }]));
    const of = (slots: readonly (Slot | undefined)[]): (Sized | undefined)[] =>
      slots.map((slot) => slot && sized.get(slot));
    const placed = placeMemory<Sized>({
      steps: steps.map(({ inputs, outputs, inPlace }) => ({ inputs: of(inputs), outputs: of(outputs), inPlace })),
      early: [],
      late: [],
      isPlaced: () => true,
    });
    const offsets = (slot: Slot): number => placed.offsets.get(sized.get(slot) ?? { bytes: 0 }) ?? 0;
    return { window, bytes: placed.bytes, offsets };
  };
  const { bytes } = place(1);
  return place(Math.max(1, Math.min(images, Math.floor(maxBufferBytes / Math.max(1, bytes)))));
}
