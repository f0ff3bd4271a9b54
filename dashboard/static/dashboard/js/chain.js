/* The grid. The server drew the rows; this module keeps them true.

   One cached Text node a cell, written only when its text differs; batches only mark rows dirty; one flush an animation
   frame; rows off the screen are skipped until they come back. Strikes never move; the spot line moves on a crossing. */

import * as format from "./format.js";
import { $, $$, put, textNode } from "./dom.js";
import { look } from "./look.js";

const FLASH_MS = 320;
const FLASH_AGAIN_MS = 500;
const OLD_TRADE_SECONDS = 60;
const WIDE_SPREAD = 0.03;
const LISTED = ["oi", "doi", "vol", "ve", "ga", "th", "dl", "iv", "bid", "ask", "chg", "ltp"];

export class Grid {
  constructor({ book, session, lotSize, onPainted, onTrade = () => {} }) {
    Object.assign(this, { book, session, lotSize, onPainted, onTrade });
    this.scroller = $("#grid");
    this.body = $("#rows");
    this.line = $("#spotline");
    this.visible = new Set();
    this.flashing = [];
    this.stats = { flushMs: 0, cells: 0, flushes: 0 };
    this.atm = -1;
    this.cut = -1;
    this.marked = { row: -1, call: true };
    this.largest = 1;
    this.wanted = false;
    const inUnits = (write) => (values, row) => write(look.unit === "lots" ? values[row] / this.lotSize : values[row]);
    const oi = inUnits(format.compact);
    const doi = inUnits(format.compactChange);
    this.texts = {
      oi: (s, row) => oi(s.oi, row),
      doi: (s, row) => doi(s.doi, row),
      vol: (s, row) => format.compact(s.vol[row]),
      ve: (s, row) => format.fixed(s.ve[row], 1),
      ga: (s, row) => format.fixed(s.ga[row], 4),
      th: (s, row) => format.fixed(s.th[row], 1),
      dl: (s, row) => format.fixed(s.dl[row], 2),
      iv: (s, row) => format.percent(s.iv[row]),
      bid: (s, row) => format.price(s.bid[row]),
      ask: (s, row) => format.price(s.ask[row]),
      chg: (s, row) => format.change(s.chg[row]),
      ltp: (s, row) => format.price(s.ltp[row]),
    };
    this.rows = $$(".rw", this.body).map((row) => this.#adopt(row));
    this.observer = new IntersectionObserver((entries) => this.#seen(entries), {
      root: this.scroller,
      rootMargin: "96px 0px",
    });
    this.rows.forEach((row) => this.observer.observe(row.element));
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.scroller.addEventListener("keydown", (event) => this.#keyed(event));
  }

  #adopt(row) {
    const cells = [];
    const bars = [];
    for (const [name, values] of [["ce", this.book.calls], ["pe", this.book.puts]]) {
      const side = $(`.${name}`, row);
      for (const field of LISTED) {
        const cell = $(`.${field}`, side);
        const text = textNode(field === "oi" ? $("u", cell) : cell);
        cells.push({ field, values, cell, text, shown: text.data, known: false, quietUntil: 0, clearAt: 0 });
      }
      bars.push({ values, kept: $(".o", side), added: $(".t", side), closed: $(".m", side), oi: -1, doi: 0 });
    }
    return { element: row, cells, bars, side: row.dataset.itm || "" };
  }

