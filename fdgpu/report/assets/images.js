// The images of the page in columns: a row is an image, or one of its conditions where images have several.
const images = (() => {
  const block = document.getElementById("page-data");
  const data = block && JSON.parse(block.textContent);
  if (!data) return null;

  function column(Kind, text) {
    if (text === null) return null;
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
    return new Kind(bytes.buffer);
  }

  const n = data.paths.length;
  const neighbours = column(Int32Array, data.neighbours);
  const perRow = n ? neighbours.length / n : 0;
  const pictureOf = column(Int32Array, data.pictures.of);
  const why = data.why && column(Int32Array, data.why.of);
  return {
    n,
    classes: data.classes,
    paths: data.paths,
    labels: column(Int32Array, data.labels),
    predictions: column(Int32Array, data.predictions),
    decisions: data.decisions.map((text) => column(Float32Array, text)),
    across: column(Float32Array, data.across),
    confidence: column(Float32Array, data.confidence),
    trueProbability: column(Float32Array, data.trueProbability),
    reasons: data.why ? data.why.words : [],
    why: (row) => (why ? data.why.words[why[row]] : ""),
    right(row) {
      return this.labels[row] === this.predictions[row];
    },
    rowsOf(label) {
      return [...this.labels.keys()].filter((row) => this.labels[row] === label);
    },
    neighbours: (row) => [...neighbours.subarray(row * perRow, (row + 1) * perRow)].filter((other) => other >= 0),
    picture: (row) => (pictureOf[row] < 0 ? null : data.pictures.uris[pictureOf[row]]),
  };
})();

// --- Numbers and words about an image: a true minus sign, a dash where there is no number.
const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits).replace("-", "−") : "–");
const percent = (share) => (Number.isFinite(share) ? `${(100 * share).toFixed(1)}%` : "–");
const counted = (n, noun) => `${n.toLocaleString("en")} ${n === 1 ? noun : `${noun}s`}`;

function decisionWords(row) {
  const value = images.decisions[0]?.[row];
  if (!Number.isFinite(value)) return "–";
  if (value === 0 || Math.abs(value) >= 1e-3) return fixed(value, 3);
  const [digits, power] = value.toExponential(1).split("e");
  const raised = [...power.replace("+", "")].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join("");
  return `${digits.replace("-", "−")} × 10${raised}`;
}

function wordsAbout(row) {
  const lines = [
    `${images.right(row) ? "Right" : "Wrong"}: predicted ${images.classes[images.predictions[row]]}`,
    `true class ${images.classes[images.labels[row]]}`,
    `decision value ${decisionWords(row)}`,
  ];
  if (images.confidence) lines.push(`confidence ${percent(images.confidence[row])}`);
  if (images.why(row)) lines.push(images.why(row));
  return [...lines, images.paths[row]].join("\n");
}
