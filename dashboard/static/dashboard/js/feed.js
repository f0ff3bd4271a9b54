/* The feed's health, live: every reading is written into the page that the server made, row by row.

   A cell says by `data-f` which field of its row it shows; sentences come with the figures, so none is written here. Ages
   go on by this page's own clock: when readings stop, they grow, and after three seconds the page says that it is cut off. */

import { scale, path, svg, ticks, waiting } from "./charts.js";
import { $, $$, put } from "./dom.js";
import * as format from "./format.js";
import { Health } from "./health.js";
import { Session } from "./session.js";
import { openDialog, pageCommands, startShell, swapTheme } from "./shell.js";

const LOST_MS = 3000;
const KEPT_MS = 300_000;
const STRIPS = 12;
const SLOT = 6;
const PILL = { live: "Current", slow: "Slow", stale: "Stale", closed: "Closed", waiting: "Waiting", offline: "Page offline" };
const KINDS = { dropped: "not believed", ignored: "not taken", flagged: "shown, not computed with", unreadable: "not readable", lost: "lost" };
const ICONS = { ok: "check", warn: "warn", bad: "x", off: "minus" };
const AGES = new Set(["age", "heard_age", "last_tick_age", "up_age", "alert_age", "waiting_age"]);

const session = Session.ofClock($("#clock"));
const does = [
  { group: "Do", title: "Light or dark", icon: "theme", keys: ["T"], run: swapTheme },
  { group: "Do", title: "Show all keys", icon: "info", keys: ["?"], run: () => openDialog("keys") },
];
startShell((query) => [...pageCommands(), ...does].filter(({ group, title }) => `${group} ${title}`.toLowerCase().includes(query)));
session.start();

/* --- figures as text: the same rules as dashboard/feed.py ----------------------------------------------------------- */

const milliseconds = (value) => `${format.fixed(value, 1)} ms`;
const oneDecimal = (value) => format.grouped(value, 1);
const FORMATS = {
  age: format.age,
  heard_age: format.age,
  last_tick_age: format.age,
  up_age: format.age,
  alert_age: format.age,
  waiting_age: format.age,
  seconds_left: format.age,
  started_at: format.time,
  read_at: format.time,
  lag_ms: milliseconds,
  encode_ms: milliseconds,
  windows_per_second: oneDecimal,
  updates_per_second: oneDecimal,
  checked_percent: (value) => `${format.grouped(value, 2)} %`,
  pending_bytes: (value) => `${format.grouped(value / 1000)} kB`,
};

function text(field, value) {
  if (format.missing(value)) return format.DASH;
  return typeof value === "number" ? (FORMATS[field] ?? format.grouped)(value) : String(value);
}

/* --- rows ----------------------------------------------------------------------------------------------------------- */

const aging = new Map(); // cell → its age at the last reading, in seconds

function fill(root, fields) {
  const list = root.closest("[data-list]");
  const own = (selector) => [...(root.matches(selector) ? [root] : []), ...$$(selector, root)].filter((cell) => cell.closest("[data-list]") === list);
  for (const cell of own("[data-f]")) {
    const field = cell.dataset.f;
    const value = fields[field];
    if (AGES.has(field) && !format.missing(value)) aging.set(cell, value);
    else aging.delete(cell);
    put(cell, text(field, value));
  }
  for (const cell of own("[data-tone]")) if (fields.tone) tone(cell, fields.tone);
  for (const bar of own("[data-width]")) bar.setAttribute("width", `${fields[bar.dataset.width]}%`);
  for (const mark of own("[data-colour]")) mark.className = `mono sm ${fields.colour}`;
  for (const strip of own("[data-slots]")) slots(strip, fields.strip);
}

function tone(cell, good) {
  const wanted = `${cell.dataset.tone} ${good}`;
  if (cell.getAttribute("class") === wanted) return;
  cell.setAttribute("class", wanted);
  $("use", cell)?.setAttribute("href", `#i-${ICONS[good]}`);
}

