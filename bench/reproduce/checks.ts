// What the tables must show, checked: drops from float, EfQAT against our own QAT, one precision against another.
import { efqat, nameOf, qat, type Variant } from "./cells.ts";
import { type Bits, modes, ratios } from "./paper.ts";
import type { CellRecord, RawFile } from "./records.ts";
import { accuracyOf, floatOf, standardError } from "./statistics.ts";

type Cells = readonly CellRecord[];

/** The larger of the paper's drop and of a plain PyTorch implementation's from our checkpoint. */
const allowedDrop: Readonly<Partial<Record<Bits, number>>> = { w4a8: 0.47, w4a4: 3.43 };
const allowedBelowQat = 0.5;

function qatLine(cells: Cells, bits: Bits, allowed: number): string {
  const summary = accuracyOf(cells, qat(bits));
  const float = floatOf(cells);
  if (!summary || float === undefined) return `- QAT ${bits.toUpperCase()}: not run.`;
  const drop = float - summary.mean;
  const verdict = drop <= allowed ? "within" : "**above**";
  return `- QAT ${bits.toUpperCase()} drops ${drop.toFixed(2)} from float, ${verdict} the ${allowed.toFixed(2)} allowed (the larger of the paper's drop and of a plain PyTorch implementation's from this checkpoint).`;
}

const efqatVariants = (bits: Bits): Variant[] =>
  modes.flatMap((mode) => ratios.slice(1).map((ratio) => efqat(bits, mode, ratio)));

function efqatLine(cells: Cells): string {
  const compared = (["w8a8", "w4a8", "w4a4"] as const).flatMap((bits) => {
    const whole = accuracyOf(cells, qat(bits));
    return efqatVariants(bits).flatMap((variant) => {
      const summary = accuracyOf(cells, variant);
      return whole && summary ? [{ name: nameOf(variant), below: whole.mean - summary.mean }] : [];
    });
  });
  if (compared.length === 0) return "- EfQAT against our own QAT: not run.";
  const over = compared.filter(({ below }) => below > allowedBelowQat);
  const list = over.map(({ name, below }) => `${name} (${below.toFixed(2)})`).join(", ");
  return `- EfQAT at 5 % and more: of ${compared.length} cells, ${over.length} ${over.length === 1 ? "is" : "are"} more than ${allowedBelowQat.toFixed(1)} below our own QAT${over.length === 0 ? "." : `: ${list}.`}`;
}

export function checksSection(cells: Cells): string {
  const drops = Object.entries(allowedDrop).map(([bits, allowed]) => qatLine(cells, bits as Bits, allowed));
  return [...drops, efqatLine(cells)].join("\n");
}

/** Seeds that both settings ran, cell by cell; nothing where there is one setting, or they share no cell. */
export function comparisonSection(raw: RawFile, settings: readonly string[]): string[] {
  const lines = settings.flatMap((first, i) =>
    settings.slice(i + 1).flatMap((second) => compareSettings(raw, first, second)),
  );
  if (lines.length === 0) return [];
  const header = "| cell | seeds | | | difference | two standard errors |\n|---|---|---|---|---|---|";
  return [
    `## Engines and precisions compared\n\nTop-1 over the seeds that both ran.\n\n${header}\n${lines.join("\n")}`,
  ];
}

function compareSettings({ cells }: RawFile, first: string, second: string): string[] {
  const [a, b] = [first, second].map((setting) => cells.filter((cell) => cell.setting === setting));
  const shared = new Set(a.map(({ id }) => id).filter((id) => b.some((cell) => cell.id === id)));
  const variants = (["w4a8", "w4a4"] as const).flatMap((bits) => [
    qat(bits),
    ...efqatVariants(bits),
    efqat(bits, "cwpn", 0),
  ]);
  return variants.flatMap((variant) => {
    const [one, other] = [a, b].map((list) =>
      accuracyOf(
        list.filter(({ id }) => shared.has(id)),
        variant,
      ),
    );
    if (!one || !other || one.seeds < 2) return [];
    const columns = [
      nameOf(variant),
      String(one.seeds),
      `${first} ${one.mean.toFixed(2)} ± ${one.deviation.toFixed(2)}`,
      `${second} ${other.mean.toFixed(2)} ± ${other.deviation.toFixed(2)}`,
      (one.mean - other.mean).toFixed(2),
      (2 * standardError(one, other)).toFixed(2),
    ];
    return [`| ${columns.join(" | ")} |`];
  });
}
