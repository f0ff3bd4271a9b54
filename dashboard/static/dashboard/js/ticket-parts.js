/* What a ticket is made of, and what it says when it is refused. */

import { element, icon } from "./dom.js";
import * as format from "./format.js";

/** Why the server refused, in its own words; else what is known. */
export function told({ status, body }) {
  const error = body?.error;
  if (error?.details?.checks?.length) return error.details.checks.map(({ message }) => message).join(" ");
  if (typeof error === "string") return error;
  if (error?.code === "invalid_input") return Object.entries(error.details).map(([name, why]) => `${name}: ${[why].flat().join(" ")}`).join(" ");
  if (status === 401 || status === 403) return "You are logged out, or may not trade on this account. Reload the page.";
  if (error?.message) return error.message;
  return status ? `The server answered ${status}.` : "The server did not answer.";
}

export function button(className, text, { id, label, title, ...data } = {}) {
  const made = element("button", className, text);
  made.type = "button";
  if (id) made.id = id;
  if (label) made.setAttribute("aria-label", label);
  if (title) made.title = title;
  Object.assign(made.dataset, data);
  return made;
}

/** The best levels of the order book side by side, as long as their quantities; nothing where none is known. */
export function depth(quote) {
  const [bids, asks] = [quote?.bids ?? [], quote?.asks ?? []];
  const made = element("div", "depth n");
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", "Order book: the best bids and asks");
  const most = Math.max(1, ...[...bids, ...asks].map(([, quantity]) => quantity || 0));
  const side = (name, level) => {
    const row = element("div", name);
    const [price, quantity] = level ?? [null, null];
    const bar = element("i");
    bar.style.width = `${(88 * (quantity || 0)) / most}%`;
    row.append(bar, element("span", "", format.grouped(quantity)), element("b", "", format.price(price)));
    return row;
  };
  for (let n = 0; n < Math.max(bids.length, asks.length); n++) made.append(side("bb", bids[n]), side("aa", asks[n]));
  made.hidden = !made.childElementCount;
  return made;
}

export const pressed = (made, on) => {
  made.setAttribute("aria-pressed", on);
  return made;
};

export function segment(id, choices, chosen) {
  const made = element("div", "seg full");
  made.id = id;
  made.append(...choices.map(([value, word]) => pressed(button("", word, { v: value }), value === chosen)));
  return made;
}

export function line(word, control, of) {
  const made = element("div", "ln");
  const label = element(of ? "label" : "span", "lbl", word);
  if (of) label.htmlFor = of;
  made.append(label, control);
  return made;
}

export function stepper(id, value, mode, names, data) {
  const field = element("div", "fld");
  const input = element("input");
  Object.assign(input, { id, value, inputMode: mode, autocomplete: "off" });
  const [less, more] = [-1, 1].map((step, at) => {
    const made = button("", "", { label: names[at], [data]: String(step) });
    made.append(icon(step < 0 ? "minus" : "plus"));
    return made;
  });
  field.append(less, input, more);
  return field;
}

export function hint(text, choices) {
  const made = element("div", "ln");
  const inner = element("div", "hint");
  const snap = element("span", "snap");
  snap.append(...choices.map(([word, data]) => button("", word, data)));
  inner.append(text, snap);
  made.append(element("span"), inner);
  return made;
}

export function note(kind, text) {
  const made = element("p", `note ${kind}`);
  made.setAttribute("role", "alert");
  made.append(icon("warn"), element("span", "", text));
  return made;
}
