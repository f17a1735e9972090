// Sorting and filtering of the overview, sections filled in as they come near, words about a picture.
"use strict";
(() => {
  const table = document.getElementById("classes-table");
  const body = table.tBodies[0];
  const sections = document.getElementById("classes");
  const sectionOf = (row) => document.getElementById(`class-${row.dataset.class}`);

  // --- Sorting: what is missing comes last in both orders; equal rows keep their order.
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  function keyOf(row, column, kind) {
    const cell = row.cells[column];
    if (kind === "text") return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  }

  function isMissing(key) {
    return key === null || key === "–";
  }

  function sortBy(header) {
    const { kind } = header.dataset;
    const before = header.getAttribute("aria-sort");
    const first = kind === "number" ? "descending" : "ascending";
    const second = kind === "number" ? "ascending" : "descending";
    const order = before === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const keyed = [...body.rows].map((row) => ({ row, key: keyOf(row, header.cellIndex, kind) }));
    keyed.sort((a, b) => {
      if (isMissing(a.key) || isMissing(b.key)) return isMissing(a.key) - isMissing(b.key);
      return sign * (kind === "text" ? collator.compare(a.key, b.key) : a.key - b.key);
    });
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", order);
    body.append(...keyed.map(({ row }) => row));
    sections.append(...keyed.map(({ row }) => sectionOf(row)));
  }

  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) sortBy(button.closest("th"));
  });

  // --- Filtering hides rows and their sections.
  const filter = document.getElementById("filter");
  if (filter) {
    const count = document.getElementById("filter-count");
    const all = count.textContent;
    filter.addEventListener("input", () => {
      const wanted = filter.value.trim().toLowerCase();
      let shown = 0;
      for (const row of body.rows) {
        const words = `${row.cells[0].textContent} ${row.cells[row.cells.length - 1].textContent}`;
        row.hidden = !words.toLowerCase().includes(wanted);
        sectionOf(row).hidden = row.hidden;
        shown += !row.hidden;
      }
      count.textContent = wanted ? `${shown} of ${all}` : all;
    });
  }

  // --- Sections of a large page are templates until the reader comes near.
  function fill(section) {
    const template = section.querySelector("template");
    if (template) template.replaceWith(template.content);
    section.classList.remove("unfilled");
  }

  function fillTarget() {
    const section = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!section || !section.querySelector("template")) return;
    fill(section);
    section.scrollIntoView();
  }

  if ("lazy" in sections.dataset) {
    const near = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          near.unobserve(target);
          fill(target);
        }
      },
      { rootMargin: "800px" },
    );
    for (const template of sections.querySelectorAll("template")) {
      const section = template.parentElement;
      section.classList.add("unfilled");
      near.observe(section);
    }
    window.addEventListener("hashchange", fillTarget);
    fillTarget();
  }

  // --- Words about a picture, for mouse, keyboard and touch alike.
  const tip = document.getElementById("tip");

  function showTip(tile) {
    if (tile.title) {
      // Else the browser would show its own a second time.
      tile.setAttribute("aria-label", tile.title);
      tile.removeAttribute("title");
    }
    tip.textContent = tile.getAttribute("aria-label");
    tip.hidden = false;
    const at = tile.getBoundingClientRect();
    const left = at.left + at.width / 2 - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    const above = at.top - tip.offsetHeight - 6;
    tip.style.top = `${above >= 4 ? above : at.bottom + 6}px`;
  }

  function hideTip() {
    tip.hidden = true;
  }

  for (const [show, hide] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
    document.addEventListener(show, (event) => {
      const tile = event.target.closest(".tile");
      if (tile) showTip(tile);
    });
    document.addEventListener(hide, hideTip);
  }
  window.addEventListener("scroll", hideTip, { passive: true });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const tile = event.target.closest(".tile");
    if (!tile || !step) return;
    const tiles = [...tile.closest(".tiles").querySelectorAll(".tile")];
    const next = tiles[tiles.indexOf(tile) + step];
    if (!next) return;
    event.preventDefault();
    tile.removeAttribute("tabindex");
    next.tabIndex = 0;
    next.focus();
  });
})();
