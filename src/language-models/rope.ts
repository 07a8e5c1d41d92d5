// Rotary position embedding: the angles of each kind, as tables of cosines and sines.
import { z } from "zod";
import { FrostbitError } from "../ir/errors.ts";
import type { RawConfig } from "./raw-config.ts";

/** How the positions of one layer are rotated. */
export interface Rope {
  /** The angle by which one position turns each pair, in float64. */
  readonly frequencies: readonly number[];
}

/** Each kind's fields, in config.json's names. */
const kinds = z.discriminatedUnion("rope_type", [
  z.looseObject({ rope_type: z.literal("default") }),
  z.looseObject({ rope_type: z.literal("linear"), factor: z.number().positive() }),
  z.looseObject({
    rope_type: z.literal("llama3"),
    factor: z.number().positive(),
    low_freq_factor: z.number().positive(),
    high_freq_factor: z.number().positive(),
    original_max_position_embeddings: z.int().positive(),
  }),
]);

type Kind = z.output<typeof kinds>;

const supported = ["default", "linear", "llama3"];
const layerKinds = ["sliding_attention", "full_attention"];

const bad = (what: string): FrostbitError => new FrostbitError("BAD_MODEL", `config.json: ${what}`);

interface RotatedLayer {
  readonly headSize: number;
  /** Whether it has a window, in a family where such layers have a theta of their own. */
  readonly isLocal: boolean;
  readonly oldTheta: number | undefined;
}

export function ropeOf(raw: RawConfig, layer: RotatedLayer): Rope {
  const { theta = layer.oldTheta, partial, kind } = settingsOf(raw, layer.isLocal);
  if (theta === undefined) throw bad(`${layer.isLocal ? "rope_local_base_freq" : "rope_theta"} is missing.`);
  const rotated = Math.floor(layer.headSize * partial);
  if (rotated % 2 !== 0 || rotated === 0)
    throw bad(
      `heads of ${layer.headSize} with partial_rotary_factor ${partial} rotate ${rotated} numbers; expected an even number.`,
    );
  const plain = Array.from({ length: rotated / 2 }, (_, i) => theta ** ((-2 * i) / rotated));
  return { frequencies: plain.map((frequency) => scaled(frequency, kind)) };
}

interface Settings {
  readonly theta: number | undefined;
  readonly partial: number;
  readonly kind: Kind;
}

/** Newer files have all in rope_parameters, perhaps by kind of layer; older ones in rope_theta and rope_scaling. */
function settingsOf(raw: RawConfig, isLocal: boolean): Settings {
  const { rope_parameters: parameters } = raw;
  const byLayer = parameters && layerKinds.some((name) => name in parameters);
  const given: unknown = byLayer ? parameters[layerKinds[isLocal ? 0 : 1]] : parameters;
  const fields = given ?? (isLocal ? {} : (raw.rope_scaling ?? {}));
  if (typeof fields !== "object" || fields === null)
    throw bad(`rope_parameters has ${JSON.stringify(fields)}; expected an object.`);
  const theta = isLocal ? raw.rope_local_base_freq : raw.rope_theta;
  return {
    theta: numberIn(fields, "rope_theta") ?? theta ?? undefined,
    partial: numberIn(fields, "partial_rotary_factor") ?? raw.partial_rotary_factor ?? 1,
    kind: kindOf(fields, raw),
  };
}

const numberIn = (fields: object, name: string): number | undefined => {
  const value: unknown = (fields as Readonly<Record<string, unknown>>)[name];
  if (value === undefined || (typeof value === "number" && value > 0)) return value;
  throw bad(`rope: ${name} is ${JSON.stringify(value)}; expected a number above 0.`);
};

function kindOf(fields: object, raw: RawConfig): Kind {
  const { type, ...rest } = fields as Readonly<Record<string, unknown>>;
  const name = rest["rope_type"] ?? type ?? "default";
  if (typeof name !== "string" || !supported.includes(name))
    throw bad(`rope_type is ${JSON.stringify(name)}, which is not supported; supported are ${supported.join(", ")}.`);
  const original = { original_max_position_embeddings: raw["original_max_position_embeddings"] };
  const parsed = kinds.safeParse({ ...original, ...rest, rope_type: name });
  if (parsed.success) return parsed.data;
  throw bad(
    `rope_type ${name}: ${parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`,
  );
}

/** The tables of rotary embeddings have half a head's numbers for each position: a million positions fit. */
const mostTableElements = 2 ** 28;

/** Throws BAD_MODEL where the tables would not fit into memory: a small file can ask for any length. */
export function checkPositions(positions: number, headSize: number): void {
  const most = Math.floor((2 * mostTableElements) / headSize);
  if (positions > most)
    throw bad(
      `max_position_embeddings is ${positions}, for which tables of ${(positions * headSize) / 2} elements would be computed. Set it to the longest text that the model is to read, ${most} at most.`,
    );
}

function scaled(frequency: number, kind: Kind): number {
  if (kind.rope_type === "default") return frequency;
  if (kind.rope_type === "linear") return frequency / kind.factor;
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = kind;
  const turns = (original * frequency) / (2 * Math.PI);
  if (turns > high) return frequency;
  if (turns < low) return frequency / factor;
  const share = (turns - low) / (high - low);
  return (1 - share) * (frequency / factor) + share * frequency;
}

/** [positions, 2 · pairs]: each position's cosines twice, and its sines, first with a minus: y = x · cos + (x₂, x₁) · sin. */
export function ropeTables({ frequencies }: Rope, positions: number): { cos: Float64Array; sin: Float64Array } {
  const pairs = frequencies.length;
  const cos = new Float64Array(positions * 2 * pairs);
  const sin = new Float64Array(cos.length);
  for (let position = 0; position < positions; position++)
    frequencies.forEach((frequency, i) => {
      const at = position * 2 * pairs + i;
      const angle = position * frequency;
      cos[at] = cos[at + pairs] = Math.cos(angle);
      sin[at + pairs] = Math.sin(angle);
      sin[at] = -sin[at + pairs];
    });
  return { cos, sin };
}
