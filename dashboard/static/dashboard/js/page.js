/* The live chain page: reads what the server drew, wires socket, book, grid, truth and charts together. */

import { Book } from "./book.js";
import { Grid } from "./chain.js";
import * as charts from "./charts.js";
import { $, $$, put } from "./dom.js";
import * as format from "./format.js";
import { look, onChoice } from "./look.js";
import { News } from "./news.js";
import { Session } from "./session.js";
import { bindChoices, openDialog, pageCommands, startShell, swapTheme, typing } from "./shell.js";
import { Ticket } from "./ticket.js";
import { Ticks } from "./ticks.js";
import { Freshness, TruthView } from "./truth.js";

const SPARK_SECONDS = 120;
const VIEWS = ["trade", "greeks", "oi", "all"];

const section = $("#chain");
const session = Session.ofClock($("#clock"));

const live = section.dataset.expiry ? startChain() : null;
startShell((query) => commands(query, live));
session.start();

function startChain() {
  const elements = $$("#rows .rw");
  const book = new Book({
    underlying: section.dataset.underlying,
    expiry: section.dataset.expiry,
    strikes: elements.map((row) => Number(row.dataset.k)),
    tokens: [elements.map((row) => Number(row.dataset.ce)), elements.map((row) => Number(row.dataset.pe))],
  });
  const ticks = new Ticks(section.dataset.socket, { underlying: book.underlying, expiry: book.expiry });
  const freshness = new Freshness({ slowMs: Number(section.dataset.slowMs), staleMs: Number(section.dataset.staleMs) });
  const truth = new TruthView({ freshness, session, ticks, chainName: section.dataset.title });
  const stats = { firstTickMs: null, frames: 0, framesPerSecond: 0 };
  const grid = new Grid({
    book,
    session,
    lotSize: Number(section.dataset.lot) || 1,
    onTrade: (asked) => ticket?.open(asked),
    onPainted: () => {
      ticks.painted();
      ticket?.show(); // with the grid: two places never differ
      if (stats.firstTickMs === null && book.hasQuotes) stats.firstTickMs = performance.now();
    },
  });

  // What the server drew is as old as it said; the page goes on counting from there.
  if (section.dataset.ageMs !== "") freshness.heard("options", Number(section.dataset.ageMs) + performance.now() - session.at);
  if (section.dataset.marketTime) truth.last = { marketTime: Number(section.dataset.marketTime), exchange: NaN, newest: 0 };

  ticks.addEventListener("frame", ({ detail: frame }) => {
    for (const part of frame.parts) {
      const kind = book.apply(part);
      if (kind) truth.heard(kind, part);
      if (kind === "options") document.body.classList.remove("loading");
    }
    grid.schedule();
    if (truth.state !== "live") truth.draw(); // good news is not kept waiting
    if (!document.hidden) header();
  });
  ticks.addEventListener("state", ({ detail: connected }) => {
    truth.draw();
    if (!connected) session.refresh(); // also tells whether the login is still good
  });
  const refuse = (why) => {
    truth.refusal = why;
    ticks.stopped = true;
    truth.draw();
  };
  ticks.addEventListener("refused", ({ detail }) => refuse(detail));
  session.onRefused = (status) => refuse(status === 403 ? "denied" : "loggedout");

  const dock = startDock(second);
  const ticket = startTicket(book, truth);
  const seen = [];
  function header() {
    const { spot, spotClose } = book;
    if (!(spot > 0)) return;
    const change = spot - spotClose;
    put($("#spot"), format.grouped(spot, 2));
    put($("#sl-s"), format.grouped(spot, 2));
    if (!Number.isNaN(change)) {
      const arrow = change > 0 ? "▲ " : change < 0 ? "▼ " : "";
      put($("#spotchg"), `${arrow}${format.grouped(Math.abs(change), 2)} (${format.signedGrouped((change / spotClose) * 100)}%)`);
      $("#spotchg").className = `chg n ${change > 0 ? "up" : change < 0 ? "down" : ""}`;
    }
    for (const id of ["#f-fut", "#sl-f"]) put($(id), format.grouped(book.future, 2));
    for (const id of ["#f-str", "#sl-st"]) put($(id), format.grouped(book.straddle(), 2));
  }
  function second() {
    if (document.hidden || !book.hasQuotes) return;
    const figures = book.figures();
    put($("#f-iv"), format.missing(figures.atmIv) ? format.DASH : (figures.atmIv * 100).toFixed(2));
    put($("#f-k"), format.missing(figures.atmStrike) ? "" : format.grouped(figures.atmStrike));
    const move = (figures.straddle / book.spot) * 100;
    put($("#f-mv"), format.missing(move) ? "" : `±${move.toFixed(2)}%`);
    put($("#f-pcr"), format.missing(figures.pcr) ? format.DASH : figures.pcr.toFixed(2));
    put($("#f-pain"), format.grouped(figures.maxPain));
    put($("#c-oi"), format.crore(figures.callOi));
    put($("#p-oi"), format.crore(figures.putOi));
    if (book.spot > 0) seen.push(book.spot);
    if (seen.length > SPARK_SECONDS) seen.shift();
    $("#sp").innerHTML = charts.spark(seen, 110, 26);
    dock.draw(book, figures);
    grid.second();
    put($("#st-rate"), truth.rate.perSecond.toFixed(1));
    put($("#st-skipped"), String(ticks.skipped));
    put($("#st-flush"), `${grid.stats.flushMs.toFixed(1)} ms`);
    put($("#st-cells"), String(grid.stats.cells));
    put($("#st-fps"), String(stats.framesPerSecond));
  }
  countFrames(stats);
  setInterval(second, 1000);

  const set = bindChoices((name, value) => {
    if (name === "view" || name === "metric") showColumns(grid);
    else if (name === "strikes") grid.toMoney();
    else if (name === "unit") grid.redraw();
    else if (name === "changes") document.documentElement.dataset.changes = value;
    else if (name === "colours") document.documentElement.dataset.colours = value;
  });
  showColumns(grid);
  $$("[data-act=atm]").forEach((button) => button.addEventListener("click", () => grid.toMoney()));
  document.addEventListener("keydown", (event) => {
    if (typing(event)) return;
    const view = VIEWS[Number(event.key) - 1];
    if (view) set("view", view);
    else if (event.key === "a") grid.toMoney();
    else if (event.key === "c") dock.toggle();
    else if ((event.key === "b" || event.key === "s") && grid.marked.row >= 0)
      grid.trade(grid.marked.row, grid.marked.call, event.key === "b" ? "BUY" : "SELL");
    else if (event.key === "[" || event.key === "]") neighbour(event.key === "]" ? 1 : -1)?.click();
    else if (event.key.startsWith("Arrow") && document.activeElement === document.body) $("#grid").focus();
  });
  onChoice((name) => name === "theme" && second());
  if ($(".rw.atm")) grid.atm = elements.findIndex((row) => row.classList.contains("atm"));
  grid.window();
  grid.center();
  $(".exps [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  truth.start();
  ticks.dial();

  // Numbers for tests and for the curious.
  window.__chain = {
    get firstTickMs() {
      return stats.firstTickMs;
    },
    get flush() {
      return { ...grid.stats, visible: grid.visible.size };
    },
    get feed() {
      const { opened, updates, skipped } = ticks;
      return { state: truth.state, ageMs: freshness.worstMs, connections: opened, updates, skipped };
    },
    get framesPerSecond() {
      return stats.framesPerSecond;
    },
    book,
  };
  return { book, grid, set, dock };
}

function showColumns(grid) {
  section.className = `${section.className.replace(/\b[vm]-\w+/g, "").trim()} v-${look.view} m-${look.metric}`;
  requestAnimationFrame(() => grid.center());
}

function neighbour(step) {
  const expiries = $$(".exps a");
  return expiries[expiries.findIndex((link) => link.hasAttribute("aria-current")) + step];
}

/* The ticket takes the dock's place. It shows the chain's own prices: two spots never differ. */
function startTicket(book, truth) {
  if (!$("#traders") || !$("#ticket")) return null;
  const dock = $("#dock");
  const quote = (token) => {
    const slot = book.slots.get(token);
    if (!slot) return null;
    const [isPut, row] = slot;
    const values = isPut ? book.puts : book.calls;
    const known = (value) => (format.missing(value) ? null : value);
    const fresh = ["live", "slow", "closed"].includes(truth.state);
    const prices = { bid: known(values.bid[row]), last: known(values.ltp[row]), ask: known(values.ask[row]), delta: known(values.dl[row]) };
    return { ...prices, bids: book.levels(token, "bid"), asks: book.levels(token, "ask"), fresh };
  };
  const ticket = new Ticket({ quote, onOpen: () => dock.classList.add("ticketing"), onClose: () => dock.classList.remove("ticketing") });
  truth.listeners.push(() => ticket.show());
  new News({ mine: document.body.dataset.principal }).dial(); // what becomes of an order is told here too
  return ticket;
}

/* The charts: a pane at the right where there is room, over the grid where there is not, a sheet on a phone. */
function startDock(redraw) {
  const dock = $("#dock");
  const roomy = matchMedia("(min-width: 1280px)");
  const show = (shown) => {
    dock.classList.toggle("open", shown);
    $$("[data-act=charts]").forEach((button) => button.setAttribute("aria-pressed", shown));
    redraw();
  };
  const toggle = () => {
    const shown = !dock.classList.contains("open");
    show(shown);
    if (roomy.matches) {
      look.charts = shown;
      try {
        localStorage.setItem("ticker.look", JSON.stringify(look));
      } catch {
        /* private mode */
      }
    }
  };
  $$("[data-act=charts]").forEach((button) => button.addEventListener("click", toggle));
  document.addEventListener("keydown", (event) => event.key === "Escape" && !roomy.matches && show(false));
  roomy.addEventListener("change", () => show(roomy.matches && look.charts));
  queueMicrotask(() => show(roomy.matches && look.charts));
  return {
    toggle,
    draw(book, figures) {
      if (!dock.classList.contains("open")) return;
      const width = 292;
      const height = Math.round(Math.max(130, Math.min(290, (dock.clientHeight - 170) / 2)));
      $("#ch-smile").innerHTML = charts.smile(book, width, height);
      $("#ch-oi").innerHTML = charts.openInterest(book, width, height);
      const points = (fraction) => (format.missing(fraction) ? format.DASH : format.signedGrouped(fraction * 100));
      put($("#c-iv"), format.missing(figures.atmIv) ? format.DASH : (figures.atmIv * 100).toFixed(2));
      put($("#c-skew"), points(figures.skew));
      put($("#c-fly"), points(figures.fly));
    },
  };
}

function countFrames(stats) {
  let since = performance.now();
  const frame = () => {
    stats.frames += 1;
    const passed = performance.now() - since;
    if (passed > 1000) {
      stats.framesPerSecond = Math.round((stats.frames * 1000) / passed);
      stats.frames = 0;
      since = performance.now();
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

/* Search: strikes of this chain, followed chains, and what the page can do. */
function commands(query, chain) {
  const wanted = query.match(/(\d{2,6})\s*(ce|pe|c|p)?/);
  const contracts = [];
  if (chain && wanted) {
    const { book, grid } = chain;
    const sides = wanted[2] ? [wanted[2].startsWith("c")] : [true, false];
    const rows = [...book.strikes.keys()].filter((row) => String(book.strikes[row]).startsWith(wanted[1])).slice(0, 5);
    for (const row of rows) {
      for (const call of sides) {
        contracts.push({
          group: "Contracts",
          icon: "chain",
          title: `${section.dataset.title} ${format.grouped(book.strikes[row])} ${call ? "CE" : "PE"}`,
          run: () => {
            grid.mark(row, call);
            grid.rows[row].element.scrollIntoView({ block: "center" });
            $("#grid").focus({ preventScroll: true });
          },
        });
      }
    }
  }
  const links = $$("[data-chain-link]").map((link) => ({
    group: "Chains",
    icon: "chain",
    title: link.dataset.chainLink,
    run: () => location.assign(link.href),
  }));
  const does = [
    { title: "Light or dark", icon: "theme", keys: ["T"], run: swapTheme },
    { title: "Show all keys", icon: "info", keys: ["?"], run: () => openDialog("keys") },
  ];
  if (chain) {
    does.unshift(
      { title: "Back to at the money", icon: "target", keys: ["A"], run: () => chain.grid.toMoney() },
      { title: "Show or hide charts", icon: "panel", keys: ["C"], run: () => chain.dock.toggle() },
      ...VIEWS.map((view, at) => ({
        title: `Columns: ${{ trade: "Trade", greeks: "Greeks", oi: "OI", all: "All" }[view]}`,
        icon: "cols",
        keys: [String(at + 1)],
        run: () => chain.set("view", view),
      })),
    );
  }
  const others = [...links, ...pageCommands(), ...does.map((command) => ({ group: "Do", ...command }))];
  return [...contracts, ...others.filter(({ group, title }) => `${group} ${title}`.toLowerCase().includes(query))];
}
