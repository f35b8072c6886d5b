// The samples of the selected trials at a rung, chosen by a slider.
(() => {
  const gallery = document.getElementById("gallery");
  if (!gallery) return;
  const slider = document.getElementById("gallery-rung");
  const chosen = document.getElementById("gallery-step");
  const { rungs, trials } = JSON.parse(document.getElementById("gallery-pictures").textContent);
  const figures = trials.map(({ number, caption }) => {
    const figure = document.createElement("figure"), image = new Image();
    image.className = "samples";
    image.alt = `Real and generated samples: ${caption}`;
    figure.append(image, document.createElement("figcaption"));
    figure.addEventListener("click", () => selection.toggle("click", number));
    return figure;
  });
  gallery.append(...figures);
  const show = () => {
    const step = rungs[slider.value], selected = selection.trials();
    let shown = 0;
    trials.forEach(({ number, caption, w1, pictures }, i) => {
      const picture = pictures[step];
      figures[i].hidden = !picture || (selected !== null && !selected.has(number));
      if (figures[i].hidden) return;
      const [image, text] = figures[i].children;
      image.src = picture;
      text.textContent = `${caption}: ${w1[step]}`;
      shown += 1;
    });
    chosen.textContent = `step ${step.toLocaleString("en")}: ${shown} trial${shown === 1 ? "" : "s"}`;
  };
  slider.addEventListener("input", show);
  selection.watch(show);
  show();
})();
