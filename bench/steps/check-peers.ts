// Whether the variants of the peer compute one thing: the first step's loss and gradients.
import type { Measured } from "./request.ts";
import { isPeer } from "./variants.ts";

/** Relative, between variants of different precision too: bfloat16's products differ by up to a few per cent. */
const tolerance = 0.1;

/** Gradients of zero points are sums that cancel, of which bfloat16 keeps little. */
const compared = ["loss", "weights", "scales"] as const;

/** Ends the bench where a variant's loss or gradients are not those of the first: a wrong step is no peer. */
export function checkPeersAgree(results: ReadonlyMap<string, readonly Measured[]>): void {
  const peers = [...results]
    .filter(([name]) => isPeer(name))
    .map(([name, [{ gradients = {} }]]) => ({ name, gradients }));
  const [wanted, ...others] = peers;
  for (const { name, gradients } of others)
    for (const kind of compared) {
      const value = wanted.gradients[kind];
      if (Math.abs(gradients[kind] - value) <= tolerance * Math.abs(value)) continue;
      throw new Error(
        `The first step's ${kind} (a norm of gradients, or the loss): ${gradients[kind]} in "${name}", ${value} in "${wanted.name}".`,
      );
    }
}
