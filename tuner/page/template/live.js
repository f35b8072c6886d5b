// Show newer results: at once, unless someone is working with the page, who is then asked.
(() => {
  const LOOK_MS = 3000, BUSY_MS = 20000;
  const shown = document.documentElement.dataset.version;
  const notice = document.getElementById("live");
  let last = -Infinity;
  for (const kind of ["pointerdown", "keydown"])
    addEventListener(kind, () => { last = performance.now(); }, true);
  notice.addEventListener("click", () => location.reload());
  const tell = (text) => { notice.textContent = text; notice.hidden = false; };
  const look = async () => {
    try {
      const answer = await fetch("version", { cache: "no-store" });
      const version = (await answer.text()).trim();
      if (answer.ok && version !== shown) {
        // A selection would be lost: whoever made one is asked, however long ago that was.
        const isBusy = performance.now() - last <= BUSY_MS || selection.active().length > 0;
        if (!isBusy) return location.reload();
        tell("show newer results");
      } else {
        notice.hidden = answer.ok;
        if (!answer.ok) notice.textContent = "the search cannot be read: try again";
      }
    } catch {
      tell("no newer results: the server has ended");
    }
    setTimeout(look, LOOK_MS);
  };
  setTimeout(look, LOOK_MS);
})();
