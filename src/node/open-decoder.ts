// A decoder's file in ONNX Runtime: of whole sequences, as evaluation runs it, or with the cache that it may have.
import { openDeployed } from "../engines/onnxruntime/deployed.ts";
import type { DeployedOptions } from "../engines/onnxruntime/open-deployed.ts";
import type { Session } from "../engines/onnxruntime/open-session.ts";
import type { TypedArray } from "../ir/dtype.ts";
import { assert } from "../ir/errors.ts";
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

/**
 * A decoder with a cache as one of whole sequences; other files as they are. Long sequences are run part by part, each behind the last,
 * so that the runtime's own logits are of one part: of no more than `partBytes`.
 */
export async function openSequences(
  model: Uint8Array | string,
  options: DeployedOptions = {},
  partBytes = 2 ** 25,
): Promise<Session> {
  const session = await openDeployed(model, options);
  if (!hasCache(session)) return session;
  return {
    ...session,
    inputs: new Map([...session.inputs].filter(([name]) => name === "input_ids")),
    outputs: new Map([...session.outputs].filter(([name]) => name === "logits")),
    run: async (inputs, _fetch, spare) => {
      const ids = inputs.get("input_ids");
      if (!ids) return session.run(inputs, ["logits"]);
      return new Map([["logits", await logitsOf(session, ids, { partBytes, spare: spare?.get("logits") })]]);
    },
  };
}

/** Of all positions, from parts whose logits take no more than `partBytes`. */
async function logitsOf(
  session: Session,
  ids: Tensor,
  { partBytes, spare }: { readonly partBytes: number; readonly spare: TypedArray | undefined },
): Promise<Tensor> {
  const [batch, length] = ids.shape;
  const { dtype, shape = [] } = session.outputs.get("logits") ?? {};
  const vocabulary = Number(shape[2]);
  const most = dtype === "float32" ? Math.ceil((4 * batch * length * vocabulary) / partBytes) : 1;
  const parts = Math.min(length, most) || 1;
  const size = Math.ceil(length / parts);
  let cache = emptyCache(session, batch);
  const count = batch * length * vocabulary;
  const all = spare instanceof Float32Array && spare.length === count ? spare : new Float32Array(parts > 1 ? count : 0);
  for (let start = 0; start < length; start += size) {
    const width = Math.min(size, length - start);
    const outputs = await session.run(
      behindCache(columnsOf(ids, start, width), cache),
      parts > 1 ? undefined : ["logits"],
    );
    const logits = outputs.get("logits");
    assert(logits, "a decoder without logits");
    if (parts === 1) return logits;
    const given = logits.data as Float32Array;
    for (let row = 0; row < batch; row++)
      all.set(
        given.subarray(row * width * vocabulary, (row + 1) * width * vocabulary),
        (row * length + start) * vocabulary,
      );
    cache = cacheAfter(outputs);
  }
  return tensor("float32", [batch, length, vocabulary], all);
}

/** Of a matrix of ids, columns from `start` on. */
function columnsOf({ shape: [rows, columns], data }: Tensor, start: number, count: number): Tensor {
  const ids = data as BigInt64Array;
  const own = BigInt64Array.from(
    { length: rows * count },
    (_, i) => ids[Math.floor(i / count) * columns + start + (i % count)],
  );
  return tensor("int64", [rows, count], own);
}
