// Mean average precision of a detector: boxes [K, 4] as left, top, right, bottom, scores [K, classes], labels [M, 5] with a class
// before each box and -1 where there are fewer boxes.
import { meanAveragePrecision } from "frostbit";

const counts = meanAveragePrecision();

const rowsOf = ({ shape, data }) =>
  Array.from({ length: shape[0] }, (_, row) => Array.from(data.slice(row * shape[1], (row + 1) * shape[1])));

export const metric = {
  name: "mAP@0.5",
  higherIsBetter: true,
  add({ boxes, scores }, labels) {
    const all = rowsOf(boxes);
    const found = rowsOf(scores).flatMap((ofClasses, i) =>
      ofClasses.map((score, label) => ({ box: all[i], label, score })).filter(({ score }) => score > 0.05),
    );
    const wanted = rowsOf(labels).flatMap(([label, ...box]) => (label < 0 ? [] : [{ label, box }]));
    counts.add(found, wanted);
  },
  value: () => counts.value(),
};
