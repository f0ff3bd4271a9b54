/* What every page has: theme, popovers, dialogs, search, keys. */

import { $, $$, element, icon } from "./dom.js";
import { choose, look } from "./look.js";

const root = document.documentElement;

export function startShell(commands) {
  $$("[data-act=theme]").forEach((button) => button.addEventListener("click", swapTheme));
  document.addEventListener("toggle", placePopover, true);
  document.addEventListener("click", openOrClose);
  document.addEventListener("keydown", shortcuts);
  startPalette(commands);
}

export function swapTheme() {
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  choose("theme", root.dataset.theme);
}

export const typing = (event) =>
  event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]") || $("dialog[open]");

let lastOpener = null;

/* A popover sits under its button (over it, at the bottom of a phone), kept inside the window. */
function placePopover(event) {
  const popover = event.target;
  if (!popover.popover) return;
  $$(`[popovertarget="${popover.id}"]`).forEach((button) => button.setAttribute("aria-expanded", event.newState === "open"));
  if (event.newState !== "open") return;
  const shown = $$(`[popovertarget="${popover.id}"]`).filter((button) => button.offsetParent);
  const opener = shown.includes(lastOpener) ? lastOpener : shown[0];
  if (!opener) return;
  const box = opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popover;
  const below = box.bottom + 6;
  popover.style.top = `${below + height < innerHeight ? below : Math.max(8, box.top - height - 6)}px`;
  const left = popover.dataset.align === "left" ? box.left : box.right - width;
  popover.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
}

function openOrClose(event) {
  lastOpener = event.target.closest("[popovertarget]") ?? lastOpener;
  const opener = event.target.closest("[data-open]");
  if (opener) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a link may be opened elsewhere
    event.preventDefault();
    opener.closest("[popover]")?.hidePopover();
    openDialog(opener.dataset.open);
  } else if (event.target.closest("[data-close]") || event.target.tagName === "DIALOG") event.target.closest("dialog").close();
}

export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog.open) dialog.showModal();
  dialog.dispatchEvent(new Event("opened"));
}

function shortcuts(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openDialog("palette");
  } else if (typing(event)) return;
  else if (event.key === "?") openDialog("keys");
  else if (event.key === "/") {
    event.preventDefault();
    openDialog("palette");
  } else if (event.key === "t") swapTheme();
}

/** The pages of the bar, as commands of the search. */
export const pageCommands = () =>
  $$(".nav a, .menu.account a").map((link) => ({
    group: "Pages",
    icon: "right",
    title: link.textContent.trim(),
    run: () => location.assign(link.href),
  }));

/* Search: `commands(query)` gives [{group, icon, title, hint, keys, run}]. */
function startPalette(commands) {
  const [dialog, input, list] = [$("#palette"), $("#pq"), $("#plist")];
  let found = [];
  let chosen = 0;

  const show = () => {
    found = commands(input.value.trim().toLowerCase());
    chosen = 0;
    let group = "";
    const items = found.flatMap((command, at) => {
      const option = element("li");
      option.id = `p${at}`;
      option.dataset.at = at;
      option.setAttribute("role", "option");
      const title = element("span", "", command.title);
      if (command.hint) title.append(element("small", "", command.hint));
      const keys = element("span", "kk");
      keys.append(...(command.keys ?? []).map((key) => element("kbd", "", key)));
      option.append(icon(command.icon), title, keys);
      if (command.group === group) return [option];
      group = command.group;
      const heading = element("li", "grp", group);
      heading.setAttribute("role", "presentation");
      return [heading, option];
    });
    list.replaceChildren(...(items.length ? items : [element("li", "grp", "Nothing found. Try a strike, for example 24600 pe.")]));
    highlight();
  };
  const highlight = () => {
    $$("[role=option]", list).forEach((option, at) => option.setAttribute("aria-selected", at === chosen));
    $(`#p${chosen}`)?.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", found.length ? `p${chosen}` : "");
  };
  const run = (at) => {
    if (!found[at]) return;
    dialog.close();
    found[at].run();
  };

  dialog.addEventListener("opened", () => {
    input.value = "";
    show();
    input.focus();
  });
  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) {
      event.preventDefault();
      chosen = (chosen + step + found.length) % found.length;
      highlight();
    } else if (event.key === "Enter") {
      event.preventDefault();
      run(chosen);
    }
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[data-at]");
    if (option) run(Number(option.dataset.at));
  });
}

/** Bind every control that stands for a choice: pressed buttons in a group, or a select. */
export function bindChoices(apply) {
  const sync = (name) => {
    $$(`[data-choice="${name}"]`).forEach((control) => {
      if (control.tagName === "SELECT") control.value = look[name];
      else $$("button", control).forEach((button) => button.setAttribute("aria-pressed", button.dataset.v === String(look[name])));
    });
  };
  const set = (name, value) => {
    choose(name, value);
    sync(name);
    apply(name, value);
  };
  for (const control of $$("[data-choice]")) {
    const name = control.dataset.choice;
    control.addEventListener(control.tagName === "SELECT" ? "change" : "click", (event) => {
      const value = control.tagName === "SELECT" ? control.value : event.target.closest("button")?.dataset.v;
      if (value) set(name, value);
    });
    sync(name);
  }
  return set;
}
