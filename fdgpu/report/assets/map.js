// A class's images in the plane of its direction and the next most telling axis: a point an image, which opens it.
const maps = images && (() => {
  const MARGIN = 14;
  const REACH = 22; // pixels from a point within which it is meant
  const drawn = [];

  function make(canvas) {
    const label = Number(canvas.dataset.map);
    const [x, y] = [images.decisions[0], images.across];
    const rows = images.rowsOf(label).filter((row) => Number.isFinite(x[row]) && Number.isFinite(y[row]));
    rows.sort((a, b) => x[a] - x[b]);
    const points = new Float32Array(2 * rows.length);
    const base = document.createElement("canvas");
    let chosen = -1;
    let [width, height] = [0, 0];

    function range(column) {
      let [low, high] = [Infinity, -Infinity];
      for (const row of rows) [low, high] = [Math.min(low, column[row]), Math.max(high, column[row])];
      return high > low ? [low, high] : [low - 1, low + 1];
    }

    const [xs, ys] = [range(x), range(y)];
    const acrossAt = (value) => MARGIN + ((value - xs[0]) / (xs[1] - xs[0])) * (width - 2 * MARGIN);
    const downAt = (value) => height - MARGIN - ((value - ys[0]) / (ys[1] - ys[0])) * (height - 2 * MARGIN);

    // Wrong are filled diamonds, right are rings: told apart without colour.
    function mark(brush, i, size) {
      const [px, py] = [points[2 * i], points[2 * i + 1]];
      brush.beginPath();
      if (images.right(rows[i])) {
        brush.arc(px, py, size * 0.8, 0, 7);
        brush.stroke();
      } else {
        brush.moveTo(px, py - size);
        brush.lineTo(px + size, py);
        brush.lineTo(px, py + size);
        brush.lineTo(px - size, py);
        brush.fill();
      }
    }

    function paint() {
      const scale = window.devicePixelRatio || 1;
      [width, height] = [canvas.clientWidth, canvas.clientHeight];
      if (!width) return;
      const style = getComputedStyle(canvas);
      const colour = (name) => style.getPropertyValue(name).trim();
      for (const one of [canvas, base]) [one.width, one.height] = [width * scale, height * scale];
      const brush = base.getContext("2d");
      brush.setTransform(scale, 0, 0, scale, 0, 0);
      if (xs[0] < 0 && xs[1] > 0) {
        brush.strokeStyle = colour("--soft");
        brush.setLineDash([2, 3]);
        brush.beginPath();
        brush.moveTo(acrossAt(0), 0);
        brush.lineTo(acrossAt(0), height);
        brush.stroke();
        brush.setLineDash([]);
      }
      rows.forEach((row, i) => points.set([acrossAt(x[row]), downAt(y[row])], 2 * i));
      const size = rows.length > 1500 ? 2.5 : rows.length > 300 ? 3.5 : 5;
      brush.lineWidth = 1.4;
      brush.strokeStyle = colour("--easy-fill");
      brush.fillStyle = colour("--hard-fill");
      for (const right of [true, false]) {
        for (let i = 0; i < rows.length; i += 1) if (images.right(rows[i]) === right) mark(brush, i, size);
      }
      show();
    }

    function show() {
      const brush = canvas.getContext("2d");
      brush.setTransform(1, 0, 0, 1, 0, 0);
      brush.clearRect(0, 0, canvas.width, canvas.height);
      brush.drawImage(base, 0, 0);
      if (chosen < 0) return;
      const scale = window.devicePixelRatio || 1;
      brush.setTransform(scale, 0, 0, scale, 0, 0);
      brush.strokeStyle = getComputedStyle(canvas).color;
      brush.lineWidth = 2;
      brush.beginPath();
      brush.arc(points[2 * chosen], points[2 * chosen + 1], 9, 0, 7);
      brush.stroke();
    }

    function choose(i) {
      if (i === chosen) return;
      chosen = i;
      show();
      if (i < 0) return tips.hide();
      const at = canvas.getBoundingClientRect();
      const [left, top] = [at.left + points[2 * i], at.top + points[2 * i + 1]];
      const words = wordsAbout(rows[i]);
      canvas.nextElementSibling.textContent = words;
      tips.showAt(words, left, top - 8, top + 8);
    }

    function nearest(event) {
      const at = canvas.getBoundingClientRect();
      let [found, best] = [-1, REACH ** 2];
      for (let i = 0; i < rows.length; i += 1) {
        const far = (points[2 * i] - event.clientX + at.left) ** 2 + (points[2 * i + 1] - event.clientY + at.top) ** 2;
        if (far < best) [found, best] = [i, far];
      }
      return found;
    }

    // The nearest point within the quarter of the plane that the arrow points to.
    function towards(dx, dy) {
      let [found, best] = [-1, Infinity];
      for (let i = 0; i < rows.length; i += 1) {
        const [ox, oy] = [points[2 * i] - points[2 * chosen], points[2 * i + 1] - points[2 * chosen + 1]];
        const along = ox * dx + oy * dy;
        const beside = Math.abs(ox * dy) + Math.abs(oy * dx);
        if (along > 0 && along >= beside && along + 2 * beside < best) [found, best] = [i, along + 2 * beside];
      }
      return found < 0 ? chosen : found;
    }

    canvas.addEventListener("pointermove", (event) => choose(nearest(event)));
    canvas.addEventListener("pointerleave", () => choose(-1));
    canvas.addEventListener("click", (event) => {
      choose(nearest(event));
      if (chosen >= 0) viewer.open(rows[chosen], rows);
    });
    canvas.addEventListener("focus", () => {
      if (chosen < 0 && rows.length && canvas.matches(":focus-visible")) choose(0);
    });
    canvas.addEventListener("blur", () => choose(-1));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) choose(chosen < 0 ? 0 : towards(...step));
      if (event.key === "Home") choose(0);
      if (event.key === "End") choose(rows.length - 1);
      const opens = (event.key === "Enter" || event.key === " ") && chosen >= 0;
      if (opens) viewer.open(rows[chosen], rows);
      if (step || opens || event.key === "Home" || event.key === "End") event.preventDefault();
    });
    new ResizeObserver(paint).observe(canvas);
    drawn.push(paint);
  }

  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((paint) => paint()));

  function fill(root) {
    for (const canvas of root.querySelectorAll("canvas[data-map]:not([data-made])")) {
      canvas.dataset.made = "";
      make(canvas);
    }
  }

  fill(document);
  return { fill };
})();
