// Which blocks train until the next selection: EfQAT's three modes.
import { randomBits } from "../../data/random.ts";
import { sizeOf, type Tensor } from "../../ir/tensor.ts";
import type { FreezingPlan } from "../../training/freezing-plan.ts";
import { importanceOfRows } from "./importance.ts";
import type { EfqatOptions } from "./options.ts";

export interface WeightOfLayer {
  readonly name: string;
  readonly value: Tensor;
  readonly rowAxis: number;
}

interface Block {
  readonly weight: string;
  /** undefined: the whole layer. */
  readonly row: number | undefined;
  readonly size: number;
  readonly importance: number;
}

type SelectOptions = Pick<EfqatOptions, "mode" | "updateRatio" | "ratioCounts" | "importance">;

/** `draw` numbers the selections, so that the random control draws again each time. */
export function selectBlocks(
  weights: readonly WeightOfLayer[],
  options: SelectOptions,
  seed: number,
  draw: number,
): FreezingPlan {
  if (options.updateRatio === 0) return new Map(weights.map(({ name }) => [name, "none"]));
  const blocks = weights.map((weight, layer) => blocksOf(weight, options, [seed, draw, layer]));
  const chosen =
    options.mode === "cwpl"
      ? blocks.flatMap((list) => mostImportant(list, options))
      : mostImportant(blocks.flat(), options);
  if (options.mode === "lwpn") {
    const layers = new Set(chosen.map(({ weight }) => weight));
    return new Map(weights.map(({ name }) => [name, layers.has(name) ? "all" : "none"]));
  }
  return new Map(weights.map(({ name }) => [name, rowsOf(chosen, name)]));
}

const rowsOf = (chosen: readonly Block[], weight: string): Int32Array =>
  Int32Array.from(
    chosen.flatMap((block) => (block.weight === weight && block.row !== undefined ? [block.row] : [])),
  ).sort();

function blocksOf(weight: WeightOfLayer, options: SelectOptions, counters: readonly number[]): Block[] {
  const size = sizeOf(weight.value.shape);
  const rows = importanceOfRows(weight.value, weight.rowAxis);
  const random = (block: number): number => randomBits(...counters, block);
  if (options.mode === "lwpn") {
    const mean = rows.reduce((sum, value) => sum + value, 0) / rows.length;
    return [
      { weight: weight.name, row: undefined, size, importance: options.importance === "random" ? random(0) : mean },
    ];
  }
  return Array.from(rows, (value, row) => ({
    weight: weight.name,
    row,
    size: size / rows.length,
    importance: options.importance === "random" ? random(row) : value,
  }));
}

/** The top share: ⌊ratio · n⌋ blocks, or as many of the ranking's first as hold no more than the ratio of the weights. */
function mostImportant(blocks: readonly Block[], options: SelectOptions): readonly Block[] {
  const ranked = [...blocks].sort((a, b) => b.importance - a.importance);
  if (options.ratioCounts === "blocks") return ranked.slice(0, Math.floor(options.updateRatio * ranked.length + 1e-9));
  const budget = options.updateRatio * ranked.reduce((sum, block) => sum + block.size, 0) + 1e-9;
  let used = 0;
  return ranked.filter((block) => {
    used += block.size;
    return used <= budget;
  });
}
