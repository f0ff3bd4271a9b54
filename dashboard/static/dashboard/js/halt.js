/* Halting and resuming, on every page. Stopping is easy: hold a button. Starting is deliberate: type a word.

   The forms work without this file, on a page of their own. */

import { $, $$ } from "./dom.js";
import { openDialog, typing } from "./shell.js";
import { toast } from "./toasts.js";

const HOLD_MS = 800;
const WORD = "RESUME";
const LEAST_REASON = 3;
const LOOK_MS = 10_000;
const ANSWER_MS = 10_000;
const FETCHED = { "X-Requested-With": "fetch" };

const button = $("#haltb");
const notices = () => $("#halts");

/* Whatever is stopped is shown within seconds, whoever stopped it: other pages, programs, the service itself. */
async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch("/trading/notices/", { headers: FETCHED, redirect: "manual", signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.ok) show(await answer.text());
  } catch {
    /* the page's other parts say that the server is away */
  }
}

function show(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
  if (fresh?.id !== "halts") return;
  const { said, title, text } = fresh.dataset;
  if (fresh.outerHTML !== notices().outerHTML) {
    notices().replaceWith(document.adoptNode(fresh));
    dress();
    document.dispatchEvent(new Event("trading"));
  }
  if (said) toast(said, title, text, "trading");
}

function dress() {
  const halted = notices().querySelector(".note.halted") !== null;
  if (button) {
    button.classList.toggle("on", halted);
    button.querySelector(".w").textContent = halted ? "Halted" : "Halt";
    button.dataset.open = "all" in notices().dataset && $("[data-open=resume]", notices()) ? "resume" : "halt";
  }
}

/** Send a form. True once the server has done it; else the form says what happened. */
async function send(form) {
  const error = $(".err", form);
  error.hidden = true;
  const failed = (text) => {
    error.textContent = text;
    error.hidden = false;
    return false;
  };
  let answer;
  try {
    answer = await fetch(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: FETCHED,
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  } catch {
    return failed("The server did not answer. It is not certain that anything was changed: try again.");
  }
  if (answer.type === "opaqueredirect") return failed("Nothing was changed: you are logged out. Reload the page to log in.");
  if (!answer.ok) return failed(`Nothing is certain to be changed: the server answered ${answer.status}. Try again.`);
  show(await answer.text());
  return true;
}

/* --- halt ------------------------------------------------------------------------------------------------------- */

/** Press and hold: by pointer, Space or Enter. `alternative`: a box that lets one press do. */
export function holdButton(held, alternative, done) {
  let since = 0;
  let frame = 0;
  let by = "";
  const stop = () => {
    since = 0;
    cancelAnimationFrame(frame);
    held.style.setProperty("--p", 0);
  };
  const step = () => {
    const part = Math.min(1, (performance.now() - since) / HOLD_MS);
    held.style.setProperty("--p", part);
    if (part < 1) frame = requestAnimationFrame(step);
    else {
      stop();
      done();
    }
  };
  const start = (event) => {
    if (event.type === "keydown" && event.key !== " " && event.key !== "Enter") return;
    if (event.type === "pointerdown" && event.button !== 0) return;
    event.preventDefault();
    if (since || held.disabled || event.repeat) return;
    if (alternative.checked) return done();
    by = event.type;
    held.focus();
    since = performance.now();
    step();
  };
  held.addEventListener("pointerdown", start);
  held.addEventListener("keydown", start);
  held.addEventListener("keyup", (event) => {
    event.preventDefault();
    if (by === "keydown") stop();
  });
  for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) held.addEventListener(name, stop);
  // A reader's own "click" is no hold: it counts only where one press may halt.
  held.addEventListener("click", (event) => event.detail === 0 && !since && alternative.checked && done());
}

function startHalt() {
  const dialog = $("#halt");
  const form = $("form", dialog);
  const held = $("#holdb");
  let busy = false;
  const consequences = async () => {
    const scope = new FormData(form).get("scope") ?? "all";
    try {
      const query = new URLSearchParams({ scope });
      const answer = await fetch(`${form.dataset.consequences}?${query}`, { headers: FETCHED, redirect: "manual" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").body.firstElementChild;
      if (fresh?.className === "does") $(".does", form).replaceWith(document.adoptNode(fresh));
    } catch {
      /* the sentence without numbers is true as well */
    }
  };
  dialog.addEventListener("opened", () => {
    $(".err", form).hidden = true;
    held.focus();
    consequences();
  });
  form.addEventListener("change", (event) => event.target.name === "scope" && consequences());
  form.addEventListener("submit", (event) => event.preventDefault()); // Enter in a field halts nothing
  holdButton(held, $("#holdalt"), async () => {
    if (busy) return;
    busy = held.disabled = true;
    const done = await send(form);
    busy = held.disabled = false;
    if (!done) return;
    form.reset();
    dialog.close();
  });
}

/* --- resume ----------------------------------------------------------------------------------------------------- */

function startResume() {
  const dialog = $("#resume");
  const form = $("form", dialog);
  const [word, reason, go] = [$("#resw"), $("#resr"), $("#resb")];
  const check = () => (go.disabled = word.value.trim() !== WORD || reason.value.trim().length < LEAST_REASON);
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open=resume]");
    if (!opener) return;
    const first = opener.dataset.scope ? opener : $("[data-open=resume]", notices());
    $("#ress").value = first?.dataset.scope ?? "all";
    $("#reson").textContent = first?.dataset.on ?? "";
  });
  dialog.addEventListener("opened", () => {
    word.value = reason.value = "";
    $(".err", form).hidden = true;
    check();
    reason.focus();
  });
  form.addEventListener("input", check);
  form.addEventListener("submit", (event) => event.preventDefault());
  go.addEventListener("click", async () => {
    go.disabled = true;
    if (await send(form)) dialog.close();
    else check();
  });
}

dress();
if (button) {
  startHalt();
  startResume();
  document.addEventListener("keydown", (event) => event.key === "H" && !typing(event) && openDialog(button.dataset.open));
  button.addEventListener("keydown", (event) => {
    if (event.key !== " ") return; // a link that is a button: Space presses it as well
    event.preventDefault();
    button.click();
  });
}
setInterval(look, LOOK_MS);
addEventListener("focus", look);
document.addEventListener("visibilitychange", look);
document.addEventListener("look-at-trading", look);
for (const open of $$("[data-open=halt]")) open.setAttribute("aria-haspopup", "dialog");
