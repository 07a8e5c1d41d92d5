// What masks add to scores.

/** No score is below this: beside another key a hidden one counts for nothing. */
export const hidden = -1e30;
