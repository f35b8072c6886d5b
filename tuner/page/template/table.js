// Sort the table and filter it: by an expression, by words or by a status.
(() => {
  const table = document.getElementById("trials");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const text = document.getElementById("filter-text");
  const status = document.getElementById("filter-status");
  const count = document.getElementById("filter-count");
  const trouble = document.getElementById("filter-error");
  const PRINTED = 50, TYPING_MS = 150;

  const rows = [...body.rows];
  const numberOf = (row) => Number(row.dataset.trial);
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.textContent.trim();
  };
  const isNumber = (head) => head.classList.contains("num");
  const column = new Map(heads.map((head, i) => [head.dataset.name, i]));
  const columns = new Map(heads.map((head) => [head.dataset.name, isNumber(head)]));
  const named = (row) => (name) => {
    if (name === "status") return row.dataset.status;
    const found = value(row, column.get(name));
    return found !== "" && columns.get(name) ? Number(found) : found;
  };

  const test = (typed) => {
    if (/[<>=]/.test(typed)) {
      const passes = parseExpression(typed, columns);
      return (row) => passes(named(row));
    }
    const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
    return (row) => words.every((word) => row.textContent.toLowerCase().includes(word));
  };
  const filter = () => {
    let passes = () => true;
    trouble.textContent = "";
    text.removeAttribute("aria-invalid");
    try {
      passes = test(text.value.trim());
    } catch (error) {
      trouble.textContent = `No filter: ${error.message}.`;
      text.setAttribute("aria-invalid", "true");
    }
    const kept = rows.filter((row) => (!status.value || row.dataset.status === status.value) && passes(row));
    selection.set("filter", kept.length < rows.length ? new Set(kept.map(numberOf)) : null);
  };
  // A click marks rows and hides none, so that others can be clicked.
  const show = () => {
    const trials = selection.trials("click"), clicked = selection.active().includes("click") ? selection.trials() : null;
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = trials !== null && !trials.has(numberOf(row));
      row.classList.toggle("is-clicked", clicked !== null && clicked.has(numberOf(row)));
      if (!row.hidden) shown += 1;
      row.classList.toggle("past-print", shown > PRINTED);
    }
    count.textContent = `${shown} of ${rows.length} trials`;
  };

  // Numbers before words, and what is empty last, whichever way it is sorted.
  const compare = (a, b, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const [x, y] = [Number(a), Number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return sign * (Number.isNaN(x) ? a.localeCompare(b) : x - y);
  };
  const sort = (index) => {
    const head = heads[index];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const keyed = [...body.rows].map((row) => [value(row, index), row]);
    keyed.sort(([a], [b]) => compare(a, b, sign));
    body.append(...keyed.map(([, row]) => row));
    show();
  };
  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => sort(index));
  });
  body.addEventListener("click", ({ target }) => {
    if (!target.closest("a") && !String(getSelection())) selection.toggle("click", numberOf(target.closest("tr")));
  });
  let waiting;
  text.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, TYPING_MS);
  });
  status.addEventListener("change", filter);
  selection.watch(show);
  show();

  // Say everywhere on the page that not all trials are shown, and why.
  const bar = document.getElementById("selected");
  const SOURCES = { filter: "the table's filter", brush: "the parallel coordinates", click: "clicks" };
  selection.watch(() => {
    const active = selection.active();
    bar.hidden = !active.length;
    if (!active.length) return;
    const by = active.map((name) => SOURCES[name]).join(", ");
    bar.querySelector("span").textContent = `${selection.trials().size} of ${rows.length} trials, by ${by}`;
  });
  bar.querySelector("button").addEventListener("click", () => {
    text.value = status.value = "";
    filter();
    selection.set("click", null);
    figures.unbrush();
  });
})();
