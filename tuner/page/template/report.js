"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const plots = [];

  for (const [id, figure] of Object.entries(figures)) {
    const box = document.getElementById(id);
    Plotly.newPlot(box, figure.data, figure.layout, config);
    plots.push(box);
  }
  document.body.dataset.drawn = String(plots.length);

  // A page that is printed is narrower than the window: figures are drawn anew to fit, or be cut.
  const PAGE_PX = 690;
  const fit = (isPrint) => {
    for (const box of plots) {
      const columns = box.closest(".grid3") ? 3 : box.closest(".grid2") ? 2 : 1;
      const width = isPrint ? PAGE_PX / columns - 12 : box.clientWidth;
      Plotly.relayout(box, { width, autosize: !isPrint });
    }
  };
  addEventListener("beforeprint", () => fit(true));
  addEventListener("afterprint", () => fit(false));

  const table = document.getElementById("trials");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const text = document.getElementById("filter-text");
  const status = document.getElementById("filter-status");
  const count = document.getElementById("filter-count");
  const PRINTED = 50;

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.textContent.trim();
  };
  // Numbers before words, and what is empty last, whichever way it is sorted.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (Number.isNaN(x) ? a.localeCompare(b) : x - y);
  };
  const show = () => {
    const wanted = text.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const words = row.textContent.toLowerCase();
      const isKind = !status.value || row.dataset.status === status.value;
      row.hidden = !(isKind && wanted.every((word) => words.includes(word)));
      if (!row.hidden) shown += 1;
      row.classList.toggle("past-print", shown > PRINTED);
    }
    count.textContent = `${shown} of ${body.rows.length} trials`;
  };
  const sort = (column) => {
    const head = heads[column];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map((row) => [value(row, column), row]);
    rows.sort(([a], [b]) => compare(a, b, sign));
    body.append(...rows.map(([, row]) => row));
    show();
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sort(column));
  });
  text.addEventListener("input", show);
  status.addEventListener("change", show);
  show();
})();
