// Draw the figures, one after the other so that the page answers meanwhile; show in them the
// selected trials alone; and let them select. A trace with the meta "trials" has in its customdata
// the number of each point's trial.
const figures = (() => {
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const nonce = document.currentScript.nonce;
  const boxes = [];
  let turn = 0;

  // What is large is in the page gzipped.
  const unpacked = async (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };
  const run = (code) => {
    const script = document.createElement("script");
    script.nonce = nonce;
    script.textContent = code;
    document.head.append(script);
  };
  const pause = () => new Promise((resolve) => setTimeout(resolve));
  const lines = (box) => box.data.find((trace) => trace.type === "parcoords");
  const ofTrials = (box) => box.data.flatMap((trace, i) => (trace.meta === "trials" && trace.type !== "parcoords" ? [i] : []));
  const axis = (trace) => (trace.type === "bar" ? "x" : "y");
  const isSelected = (trials, number) => !trials || trials.has(number);

  const filterPoints = (box) => {
    const trials = selection.trials(), indices = ofTrials(box);
    if (!indices.length || box.trials === trials) return;
    box.trials = trials;
    const changed = { x: [], y: [] };
    for (const i of indices) {
      const { x, y, customdata } = box.whole[i];
      const keep = (values) => values.map((value, k) => (isSelected(trials, customdata[k]) ? value : null));
      changed.x.push(axis(box.data[i]) === "x" ? keep(x) : x);
      changed.y.push(axis(box.data[i]) === "y" ? keep(y) : y);
    }
    // The axes stay, so that what is left can be compared with what was there.
    return Plotly.update(box, changed, { "xaxis.autorange": false, "yaxis.autorange": false }, indices);
  };
  const filterLines = (box) => {
    const trace = lines(box), trials = selection.trials("brush"), { customdata, values } = box.whole;
    const kept = customdata.flatMap((number, i) => (isSelected(trials, number) ? [i] : []));
    const pick = (all) => kept.map((i) => all[i]);
    if (String(pick(customdata)) === String(trace.customdata)) return;
    const dimensions = trace.dimensions.map((one) => ({ ...one, values: pick(values.get(one.label)) }));
    const changed = { dimensions: [dimensions], "line.color": [pick(box.whole.colours)], customdata: [pick(customdata)] };
    return Plotly.restyle(box, changed, [0]);
  };
  const brushed = (box) => {
    const passes = lines(box).dimensions.flatMap(({ label, constraintrange: range }) => {
      if (!range?.length) return [];
      const ranges = Array.isArray(range[0]) ? range : [range], values = box.whole.values.get(label);
      return [(i) => ranges.some(([low, high]) => low <= values[i] && values[i] <= high)];
    });
    if (!passes.length) return null;
    return new Set(box.whole.customdata.filter((_, i) => passes.every((pass) => pass(i))));
  };

  const draw = async (box, figure) => {
    await Plotly.newPlot(box, figure.data, figure.layout, config);
    boxes.push(box);
    const trace = lines(box);
    if (trace) {
      const values = new Map(trace.dimensions.map((one) => [one.label, one.values]));
      box.whole = { customdata: trace.customdata, colours: trace.line.color, values };
      box.on("plotly_restyle", () => selection.set("brush", brushed(box)));
    } else {
      box.whole = box.data.map(({ x, y, customdata }) => ({ x, y, customdata }));
      box.trials = null;
      box.on("plotly_click", ({ points: [point] }) => {
        if (point.data.meta === "trials") selection.toggle("click", point.customdata);
      });
    }
    filter(box);
  };
  const filter = (box) => (lines(box) ? filterLines(box) : filterPoints(box));
  const filterAll = async () => {
    const mine = ++turn;
    for (const box of boxes) {
      await pause();
      if (mine !== turn) return; // another selection came meanwhile
      filter(box);
    }
  };

  // Show other values of a figure: by trace, its x, y and customdata.
  const replace = async (box, traces, title) => {
    const of = (key) => traces.map((trace) => trace[key]);
    const axes = { "xaxis.autorange": true, "yaxis.autorange": true, "yaxis.title.text": title };
    await Plotly.update(box, { x: of("x"), y: of("y"), customdata: of("customdata") }, axes);
    [box.whole, box.trials] = [traces, null];
    return filter(box);
  };
  const offerSeries = (box, { layout: { meta } }) => {
    const select = document.getElementById(`${box.id}-series`);
    select?.addEventListener("change", () => replace(box, meta.series[select.value], select.value));
  };

  const unbrush = () => {
    for (const box of boxes.filter(lines))
      Plotly.restyle(box, { dimensions: [lines(box).dimensions.map(({ constraintrange, ...one }) => one)] }, [0]);
  };

  // A page that is printed is narrower than the window: figures are drawn anew to fit, or be cut.
  const PAGE_PX = 690;
  const fit = (isPrint) => {
    for (const box of boxes) {
      const columns = box.closest(".grid3") ? 3 : box.closest(".grid2") ? 2 : 1;
      const width = isPrint ? PAGE_PX / columns - 12 : box.clientWidth;
      Plotly.relayout(box, { width, autosize: !isPrint });
    }
  };
  addEventListener("beforeprint", () => fit(true));
  addEventListener("afterprint", () => fit(false));
  selection.watch(filterAll);

  const drawAll = async () => {
    const [code, plots] = await Promise.all(["plotly", "figures"].map(unpacked));
    run(code);
    const byId = JSON.parse(plots);
    // From the top of the page on, but for thousands of lines, which may take seconds.
    const isSlow = (box) => byId[box.id].data[0].type === "parcoords";
    const places = [...document.querySelectorAll(".plot")].sort((a, b) => isSlow(a) - isSlow(b));
    for (const box of places) {
      await pause();
      await draw(box, byId[box.id]);
      offerSeries(box, byId[box.id]);
    }
    document.body.dataset.drawn = String(boxes.length);
  };
  drawAll().catch((error) => { // such as of a browser without DecompressionStream
    document.getElementById("trouble").textContent = `The figures cannot be drawn: ${error.message}`;
    throw error;
  });
  return { unbrush };
})();
