// Dice coefficient of a segmentation: masks [1, H, W] of logits, labels [H, W] of 0 and 1; of each picture, then the mean.
export const name = "Dice";

export function metric(outputs, labels) {
  const [mask] = Object.values(outputs);
  let both = 0;
  let sum = 0;
  for (let i = 0; i < mask.data.length; i++) {
    const [found, wanted] = [Number(mask.data[i] > 0), Number(labels.data[i])];
    both += found * wanted;
    sum += found + wanted;
  }
  return sum === 0 ? 1 : (2 * both) / sum;
}
