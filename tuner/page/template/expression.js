// Filters such as: critic_lr < 1e-3 and (loss == "wasserstein" or not w1 >= 2)
//
// or = and ("or" and)*;  and = not ("and" not)*;  not = "not" not | "(" or ")" | comparison
// comparison = operand (operator operand)+, each of which must hold, as in 1e-4 < lr <= 1e-2
//
// An operand is a column's name, a number or a quoted text. An empty cell fails every comparison.
const parseExpression = (() => {
  const TOKEN = /\s*(?:([<>]=?|[=!]=|[()])|(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.]))|("[^"]*"|'[^']*')|([a-z_][\w.]*))/iy;
  const HOLDS = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "==": (a, b) => a === b, "!=": (a, b) => a !== b,
  };

  const tokensOf = (text) => {
    const tokens = [];
    TOKEN.lastIndex = 0;
    for (let at = 0; text.slice(at).trim(); at = TOKEN.lastIndex) {
      const match = TOKEN.exec(text);
      const rest = text.slice(at).trim();
      if (!match) throw new Error(`cannot read ${rest}${rest[0] === "=" ? ": equal is ==" : ""}`);
      const [, sign, number, quoted, word] = match;
      if (sign) tokens.push({ kind: sign, shown: sign });
      else if (number) tokens.push({ kind: "value", shown: number, value: Number(number) });
      else if (quoted) tokens.push({ kind: "value", shown: quoted, value: quoted.slice(1, -1) });
      else if (["and", "or", "not"].includes(word)) tokens.push({ kind: word, shown: word });
      else tokens.push({ kind: "name", shown: word });
    }
    return tokens;
  };

  // Returns a function of a row, which is given as a function from a column's name to its value: a
  // number, a text or "". columns: name -> whether its values are numbers. Throws if text is wrong.
  return (text, columns) => {
    const tokens = tokensOf(text);
    const peek = () => tokens[0]?.kind;
    const take = (kind) => (peek() === kind ? tokens.shift() : null);

    const operand = () => {
      const token = take("value") ?? take("name");
      if (!token) throw new Error(`needs a column, a number or "text" ${tokens.length ? `before ${tokens[0].shown}` : "at its end"}`);
      if (token.kind === "value") return { isNumber: typeof token.value === "number", of: () => token.value, ...token };
      if (!columns.has(token.shown))
        throw new Error(`no column ${token.shown}: text needs quotes, and the columns are ${[...columns.keys()].join(", ")}`);
      return { isNumber: columns.get(token.shown), of: (row) => row(token.shown), ...token };
    };
    const comparison = () => {
      const parts = [];
      let left = operand();
      while (peek() in HOLDS) {
        const holds = HOLDS[tokens.shift().kind], right = operand();
        const [a, b] = [left, right];
        if (a.isNumber !== b.isNumber) throw new Error(`${a.shown} and ${b.shown}: a number and a text do not compare`);
        parts.push((row) => a.of(row) !== "" && b.of(row) !== "" && holds(a.of(row), b.of(row)));
        left = right;
      }
      if (!parts.length) throw new Error(`${left.shown} needs a comparison, such as ${left.shown} < 1`);
      return (row) => parts.every((part) => part(row));
    };
    const not = () => {
      if (take("not")) { const inner = not(); return (row) => !inner(row); }
      if (!take("(")) return comparison();
      const inner = or();
      if (!take(")")) throw new Error("a bracket is not closed");
      return inner;
    };
    const joined = (part, word, combine) => () => {
      const parts = [part()];
      while (take(word)) parts.push(part());
      return (row) => combine(parts, row);
    };
    const and = joined(not, "and", (parts, row) => parts.every((part) => part(row)));
    const or = joined(and, "or", (parts, row) => parts.some((part) => part(row)));

    const whole = or();
    if (tokens.length) throw new Error(`cannot read ${tokens.map((token) => token.shown).join(" ")}`);
    return whole;
  };
})();
