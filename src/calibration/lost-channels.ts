// Channels that a quantizer rounds to one value because others are far larger, though the layer's weights make up for that: features
// in units of their own, such as years beside dollars.
import type { Builder } from "../ir/builder.ts";
import { describeNode, type Graph } from "../ir/graph.ts";
import { numbersOf, type Tensor } from "../ir/tensor.ts";
import type { LinearLayer } from "../quantizers/linear-layers.ts";
import type { Site } from "../quantizers/sites.ts";

/** What is computed of a site's value, and what it says. */
export interface ChannelCheck {
  readonly outputs: readonly string[];
  readonly noteOf: (outputs: ReadonlyMap<string, Tensor>, step: number) => string | undefined;
}

/** Of all that reaches the layer's outputs, by ranges and weights: what may be lost without a note. */
const maxLostShare = 0.1;

/** How much of the quantizer's range a channel has beside which others are small. */
const minWideShare = 1 / 16;

interface Around {
  readonly graph: Graph;
  readonly build: Builder;
  /** Of the graph. */
  readonly layers: readonly LinearLayer[];
}

/** Of a value that a layer reads; `undefined` where none does, or groups of its channels are apart. */
export function channelCheck(
  { graph, build, layers }: Around,
  { value, readers, bits }: Site,
): ChannelCheck | undefined {
  const layer = layers.find(({ node, input }) => input === value && (readers === "all" || readers.includes(node.name)));
  const weight = layer && graph.constants.get(layer.weight);
  const { shape } = build.type(value);
  const axis = layer?.node.op === "Conv" ? 1 : shape.length - 1;
  if (!layer || !weight || shape.length < 2 || shape.includes(0) || shape[axis] !== weight.shape[layer.inputAxis])
    return undefined;
  const others = build.ints(shape.map((_, i) => i).filter((i) => i !== axis));
  const outputs = ["ReduceMin", "ReduceMax"].map((op) => build.node(op, [value, others], { keepdims: 0 }));
  return {
    outputs,
    noteOf: (found, step) => {
      const [least, most] = outputs.map((name) => numbersOf(found.get(name) as Tensor));
      const widths = Array.from(most, (each, i) => each - least[i]);
      const lost = widths.flatMap((width, i) => (width > 0 && width < step ? [i] : []));
      // Few samples are looked at: without a wide channel among them they say nothing.
      if (lost.length === 0 || Math.max(...widths) < minWideShare * 2 ** bits * step) return undefined;
      const strengths = strengthsOf(weight, layer);
      const sum = (channels: Iterable<number>): number =>
        [...channels].reduce((total, i) => total + widths[i] * strengths[i], 0);
      return sum(lost) > maxLostShare * sum(widths.keys()) ? textOf(layer, value, { lost, widths, step }) : undefined;
    },
  };
}

interface Lost {
  readonly lost: readonly number[];
  readonly widths: readonly number[];
  readonly step: number;
}

function textOf({ name, node }: LinearLayer, value: string, { lost, widths, step }: Lost): string {
  const named = lost.slice(0, 5).map((i) => `${i} (range ${widths[i].toPrecision(3)})`);
  const more = lost.length > 5 ? ` and ${lost.length - 5} more` : "";
  return `Channels ${named.join(", ")}${more} of "${value}", which ${describeNode(node)} reads, are rounded to one value: others reach ${Math.max(...widths).toPrecision(3)}, so that the quantizer's step is ${step.toPrecision(3)}, but the layer's weights make these count. Scale the channels to one range, by factors that the weights take back, or leave the layer in float: --layers '${name}=float'.`;
}

/** Of each input channel, the root of the sum of its weights' squares. */
function strengthsOf(weight: Tensor, { inputAxis }: LinearLayer): readonly number[] {
  const inner = weight.shape.slice(inputAxis + 1).reduce((product, size) => product * size, 1);
  const channels = weight.shape[inputAxis];
  const squares = new Array<number>(channels).fill(0);
  numbersOf(weight).forEach((each: number, i: number) => {
    squares[Math.floor(i / inner) % channels] += each * each;
  });
  return squares.map(Math.sqrt);
}
