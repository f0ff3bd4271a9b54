/* The orders page: the shell, and looking again. The list and each order work without this file.

   News of orders come over the socket; each makes the list ask the server anew, so that it never shows what the server
   does not know. Where the socket is away, the list asks every five seconds. */

import { $, put } from "./dom.js";
import { News } from "./news.js";
import { Session } from "./session.js";
import { openDialog, pageCommands, startShell, swapTheme, typing } from "./shell.js";
import { Ticket } from "./ticket.js";

const session = Session.ofClock($("#clock"));
const does = [
  { group: "Do", title: "New order", icon: "plus", keys: ["N"], run: () => $("#new-order")?.click() },
  { group: "Do", title: "Light or dark", icon: "theme", keys: ["T"], run: swapTheme },
  { group: "Do", title: "Show all keys", icon: "info", keys: ["?"], run: () => openDialog("keys") },
];
startShell((query) => [...pageCommands(), ...does].filter(({ group, title }) => `${group} ${title}`.toLowerCase().includes(query)));
session.start();

const news = new News({ mine: document.body.dataset.principal });
const MARKS = ['id="blotter"', 'id="order"'];
let latest = null; // of two filters in a row the second one holds
let asked = 0; // filters on their way: what the person asked for is not overtaken by a list that looks again
document.addEventListener("htmx:beforeRequest", (event) => {
  const held = event.detail.elt;
  if (!looks(held)) {
    asked += 1;
    latest = event.detail.xhr;
  }
  if (looks(held) && (document.hidden || isBusy(held))) event.preventDefault();
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!looks(detail.requestConfig.elt)) asked -= 1;
});
/* An answer that is neither list nor order is a login that ended, or a server that fails. */
document.addEventListener("htmx:beforeSwap", (event) => {
  const { requestConfig, serverResponse, xhr } = event.detail;
  if (MARKS.some((mark) => serverResponse.includes(mark))) {
    const overtaken = looks(requestConfig.elt) ? isBusy(requestConfig.elt) : xhr !== latest;
    if (overtaken) event.detail.shouldSwap = false;
    else if (!event.detail.target.isConnected) event.detail.target = $("#blotter"); // the list was renewed meanwhile
    return away(false);
  }
  event.detail.shouldSwap = false;
  if (xhr.status < 500) location.reload();
  else away(true);
});
const looks = ({ id }) => id === "blotter" || id === "order";
/* Nothing moves under a finger: not while a button is down, nor while the pointer is on a row's button. */
let pressed = false;
addEventListener("pointerdown", () => (pressed = true), true);
for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => setTimeout(() => (pressed = false)), true);
/** A list whose filter is being changed, and an order about which somebody is deciding, stay as they are. */
const isBusy = (held) =>
  pressed || (held.id === "blotter" ? asked > 0 || held.querySelector(".do button:hover") !== null : held.querySelector("details[open]") !== null);
for (const failure of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(failure, () => away(true));

function away(lost) {
  document.body.classList.toggle("away", lost);
  const live = news.connected ? (news.last ? `current, number ${news.last}` : "current") : "by looking every 5 s";
  put($("#st-live"), lost ? `lost: as of ${$("#looked").textContent}` : live);
  put($("#st-n"), $("#blotter").dataset.total);
}

news.addEventListener("state", () => away(false));
news.dial();

/* --- the ticket ------------------------------------------------------------------------------------------------- */

const dock = $("#dock");
const ticket = $("#traders") && new Ticket({ onOpen: () => dock.classList.add("ticketing"), onClose: () => dock.classList.remove("ticketing") });
if (ticket) {
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-ticket]");
    if (!opener || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    ticket.open(opener.dataset);
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-change]");
    if (opener) ticket.change(opener.dataset.change);
  });
  document.addEventListener("keydown", (event) => event.key === "n" && !typing(event) && !ticket.isOpen && ticket.open({}));
  const wanted = $("#ticket[data-wanted]");
  if (wanted && !ticket.isOpen) ticket.open({ ...wanted.dataset });
}
