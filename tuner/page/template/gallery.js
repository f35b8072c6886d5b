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
    const text = document.createElement("figcaption");
    text.textContent = caption;
    figure.append(image, text);
    figure.addEventListener("click", () => selection.toggle("click", number));
    return figure;
  });
  gallery.append(...figures);
  const show = () => {
    const step = rungs[slider.value], selected = selection.trials();
    let shown = 0;
    trials.forEach(({ number, pictures }, i) => {
      const picture = pictures[step];
      figures[i].hidden = !picture || (selected !== null && !selected.has(number));
      if (figures[i].hidden) return;
      figures[i].firstChild.src = picture;
      shown += 1;
    });
    chosen.textContent = `step ${step.toLocaleString("en")}: ${shown} trials`;
  };
  slider.addEventListener("input", show);
  selection.watch(show);
  show();
})();