/** Make a list's rows these, in this order; a row that stays keeps its elements. */
function rows(list, found, root = document) {
  const holder = $(`[data-list="${list}"]`, root);
  const known = new Map([...holder.children].map((row) => [row.dataset.key, row]));
  found.forEach((fields, place) => {
    let row = known.get(fields.key);
    known.delete(fields.key);
    if (!row) {
      row = $(`#row-${list}`).content.firstElementChild.cloneNode(true);
      row.dataset.key = fields.key;
    }
    if (holder.children[place] !== row) holder.insertBefore(row, holder.children[place] ?? null);
    fill(row, fields);
    if (fields.meters) rows("meters", fields.meters, row);
  });
  for (const gone of known.values()) {
    for (const cell of [gone, ...$$("[data-f]", gone)]) aging.delete(cell);
    gone.remove();
  }
  const empty = $(`[data-empty="${list}"]`);
  if (empty) empty.hidden = found.length > 0;
}

function slots(strip, marks) {
  if (strip.dataset.slots === marks) return;
  strip.dataset.slots = marks;
  const bar = (mark, place) => {
    const missed = mark === "1" || mark === "2";
    return `<rect class="s${mark}" x="${place * SLOT}" y="${missed ? 0 : 5}" width="${SLOT - 1}" height="${missed ? 18 : 8}"/>`;
  };
  strip.setAttribute("viewBox", `0 0 ${Math.max(1, marks.length * SLOT)} 18`);
  strip.innerHTML = /^[0-3]*$/.test(marks) ? [...marks].map(bar).join("") : "";
}

/* --- one reading ---------------------------------------------------------------------------------------------------- */

const health = new Health($("#feed").dataset.socket);
const { slowMs, staleMs } = $("#feed").dataset;
const kept = []; // {at, ticks, lag}: what the charts are drawn from
let last = null;
let heardAt = performance.now();
let said = "";

health.addEventListener("frame", ({ detail: frame }) => {
  last = frame;
  heardAt = performance.now();
  document.body.dataset.source = frame.processes[0]?.source ?? document.body.dataset.source;
  verdict(frame.summary);
  fill($("#figures"), frame.figures);
  for (const list of ["processes", "sockets", "parts", "overflow", "switches", "services", "slots", "alerts", "unconfirmed"]) rows(list, frame[list]);
  rows("accounts", frame.accounts);
  rows("strips", frame.sockets.slice(0, STRIPS));
  rows("aside", frame.aside.map((row) => ({ ...row, kind: KINDS[row.kind] })));
  rows("gaps", frame.gaps.map((gap) => ({ ...gap, when: when(gap) })));
  const used = (meter) => ({ ...meter, text: `${text("used", meter.used)} of ${text("limit", meter.limit)}` });
  rows("meters_of", frame.meters.map((group) => ({ ...group, meters: group.meters.map(used) })));
  $("#gaps-said").className = `chip ${frame.gaps_said.tone}`;
  put($("#gaps-said"), frame.gaps_said.words);
  put($("#parts-total"), text("parts_total", frame.parts_total));
  put($("#room"), text("capacity_free", frame.figures.capacity_free));
  put($("#st-health"), frame.status);
  const needing = new Set(frame.accounts.filter((row) => row.needs_login).map((row) => row.account));
  for (const link of $$("[data-login]")) link.hidden = !needing.has(link.dataset.login);
  keep(frame.figures);
  draw();
  age();
});
health.addEventListener("refused", age);

function when({ started_at: began, seconds }) {
  return seconds === null ? format.time(began) : `${format.time(began)}, ${format.age(seconds)}`;
}

function verdict({ tone: good, title, detail }) {
  const card = $("#verdict");
  card.className = `verdict ${good}`;
  $(".badge use", card).setAttribute("href", `#i-${{ ok: "check", off: "minus" }[good] ?? "warn"}`);
  put($("#v-title"), title);
  put($("#v-detail"), detail);
  // Announced once, when it becomes so.
  const now = good === "bad" ? title : "";
  if (now !== said) put($("#said"), now);
  said = now;
}

/* --- ages, by this page's clock ------------------------------------------------------------------------------------- */

setInterval(age, 250);

