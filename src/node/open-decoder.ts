// A decoder's file in ONNX Runtime: of whole sequences, as evaluation runs it, or with the cache that it may have.
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { DeployedOptions } from "../engines/onnxruntime/open-deployed.ts";
import type { Session } from "../engines/onnxruntime/open-session.ts";
import { type Tensor, tensor } from "../ir/tensor.ts";
import { cacheInputs } from "../language-models/places.ts";

/** By the name of an input, keys or values of the tokens so far. */
export type Cache = ReadonlyMap<string, Tensor>;

const isPast = (input: string): boolean => input.startsWith("past_key_values.");

/** Encoders have masks too. */
export const hasCache = ({ inputs }: Pick<Session, "inputs">): boolean =>
  inputs.has(cacheInputs.mask) && inputs.has(cacheInputs.positions) && [...inputs.keys()].some(isPast);

/** Of no tokens. */
export function emptyCache({ inputs }: Pick<Session, "inputs">, batch: number): Cache {
  const names = [...inputs.keys()].filter(isPast);
  return new Map(
    names.map((name) => {
      const [, heads, , size] = (inputs.get(name)?.shape ?? []).map(Number);
      return [name, tensor("float32", [batch, heads, 0, size], new Float32Array())];
    }),
  );
}

/** Tokens [batch, length] behind those of a cache, as all inputs of the file; none of them is padding. */
export function behindCache(ids: Tensor, cache: Cache): ReadonlyMap<string, Tensor> {
  const [batch, length] = ids.shape;
  const past = cache.values().next().value?.shape[2] ?? 0;
  const rows = (size: number, of: (i: number) => bigint): Tensor =>
    tensor(
      "int64",
      [batch, size],
      BigInt64Array.from({ length: batch * size }, (_, i) => of(i % size)),
    );
  return new Map([
    ["input_ids", ids],
    [cacheInputs.mask, rows(past + length, () => 1n)],
    [cacheInputs.positions, rows(length, (i) => BigInt(past + i))],
    ...cache,
  ]);
}

/** What the cache is after a run: each input's tensor is the output of the same layer. */
export const cacheAfter = (outputs: ReadonlyMap<string, Tensor>): Cache =>
  new Map(
    [...outputs].flatMap(([name, value]) =>
      name.startsWith("present.") ? [[name.replace("present", "past_key_values"), value] as const] : [],
    ),
  );

/** A decoder with a cache as one of whole sequences; other files as they are. */
export async function openSequences(model: Uint8Array | string, options: DeployedOptions = {}): Promise<Session> {
  const session = await openDeployed(model, options);
  if (!hasCache(session)) return session;
  return {
    ...session,
    inputs: new Map([...session.inputs].filter(([name]) => name === "input_ids")),
    outputs: new Map([...session.outputs].filter(([name]) => name === "logits")),
    run: (inputs) => {
      const ids = inputs.get("input_ids");
      if (!ids) return session.run(inputs, ["logits"]);
      return session.run(behindCache(ids, emptyCache(session, ids.shape[0])), ["logits"]);
    },
  };
}
