// The nearest of a few levels, which rise.

/** Its index; of two that are equally near, the lower one's. */
export function nearestLevel(levels: ArrayLike<number>, value: number): number {
  let [low, high] = [0, levels.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value - levels[middle] <= levels[middle + 1] - value) high = middle;
    else low = middle + 1;
  }
  return low;
}
