// The selected trials: those that pass the table's filters, the brushes on the parallel coordinates
// and a click. Whoever shows trials is told which they are, by number; null means all of them.
const selection = (() => {
  const sources = new Map(); // name -> Set of numbers, or null for all
  const watchers = [];

  const intersection = (names) => {
    const sets = names.map((name) => sources.get(name)).filter(Boolean);
    if (!sets.length) return null;
    return new Set([...sets[0]].filter((number) => sets.every((set) => set.has(number))));
  };
  return {
    // The trials that all sources select, or all but the named ones.
    trials: (...but) => intersection([...sources.keys()].filter((name) => !but.includes(name))),
    active: () => [...sources.keys()].filter((name) => sources.get(name)),
    set: (name, numbers) => {
      const [one, other] = [sources.get(name) ?? null, numbers].map((set) => set && [...set].join());
      if (one === other) return;
      sources.set(name, numbers);
      for (const watcher of watchers) watcher(name);
    },
    toggle: (name, number) => {
      const numbers = new Set(sources.get(name));
      if (!numbers.delete(number)) numbers.add(number);
      selection.set(name, numbers.size ? numbers : null);
    },
    watch: (watcher) => watchers.push(watcher),
  };
})();
