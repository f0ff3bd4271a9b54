/* Market time, the session's words, and how far the server's clock is from this page's.

   The server tells the moment, the clock's speed and the session's edges; in between the page counts by its own
   monotonic clock. It asks again at each edge, when it is looked at again, and every five minutes. */

import * as format from "./format.js";
import { $, put } from "./dom.js";

const REFRESH_MS = 300_000;
const numberOf = (text) => (text === "" ? null : Number(text));

export class Session {
  constructor(url, facts) {
    this.url = url;
    this.onRefused = () => {};
    this.asked = 0;
    // The document left the server about when its first byte came in.
    const [navigation] = performance.getEntriesByType("navigation");
    this.take(facts, navigation?.responseStart || performance.now());
  }

  /** The session that the server wrote into the clock's attributes. */
  static ofClock({ dataset }) {
    return new Session(dataset.url, {
      system_now: Number(dataset.systemNow),
      market_now: Number(dataset.marketNow),
      speed: Number(dataset.speed),
      opens_at: numberOf(dataset.opensAt),
      closes_at: numberOf(dataset.closesAt),
    });
  }

  /** `at`: when the facts were true, on this page's monotonic clock (ms). */
  take(facts, at) {
    this.facts = facts;
    this.at = at;
  }

  start() {
    setInterval(() => this.tick(), 1000);
    setInterval(() => this.refresh(), REFRESH_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
    this.tick();
    this.refresh();
  }

  /** Market time, unix seconds. */
  now() {
    return this.facts.market_now + ((performance.now() - this.at) / 1000) * this.facts.speed;
  }

  /** The server's own clock, unix seconds: good to half a round trip. */
  serverNow() {
    return this.facts.system_now + (performance.now() - this.at) / 1000;
  }

  isOpen() {
    const { opens_at: opens, closes_at: closes } = this.facts;
    const now = this.now();
    return opens !== null && now >= opens && now < closes;
  }

  words() {
    const { opens_at: opens, closes_at: closes } = this.facts;
    const now = this.now();
    if (this.isOpen()) return `Open, closes ${format.clockTime(closes)} in ${format.duration(closes - now)}`;
    const coming = opens !== null && now < opens ? opens : null;
    if (coming === null) return "Closed";
    const when = format.indianDay(coming) === format.indianDay(now) ? format.clockTime(coming) : format.dayAndTime(coming);
    return `Closed, opens ${when} in ${format.duration(coming - now)}`;
  }

  progress() {
    const { opens_at: opens, closes_at: closes } = this.facts;
    if (opens === null) return 0;
    return Math.min(1, Math.max(0, (this.now() - opens) / (closes - opens)));
  }

  tick() {
    put($("#clk"), format.time(this.now()));
    put($("#ses"), this.words());
    $("#sesbar").style.transform = `scaleX(${this.progress().toFixed(4)})`;
    const { opens_at: opens, closes_at: closes } = this.facts;
    const passed = (edge) => edge !== null && this.facts.market_now < edge && this.now() >= edge;
    // An edge was passed since the server spoke: the next session is its to tell. At most once in 5 s.
    if ((passed(opens) || passed(closes)) && performance.now() - this.asked > 5000) this.refresh();
  }

  async refresh() {
    const sent = (this.asked = performance.now());
    let answer;
    try {
      answer = await fetch(this.url, { headers: { Accept: "application/json" }, redirect: "manual", cache: "no-store" });
    } catch {
      return; // no network: the socket tells the person
    }
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) this.onRefused(answer.status);
    if (!answer.ok) return;
    const facts = await answer.json();
    this.take(facts, (sent + performance.now()) / 2);
  }
}
