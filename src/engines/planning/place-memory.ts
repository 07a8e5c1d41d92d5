// Places all intermediate memory in one arena: slots that are never needed at once share bytes.

/** A value's memory. */
export interface Sized {
  readonly bytes: number;
}

/** What one step reads and writes. */
export interface MemoryStep<Slot> {
  readonly inputs: readonly (Slot | undefined)[];
  readonly outputs: readonly (Slot | undefined)[];
  /** Pairs [output, input] that may be the same memory: each element is read before it is written. */
  readonly inPlace: readonly (readonly [number, number])[];
}

export interface MemoryPlan<Slot> {
  readonly steps: readonly MemoryStep<Slot>[];
  /** What is written before the first step, and what is read after the last. */
  readonly early: Iterable<Slot>;
  readonly late: Iterable<Slot>;
  /** Whether a slot is to be placed; others have memory of their own. */
  readonly isPlaced: (slot: Slot) => boolean;
}

export interface Arena<Slot> {
  readonly bytes: number;
  readonly offsets: ReadonlyMap<Slot, number>;
}

const alignment = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** From the first step that touches it to the last. */
interface Block<Slot> {
  readonly slots: Slot[];
  readonly bytes: number;
  first: number;
  last: number;
}

function lifetimes<Slot extends Sized>({ steps, early, late, isPlaced }: MemoryPlan<Slot>): Map<Slot, Block<Slot>> {
  const blocks = new Map<Slot, Block<Slot>>();
  const touch = (slot: Slot | undefined, at: number): void => {
    if (!slot || !isPlaced(slot)) return;
    const block = blocks.get(slot) ?? { slots: [slot], bytes: aligned(slot.bytes), first: at, last: at };
    block.first = Math.min(block.first, at);
    block.last = Math.max(block.last, at);
    blocks.set(slot, block);
  };
  for (const slot of early) touch(slot, -1);
  steps.forEach(({ inputs, outputs }, at) => {
    for (const slot of [...inputs, ...outputs]) touch(slot, at);
  });
  for (const slot of late) touch(slot, steps.length);
  return blocks;
}

/** Whether a step may overwrite an input wherever it reads it. */
const isOverwritable = <Slot>({ inputs, inPlace }: MemoryStep<Slot>, output: number, slot: Slot): boolean =>
  inputs.every((each, i) => each !== slot || inPlace.some(([to, from]) => to === output && from === i));

/** An output that is read later takes the bytes of an input that is not, where the step allows it. */
function shareInPlace<Slot>(steps: readonly MemoryStep<Slot>[], blocks: Map<Slot, Block<Slot>>): void {
  steps.forEach((step, at) => {
    const { inputs, outputs, inPlace } = step;
    for (const [output, input] of inPlace) {
      const [to, from] = [outputs[output], inputs[input]];
      const [taker, giver] = [to && blocks.get(to), from && blocks.get(from)];
      if (!from || !taker || !giver || taker === giver || taker.first !== at || giver.last !== at) continue;
      // Otherwise another output could take the same bytes.
      if (taker.last === at) continue;
      if (taker.bytes !== giver.bytes || !isOverwritable(step, output, from)) continue;
      giver.last = taker.last;
      giver.slots.push(...taker.slots);
      for (const slot of taker.slots) blocks.set(slot, giver);
    }
  });
}

/** First fit, the largest first. */
export function placeMemory<Slot extends Sized>(plan: MemoryPlan<Slot>): Arena<Slot> {
  const bySlot = lifetimes(plan);
  shareInPlace(plan.steps, bySlot);
  const blocks = [...new Set(bySlot.values())].sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  const placed: (Block<Slot> & { offset: number })[] = [];
  const offsets = new Map<Slot, number>();
  for (const block of blocks) {
    const rivals = placed
      .filter(({ first, last }) => first <= block.last && last >= block.first)
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const rival of rivals) {
      if (rival.offset >= offset + block.bytes) break;
      offset = Math.max(offset, rival.offset + rival.bytes);
    }
    placed.push({ ...block, offset });
    for (const slot of block.slots) offsets.set(slot, offset);
  }
  return { bytes: Math.max(0, ...placed.map(({ offset, bytes }) => offset + bytes)), offsets };
}