function age() {
  const quietMs = performance.now() - heardAt;
  for (const [cell, seconds] of aging) put(cell, format.age(seconds + quietMs / 1000));
  if (health.refusal || quietMs > LOST_MS) lost(quietMs);
  else if (last) {
    const state = feedState(quietMs);
    const seconds = format.missing(last.feed.age) ? NaN : last.feed.age + quietMs / 1000;
    pill(state, state === "closed" || Number.isNaN(seconds) ? "" : format.age(seconds));
    put($("#v-age"), format.age(seconds));
    put($("#st-age"), `${format.age(quietMs / 1000)} ago`);
  }
}

/** What the reading said, or worse, as its prices have aged since. */
function feedState(quietMs) {
  const { state, age: seconds } = last.feed;
  if (format.missing(seconds) || (state !== "live" && state !== "slow")) return state;
  const now = seconds * 1000 + quietMs;
  return now >= Number(staleMs) ? "stale" : now >= Number(slowMs) ? "slow" : state;
}

function pill(state, words) {
  document.body.dataset.feed = $("#truth").dataset.feed = state;
  put($("#ftw"), PILL[state]);
  put($("#fta"), words);
}

function lost(quietMs) {
  pill("offline", format.age(quietMs / 1000));
  put($("#st-age"), `${format.age(quietMs / 1000)} ago`);
  const from = last ? `What you see is from ${format.time(last.read_at)}.` : "What you see is from when it was opened.";
  const [title, rest] =
    health.refusal === "loggedout"
      ? ["You are logged out", "Reload the page to log in."]
      : health.refusal === "denied"
        ? ["You may not see the feed any more", "Ask an administrator for the right to read."]
        : [last ? "This page lost the server" : "This page cannot reach the server", "It goes on trying."];
  verdict({ tone: "bad", title, detail: `${from} ${rest}` });
}

/* --- charts --------------------------------------------------------------------------------------------------------- */

function keep({ ticks_per_second: come, lag_ms: lag }) {
  const at = performance.now();
  kept.push({ at, ticks: come, lag });
  while (kept.length && kept[0].at < at - KEPT_MS) kept.shift();
}

function draw() {
  const lastKept = kept.at(-1);
  put($("#l-ticks"), text("ticks_per_second", lastKept?.ticks));
  put($("#l-lag"), text("lag_ms", lastKept?.lag));
  line($("#c-ticks"), "ticks", "l1", "Prices a second, while this page is open");
  line($("#c-lag"), "lag", "l2", "How late batches were, in milliseconds, while this page is open");
}

const [LEFT, RIGHT, TOP, BOTTOM, HEIGHT] = [38, 6, 8, 16, 84];

function line(holder, field, name, label) {
  const width = Math.max(240, holder.clientWidth);
  const known = kept.filter((one) => !format.missing(one[field]));
  if (known.length < 2) {
    holder.innerHTML = waiting(width, HEIGHT, "Waiting for the next readings");
    return;
  }
  const now = known.at(-1).at;
  const from = Math.min(known[0].at, now - 60_000);
  const high = Math.max(...known.map((one) => one[field]), field === "lag" ? 5 : 10) * 1.08;
  const x = scale(from, now, LEFT, width - RIGHT);
  const y = scale(0, high, HEIGHT - BOTTOM, TOP);
  const levels = ticks(0, high, 2)
    .map(
      (value) =>
        `<line class="ax" x1="${LEFT}" x2="${width - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>` +
        `<text x="${LEFT - 5}" y="${y(value) + 3}" text-anchor="end">${value < 10_000 ? format.grouped(value) : format.compact(value)}</text>`,
    )
    .join("");
  const minutes = Math.round((now - from) / 60_000);
  const ends =
    `<text x="${LEFT}" y="${HEIGHT - 3}">${minutes} m ago</text>` +
    `<text x="${width - RIGHT}" y="${HEIGHT - 3}" text-anchor="end">now</text>`;
  holder.innerHTML = svg(width, HEIGHT, `${levels}${ends}<path class="${name}" d="${path(known.map((one) => [x(one.at), y(one[field])]))}"/>`, label);
}

addEventListener("resize", draw);
draw();
health.dial();
// For tests.
window.__feed = { health, kept };
