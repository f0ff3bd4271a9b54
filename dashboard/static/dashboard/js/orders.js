/* The orders page: the shell, and looking again. The list and each order work without this file.

   News of orders come over the socket; each makes the list ask the server anew, so that it never shows what the server
   does not know. Where the socket is away, the list asks every five seconds. */

import { $, put } from "./dom.js";
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

const MARKS = ['id="blotter"', 'id="order"'];
document.addEventListener("htmx:beforeRequest", (event) => {
  const held = event.detail.elt;
  const busy = held.id === "order" && held.querySelector("details[open]"); // somebody is deciding: nothing moves
  const looks = held.id === "blotter" || held.id === "order";
  if (looks && (document.hidden || busy)) event.preventDefault();
});
/* An answer that is neither list nor order is a login that ended, or a server that fails. */
document.addEventListener("htmx:beforeSwap", (event) => {
  if (MARKS.some((mark) => event.detail.serverResponse.includes(mark))) return away(false);
  event.detail.shouldSwap = false;
  if (event.detail.xhr.status < 500) location.reload();
  else away(true);
});
for (const failure of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(failure, () => away(true));

function away(lost) {
  document.body.classList.toggle("away", lost);
  put($("#st-live"), lost ? `lost: as of ${$("#looked").textContent}` : "by looking every 5 s");
}

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
  document.addEventListener("keydown", (event) => event.key === "n" && !typing(event) && !ticket.isOpen && ticket.open({}));
  const wanted = $("#ticket[data-wanted]");
  if (wanted && !ticket.isOpen) ticket.open({ ...wanted.dataset });
}
