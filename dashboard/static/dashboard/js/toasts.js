/* Toasts: good news leaves after five seconds, whatever needs a person stays. One key, one toast: news replaces news. */

import { $, $$, element, icon } from "./dom.js";

const MOST = 4;
const STAY_MS = 5000;
const ICONS = { ok: "check", warn: "warn", bad: "warn", info: "info" };

export function toast(kind, title, text, key) {
  const list = $("#toasts");
  if (key) $$(".toast", list).forEach((old) => old.dataset.key === key && old.remove());
  const made = element("div", `toast ${kind}`);
  if (key) made.dataset.key = key;
  if (kind === "bad") made.setAttribute("role", "alert");
  const close = element("button");
  close.type = "button";
  close.setAttribute("aria-label", "Dismiss");
  const cross = icon("x");
  cross.classList.add("s");
  close.append(cross);
  made.append(icon(ICONS[kind]), element("b", "", title), close, element("p", "", text));
  list.append(made);
  while (list.children.length > MOST) list.firstElementChild.remove();
  if (kind === "ok" || kind === "info") setTimeout(() => made.remove(), STAY_MS);
}

document.addEventListener("click", (event) => event.target.closest(".toast button")?.parentElement.remove());
for (const made of $$(".toast.ok, .toast.info")) setTimeout(() => made.remove(), STAY_MS); // the server's own
