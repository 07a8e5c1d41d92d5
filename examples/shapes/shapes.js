// A data set that is drawn, not downloaded: ten shapes in any place, size, turn and colour, on a cluttered ground.
// What `--data module:FILE` wants of a module: `train`, and perhaps `test` and `classes`.

const size = 16;
const pixels = size * size;

/** Whether a point lies in a shape of radius about 1 around the origin, y upwards. */
const shapes = {
  disc: (x, y) => x * x + y * y < 0.8,
  ring: (x, y) => between(x * x + y * y, 0.36, 1),
  square: (x, y) => Math.abs(x) < 0.8 && Math.abs(y) < 0.8,
  frame: (x, y) => between(Math.max(Math.abs(x), Math.abs(y)), 0.5, 0.9),
  triangle: (x, y) => y > -0.6 && y < 1.1 - 1.9 * Math.abs(x),
  plus: (x, y) => Math.min(Math.abs(x), Math.abs(y)) < 0.25 && Math.max(Math.abs(x), Math.abs(y)) < 1,
  star: (x, y) => Math.hypot(x, y) < 0.72 + 0.4 * Math.cos(5 * Math.atan2(y, x)),
  crescent: (x, y) => x * x + y * y < 1 && (x - 0.5) ** 2 + y * y > 0.6,
  bars: (x, y) => Math.abs(x) < 0.95 && between(Math.abs(y), 0.25, 0.75),
  tee: (x, y) => (Math.abs(x) < 0.9 && between(y, 0.3, 0.85)) || (Math.abs(x) < 0.28 && between(y, -1, 0.85)),
};

export const classes = Object.keys(shapes);
export const train = dataset("shapes train", 6000, 1);
export const test = dataset("shapes test", 1500, 2);

function between(value, low, high) {
  return value > low && value < high;
}

/** Drawn when first read; every image depends on its split and index alone. */
function dataset(name, length, split) {
  let images;
  const labels = BigInt64Array.from({ length }, (_, index) => BigInt(index % classes.length));
  return {
    name,
    length,
    inputs: { image: { dtype: "uint8", shape: [3, size, size], layout: "nchw" } },
    hasLabels: true,
    read(indices) {
      images ??= drawAll(length, split);
      const data = new Uint8Array(indices.length * 3 * pixels);
      indices.forEach((index, row) => {
        data.set(images.subarray(index * 3 * pixels, (index + 1) * 3 * pixels), row * 3 * pixels);
      });
      return {
        inputs: { image: { dtype: "uint8", shape: [indices.length, 3, size, size], data } },
        labels: {
          dtype: "int64",
          shape: [indices.length],
          data: BigInt64Array.from(indices, (index) => labels[index]),
        },
      };
    },
  };
}

function drawAll(length, split) {
  const images = new Uint8Array(length * 3 * pixels);
  for (let index = 0; index < length; index++) {
    const image = images.subarray(index * 3 * pixels, (index + 1) * 3 * pixels);
    draw(image, shapes[classes[index % classes.length]], createRandom(split * 1_000_003 + index));
  }
  return images;
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

function draw(image, shape, random) {
  const colour = (low, high) => [random(low, high), random(low, high), random(low, high)];
  fill(image, colour(0, 0.5), [random(-0.3, 0.3), random(-0.3, 0.3)]);
  for (let count = 0; count < 3; count++) paint(image, blot(random), colour(0, 1), 0.9);
  paint(image, placed(shape, random), colour(0.4, 1), 1);
  for (let count = 0; count < 2; count++) paint(image, blot(random), colour(0, 1), 0.9);
  const noise = random(0.02, 0.18);
  for (let i = 0; i < image.length; i++) image[i] = byte(image[i] / 255 + noise * (random(-1, 1) + random(-1, 1)));
}

const byte = (value) => Math.round(255 * Math.min(1, Math.max(0, value)));

function fill(image, ground, [right, down]) {
  for (let channel = 0; channel < 3; channel++)
    for (let i = 0; i < pixels; i++)
      image[channel * pixels + i] = byte(
        ground[channel] + right * ((i % size) / size - 0.5) + down * (Math.floor(i / size) / size - 0.5),
      );
}

/** A short stroke somewhere. */
function blot(random) {
  const [left, top, angle] = [random(0, size), random(0, size), random(0, Math.PI)];
  const [length, width] = [random(1, 3), random(0.4, 0.9)];
  return turned(left, top, angle, length + width, (x, y) => Math.abs(x) < length && Math.abs(y) < width);
}

function placed(shape, random) {
  const radius = random(0.26, 0.42) * size;
  const [left, top] = [random(radius, size - radius), random(radius, size - radius)];
  const [angle, stretch] = [random(0, 2 * Math.PI), random(0.85, 1.2)];
  const [across, along] = [stretch / radius, 1 / (stretch * radius)];
  return turned(left, top, angle, 1.6 * radius, (x, y) => shape(x * across, y * along));
}

/** A shape around a point, turned by `angle`; nothing of it lies further out than `reach`. */
function turned(left, top, angle, reach, inside) {
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return {
    left,
    top,
    reach,
    covers: (x, y) => inside((x - left) * cos + (y - top) * sin, (y - top) * cos - (x - left) * sin),
  };
}

/** Each pixel by how many of its four samples lie inside. */
function paint(image, { left, top, reach, covers }, colour, opacity) {
  const first = (middle) => Math.max(0, Math.floor(middle - reach));
  const end = (middle) => Math.min(size, Math.ceil(middle + reach));
  for (let y = first(top); y < end(top); y++)
    for (let x = first(left); x < end(left); x++) {
      const share = (opacity * samples.filter(([right, down]) => covers(x + right, y + down)).length) / samples.length;
      if (share > 0) blend(image, y * size + x, colour, share);
    }
}

const samples = [0.25, 0.75].flatMap((down) => [0.25, 0.75].map((right) => [right, down]));

function blend(image, pixel, colour, share) {
  for (let channel = 0; channel < 3; channel++) {
    const at = channel * pixels + pixel;
    image[at] = byte((1 - share) * (image[at] / 255) + share * colour[channel]);
  }
}
