// Places all intermediate memory in one arena: slots that are never needed at once share bytes.
import type { Slot, Step } from "./plan.ts";

export interface Arena {
  readonly bytes: number;
  readonly offsets: ReadonlyMap<Slot, number>;
}

const alignment = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** From the first step that touches it to the last. */
interface Block {
  readonly slots: Slot[];
  readonly bytes: number;
  first: number;
  last: number;
}

function lifetimes(steps: readonly Step[], early: Iterable<Slot>, late: Iterable<Slot>): Map<Slot, Block> {
  const blocks = new Map<Slot, Block>();
  const touch = (slot: Slot | undefined, at: number): void => {
    if (slot?.home.kind !== "arena") return;
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
const isOverwritable = ({ inputs, inPlace }: Step, output: number, slot: Slot): boolean =>
  inputs.every((each, i) => each !== slot || inPlace.some(([to, from]) => to === output && from === i));

/** An output that is read later takes the bytes of an input that is not, where the step allows it. */
function shareInPlace(steps: readonly Step[], blocks: Map<Slot, Block>): void {
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
export function placeSlots(steps: readonly Step[], early: Iterable<Slot>, late: Iterable<Slot>): Arena {
  const bySlot = lifetimes(steps, early, late);
  shareInPlace(steps, bySlot);
  const blocks = [...new Set(bySlot.values())].sort((a, b) => b.bytes - a.bytes || a.first - b.first);
  const placed: (Block & { offset: number })[] = [];
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