  #seen(entries) {
    for (const entry of entries) {
      const row = this.rows.findIndex(({ element }) => element === entry.target);
      if (entry.isIntersecting) {
        this.visible.add(row);
        this.book.dirty[row] = 1;
      } else this.visible.delete(row);
    }
    this.schedule();
  }

  schedule() {
    if (this.wanted) return;
    this.wanted = true;
    requestAnimationFrame(() => this.flush());
  }

  redraw() {
    this.book.dirty.fill(1);
    this.schedule();
  }

  flush() {
    this.wanted = false;
    const started = performance.now();
    let written = 0;
    this.#unflash(started);
    if (this.book.hasQuotes) {
      this.place();
      for (const row of this.visible) if (this.book.dirty[row]) written += this.#write(row, started);
    }
    this.stats.cells = written;
    this.stats.flushes += 1;
    this.stats.flushMs = performance.now() - started;
    this.onPainted();
  }

  #write(row, at) {
    this.book.dirty[row] = 0;
    let written = 0;
    for (const cell of this.rows[row].cells) {
      const text = this.texts[cell.field](cell.values, row);
      if (text !== cell.shown) {
        cell.text.data = cell.shown = text;
        written += 1;
        if (cell.field === "chg") cell.cell.dataset.d = Math.sign(cell.values.chg[row]) || 0;
        else if (cell.field === "ltp" && cell.known) this.#flash(cell, cell.values.moved[row], at);
      }
      if (cell.field === "ask") toggle(cell.cell, "wide", isWide(cell.values.bid[row], cell.values.ask[row]));
      cell.known = true;
    }
    this.rows[row].bars.forEach((bar) => this.#bar(bar, row));
    this.#ageTrades(row);
    return written;
  }

  #flash(cell, direction, at) {
    if (!direction || document.body.dataset.feed === "closed") return;
    cell.cell.dataset.l = direction;
    if (at < cell.quietUntil) return;
    if (cell.clearAt <= at) this.flashing.push(cell);
    cell.cell.dataset.f = direction;
    cell.clearAt = at + FLASH_MS;
    cell.quietUntil = at + FLASH_AGAIN_MS;
    clearTimeout(this.flashTimer);
    this.flashTimer = setTimeout(() => this.#unflash(performance.now()), FLASH_MS + 20);
  }

  #unflash(at) {
    this.flashing = this.flashing.filter((cell) => {
      if (at < cell.clearAt) return true;
      delete cell.cell.dataset.f;
      return false;
    });
  }

  /* The soft part is what was open at yesterday's close and still is; the solid end was added today, the dashed one closed. */
  #bar(bar, row) {
    const oi = bar.values.oi[row] || 0;
    const added = bar.values.doi[row] || 0;
    if (Math.abs(oi - bar.oi) < this.largest * 0.002 && Math.abs(added - bar.doi) < this.largest * 0.002) return;
    bar.oi = oi;
    bar.doi = added;
    const scale = (value) => `scaleX(${Math.min(1, value / this.largest).toFixed(4)})`;
    bar.kept.style.transform = scale(added > 0 ? oi - added : oi);
    bar.added.style.transform = scale(added > 0 ? oi : 0);
    bar.closed.style.transform = scale(added < 0 ? oi - added : 0);
  }

  /** Once a second: what grows old without an update, and the scale of the bars. */
  second() {
    const largest = this.book.largestOi();
    if (Math.abs(largest - this.largest) > this.largest * 0.02) {
      this.largest = largest;
      this.rows.forEach(({ bars }) => bars.forEach((bar) => (bar.oi = -1e18)));
      this.redraw();
    }
    if (this.book.hasQuotes) this.visible.forEach((row) => this.#ageTrades(row));
  }

  #ageTrades(row) {
    const now = this.session.now();
    for (const cell of this.rows[row].cells) {
      if (cell.field === "ltp") toggle(cell.cell, "old", now - cell.values.traded[row] > OLD_TRADE_SECONDS);
    }
  }

  /** At-the-money mark, spot line and tint: touched only when the spot crosses a strike. */
  place() {
    const { atm, aboveSpot: cut } = this.book;
    if (cut < 0) return;
    const first = this.atm < 0;
    if (atm !== this.atm) {
      $(".rw.atm", this.body)?.classList.remove("atm");
      this.rows[atm].element.classList.add("atm");
      this.atm = atm;
    }
    if (cut !== this.cut) {
      this.cut = cut;
      this.line.hidden = false;
      const below = this.rows[cut]?.element ?? null;
      if (this.line.nextElementSibling !== below || this.line.parentNode !== this.body) this.body.insertBefore(this.line, below);
      this.rows.forEach((row, at) => {
        const side = at < cut ? "itm-c" : "itm-p";
        if (row.side === side) return;
        row.element.classList.remove("itm-c", "itm-p");
        row.element.classList.add(side);
        row.side = side;
      });
    }
    if (first) {
      this.window();
      this.center();
    }
  }

  /** Show the chosen number of strikes each side of the money. Only on load and on request: the view never jumps. */
  window() {
    const each = look.strikes === "all" ? Infinity : Number(look.strikes);
    const middle = this.atm >= 0 ? this.atm : Math.floor(this.rows.length / 2);
    this.rows.forEach(({ element }, row) => (element.hidden = Math.abs(row - middle) > each));
  }

  center(smooth = false) {
    const row = this.rows[this.atm >= 0 ? this.atm : Math.floor(this.rows.length / 2)]?.element;
    if (!row) return;
    const head = $(".gh").offsetHeight;
    const above = Math.floor((this.scroller.clientHeight - head) / row.offsetHeight / 2);
    const still = !smooth || matchMedia("(prefers-reduced-motion: reduce)").matches;
    // A whole number of rows above it: the first one shown is not cut.
    const line = this.line.hidden || this.line.offsetTop > row.offsetTop ? 0 : this.line.offsetHeight;
    const top = row.offsetTop - head - above * row.offsetHeight - line;
    this.scroller.scrollTo({ top, behavior: still ? "auto" : "smooth" });
  }

  /** Back to at the money, on request: the window of strikes moves with it. */
  toMoney() {
    this.window();
    this.center(true);
  }

  /** Mark one contract and read it out once. */
  mark(row, call) {
    const { element } = this.rows[row];
    if (this.rows[this.marked.row]) delete this.rows[this.marked.row].element.dataset.cur;
    this.marked = { row, call };
    element.hidden = false;
    element.dataset.cur = call ? "ce" : "pe";
    element.scrollIntoView({ block: "nearest" });
    const values = call ? this.book.calls : this.book.puts;
    const text = (field) => this.texts[field](values, row).replace(format.DASH, "unknown");
    put(
      $("#said"),
      `${this.book.strikes[row]} ${call ? "call" : "put"}, last ${text("ltp")}, bid ${text("bid")}, ask ${text("ask")}, volatility ${text("iv")}`,
    );
  }

  #clicked(event) {
    const element = event.target.closest(".rw");
    const row = this.rows.findIndex((candidate) => candidate.element === element);
    if (row < 0) return;
    const call = !event.target.closest(".pe");
    this.mark(row, call);
    // Bid and ask are the way in: bid opens a sale, ask a purchase, at that price.
    const cell = event.target.closest(".bid, .ask");
    if (cell) this.trade(row, call, cell.classList.contains("bid") ? "SELL" : "BUY");
  }

  /** Ask for a ticket of one contract; nothing where the contract does not exist. */
  trade(row, call, side) {
    const token = Number(this.rows[row]?.element.dataset[call ? "ce" : "pe"]);
    if (!token) return;
    const values = call ? this.book.calls : this.book.puts;
    const price = (side === "BUY" ? values.ask : values.bid)[row];
    this.onTrade({ token, side, price: format.missing(price) ? null : price });
  }

  #keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.rows[0].element.offsetHeight) - 3);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -1e6, End: 1e6 }[event.key];
    const { row, call } = this.marked;
    if (step) {
      event.preventDefault();
      const start = this.atm >= 0 ? this.atm : Math.floor(this.rows.length / 2);
      this.mark(row < 0 ? start : this.#shown(row, step), call);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      if (row >= 0) this.mark(row, event.key === "ArrowLeft");
    }
  }

  /** The row `step` shown rows further, held at the first and last one shown. */
  #shown(row, step) {
    const shown = this.rows.flatMap(({ element }, at) => (element.hidden ? [] : [at]));
    const place = shown.findIndex((at) => at >= row);
    return shown[Math.max(0, Math.min(shown.length - 1, place + step))];
  }
}

const isWide = (bid, ask) => ask > 0 && bid > 0 && (ask - bid) / ask > WIDE_SPREAD;

const toggle = (cell, name, on) => {
  if (on === name in cell.dataset) return;
  if (on) cell.dataset[name] = "";
  else delete cell.dataset[name];
};
