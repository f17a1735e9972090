// Sorting and filtering of the overview, and the sections of classes, which are filled when they are opened.
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

  const isMissing = (key) => key === null || key === "–";

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
        const words = `${row.cells[0].textContent} ${row.cells[1].textContent}`;
        row.hidden = !words.toLowerCase().includes(wanted);
        sectionOf(row).classList.toggle("filtered", row.hidden);
        shown += !row.hidden;
      }
      count.textContent = wanted ? `${shown} of ${all}` : all;
    });
  }

  // --- Sections of a large page are packed and hidden until a link opens them.
  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  async function open() {
    const section = document.getElementById(decodeURIComponent(location.hash.slice(1)))?.closest("section.class");
    const template = section?.querySelector("template");
    if (!template) return;
    const html = await unpacked(template.content.textContent);
    section.innerHTML = html; // the page's own, which its maker has escaped
    section.hidden = false;
    tips.label(section);
    maps?.fill(section);
    section.scrollIntoView();
  }

  if ("lazy" in sections.dataset) {
    window.addEventListener("hashchange", open);
    open();
  }
})();
