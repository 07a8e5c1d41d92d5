// A data set that is drawn, not downloaded: ten shapes in any place, size, turn, stroke and colour, on a cluttered ground.
// What `--data module:FILE` wants of a module: `train`, and perhaps `test` and `classes`.

const size = 32;
const pixels = size * size;

/** Whether a point is inside a shape of radius about 1 around the origin, y upwards; `stroke` is how thick its lines are. */
const shapes = {
  disc: (x, y) => x * x + y * y < 0.8,
  ring: (x, y, stroke) => between(Math.hypot(x, y), 1 - 0.4 * stroke, 1),
  square: (x, y) => Math.abs(x) < 0.8 && Math.abs(y) < 0.8,
  frame: (x, y, stroke) => between(Math.max(Math.abs(x), Math.abs(y)), 0.9 - 0.4 * stroke, 0.9),
  triangle: (x, y) => y > -0.6 && y < 1.1 - 1.9 * Math.abs(x),
  plus: (x, y, stroke) => Math.min(Math.abs(x), Math.abs(y)) < 0.25 * stroke && Math.max(Math.abs(x), Math.abs(y)) < 1,
  star: (x, y) => Math.hypot(x, y) < 0.72 + 0.4 * Math.cos(5 * Math.atan2(y, x)),
  crescent: (x, y) => x * x + y * y < 1 && (x - 0.5) ** 2 + y * y > 0.6,
  bars: (x, y, stroke) => Math.abs(x) < 0.95 && Math.abs(Math.abs(y) - 0.5) < 0.25 * stroke,
  tee: (x, y, stroke) =>
    (Math.abs(x) < 0.9 && between(y, 0.85 - 0.55 * stroke, 0.85)) ||
    (Math.abs(x) < 0.28 * stroke && between(y, -1, 0.85)),
};

export const classes = Object.keys(shapes);
export const train = dataset("shapes train", 20_000, 1);
export const test = dataset("shapes test", 5_000, 2);

function between(value, low, high) {
  return value > low && value < high;
}

/** Each image depends on its split and index alone; it is drawn when first read, and kept. */
function dataset(name, length, split) {
  const images = new Map();
  const image = (index) => {
    if (!images.has(index)) images.set(index, draw(index % classes.length, createRandom(split * 1_000_003 + index)));
    return images.get(index);
  };
  return {
    name,
    length,
    inputs: { image: { dtype: "uint8", shape: [3, size, size], layout: "nchw" } },
    hasLabels: true,
    read(indices) {
      const data = new Uint8Array(indices.length * 3 * pixels);
      indices.forEach((index, row) => {
        data.set(image(index), row * 3 * pixels);
      });
      const labels = BigInt64Array.from(indices, (index) => BigInt(index % classes.length));
      return {
        inputs: { image: { dtype: "uint8", shape: [indices.length, 3, size, size], data } },
        labels: { dtype: "int64", shape: [indices.length], data: labels },
      };
    },
  };
}

/** Uniform numbers from 0 to 1, or from `low` to `high` (mulberry32). */
function createRandom(seed) {
  let state = Math.imul(seed, 0x9e3779b1);
  return (low = 0, high = 1) => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return low + (((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32) * (high - low);
  };
}

/** The bytes of one image, [3, size, size]. */
function draw(label, random) {
  const colour = (low, high) => [random(low, high), random(low, high), random(low, high)];
  const canvas = new Float32Array(3 * pixels);
  fill(canvas, colour(0, 0.6), [random(-0.4, 0.4), random(-0.4, 0.4)]);
  for (let count = 0; count < 4; count++) paint(canvas, blot(random), colour(0, 1), 0.9);
  paint(canvas, placed(shapes[classes[label]], random), colour(0.35, 1), 1);
  for (let count = 0; count < 4; count++) paint(canvas, blot(random), colour(0, 1), 0.9);
  return addNoise(canvas, random(0.02, 0.2), random);
}

/** Uint8ClampedArray rounds, and stops at 0 and 255. */
function addNoise(canvas, noise, random) {
  const bytes = new Uint8ClampedArray(canvas.length);
  for (let i = 0; i < canvas.length; i++) bytes[i] = 255 * (canvas[i] + noise * (random(-1, 1) + random(-1, 1)));
  return new Uint8Array(bytes.buffer);
}

/** A ground that grows lighter or darker to the right and downwards. */
function fill(canvas, ground, [right, down]) {
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < pixels; i++)
      canvas[channel * pixels + i] =
        ground[channel] + right * ((i % size) / size - 0.5) + down * (Math.floor(i / size) / size - 0.5);
}

/** A short stroke somewhere. */
function blot(random) {
  const [left, top, angle] = [random(0, size), random(0, size), random(0, Math.PI)];
  const [length, width] = [random(2, 6), random(0.7, 1.6)];
  return turned(left, top, angle, length + width, (x, y) => Math.abs(x) < length && Math.abs(y) < width);
}

function placed(shape, random) {
  const radius = random(0.2, 0.4) * size;
  const [left, top] = [random(radius, size - radius), random(radius, size - radius)];
  const [angle, stretch, stroke] = [random(0, 2 * Math.PI), random(0.8, 1.25), random(0.6, 1.2)];
  const [across, along] = [stretch / radius, 1 / (stretch * radius)];
  return turned(left, top, angle, 1.6 * radius, (x, y) => shape(x * across, y * along, stroke));
}

/** A shape around a point, turned by `angle` and within the radius `reach`. */
function turned(left, top, angle, reach, inside) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return {
    left,
    top,
    reach,
    covers: (x, y) => inside((x - left) * cos + (y - top) * sin, (y - top) * cos - (x - left) * sin),
  };
}

/** Each pixel by how many of its four samples are inside. */
function paint(canvas, { left, top, reach, covers }, colour, opacity) {
  const first = (middle) => Math.max(0, Math.floor(middle - reach));
  const end = (middle) => Math.min(size, Math.ceil(middle + reach));
  for (let y = first(top); y < end(top); y++)
    for (let x = first(left); x < end(left); x++) {
      const covered =
        covers(x + 0.25, y + 0.25) +
        covers(x + 0.75, y + 0.25) +
        covers(x + 0.25, y + 0.75) +
        covers(x + 0.75, y + 0.75);
      if (covered > 0) blend(canvas, y * size + x, colour, (opacity * covered) / 4);
    }
}

function blend(canvas, pixel, colour, share) {
  for (let channel = 0; channel < 3; channel++) {
    const at = channel * pixels + pixel;
    canvas[at] += share * (colour[channel] - canvas[at]);
  }
}
