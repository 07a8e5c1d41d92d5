// A deployed model, opened as its users open it: ONNX Runtime's default optimizations.
import type { ValueType } from "../../ir/graph.ts";
import { isHalf, narrowTensor, widened, widenTensor } from "../../ir/half.ts";
import type { Tensor } from "../../ir/tensor.ts";
import { openSession, type Session } from "./open-session.ts";
import type { OrtModule } from "./ort-module.ts";

/** How a deployed model is opened. */
export interface DeployedOptions {
  /** CPU threads; all cores where absent. */
  readonly threads?: number;
  /**
   * Whether threads that have nothing to do spin for a while before they sleep, as is ONNX Runtime's default: a run of one sample
   * is a little faster, and a run of many takes up to half as much processor time again.
   */
  readonly spinning?: boolean;
}

/** Inputs and outputs in half precision are float32 to the caller. */
export async function openDeployedIn(
  ort: OrtModule,
  bytes: Uint8Array | string,
  { threads, spinning = true }: DeployedOptions = {},
): Promise<Session> {
  const session = await openSession(ort, bytes, {
    ...(threads === undefined ? {} : { threads }),
    ...(spinning ? {} : { extra: { session: { intra_op: { allow_spinning: "0" } } } }),
  });
  const narrow = (name: string, value: Tensor): Tensor => {
    const wanted = session.inputs.get(name)?.dtype;
    return isHalf(wanted) && value.dtype === "float32" ? narrowTensor(value, wanted) : value;
  };
  return {
    ...session,
    inputs: widenTypes(session.inputs),
    outputs: widenTypes(session.outputs),
    run: async (inputs, fetch) => {
      const given = new Map([...inputs].map(([name, value]) => [name, narrow(name, value)]));
      const results = await session.run(given, fetch);
      return new Map([...results].map(([name, value]) => [name, widenTensor(value)]));
    },
  };
}

const widenTypes = (types: ReadonlyMap<string, ValueType>): ReadonlyMap<string, ValueType> =>
  new Map([...types].map(([name, type]) => [name, { ...type, dtype: widened(type.dtype) }]));
