// Numbers as people read them.

/** Three significant digits, all whole ones, and never an exponent from 10⁻⁶ on: `2200`, `12.3`, `0.0450`. */
export const formatDigits = (value: number): string =>
  Math.abs(value) >= 99.95 ? String(Math.round(value)) : value.toPrecision(3);
