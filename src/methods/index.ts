// The methods that train, each as what it trains; ptq is the quantized model as calibration leaves it.
import { efqat } from "./efqat/efqat.ts";
import { qat } from "./qat/qat.ts";

export const methods = { efqat, qat, float: qat };
