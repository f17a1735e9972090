// Marked images: kept by row, shown in a bar, saved as files that the page makes itself.
const marks = images && (() => {
  const bar = document.getElementById("marks");
  const said = bar.querySelector("output");
  const of = new Uint8Array(images.n);
  const listeners = [];
  let count = 0;

  function set(rows, on) {
    for (const row of rows) {
      count += Number(on) - of[row];
      of[row] = Number(on);
    }
    said.textContent = `${counted(count, "image")} marked`;
    bar.hidden = count === 0;
    for (const listener of listeners) listener();
  }

  const rows = () => [...of.keys()].filter((row) => of[row]);

  function quoted(value) {
    const text = String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  // The columns hold seven digits; the others are of their own making.
  const number = (column, row) => (Number.isFinite(column?.[row]) ? String(Number(column[row].toPrecision(7))) : "");

  function table() {
    const names = ["path", "class", "prediction", "correct", "decision_value", "confidence", "true_probability", "why"];
    const lines = rows().map((row) =>
      [
        images.paths[row],
        images.classes[images.labels[row]],
        images.classes[images.predictions[row]],
        images.right(row) ? "true" : "false",
        number(images.decisions[0], row),
        number(images.confidence, row),
        number(images.trueProbability, row),
        images.why(row),
      ].map(quoted).join(","),
    );
    return [names.join(","), ...lines, ""].join("\r\n");
  }

  // An image with several conditions has several rows, and one path.
  const paths = () => [...new Set(rows().map((row) => images.paths[row])), ""].join("\n");

  function save(name, kind, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: `${kind};charset=utf-8` }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  bar.addEventListener("click", (event) => {
    const what = event.target.closest("button")?.dataset.do;
    if (what === "csv") save("marked.csv", "text/csv", table());
    if (what === "paths") save("marked.txt", "text/plain", paths());
    if (what === "clear") set(rows(), false);
  });

  return { set, rows, has: (row) => of[row] === 1, listen: (listener) => listeners.push(listener) };
})();
