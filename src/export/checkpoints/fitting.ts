// What a format of checkpoints holds, said before anything is computed.
import { FrostbitError } from "../../ir/errors.ts";
import { groupSizes } from "../../quantizers/quantize-options.ts";
import type { LayerForm } from "./decoder-weights.ts";

/** Why a format does not hold a layer, a sentence's end; `undefined` where it does. */
export type ObstacleOf = (layer: LayerForm) => string | undefined;

const maxShown = 3;

/** Those at which no layer has an obstacle. */
export const groupSizesFor = (
  layers: readonly Omit<LayerForm, "groupSize">[],
  obstacleOf: ObstacleOf,
): readonly LayerForm["groupSize"][] =>
  groupSizes.filter((groupSize) => layers.every((layer) => obstacleOf({ ...layer, groupSize }) === undefined));

/** Throws BAD_OPTION with the layers that do not fit, why, and the group sizes that do. */
export function checkFit(format: string, layers: readonly LayerForm[], obstacleOf: ObstacleOf): void {
  const obstacles = layers.flatMap((layer) => {
    const obstacle = obstacleOf(layer);
    return obstacle === undefined ? [] : [`"${layer.name}" [${layer.inputs} → ${layer.outputs}]: ${obstacle}`];
  });
  if (obstacles.length === 0) return;
  const rest = obstacles.length > maxShown ? `; and ${obstacles.length - maxShown} more` : "";
  const fitting = groupSizesFor(layers, obstacleOf);
  const advice =
    fitting.length > 0
      ? `Group sizes that fit all layers: ${fitting.join(", ")}.`
      : "No group size fits all layers: leave the format out, or change what the layers have.";
  throw new FrostbitError(
    "BAD_OPTION",
    `The format ${format} does not hold ${obstacles.length} of ${layers.length} layers: ${obstacles.slice(0, maxShown).join("; ")}${rest}. ${advice}`,
  );
}
