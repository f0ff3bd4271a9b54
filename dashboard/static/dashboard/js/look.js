/* What a person chose: theme, colours, columns, strikes, units. Kept in this browser; the server knows none of it. */

const KEY = "ticker.look";
const listeners = new Set();

const read = () => {
  try {
    return JSON.parse(localStorage.getItem(KEY) || "{}") || {};
  } catch {
    return {};
  }
};

export const look = {
  view: "trade",
  metric: "oi",
  strikes: "40",
  unit: "lakh",
  changes: "tint",
  colours: "teal-red",
  charts: true,
  ...read(),
};

/** Change one choice, keep it, and tell everyone who draws by it. */
export function choose(name, value) {
  look[name] = value;
  try {
    localStorage.setItem(KEY, JSON.stringify(look));
  } catch {
    /* private mode: the choice holds for this page */
  }
  listeners.forEach((listener) => listener(name, value));
}

export const onChoice = (listener) => listeners.add(listener);
