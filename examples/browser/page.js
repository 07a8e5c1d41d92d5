// The page: starts the worker, draws the loss as it falls, hands out the file.
const byId = (id) => document.getElementById(id);
const [form, status, progress, link] = ["form", "status", "progress", "download"].map(byId);
const button = form.querySelector("button");
const numbers = ["bits", "steps", "images"];

if (await navigator.gpu?.requestAdapter()) form.querySelector("[value=webgpu]").disabled = false;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(form);
  const settings = Object.fromEntries(numbers.map((name) => [name, Number(given.get(name))]));
  const drawLoss = createChart();
  byId("result").hidden = true;
  button.disabled = true;
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  const end = (text, className = "") => {
    worker.terminate();
    button.disabled = false;
    Object.assign(status, { value: text, className });
  };
  worker.onerror = ({ message }) => end(message, "failed");
  worker.onmessage = ({ data: { kind, ...data } }) => {
    if (kind === "failed") end(data.message, kind);
    if (kind === "done") {
      showResult(settings.bits, data);
      end(`Done in ${data.seconds.toFixed(0)} s: in ONNX Runtime the file computes what was trained.`, kind);
    }
    if (kind === "progress") {
      showProgress(data);
      if (data.loss !== undefined) drawLoss(data);
    }
  };
  worker.postMessage({ ...settings, provider: given.get("provider") });
});

function showProgress({ phase, done, total, note }) {
  Object.assign(status, { value: `${phase}, ${done} of ${total}${note ? `: ${note}` : ""}`, className: "" });
  Object.assign(progress, { value: done, max: total });
}

function showResult(bits, { bytes, top1, sizeBytes }) {
  const rows = [
    ["float", sizeBytes, top1.float],
    [`${bits} bits, rounded`, undefined, top1.ptq],
    [`${bits} bits, trained: the file in ONNX Runtime`, bytes.length, top1.deployed],
  ];
  const size = (count) => (count === undefined ? "" : `${(count / 1000).toFixed(1)} kB`);
  byId("figures").innerHTML = rows
    .map(([name, count, percent]) => `<tr><th>${name}</th><td>${size(count)}</td><td>${percent.toFixed(2)} %</td></tr>`)
    .join("");
  URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
  link.textContent = link.download = `shapes-${bits}-bits.onnx`;
  byId("result").hidden = false;
}

/** Draws each step's loss, and the mean of the last ten. */
function createChart() {
  const lines = ["steps", "mean"].map((name) => byId("chart").querySelector(`.${name}`));
  const losses = [];
  return ({ loss, done, total }) => {
    losses.push(loss);
    const highest = Math.max(...losses);
    const step = (300 * done) / total / losses.length;
    const points = (values) => values.map((value, i) => `${step * (i + 1)},${98 - (96 * value) / highest}`).join(" ");
    lines[0].setAttribute("points", points(losses));
    lines[1].setAttribute("points", points(losses.map((_, i) => mean(losses.slice(Math.max(0, i - 9), i + 1)))));
  };
}

function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
