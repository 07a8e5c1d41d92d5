// Which of several things nothing else beats.

/** Whether `a` is at least as good as `b` in everything, where less is better, and better in something. */
const beats = (a: readonly number[], b: readonly number[]): boolean =>
  a.every((value, i) => value <= b[i]) && a.some((value, i) => value < b[i]);

/** By position, whether no other point beats it; less is better in every coordinate. Points with a NaN are on no front. */
export const paretoFront = (points: readonly (readonly number[])[]): readonly boolean[] =>
  points.map((point) => !point.some(Number.isNaN) && !points.some((other) => beats(other, point)));
