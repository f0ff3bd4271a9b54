/* Pages without prices: the shell, the clock, the board's manners, and copying. All of them work without this file. */

import { $, $$ } from "./dom.js";
import { Session } from "./session.js";
import { openDialog, pageCommands, startShell, swapTheme } from "./shell.js";

const session = Session.ofClock($("#clock"));
const does = [
  { group: "Do", title: "Light or dark", icon: "theme", keys: ["T"], run: swapTheme },
  { group: "Do", title: "Show all keys", icon: "info", keys: ["?"], run: () => openDialog("keys") },
];
startShell((query) => [...pageCommands(), ...does].filter(({ group, title }) => `${group} ${title}`.toLowerCase().includes(query)));
session.start();

/* The board is asked for again by htmx. A hidden page does not ask; an answer that is no board is a login that ended. */
document.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden) event.preventDefault();
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.serverResponse.includes('id="board"')) return cannotReach(false);
  event.detail.shouldSwap = false;
  if (event.detail.xhr.status < 500) location.reload();
  else cannotReach(true);
});
for (const failure of ["htmx:sendError", "htmx:timeout"]) document.addEventListener(failure, () => cannotReach(true));

function cannotReach(lost) {
  $("#boardfrom").textContent = $("#board time").textContent;
  $("#boardnote").hidden = !lost;
}

/* "Check now" is a link that loads the page; where htmx does its work it asks for the board instead. */
document.addEventListener("click", (event) => {
  if (window.htmx && event.target.closest("#check") && !event.ctrlKey && !event.metaKey && !event.shiftKey) event.preventDefault();
});

for (const button of $$("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", () => copy(button, $(`#${button.dataset.copy}`)));
}

/* Browsers give the clipboard to pages of this machine or over HTTPS; elsewhere the text is marked for Ctrl C. */
async function copy(button, source) {
  getSelection().selectAllChildren(source);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.querySelector("span").textContent = "Copied";
  } catch {
    button.querySelector("span").textContent = "Marked: press Ctrl C";
  }
}
