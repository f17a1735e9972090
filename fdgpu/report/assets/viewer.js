// One picture, large: what is known of it, what is like it, and the next of those it was opened among.
const viewer = images && (() => {
  const dialog = document.getElementById("viewer");
  const part = (name) => dialog.querySelector(`[data-part="${name}"]`);
  const box = dialog.querySelector('input[type="checkbox"]');
  let among = [];
  let at = 0;

  function fact(name, value, about) {
    const line = document.createElement("div");
    const term = document.createElement("dt");
    const words = document.createElement("dd");
    const own = document.createElement("bdi");
    term.textContent = name;
    own.textContent = value;
    words.append(own);
    if (about) line.dataset.about = about;
    line.append(term, words);
    return line;
  }

  function small(row) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `tile own ${images.right(row) ? "right" : "wrong"}`;
    button.dataset.row = row;
    const uri = images.picture(row);
    if (uri) {
      const picture = document.createElement("img");
      picture.alt = "";
      picture.src = uri;
      button.append(picture);
    } else button.classList.add("missing");
    const item = document.createElement("li");
    item.className = images.right(row) ? "right" : "wrong";
    item.dataset.answer = images.right(row) ? "right" : images.classes[images.predictions[row]];
    item.append(button);
    return item;
  }

  function show() {
    const row = among[at];
    const uri = images.picture(row);
    const picture = part("picture");
    picture.hidden = !uri;
    picture.alt = `${images.classes[images.labels[row]]}, ${images.paths[row]}`;
    if (uri) picture.src = uri;
    else picture.removeAttribute("src");
    part("none").hidden = Boolean(uri);
    part("title").textContent = images.classes[images.labels[row]];
    part("verdict").textContent = images.right(row) ? "✓ right" : "✗ wrong";
    part("verdict").className = images.right(row) ? "easy" : "hard";
    const facts = [fact("predicted", images.classes[images.predictions[row]])];
    if (images.confidence) facts.push(fact("confidence", percent(images.confidence[row]), "confidence"));
    if (images.trueProbability) facts.push(fact("true class", percent(images.trueProbability[row]), "true_probability"));
    facts.push(fact("decision value", decisionWords(row), "decision"));
    if (images.why(row)) facts.push(fact("why", images.why(row)));
    facts.push(fact("path", images.paths[row]));
    part("facts").replaceChildren(...facts);
    const alike = images.neighbours(row);
    part("neighbours").replaceChildren(...alike.map(small));
    part("alike").hidden = alike.length === 0;
    part("place").textContent = `${(at + 1).toLocaleString("en")} of ${among.length.toLocaleString("en")}`;
    part("previous").disabled = at === 0;
    part("next").disabled = at === among.length - 1;
    box.checked = marks.has(row);
    tips.hide();
    tips.label(dialog);
  }

  function open(row, rows) {
    among = rows;
    at = Math.max(0, rows.indexOf(row));
    show();
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const to = Math.min(Math.max(at + by, 0), among.length - 1);
    if (to === at) return;
    at = to;
    show();
  }

  box.addEventListener("change", () => marks.set([among[at]], box.checked));
  part("previous").addEventListener("click", () => step(-1));
  part("next").addEventListener("click", () => step(1));
  part("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by) step(by);
    if (event.key === "m") marks.set([among[at]], !marks.has(among[at]));
    if (by || event.key === "m") {
      event.preventDefault();
      box.checked = marks.has(among[at]);
    }
  });
  dialog.addEventListener("close", tips.hide);

  // A tile opens among those beside it; arrow keys go from one to the next.
  document.addEventListener("click", (event) => {
    const tile = event.target.closest("button[data-row]");
    if (!tile) return;
    const beside = [...tile.closest("ol").querySelectorAll("button[data-row]")];
    open(Number(tile.dataset.row), beside.map((other) => Number(other.dataset.row)));
  });
  return { open, small };
})();

document.addEventListener("keydown", (event) => {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const tile = event.target.closest(".tile");
  if (!tile || !by || tile.closest("dialog")) return;
  const tiles = [...tile.closest(".tiles").querySelectorAll(".tile")];
  const next = tiles[tiles.indexOf(tile) + by];
  if (!next) return;
  event.preventDefault();
  tile.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});
