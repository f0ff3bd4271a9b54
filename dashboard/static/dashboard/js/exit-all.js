/* Getting out of everything that one account holds: what would be sent is shown first, a hold sends it, and what became
   of each exit is told after.

   One opening, one key: a second try after no answer asks for the same exits. What is sent is decided by the server, which
   reads the positions from the broker once more. */

import { $, $$, element, put } from "./dom.js";
import * as format from "./format.js";
import { holdButton } from "./halt.js";
import { openDialog } from "./shell.js";
import { told } from "./ticket-parts.js";

const LIMIT_PERCENT = "2";
const ANSWER_MS = 30_000; // the broker is asked for the positions meanwhile
const LOOK_MS = 1000;
const MOST_LOOKED_AT = 1000;

const dialog = $("#exitall");
const held = $("#eahold");
let open = null; // what the dialog is about; null while it is shut

const newKey = () => `web-exit-${[...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
const orders = (count) => `${format.grouped(count)} order${count === 1 ? "" : "s"}`;

async function ask(body, headers = {}) {
  const token = $("#traders [name=csrfmiddlewaretoken]").value;
  const wish = { limit_percent: $("#ea-limit").checked ? LIMIT_PERCENT : null, cancel_open: $("#ea-open").checked };
  try {
    const answer = await fetch(`/api/v1/trading-accounts/${open.account}/flatten`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": token, ...headers },
      body: JSON.stringify({ ...wish, ...body }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    return { ok: answer.ok, status: answer.status, body: await answer.json().catch(() => null) };
  } catch {
    return { ok: false, status: 0, body: null };
  }
}

function say(text) {
  put($("#ea-say"), text);
}

function fail(text) {
  const error = $(".err", dialog);
  error.textContent = text;
  error.hidden = !text;
}

function label(text) {
  for (const place of $$("span", held)) place.textContent = text;
}

/* --- before ------------------------------------------------------------------------------------------------------- */

async function plan() {
  const of = open;
  held.disabled = true;
  of.asked = (of.asked ?? 0) + 1;
  const turn = of.asked;
  $("#ea-rows").replaceChildren();
  fail("");
  label("Press and hold to exit all");
  say("The positions are being read from the broker.");
  const answer = await ask({ preview: true });
  if (open !== of || turn !== of.asked || of.sent) return;
  if (!answer.ok || !answer.body) {
    say("What would be sent is not known.");
    return fail(told(answer));
  }
  const planned = answer.body.plan;
  if (!planned.length) return say(`Nothing is held by ${of.label} that an exit would close, or exits are under way for all of it.`);
  say(
    `${orders(planned.length)} of ${of.label}, in this order: what was sold is bought back before what was bought is sold. ` +
      "Other accounts are left alone. The positions are read once more as it is sent.",
  );
  $("#ea-rows").replaceChildren(...planned.map((exit, at) => row(at + 1, exit, priceOf(exit))));
  label(planned.length === 1 ? "Press and hold to exit" : `Press and hold to exit all ${planned.length}`);
  held.disabled = false;
}

const priceOf = (exit) => (exit.price === null ? "at market, protected" : `limit ${format.price(Number(exit.price))}`);

function row(number, { transaction_type, quantity, tradingsymbol, product }, last) {
  const made = element("tr");
  const what = element("td");
  const buys = transaction_type === "BUY";
  what.append(element("span", `side ${buys ? "b" : "sl"}`, transaction_type), " ", element("b", "n", format.grouped(quantity)), ` ${tradingsymbol} `, element("span", "mut", product));
  made.append(element("td", "n mut", String(number)), what, element("td", "num n", last));
  return made;
}

/* --- after -------------------------------------------------------------------------------------------------------- */

async function send() {
  const of = open;
  if (!of || of.sending || of.sent) return;
  of.sending = held.disabled = true;
  fail("");
  const answer = await ask({}, { "Idempotency-Key": of.key });
  of.sending = false;
  if (open !== of) return;
  if (answer.ok && answer.body) return outcome(answer.body);
  held.disabled = false;
  const refused = answer.status >= 400 && answer.status < 500;
  fail(refused ? told(answer) : `${told(answer)} The exits may have been taken on. Hold again: it asks for the same ones, and exits nothing twice.`);
}

function outcome({ exits, refused, cancels, left_alone }) {
  open.sent = true;
  dialog.classList.add("sent");
  put($("#ea-h"), `Exits of ${open.label}`);
  const rows = exits.map((task, at) => {
    const made = row(at + 1, task.params, task.words);
    made.dataset.task = task.id;
    return made;
  });
  for (const { request, checks } of refused) {
    const made = row("–", request, "Refused here");
    made.className = "bad";
    made.children[1].append(element("p", "", checks.map(({ message }) => message).join(" ")));
    rows.push(made);
  }
  for (const { position, reason } of left_alone) {
    const made = element("tr");
    const what = element("td", "", `${position.tradingsymbol} `);
    what.append(element("span", "mut", position.product), element("p", "", `Left alone: ${reason}.`));
    made.append(element("td", "n mut", "–"), what, element("td", "num", "Not sent"));
    rows.push(made);
  }
  $("#ea-rows").replaceChildren(...rows);
  const said = [`${orders(exits.length)} to exit ${exits.length === 1 ? "was" : "were"} taken on.`];
  if (refused.length) said.push(`${orders(refused.length)} ${refused.length === 1 ? "was" : "were"} refused: that much is still held.`);
  if (cancels.length) said.push(`${orders(cancels.length)} to open positions ${cancels.length === 1 ? "is" : "are"} being cancelled.`);
  say(said.join(" "));
  $("#ea-orders").focus();
  look(open);
}

/** The exits' states, each second while the dialog is open. */
async function look(of) {
  while (open === of) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (open !== of) return;
    if (document.hidden) continue;
    try {
      const query = new URLSearchParams({ account: of.account, operation: "exit", limit: MOST_LOOKED_AT });
      const answer = await fetch(`/api/v1/orders?${query}`, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (!answer.ok || open !== of) continue;
      const words = new Map((await answer.json()).items.map((task) => [task.id, task.words]));
      for (const made of $$("#ea-rows [data-task]")) if (words.has(made.dataset.task)) put(made.lastElementChild, words.get(made.dataset.task));
    } catch {
      /* the next second asks again; the orders page tells the same */
    }
  }
}

/* --- the dialog --------------------------------------------------------------------------------------------------- */

document.addEventListener("click", ({ target }) => {
  const opener = target.closest("[data-exit-all]");
  if (!opener) return;
  open = { account: opener.dataset.exitAll, label: opener.dataset.label, key: newKey() };
  dialog.classList.remove("sent");
  put($("#ea-h"), `Exit all positions of ${open.label}`);
  const source = { simulated: "simulated", replay: "replay" }[document.body.dataset.source];
  $("#ea-src").className = source ? "chip sim" : "chip";
  put($("#ea-src"), source ? `${source[0].toUpperCase()}${source.slice(1)}` : "Live");
  openDialog("exitall");
  plan();
});
dialog.addEventListener("close", () => (open = null));
dialog.addEventListener("change", ({ target }) => (target.id === "ea-limit" || target.id === "ea-open") && open && !open.sending && !open.sent && plan());
holdButton(held, $("#eaalt"), send);
