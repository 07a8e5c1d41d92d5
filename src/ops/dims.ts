// Arithmetic on sizes that may be symbolic. A product of symbols is written "2*batch*length", a sum "(batch+1)".
import type { Dim } from "../ir/graph.ts";

interface Monomial {
  readonly factor: number;
  readonly symbols: readonly string[];
}

/** Splits at "*" outside parentheses. */
function factorsOf(symbol: string): string[] {
  const factors = [""];
  let depth = 0;
  for (const char of symbol) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (char === "*" && depth === 0) factors.push("");
    else factors[factors.length - 1] += char;
  }
  return factors.map((factor) => factor.trim());
}

const isSum = (symbol: string): boolean => / [-+/] /.test(symbol) && !/^\(.*\)$/.test(symbol);

function monomial(dim: Dim): Monomial {
  if (typeof dim === "number") return { factor: dim, symbols: [] };
  if (isSum(dim)) return { factor: 1, symbols: [dim] };
  const factors = factorsOf(dim);
  const isNumber = (text: string): boolean => /^-?\d+$/.test(text);
  return {
    factor: factors.filter(isNumber).reduce((product, text) => product * Number(text), 1),
    symbols: factors.filter((text) => !isNumber(text)),
  };
}

const protect = (symbol: string): string => (isSum(symbol) ? `(${symbol})` : symbol);

function print({ factor, symbols }: Monomial): Dim {
  if (factor === 0) return 0;
  if (symbols.length === 0) return factor;
  if (factor === 1 && symbols.length === 1) return symbols[0];
  const sorted = symbols.map(protect).sort();
  return factor === 1 ? sorted.join("*") : `${factor}*${sorted.join("*")}`;
}

const multiply = (a: Monomial, b: Monomial): Monomial => ({
  factor: a.factor * b.factor,
  symbols: [...a.symbols, ...b.symbols],
});

const monomialOf = (dims: readonly Dim[]): Monomial => dims.map(monomial).reduce(multiply, { factor: 1, symbols: [] });

/** The number of elements of a shape. */
export const productOf = (dims: readonly Dim[]): Dim => print(monomialOf(dims));

/** How many times as large one product is as another of the same symbols; `undefined` where the symbols differ. */
export function ratioOf(dividend: readonly Dim[], divisor: readonly Dim[]): number | undefined {
  const [a, b] = [dividend, divisor].map(monomialOf);
  const isSame = a.symbols.toSorted().join("*") === b.symbols.toSorted().join("*");
  return isSame ? a.factor / b.factor : undefined;
}

/** The quotient of two products where it is provably a whole number. */
export function quotientOf(dividend: readonly Dim[], divisor: readonly Dim[]): Dim | undefined {
  const a = monomialOf(dividend);
  const b = monomialOf(divisor);
  if (b.factor === 0 || a.factor % b.factor !== 0) return undefined;
  const symbols = [...a.symbols];
  for (const symbol of b.symbols) {
    const at = symbols.indexOf(symbol);
    if (at < 0) return undefined;
    symbols.splice(at, 1);
  }
  return print({ factor: a.factor / b.factor, symbols });
}

/** The terms of a sum of ours, "(batch+2*length-1)"; other sizes are one term. A minus stands before a number alone. */
function termsOf(dim: Dim): readonly Dim[] {
  if (typeof dim === "number" || isSum(dim) || !dim.startsWith("(") || !dim.endsWith(")")) return [dim];
  const terms = [""];
  let depth = 0;
  for (const char of dim.slice(1, -1)) {
    if (char === "(") depth++;
    if (char === ")") depth--;
    // Closed before its end: a product of sums.
    if (depth < 0) return [dim];
    if (char === "+" && depth === 0) terms.push("");
    else terms[terms.length - 1] += char;
  }
  const last = /^(.+)(-\d+)$/.exec(terms[terms.length - 1]);
  if (last) terms.splice(-1, 1, last[1], last[2]);
  return terms.map((term) => (/^-?\d+$/.test(term) ? Number(term) : term));
}

/** A sum; equal terms are one, and symbols are kept in a fixed order, so that equal sums have equal names. */
export function sumOf(dims: readonly Dim[]): Dim {
  const factors = new Map<string, number>();
  let constant = 0;
  for (const term of dims.flatMap(termsOf)) {
    const { factor, symbols } = monomial(term);
    const key = print({ factor: 1, symbols });
    if (typeof key === "number") constant += factor;
    else factors.set(key, (factors.get(key) ?? 0) + factor);
  }
  const symbols = [...factors]
    .filter(([, factor]) => factor !== 0)
    .map(([symbol, factor]) => String(print({ factor, symbols: monomial(symbol).symbols })))
    .sort();
  if (symbols.length === 0) return constant;
  if (symbols.length === 1 && constant === 0) return symbols[0];
  const tail = constant === 0 ? "" : constant > 0 ? `+${constant}` : `${constant}`;
  return `(${symbols.join("+")}${tail})`;
}

export const isStatic = (dims: readonly Dim[]): dims is readonly number[] =>
  dims.every((dim) => typeof dim === "number");
