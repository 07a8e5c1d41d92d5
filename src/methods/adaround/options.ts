// AdaRound's own options; those of second moments are in rounding/options.ts.
import { z } from "zod";
import { softRoundingOptions } from "../../rounding/options.ts";

export const adaroundOptions = z.object({
  iterations: z.int().positive().default(1000).describe("Adam steps for each layer."),
  ...softRoundingOptions.shape,
});

export type AdaroundOptions = z.infer<typeof adaroundOptions>;
