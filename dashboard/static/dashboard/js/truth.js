/* How old the prices are, counted by this page's own monotonic clock from the last price it received. The state of a
   connection has no say in it: a socket that is open and mute grows old like one that is cut. */

import * as format from "./format.js";
import { $, put } from "./dom.js";

const WORDS = {
  live: "Current",
  slow: "Slow",
  stale: "Stale",
  offline: "Page offline",
  closed: "Closed",
  waiting: "Waiting",
};

/** The age of each part and what follows from it. Pure but for the clock it is given. */
export class Freshness {
  constructor({ slowMs, staleMs, now = () => performance.now() }) {
    this.slowMs = slowMs;
    this.staleMs = staleMs;
    this.now = now;
    this.parts = new Map(); // kind → when its newest price was new, on this page's clock
  }

  /** A batch came in whose newest price was `ageMs` old. Older news than we have changes nothing. */
  heard(kind, ageMs) {
    const since = this.now() - Math.max(0, ageMs);
    if (!(since <= this.parts.get(kind))) this.parts.set(kind, since);
  }

  ageMs(kind) {
    return this.parts.has(kind) ? this.now() - this.parts.get(kind) : NaN;
  }

  /** The older of the two: options priced off an old underlying are old, and the other way round. NaN: no price yet. */
  get worstMs() {
    return this.parts.has("options") ? Math.max(...[...this.parts.keys()].map((kind) => this.ageMs(kind))) : NaN;
  }

  state({ connected, open }) {
    const age = this.worstMs;
    if (Number.isNaN(age)) return connected === false ? "offline" : "waiting";
    if (connected === false) return "offline";
    if (!open) return "closed";
    return age < this.slowMs ? "live" : age < this.staleMs ? "slow" : "stale";
  }
}

/** Draws pill, popover and notice, four times a second. */
export class TruthView {
  constructor({ freshness, session, ticks, chainName }) {
    Object.assign(this, { freshness, session, ticks, chainName });
    this.state = "";
    this.listeners = [];
    this.source = document.body.dataset.source;
    this.last = null; // the last part's stamps
    this.serverDelayMs = NaN;
    this.startedAt = performance.now();
    this.rate = { at: performance.now(), updates: 0, perSecond: 0 };
    this.refusal = "";
  }

  start() {
    setInterval(() => this.draw(), 250);
    setInterval(() => this.measureRate(), 1000);
    this.draw();
  }

  /** Take a part's stamps: source, both hops, and the age of its newest price. */
  heard(kind, part) {
    const transit = this.session.serverNow() - part.sent_at;
    const newest = Math.min(...part.columns.age_ms.filter((value) => value !== null));
    const transitMs = Math.max(0, transit * 1000);
    if (Number.isFinite(newest)) this.freshness.heard(kind, newest + transitMs);
    if (part.kind === "update") this.serverDelayMs = transitMs;
    if (part.source && part.source !== this.source) this.source = document.body.dataset.source = part.source;
    if (kind === "options" || !this.last) {
      const stamps = part.columns.exchange_timestamp?.filter((value) => value !== null) ?? [];
      const exchange = stamps.length ? Math.max(...stamps) : NaN;
      this.last = { sentAt: part.sent_at, marketTime: part.market_time, exchange, newest, feed: part.feed_state };
    }
  }

  measureRate() {
    const at = performance.now();
    this.rate.perSecond = ((this.ticks.updates - this.rate.updates) * 1000) / (at - this.rate.at);
    this.rate.at = at;
    this.rate.updates = this.ticks.updates;
  }

  /** Before the first answer nothing is known about the connection; after three seconds it counts as missing. */
  get connected() {
    if (this.ticks.connected) return true;
    return this.ticks.opened || this.ticks.attempts > 1 || this.refusal ? false : undefined;
  }

  draw() {
    const open = this.session.isOpen();
    const state = this.freshness.state({ connected: this.connected, open });
    const ageMs = this.freshness.worstMs;
    const seconds = ageMs / 1000;
    const changed = state !== this.state;
    put($("#fta"), state === "waiting" || Number.isNaN(ageMs) ? "" : state === "closed" ? this.lastMoment() : format.age(seconds));
    if (changed) {
      this.state = state;
      document.body.dataset.feed = $("#truth").dataset.feed = state;
      put($("#ftw"), WORDS[state]);
      this.listeners.forEach((listener) => listener(state));
    }
    put($("#src"), { simulated: "Simulated", live: "Live", replay: "Replay" }[this.source] ?? this.source);
    this.drawNotice(state, seconds, changed);
    if ($("#truthpop").matches(":popover-open")) this.drawPath(state);
  }

