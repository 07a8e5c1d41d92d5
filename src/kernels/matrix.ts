// The matrix product under convolutions and products, in float64: 4 by 4 tiles of sums kept in registers.

/** Rows of equal length, one after the other, from `offset` on. */
export interface Matrix {
  readonly data: Float64Array;
  readonly offset: number;
}

/** One sum of products of two rows. */
function dot(a: Float64Array, aStart: number, b: Float64Array, bStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aStart + i] * b[bStart + i];
  return sum;
}

export interface ProductSizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

/** c[m, n] += a[m, k] · b[n, k]ᵀ: row by row, so both operands are read in order. */
export function addProduct(c: Matrix, a: Matrix, b: Matrix, { m, n, k }: ProductSizes): void {
  const tiledRows = m - (m % 4);
  const tiledColumns = n - (n % 4);
  for (let j = 0; j < tiledColumns; j += 4)
    for (let i = 0; i < tiledRows; i += 4)
      addTile(c.data, c.offset + i * n + j, n, a.data, a.offset + i * k, b.data, b.offset + j * k, k);
  for (let i = 0; i < m; i++)
    for (let j = i < tiledRows ? tiledColumns : 0; j < n; j++)
      c.data[c.offset + i * n + j] += dot(a.data, a.offset + i * k, b.data, b.offset + j * k, k);
}

// Numbers, not matrices: it is called for every 16 elements.
// biome-ignore format: the tile reads as a grid
function addTile(
  c: Float64Array,
  cStart: number,
  cStride: number,
  a: Float64Array,
  aStart: number,
  b: Float64Array,
  bStart: number,
  k: number,
): void {
  let c00 = 0, c01 = 0, c02 = 0, c03 = 0;
  let c10 = 0, c11 = 0, c12 = 0, c13 = 0;
  let c20 = 0, c21 = 0, c22 = 0, c23 = 0;
  let c30 = 0, c31 = 0, c32 = 0, c33 = 0;
  let a0 = aStart, a1 = a0 + k, a2 = a1 + k, a3 = a2 + k;
  let b0 = bStart, b1 = b0 + k, b2 = b1 + k, b3 = b2 + k;
  for (const end = aStart + k; a0 < end; a0++, a1++, a2++, a3++, b0++, b1++, b2++, b3++) {
    const y0 = b[b0], y1 = b[b1], y2 = b[b2], y3 = b[b3];
    const x0 = a[a0];
    c00 += x0 * y0; c01 += x0 * y1; c02 += x0 * y2; c03 += x0 * y3;
    const x1 = a[a1];
    c10 += x1 * y0; c11 += x1 * y1; c12 += x1 * y2; c13 += x1 * y3;
    const x2 = a[a2];
    c20 += x2 * y0; c21 += x2 * y1; c22 += x2 * y2; c23 += x2 * y3;
    const x3 = a[a3];
    c30 += x3 * y0; c31 += x3 * y1; c32 += x3 * y2; c33 += x3 * y3;
  }
  let at = cStart;
  c[at] += c00; c[at + 1] += c01; c[at + 2] += c02; c[at + 3] += c03;
  at += cStride;
  c[at] += c10; c[at + 1] += c11; c[at + 2] += c12; c[at + 3] += c13;
  at += cStride;
  c[at] += c20; c[at + 1] += c21; c[at + 2] += c22; c[at + 3] += c23;
  at += cStride;
  c[at] += c30; c[at + 1] += c31; c[at + 2] += c32; c[at + 3] += c33;
}

/** The transpose of `rows` by `columns` elements from `offset` on. */
export function transposed({ data, offset }: Matrix, rows: number, columns: number): Matrix {
  const result = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) result[j * rows + i] = data[offset + i * columns + j];
  return { data: result, offset: 0 };
}
