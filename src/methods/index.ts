// All methods. Command, recipes, library, report, inspect and documents read this list alone.
import { assert } from "../ir/errors.ts";
import { adaroundMethod } from "./adaround/method.ts";
import { autoroundMethod } from "./autoround/method.ts";
import { awqMethod } from "./awq/method.ts";
import { biasCorrectionMethod } from "./bias-correction/method.ts";
import { brecqMethod } from "./brecq/method.ts";
import { crossLayerEqualizationMethod } from "./cross-layer-equalization/method.ts";
import { e2eQpMethod } from "./e2e-qp/method.ts";
import { efficientQatMethod } from "./efficient-qat/method.ts";
import { efqatMethod } from "./efqat/method.ts";
import { flexroundMethod } from "./flexround/method.ts";
import { floatMethod } from "./float/method.ts";
import { genieMethod } from "./genie/method.ts";
import { gptqMethod } from "./gptq/method.ts";
import { type Method, phases } from "./method.ts";
import { mixedPrecisionMethod } from "./mixed-precision/method.ts";
import { nupesMethod } from "./nupes/method.ts";
import { outputErrorRangesMethod } from "./output-error-ranges/method.ts";
import { pdQuantMethod } from "./pd-quant/method.ts";
import { ptqMethod } from "./ptq/method.ts";
import { qatMethod } from "./qat/method.ts";
import { qdropMethod } from "./qdrop/method.ts";
import { smoothQuantMethod } from "./smooth-quant/method.ts";

/** In the order in which help and documents name them. */
export const methods: readonly Method[] = [
  ptqMethod,
  efqatMethod,
  qatMethod,
  floatMethod,
  crossLayerEqualizationMethod,
  smoothQuantMethod,
  awqMethod,
  mixedPrecisionMethod,
  adaroundMethod,
  gptqMethod,
  brecqMethod,
  qdropMethod,
  genieMethod,
  pdQuantMethod,
  flexroundMethod,
  autoroundMethod,
  nupesMethod,
  efficientQatMethod,
  e2eQpMethod,
  outputErrorRangesMethod,
  biasCorrectionMethod,
];

export const methodNames = methods.map(({ name }) => name) as [string, ...string[]];

/** The method of this name, if there is one. */
export const findMethod = (name: string): Method | undefined => methods.find((method) => method.name === name);

/** The method of a name that was checked. */
export function methodOf({ method }: { readonly method: string }): Method {
  const found = findMethod(method);
  assert(found, `there is no method "${method}"`);
  return found;
}

export const rankOf = ({ phase }: Method): number => phases.indexOf(phase);