  lastMoment() {
    return this.last ? format.dayAndTime(this.last.marketTime) : "";
  }

  drawPath(state) {
    const { last, source } = this;
    const adjective = { simulated: "simulated", live: "live", replay: "replayed" }[source] ?? source;
    put(
      $("#tp-h"),
      {
        live: `Prices are ${adjective} and current`,
        slow: `Prices are ${adjective} and slow`,
        stale: "Prices stopped arriving",
        offline: "This page lost the server",
        closed: "The market is closed",
        waiting: "Waiting for the first prices",
      }[state],
    );
    const toServerMs = last && last.exchange > 0 ? Math.max(0, (last.marketTime - last.exchange) * 1000 - last.newest) : NaN;
    // The exchange stamps whole seconds, so a hop below one second cannot be told more exactly.
    put($("#hop1 em"), state === "stale" ? "quiet" : toServerMs < 1000 ? "under 1 s" : format.delay(toServerMs));
    put($("#hop2 em"), state === "offline" ? "cut" : format.delay(this.serverDelayMs));
    $("#hop1").classList.toggle("cut", state === "stale");
    $("#hop2").classList.toggle("cut", state === "offline");
    put($("#tp-ex"), last ? format.time(last.exchange) : format.DASH);
    put($("#tp-rx"), last ? format.timeWithMs(last.marketTime - last.newest / 1000) : format.DASH);
    put($("#tp-options"), this.ago("options"));
    put($("#tp-underlying"), this.ago("underlying"));
    put($("#tp-src"), { simulated: "Simulated market", live: "Kite Connect", replay: "Recording" }[source] ?? source);
    put($("#tp-rate"), `${this.rate.perSecond.toFixed(1)} a second, ${this.ticks.skipped} skipped`);
  }

  ago(kind) {
    const ms = this.freshness.ageMs(kind);
    return Number.isNaN(ms) ? format.DASH : `${format.age(ms / 1000)} ago`;
  }

  drawNotice(state, seconds, changed) {
    const notice = $("#feednote");
    const late = state === "waiting" && performance.now() - this.startedAt > 3000;
    const shown = state === "stale" || state === "offline" || late;
    notice.hidden = !shown;
    if (!shown) return;
    notice.className = `note ${state === "waiting" ? "wait" : state}`;
    const [strong, rest] = this.sentence(state, seconds);
    put($("#feedstrong"), strong);
    put($("#feedrest"), rest);
    // Announced once, when it happens; the seconds that count up afterwards are not read out.
    if (changed && state !== "waiting") put($("#feedsaid"), state === "stale" ? "Prices are stale." : "This page is offline.");
  }

  sentence(state, seconds) {
    const from = this.last ? format.time(this.last.marketTime) : format.DASH;
    const wait = Math.ceil((this.ticks.nextTryAt - performance.now()) / 1000);
    const retry = this.ticks.nextTryAt && wait > 0 ? `Trying again in ${wait} s.` : "Trying again.";
    const stream = this.ticks.feed === "down" ? "The stream is not running." : this.ticks.problem;
    if (state === "waiting") {
      return ["Waiting for the first prices.", stream || `The stream has sent none for ${this.chainName} yet.`];
    }
    if (state === "stale") {
      const why =
        stream ||
        (this.freshness.ageMs("underlying") > this.freshness.staleMs && this.freshness.ageMs("options") < this.freshness.staleMs
          ? "The underlying went quiet."
          : "The server has sent nothing newer; this page is connected and listening.");
      return [`Prices are ${format.age(seconds)} old.`, `Last price ${from}. ${why}`];
    }
    if (this.refusal === "loggedout") return ["You are logged out.", `What you see is from ${from}. Reload the page to log in.`];
    if (this.refusal === "denied") return ["You may not see these prices.", "Your login has no right to stream. Ask an administrator."];
    if (Number.isNaN(seconds)) return ["This page cannot reach the server.", retry];
    return [`This page lost the server ${format.age(seconds)} ago.`, `What you see is from ${from}. ${retry}`];
  }
}
