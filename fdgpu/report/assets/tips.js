// Words about a number or a picture: when it is pointed at, has the focus, or is touched.
const tips = (() => {
  const tip = document.getElementById("tip");
  const TARGETS = "[data-about], [data-row], .tile, .names li";
  let shownFor = null;

  function wordsOf(target) {
    if (target.dataset.about) return document.getElementById(`about-${target.dataset.about}`)?.textContent ?? "";
    if (target.dataset.row && images) return wordsAbout(Number(target.dataset.row));
    if (target.title) {
      // Else the browser would show its own a second time.
      target.setAttribute("aria-label", target.title);
      target.removeAttribute("title");
    }
    return target.getAttribute("aria-label") ?? "";
  }

  function showAt(words, left, top, bottom) {
    tip.textContent = words;
    tip.hidden = !words;
    const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(left - tip.offsetWidth / 2, most))}px`;
    const above = top - tip.offsetHeight - 6;
    tip.style.top = `${above >= 4 ? above : bottom + 6}px`;
  }

  function show(target) {
    const at = target.getBoundingClientRect();
    shownFor = target;
    showAt(wordsOf(target), at.left + at.width / 2, at.top, at.bottom);
  }

  function hide() {
    shownFor = null;
    tip.hidden = true;
  }

  for (const [begin, end] of [["pointerover", "pointerout"], ["focusin", "focusout"]]) {
    document.addEventListener(begin, (event) => {
      const target = event.target.closest?.(TARGETS);
      if (target && event.pointerType !== "touch") show(target);
    });
    document.addEventListener(end, (event) => {
      if (event.pointerType !== "touch") hide();
    });
  }
  // A touch shows what a number means, and one elsewhere takes it away. Pictures open instead.
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("[data-about], .names li");
    if (target && target !== shownFor) show(target);
    else if (!target) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  window.addEventListener("scroll", hide, { passive: true });

  // For screen readers: what a picture is, and where the meaning of a number stands.
  function label(root) {
    for (const target of root.querySelectorAll("[data-about]")) {
      target.setAttribute("aria-describedby", `about-${target.dataset.about}`);
    }
    if (!images) return;
    for (const tile of root.querySelectorAll(".tile[data-row]")) {
      tile.setAttribute("aria-label", wordsAbout(Number(tile.dataset.row)));
    }
  }

  label(document);
  return { showAt, hide, label };
})();
