// All images of the page: filtered, as a confusion table, and a page of pictures at a time.
const browse = images && (() => {
  const section = document.getElementById("browse");
  const form = section.querySelector("form");
  const list = section.querySelector(".tiles");
  const said = section.querySelector("output");
  const MOST_CLASSES = 20; // in a square table; of more classes the commonest mistakes are listed
  const MISTAKES = 24;
  const AT_ONCE = 48;
  let rows = [];
  let first = 0;

  function options(select, names) {
    select.append(...names.map((name, i) => new Option(name, i)));
  }

  options(form.elements.class, images.classes);
  options(form.elements.prediction, images.classes);
  if (form.elements.why) form.elements.why.append(...images.reasons.filter(Boolean).map((why) => new Option(why, why)));

  // --- The filter.
  function bounds(low, high, unit) {
    // Rounded as the columns are: 10 finds what is 10.0%.
    const bound = (name) => (form.elements[name]?.value ? Math.fround(Number(form.elements[name].value) / unit) : NaN);
    const [a, b] = [bound(low), bound(high)];
    return (value) => (Number.isNaN(a) || value >= a) && (Number.isNaN(b) || value <= b);
  }

  function filtered() {
    const { class: label, prediction, answer, why, marked } = form.elements;
    const sure = bounds("confidence-from", "confidence-to", 100);
    const along = bounds("decision-from", "decision-to", 1);
    const decisions = images.decisions[0];
    return [...images.labels.keys()].filter(
      (row) =>
        (label.value === "" || images.labels[row] === Number(label.value)) &&
        (prediction.value === "" || images.predictions[row] === Number(prediction.value)) &&
        (answer.value === "" || images.right(row) === (answer.value === "right")) &&
        (!why?.value || images.why(row) === why.value) &&
        (!marked.checked || marks.has(row)) &&
        (!images.confidence || sure(images.confidence[row])) &&
        along(decisions[row]),
    );
  }

  const last = (value) => (Number.isFinite(value) ? value : Infinity);
  const ORDERS = {
    hardest: (a, b) => last(images.decisions[0][a]) - last(images.decisions[0][b]),
    surest: (a, b) => images.confidence[b] - images.confidence[a],
    path: (a, b) => (images.paths[a] < images.paths[b] ? -1 : 1),
  };

  function update() {
    rows = filtered().sort((a, b) => ORDERS[form.elements.order.value](a, b) || a - b);
    first = 0;
    said.textContent = `${rows.length.toLocaleString("en")} of ${counted(images.n, "image")}`;
    confusions();
    page();
  }

  // --- The pictures, a page at a time.
  function item(row) {
    const one = viewer.small(row);
    const words = document.createElement("label");
    const box = document.createElement("input");
    const path = document.createElement("bdi");
    box.type = "checkbox";
    box.checked = marks.has(row);
    box.setAttribute("aria-label", `mark ${images.paths[row]}`);
    box.addEventListener("change", () => marks.set([row], box.checked));
    path.textContent = images.paths[row].split("/").pop();
    words.append(box, path);
    one.append(words);
    return one;
  }

  function page() {
    const shown = rows.slice(first, first + AT_ONCE);
    list.replaceChildren(...shown.map(item));
    tips.label(list);
    const [back, on] = section.querySelectorAll(".pages button");
    [back.disabled, on.disabled] = [first === 0, first + AT_ONCE >= rows.length];
    const place = `${(first + 1).toLocaleString("en")}–${(first + shown.length).toLocaleString("en")}`;
    section.querySelector(".pages span").textContent = shown.length ? place : "no image";
  }

  // A picture of the list opens among all that were found, not only among those of its page.
  list.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile) return;
    event.stopPropagation();
    viewer.open(Number(tile.dataset.row), rows);
  });

  section.querySelector(".pages").addEventListener("click", (event) => {
    const by = Number(event.target.closest("button")?.dataset.by ?? 0);
    if (!by) return;
    first += by * AT_ONCE;
    page();
  });

  // --- The confusion table: of the class that is filtered by, or of all.
  const k = images.classes.length;
  const counts = new Map();
  for (let row = 0; row < images.n; row += 1) {
    const pair = images.labels[row] * k + images.predictions[row];
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  const totals = new Array(k).fill(0);
  for (const label of images.labels) totals[label] += 1;

  function cell(pair, words) {
    const button = document.createElement("button");
    const n = counts.get(pair) ?? 0;
    const [label, prediction] = [Math.floor(pair / k), pair % k];
    button.type = "button";
    button.dataset.pair = pair;
    button.textContent = words ?? n.toLocaleString("en");
    const pressed = form.elements.class.value === String(label) && form.elements.prediction.value === String(prediction);
    button.setAttribute("aria-pressed", pressed);
    button.setAttribute("aria-label", `${counted(n, "image")} of ${images.classes[label]}, predicted ${images.classes[prediction]}`);
    button.style.setProperty("--share", totals[label] ? n / totals[label] : 0);
    button.classList.add(label === prediction ? "right" : "wrong");
    return button;
  }

  function header(name, scope) {
    const one = document.createElement("th");
    const own = document.createElement("bdi");
    one.scope = scope;
    own.textContent = name;
    one.append(own);
    return one;
  }

  function square() {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    head.append(header("true ↓ predicted →", "col"), ...images.classes.map((name) => header(name, "col")));
    const body = table.createTBody();
    images.classes.forEach((name, label) => {
      const line = body.insertRow();
      line.append(header(name, "row"));
      for (let prediction = 0; prediction < k; prediction += 1) {
        const at = line.insertCell();
        if (counts.has(label * k + prediction)) at.append(cell(label * k + prediction));
      }
    });
    return table;
  }

  function commonest() {
    const only = form.elements.class.value;
    const pairs = [...counts.keys()].filter((pair) => {
      const [label, prediction] = [Math.floor(pair / k), pair % k];
      return label !== prediction && (only === "" || label === Number(only));
    });
    pairs.sort((a, b) => counts.get(b) - counts.get(a) || a - b);
    const items = document.createElement("ul");
    for (const pair of pairs.slice(0, MISTAKES)) {
      const [label, prediction] = [Math.floor(pair / k), pair % k];
      const line = document.createElement("li");
      line.append(cell(pair, `${images.classes[label]} → ${images.classes[prediction]}: ${counts.get(pair)}`));
      items.append(line);
    }
    return items;
  }

  function confusions() {
    section.querySelector(".confusion").replaceChildren(k <= MOST_CLASSES ? square() : commonest());
  }

  section.querySelector(".confusion").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const pair = Number(button.dataset.pair);
    const pressed = button.getAttribute("aria-pressed") === "true";
    form.elements.class.value = pressed ? "" : Math.floor(pair / k);
    form.elements.prediction.value = pressed ? "" : pair % k;
    update();
    section.querySelector(`[data-pair="${pair}"]`)?.focus();
  });

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  section.querySelector('[data-do="mark"]').addEventListener("click", () => marks.set(rows, true));
  section.querySelector('[data-do="unmark"]').addEventListener("click", () => marks.set(rows, false));
  marks.listen(() => (form.elements.marked.checked ? update() : page()));
  document.getElementById("marks").querySelector('[data-do="show"]').addEventListener("click", () => {
    form.reset();
    form.elements.marked.checked = true;
    section.open = true;
    update();
    section.scrollIntoView();
  });

  // Opened by a link of a class.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-browse]");
    if (!link) return;
    form.reset();
    form.elements.class.value = link.dataset.browse;
    section.open = true;
    update();
  });

  let begun = false;
  section.addEventListener("toggle", () => {
    if (section.open && !begun) update();
    begun = begun || section.open;
  });
  return { update };
})();
