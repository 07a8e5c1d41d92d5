// Random bits as a function of a counter and a place: what every engine computes alike.

/** Murmur3's last mixing: each of the 32 bits comes to depend on all. */
export function mixBits(bits: number): number {
  let hash = bits;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** From one place to the next: 2³² divided by the golden ratio. */
export const elementStep = 0x9e3779b1;

/** 32 bits for the element at `index` of what `counter`, 32 bits, is drawn for. */
export const elementBits = (counter: number, index: number): number =>
  mixBits((counter + Math.imul(index, elementStep)) | 0);
