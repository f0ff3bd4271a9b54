/* The order ticket. One ticket, one key, one order: the key is made when the ticket opens and kept over a reload, so that
   a second press, or a second try after no answer, is the same order.

   edit → review → sent. Two different presses send; plain Enter never does. A ticket never changes its account. Every rule
   is the server's: the ticket shows what its preview says, and asks 250 ms after the last change.

   The same ticket changes an order that lives (`change`): it begins with the order as it stands, and sends what differs. */

import { $, $$, element, icon, put } from "./dom.js";
import * as format from "./format.js";
import { changesOf, fromAndTo, hasPrice, hasTrigger, standing, stateOf } from "./ticket-change.js";
import { button, depth, hint, line, note, pressed, segment, stepper, told } from "./ticket-parts.js";
import { toast } from "./toasts.js";

const KEPT = "ticker.ticket";
const PREVIEW_AFTER_MS = 250;
const QUOTE_EVERY_MS = 1000;
const SEND_AFTER_MS = 450; // the second half of a double click falls into it
const ANSWER_MS = 15_000;
const MOVED = 0.01;
const PROTECTION = "2"; // per cent of market orders
const MOST_LOTS = 10_000;
const LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const TYPES = { LIMIT: "Limit", MARKET: "Market", SL: "Stop" };

const newKey = () => "web-" + [...crypto.getRandomValues(new Uint8Array(20))].map((byte) => LETTERS[byte & 31]).join("");
const shownKey = (key) => `${key.slice(4, 8)}-${key.slice(8, 12)}`;
const count = (n, word) => `${format.grouped(n)} ${word}${n === 1 ? "" : "s"}`;
const rupees = (text, decimals = 0) => (text === null || text === undefined ? format.DASH : `₹${format.grouped(Number(text), decimals)}`);

const kept = {
  read() {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT));
    } catch {
      return null;
    }
  },
  write(state) {
    try {
      if (state) sessionStorage.setItem(KEPT, JSON.stringify(state));
      else sessionStorage.removeItem(KEPT);
    } catch {
      /* private mode: the ticket lives as long as the page */
    }
  },
};

const traders = () => $$("#traders [data-account]").map(({ dataset }) => ({ ...dataset }));

export class Ticket {
  /** `quote(token)`: the page's own price of a contract, {bid, last, ask, fresh}, so that two places never differ; else
      the server is asked each second. `onOpen`, `onClose`: what the dock does meanwhile. */
  constructor({ quote = () => null, onOpen = () => {}, onClose = () => {} } = {}) {
    this.box = $("#ticket");
    this.pageQuote = quote;
    this.onOpen = onOpen;
    this.onClose = onClose;
    this.state = null;
    this.box.addEventListener("click", (event) => this.#clicked(event));
    this.box.addEventListener("change", (event) => this.#changed(event));
    this.box.addEventListener("input", (event) => this.#typed(event));
    this.box.addEventListener("keydown", (event) => this.#keyed(event));
    document.addEventListener("keydown", (event) => this.#shortcut(event));
    document.addEventListener("trading", () => this.state && this.#askSoon(0)); // a halt, or its end
    const before = kept.read();
    if (before?.key && traders().some(({ account }) => account === before.account)) this.#reopen(before);
  }

  get isOpen() {
    return this.state !== null;
  }

  /** `account`: a public id; without one, the only account, else the person chooses. */
  async open({ account, exchange, symbol, token, side = "BUY", price = null, lots = 1, exit = false, product = "NRML" }) {
    const known = traders();
    if (!known.length) return toast("warn", "No ticket", "You may not trade on any account.");
    if (this.state?.sending) return toast("warn", "One ticket at a time", "The order before this one is being sent.");
    const chosen = known.find((one) => one.account === account)?.account ?? (known.length === 1 ? known[0].account : "");
    this.state = {
      key: newKey(),
      account: chosen,
      contract: null,
      side: side === "SELL" ? "SELL" : "BUY",
      lots: Math.max(1, Math.round(Number(lots)) || 1),
      type: "LIMIT",
      price: price ? Number(price) : null,
      trigger: null,
      product,
      exit: Boolean(exit), // it only makes a position smaller: goes out through a halt
      step: "edit",
      asked: false, // whether it was sent once: then only the same order may be asked for again
      change: null, // of which order it is a change
    };
    this.#begin();
    if (symbol || token) await this.#take({ exchange, symbol, token });
    else $("#tk-find")?.focus();
  }

  /** Change an order. `terms`: where the server tells how it stands, and judges changes of it. */
  async change(terms) {
    if (this.state?.sending) return toast("warn", "One ticket at a time", "The order before this one is being sent.");
    const answer = await this.#get(terms);
    if (!answer?.order) return toast("warn", "No ticket", answer?.error ?? "The server did not answer.");
    if (this.state?.sending) return;
    this.state = { key: newKey(), ...stateOf(answer, terms), step: "edit", asked: false };
    this.#begin();
    this.#quoted(answer.quote);
    this.#draw();
    this.#askSoon(0);
    if (matchMedia("(min-width: 720px)").matches) $("#tk-price, #tk-lots", this.box)?.focus({ preventScroll: true });
  }

  close() {
    clearInterval(this.timer);
    clearTimeout(this.asking);
    this.state = this.preview = this.quote = null;
    kept.write(null);
    this.box.hidden = true;
    this.onClose();
  }

  #begin() {
    this.preview = this.quote = null;
    this.problem = "";
    this.found = [];
    this.box.hidden = false;
    this.onOpen();
    clearInterval(this.timer);
    this.timer = setInterval(() => this.#tick(), QUOTE_EVERY_MS);
    this.#draw();
  }

  #reopen(state) {
    this.state = { ...state, step: state.step === "review" ? "edit" : state.step, sending: false };
    this.#begin();
    if (this.state.asked) this.#unanswered("This ticket was sent before the page was loaded again.");
    else if (this.state.contract) this.#tick().then(() => this.#askSoon(0));
  }

  /* --- the contract and its price --------------------------------------------------------------------------------- */

  async #take({ exchange = "", symbol = "", token = "" }) {
    const of = this.state;
    const query = token ? { token } : { exchange, symbol };
    const answer = await this.#get("/ticket/contract/", query);
    if (this.state !== of) return;
    if (!answer?.contract) {
      this.problem = answer?.error ?? "The server did not answer.";
      return this.#draw();
    }
    of.contract = answer.contract;
    of.product = of.contract.is_derivative || of.product !== "NRML" ? of.product : "CNC";
    this.#quoted(answer.quote);
    of.price ??= (of.side === "BUY" ? this.quote?.ask : this.quote?.bid) ?? this.quote?.last ?? null;
    of.price = this.#rounded(of.price);
    this.#draw();
    if (matchMedia("(min-width: 720px)").matches) $("#tk-lots")?.focus({ preventScroll: true });
    this.#askSoon(0);
  }

  #quoted(served) {
    const own = this.state?.contract ? this.pageQuote(this.state.contract.token) : null;
    if (own) this.quote = own;
    else if (served !== undefined) this.quote = served && { ...served, fresh: served.is_fresh };
  }

  async #tick() {
    const of = this.state;
    if (!of?.contract || document.hidden || of.sending) return;
    if (of.change) {
      const answer = await this.#get(of.change.terms);
      if (this.state !== of || of.sending) return;
      this.#quoted(answer?.contract ? answer.quote : this.quote && { ...this.quote, fresh: false });
      if (this.#stands(answer)) return;
    } else if (this.pageQuote(of.contract.token)) this.#quoted();
    else {
      const { exchange, symbol } = of.contract;
      const answer = await this.#get("/ticket/contract/", { exchange, symbol });
      if (this.state !== of) return;
      this.#quoted(answer ? answer.quote : this.quote && { ...this.quote, fresh: false });
    }
    this.#show();
  }

  /** How the order that is being changed stands by now. Whether the ticket was drawn anew for it. */
  #stands(answer) {
    const { state } = this;
    if (!answer || state.step === "unanswered") return false;
    const { change } = state;
    const was = answer.order ? standing(answer.order) : change.was;
    const isOther = JSON.stringify(was) !== JSON.stringify(change.was);
    if (answer.order) Object.assign(change, { was, filled: answer.order.filled, left: answer.order.changes_left, over: "" });
    else if (change.over === answer.error) return false;
    else change.over = answer.error;
    if (!change.over && !isOther) {
      if ($("#tk-filled", this.box)) put($("#tk-filled", this.box), this.#filled());
      return false;
    }
    state.step = "edit";
    this.problem = change.over || "The order itself has become another one meanwhile. Look again.";
    this.#draw();
    this.#askSoon(0);
    return true;
  }

  /** The page's prices have changed their state: show it at once. */
  show() {
    if (!this.state?.contract) return;
    this.#quoted();
    this.#show();
  }

  get stale() {
    return !this.quote?.fresh;
  }

  get middle() {
    const { bid, ask, last } = this.quote ?? {};
    return bid && ask ? (bid + ask) / 2 : last || null;
  }

  #rounded(price) {
    if (price === null || !(price > 0)) return price;
    const tick = Number(this.state.contract.tick_size) || 0.05;
    return Number((Math.round(price / tick) * tick).toFixed(4));
  }

  /** Every price that moves, without touching a field. */
  #show() {
    const { step } = this.state;
    for (const name of ["bid", "last", "ask"]) {
      const shown = $(`#tk-${name}`, this.box);
      if (shown) put(shown, format.price(this.quote?.[name]));
    }
    $(".depth", this.box)?.replaceWith(depth(this.quote));
    if (step === "review") return this.#guard();
    const market = $('#tk-type [data-v="MARKET"]', this.box);
    if (market) market.disabled = this.stale;
    if (this.stale && this.state.type === "MARKET" && step === "edit") this.#set({ type: "LIMIT" }, "Prices are old: market orders are off.");
    const old = $("#tk-old", this.box);
    if (old) old.hidden = !this.stale;
  }

  /** While it is reviewed: what was reviewed must still be so. */
  #guard() {
    const why = this.#changedSince();
    if (!why) return true;
    this.state.step = "edit";
    this.problem = why;
    this.#draw();
    this.#askSoon(0);
    return false;
  }

  #changedSince() {
    const { reviewed } = this.state;
    if (this.stale && reviewed.fresh) return "Prices stopped coming since you reviewed it. Look again.";
    const moved = reviewed.middle && this.middle ? Math.abs(this.middle / reviewed.middle - 1) : 0;
    if (moved > MOVED) return `The price has moved by ${(moved * 100).toFixed(1)} % since you reviewed it. Look again.`;
    return "";
  }

  /* --- what the server says ---------------------------------------------------------------------------------------- */

  #order() {
    const { state } = this;
    if (state.change) return changesOf(state, this.quantity, PROTECTION);
    const { contract } = state;
    const order = {
      account: state.account,
      exchange: contract.exchange,
      tradingsymbol: contract.symbol,
      transaction_type: state.side,
      quantity: this.quantity,
      product: state.product,
      order_type: state.type,
    };
    if (state.type !== "MARKET") order.price = String(state.price);
    if (state.type === "SL") order.trigger_price = String(state.trigger);
    if (state.type === "MARKET") order.market_protection = PROTECTION;
    if (state.exit) order.exit = true;
    else if (contract.freeze && this.quantity > contract.freeze) order.autoslice = true;
    return order;
  }

  /** What one lot counts: of an order that is being changed, 1 where it is no whole number of lots. */
  get unit() {
    return this.state.unit ?? this.state.contract?.lot_size ?? 1;
  }

  get quantity() {
    return this.state.lots * this.unit;
  }

  get whole() {
    const { account, contract, type, price, trigger, change } = this.state;
    if (change && (change.over || !this.#order())) return false;
    return Boolean(account && contract && (!hasPrice(type) || price > 0) && (!hasTrigger(type) || trigger > 0));
  }

  #askSoon(after = PREVIEW_AFTER_MS) {
    clearTimeout(this.asking);
    this.preview = null;
    this.#drawPreview();
    kept.write(this.state);
    if (this.whole && !this.state.asked) this.asking = setTimeout(() => this.#ask(), after);
  }

  async #ask() {
    const of = this.state;
    const asked = JSON.stringify(this.#order());
    const answer = await this.#send("POST", of.change?.terms ?? "/api/v1/orders/preview", asked);
    if (this.state !== of || !this.whole || JSON.stringify(this.#order()) !== asked) return; // about an order of before
    this.preview = answer.ok ? answer.body : { would_be_accepted: false, checks: [], error: told(answer) };
    this.#drawPreview();
    if (of.step === "review" && !this.preview.would_be_accepted) {
      of.step = "edit";
      this.problem = "The order would not be taken any more. Look again.";
      this.#draw();
    }
  }

  async #press() {
    const of = this.state;
    if (of.sending || of.step !== "review" || !this.#guard()) return;
    await this.#place();
  }

  async #place() {
    const of = this.state;
    const title = this.#title();
    of.sending = of.asked = true;
    of.body ??= JSON.stringify(this.#order());
    kept.write(of);
    this.#draw();
    const [method, path] = of.change ? ["PATCH", of.change.address] : ["POST", "/api/v1/orders"];
    const answer = await this.#send(method, path, of.body, { "Idempotency-Key": of.key });
    of.sending = false;
    if (answer.ok) {
      this.close();
      const { id, words } = answer.body;
      toast("info", title, `${words}. Accepted under key ${shownKey(of.key)}.`, id);
      document.body.dispatchEvent(new CustomEvent("orders-news", { detail: { sent: id, title } }));
      return;
    }
    // The server says itself that nothing was stored, and that the key is free; anything else is no answer.
    if (answer.status >= 400 && answer.status < 500 && answer.body?.error?.code !== "idempotency_key_reused") {
      of.asked = false;
      of.body = null;
      of.step = "edit";
      this.problem = told(answer);
      this.#draw();
      return this.#askSoon(0);
    }
    this.#unanswered(told(answer));
  }

  #unanswered(why) {
    this.state.step = "unanswered";
    this.problem = why;
    kept.write(this.state);
    this.#draw();
  }

  async #get(path, query) {
    try {
      const answer = await fetch(query ? `${path}?${new URLSearchParams(query)}` : path, { redirect: "manual", signal: AbortSignal.timeout(ANSWER_MS) });
      return answer.type === "opaqueredirect" ? null : await answer.json();
    } catch {
      return null;
    }
  }

  async #send(method, path, body, headers = {}) {
    const token = $("#traders [name=csrfmiddlewaretoken]").value;
    try {
      const answer = await fetch(path, {
        method,
        headers: { "Content-Type": "application/json", "X-CSRFToken": token, ...headers },
        body,
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      return { ok: answer.ok, status: answer.status, body: await answer.json().catch(() => null) };
    } catch {
      return { ok: false, status: 0, body: null };
    }
  }

  /* --- drawing ----------------------------------------------------------------------------------------------------- */

  #title() {
    const { side, contract, change } = this.state;
    if (change) return `Change of ${side.toLowerCase()} ${format.grouped(change.was.quantity)} ${contract.name}`;
    return `${side === "BUY" ? "Buy" : "Sell"} ${format.grouped(this.quantity)} ${contract.name}`;
  }

  #at() {
    const { type, price } = this.state;
    return hasPrice(type) ? `at ${format.price(price)}` : "at market";
  }

  get source() {
    return { simulated: "Simulated", replay: "Replay" }[document.body.dataset.source] ?? "Live";
  }

  #draw() {
    const { state, box } = this;
    const focused = box.contains(document.activeElement) ? document.activeElement.id : "";
    box.dataset.side = state.side;
    const parts = [this.#head()];
    if (this.problem) parts.push(note("warn", this.problem));
    if (state.step === "unanswered") parts.push(...this.#unansweredParts());
    else if (state.step === "review") parts.push(...this.#reviewParts());
    else parts.push(...this.#editParts());
    box.replaceChildren(...parts);
    this.#show();
    this.#drawPreview();
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    if (state.step !== "edit") $("h2", box).focus({ preventScroll: true });
  }

  #head() {
    const edit = this.state.change ? "Change order" : this.state.exit ? "Exit" : "New order";
    const words = { edit, review: "Check and send", unanswered: "No answer yet" };
    const head = element("div", "tk-h");
    const title = element("h2", "", words[this.state.step]);
    title.tabIndex = -1;
    const close = button("icon close", "", { id: "tk-x", label: "Close ticket", title: "Close  (Esc)" });
    close.append(icon("x"));
    head.append(title, element("span", "lbl", `key ${shownKey(this.state.key)}`), close);
    return head;
  }

  #accountLine() {
    const line = element("div", "asacct");
    const one = traders().find(({ account }) => account === this.state.account);
    if (one) {
      const tint = element("span", `mono sm ${one.tint}`, one.monogram);
      tint.ariaHidden = "true";
      const name = element("span");
      name.append(element("b", "", one.label), ` ${one.kite}`);
      line.append(tint, name);
    }
    line.append(element("span", this.source === "Live" ? "chip" : "chip sim", this.source));
    return line;
  }

  #editParts() {
    const { state } = this;
    const top = element("div", "top");
    const sides = element("div", "bs");
    for (const [value, word] of [["BUY", "Buy"], ["SELL", "Sell"]]) sides.append(pressed(button("", word, { v: value }), state.side === value));
    if (state.exit || state.change) $$("button", sides).forEach((one) => (one.disabled = one.dataset.v !== state.side));
    top.append(sides);
    if (!state.account) return [top, this.#chooseAccount()];
    if (!state.contract) {
      top.append(this.#accountLine());
      return [top, this.#findContract()];
    }
    const { contract } = state;
    const name = element("div", "ins");
    name.append(element("b", "", contract.name), element("span", "", contract.exchange));
    top.append(name, this.#accountLine());
    return [top, this.#quoteParts(), this.#form(), this.#go()];
  }

  #chooseAccount() {
    const list = element("div", "choose");
    list.append(element("p", "lbl", "For which account? A ticket never changes it afterwards."));
    for (const one of traders()) {
      const row = button("row", "", { account: one.account });
      row.append(element("span", `mono ${one.tint}`, one.monogram), element("b", "", one.label), element("span", "mut", one.kite));
      list.append(row);
    }
    return list;
  }

  #findContract() {
    const list = element("div", "choose");
    const label = element("label", "lbl", "Contract");
    label.htmlFor = "tk-find";
    const field = element("div", "fld");
    const input = element("input");
    Object.assign(input, { id: "tk-find", autocomplete: "off", spellcheck: false, placeholder: "For example 24600 ce" });
    field.append(input);
    const found = element("div", "found");
    found.id = "tk-found";
    list.append(label, field, found);
    return list;
  }

  #quoteParts() {
    const quote = element("div", "quote n");
    for (const [name, word] of [["bid", "Bid"], ["last", "Last"], ["ask", "Ask"]]) {
      const cell = name === "last" ? element("div") : button("", "", { p: name, title: "Use this price" });
      const price = element("b", "", format.price(this.quote?.[name]));
      price.id = `tk-${name}`;
      cell.append(element("span", "lbl", word), price);
      quote.append(cell);
    }
    const old = note("warn", "Prices are old. Market orders are off; a limit order may still be sent.");
    old.id = "tk-old";
    old.hidden = !this.stale;
    const both = element("div");
    both.append(quote, depth(this.quote), old);
    return both;
  }

  #form() {
    const { state } = this;
    const { contract } = state;
    const form = element("div", "form");
    const { change } = state;
    const lots = stepper("tk-lots", String(state.lots), "numeric", ["One lot less", "One lot more"], "d");
    form.append(line("Lots", lots, "tk-lots"));
    const quantity = element("span", "", `× ${format.grouped(this.unit)} = `);
    const total = element("b", "n", format.grouped(this.quantity));
    total.id = "tk-q";
    quantity.append(total, change ? " in all" : " quantity");
    if (change) {
      const filled = element("span", "", this.#filled());
      filled.id = "tk-filled";
      quantity.append(filled);
    }
    const quick = change ? [["As it is", { l: String(change.was.quantity / this.unit) }]] : ["1", "5", "10"].map((n) => [n, { l: n }]);
    form.append(hint(quantity, quick));
    const types = change?.was.type === "SL-M" ? { ...TYPES, "SL-M": "Stop, market" } : TYPES;
    form.append(line("Type", segment("tk-type", Object.entries(types), state.type)));
    if (hasTrigger(state.type)) form.append(line("Trigger", stepper("tk-trig", format.price(state.trigger), "decimal", ["One tick less", "One tick more"], "g"), "tk-trig"));
    if (state.type === "MARKET") {
      const fixed = element("div", "fld ro");
      const shown = element("span", "", `${PROTECTION} % from last`);
      fixed.append(shown);
      form.append(line("Protect", fixed));
    } else if (hasPrice(state.type)) {
      form.append(line("Price", stepper("tk-price", state.price === null ? "" : format.price(state.price), "decimal", ["One tick less", "One tick more"], "t"), "tk-price"));
      form.append(hint(element("span", "", `Tick ${Number(contract.tick_size)}`), [["Bid", { p: "bid" }], ["Middle", { p: "mid" }], ["Ask", { p: "ask" }]]));
    }
    const usual = contract.is_derivative ? ["NRML", "MIS"] : ["CNC", "MIS"];
    const products = usual.includes(state.product) ? usual : [state.product];
    form.append(line("Product", segment("tk-prod", products.map((name) => [name, name]), state.product)));
    if (state.exit || change) $$("#tk-prod button", form).forEach((one) => (one.disabled = true));
    if (change) form.append(line("Validity", this.#validity()));
    if (state.exit) form.append(element("p", "tk-why", "It only makes the position smaller, so it goes out through a halt as well."));
    const scroll = element("div", "scroll");
    const preview = element("div");
    preview.id = "tk-pre";
    scroll.append(form, preview);
    return scroll;
  }

  #validity() {
    const { change, validity } = this.state;
    if (change.validities.length) return segment("tk-val", change.validities.map((word) => [word, word === "DAY" ? "Day" : word]), validity);
    const fixed = element("div", "fld ro");
    fixed.append(element("span", "", validity));
    return fixed;
  }

  #filled() {
    const { filled } = this.state.change;
    return filled ? `, ${format.grouped(filled)} filled` : "";
  }

  #go() {
    const go = element("div", "go");
    const review = button("big", "", { id: "tk-rev" });
    const { change } = this.state;
    if (change) {
      const said = this.#order() ? `${format.grouped(this.quantity)} ${this.#at()}` : "Nothing is changed yet";
      review.append("Review change", element("small", "n", said));
      const whose = change.isElsewhere ? ", as far as they were made from here" : "";
      const left = `${change.left} of the broker’s ${change.most} changes are left${whose}.`;
      go.append(review, element("p", "", `Nothing is sent yet. ${left}`));
      return go;
    }
    const word = this.state.exit ? "exit" : this.state.side === "BUY" ? "buy" : "sell";
    review.append(`Review ${word} of ${count(this.state.lots, "lot")}`, element("small", "n", `${format.grouped(this.quantity)} ${this.#at()}`));
    go.append(review, element("p", "", "Nothing is sent yet. One ticket makes one order, however often you press."));
    return go;
  }

  #reviewParts() {
    const { state } = this;
    const one = traders().find(({ account }) => account === state.account);
    const say = element("div", "say n");
    const { change } = state;
    const first = element("div");
    if (change) first.append(element("b", "q", "Change"), ` ${state.side === "BUY" ? "buy" : "sell"} ${format.grouped(change.was.quantity)}`);
    else first.append(element("b", "q", `${state.side === "BUY" ? "Buy" : "Sell"} ${format.grouped(this.quantity)}`), ` (${count(state.lots, "lot")})`);
    const whom = element("div", "", "for ");
    whom.append(element("b", "", one.label), ` ${one.kite}`);
    const terms = { MARKET: `at market, protected to ${PROTECTION} %`, LIMIT: `limit ${format.price(state.price)}`, SL: `stop ${format.price(state.trigger)}, limit ${format.price(state.price)}` };
    const name = element("div");
    name.append(element("b", "", state.contract.name));
    if (change) say.append(first, name, ...fromAndTo(state, this.quantity).map(changeLine), whom);
    else say.append(first, name, element("div", "", `${terms[state.type]}, ${state.product}, day`), whom);
    if (state.exit) say.append(element("div", "", "It only makes the position smaller."));
    const scroll = element("div", "scroll");
    const preview = element("div");
    preview.id = "tk-pre";
    scroll.append(say, preview);
    const go = element("div", "go");
    const send = button("big", "", { id: "tk-send" });
    send.disabled = true;
    send.append(state.sending ? "Sending" : change ? "Send change" : "Send order", element("small", "", `${this.#title()} ${this.#at()}, ${this.source.toLowerCase()}`));
    if (!state.sending) setTimeout(() => send.isConnected && (send.disabled = false), SEND_AFTER_MS);
    const back = element("p");
    const again = button("btn ghost sm", "Change something", { id: "tk-back" });
    again.disabled = Boolean(state.sending);
    back.append(again);
    go.append(send, back);
    return [scroll, go];
  }

  #unansweredParts() {
    const say = element("div", "say n");
    say.append(element("b", "q", this.#title()), element("div", "", `${this.#at()}, ${this.state.product}`));
    const scroll = element("div", "scroll");
    const safe = this.state.change
      ? "The service may have this change. Asking again is safe: the same key never makes a second change. The order shows it as well."
      : "The service may have this order. Asking again is safe: the same key never makes a second order. The list of orders shows it as well.";
    scroll.append(say, element("p", "tk-p", safe));
    const go = element("div", "go");
    const again = button("big", "", { id: "tk-again" });
    again.disabled = Boolean(this.state.sending);
    again.append("Ask for the answer again", element("small", "", `key ${shownKey(this.state.key)}`));
    go.append(again);
    return [scroll, go];
  }

  #drawPreview() {
    const place = $("#tk-pre", this.box);
    if (!place) return;
    const { preview, state } = this;
    const figures = element("div", "pre n");
    const add = (word, text, more) => {
      const row = element("div");
      const value = element("b", "", text);
      if (more) value.append(element("span", "mut", more));
      row.append(element("span", "", word), value);
      figures.append(row);
    };
    if (state.change) add("The order’s worth then", rupees(preview?.notional));
    else add(state.side === "BUY" ? "Premium to pay" : "Premium to receive", rupees(preview?.notional));
    if (!state.change) add("Margin needed", rupees(preview?.margin_required), preview?.margin_available ? ` of ${rupees(preview.margin_available)}` : "");
    if (!state.change) add("Charges, about", rupees(preview?.charges, 2));
    const delta = this.quote?.delta;
    if (!state.change) add("Delta added", format.missing(delta) ? format.DASH : format.signedGrouped(delta * this.quantity * (state.side === "BUY" ? 1 : -1), 1));
    const checks = element("ul", "checks");
    const row = (kind, text) => {
      const item = element("li", kind);
      const sign = icon(kind === "x" ? "x" : kind === "w" ? "warn" : "check");
      sign.classList.add("s");
      item.append(sign, element("span", "", text));
      checks.append(item);
    };
    if (preview?.error) row("x", preview.error);
    else if (preview?.margin_message) row("w", preview.margin_message);
    const known = preview?.checks ?? [];
    const order = (check) => (check.passed === false ? 0 : check.passed === null ? 1 : 2);
    for (const check of [...known].sort((a, b) => order(a) - order(b))) row(["x", "w", ""][order(check)], check.message);
    if (!preview && this.whole) row("w", "The checks are being asked for.");
    place.replaceChildren(figures, checks);
    const review = $("#tk-rev", this.box);
    if (review) review.disabled = !preview?.would_be_accepted;
  }

  /* --- what the person does ----------------------------------------------------------------------------------------- */

  #set(change, problem = "") {
    Object.assign(this.state, change);
    this.problem = problem;
    this.#draw();
    this.#askSoon();
  }

  #clicked(event) {
    const pressedOn = event.target.closest("button");
    const { state } = this;
    if (!pressedOn || pressedOn.disabled || !state) return;
    const { id, dataset } = pressedOn;
    const tick = Number(state.contract?.tick_size) || 0.05;
    if (id === "tk-x") {
      if (!state.sending) this.close();
    } else if (id === "tk-rev") this.#review();
    else if (id === "tk-back") this.#set({ step: "edit" });
    else if (id === "tk-send") this.#press();
    else if (id === "tk-again") this.#place();
    else if (dataset.account) {
      this.#set({ account: dataset.account });
      $("#tk-find")?.focus();
    } else if (dataset.symbol) this.#take(dataset);
    else if (pressedOn.closest(".bs")) this.#side(dataset.v);
    else if (pressedOn.closest("#tk-type")) this.#type(dataset.v);
    else if (pressedOn.closest("#tk-prod")) this.#set({ product: dataset.v });
    else if (pressedOn.closest("#tk-val")) this.#set({ validity: dataset.v });
    else if (dataset.d) this.#set({ lots: Math.max(1, state.lots + Number(dataset.d)) });
    else if (dataset.l) this.#set({ lots: Number(dataset.l) });
    else if (dataset.t) this.#set({ price: this.#rounded(Math.max(tick, (state.price ?? 0) + dataset.t * tick)) });
    else if (dataset.g) this.#set({ trigger: this.#rounded(Math.max(tick, (state.trigger ?? 0) + dataset.g * tick)) });
    else if (dataset.p && hasPrice(state.type)) {
      const price = dataset.p === "mid" ? this.middle : this.quote?.[dataset.p];
      if (price) this.#set({ price: this.#rounded(price) });
    }
  }

  /** A number of lots that a ticket may have: an order that had more may keep them. */
  #whole(number) {
    const most = Math.max(MOST_LOTS, (this.state.change?.was.quantity ?? 0) / this.unit);
    return Math.min(most, Math.max(1, Math.round(number) || 1));
  }

  #side(side) {
    const price = this.state.contract ? (side === "BUY" ? this.quote?.ask : this.quote?.bid) : null;
    this.#set({ side, price: price ?? this.state.price });
  }

  #type(type) {
    if (type === "MARKET" && this.stale) return;
    const { state } = this;
    const trigger = hasTrigger(type) ? (state.trigger ?? this.#rounded((state.price ?? this.middle ?? 0) * (state.side === "BUY" ? 0.99 : 1.01))) : state.trigger;
    const price = hasPrice(type) ? (state.price ?? this.#rounded(this.middle)) : state.price;
    this.#set({ type, trigger, price });
  }

  #review() {
    if (!this.preview?.would_be_accepted) return;
    this.problem = "";
    this.state.reviewed = { middle: this.middle, fresh: !this.stale };
    this.state.step = "review";
    kept.write(this.state);
    this.#draw();
  }

  /* Leaving a field. What was typed counts already: drawing anew would take the button away from under a press. */
  #changed({ target }) {
    const { state } = this;
    const name = { "tk-lots": "lots", "tk-price": "price", "tk-trig": "trigger" }[target.id];
    if (!state || !name) return;
    const number = Number(target.value.replace(/[,\s]/g, ""));
    const value = name === "lots" ? this.#whole(number) : number > 0 ? number : state[name];
    if (value === state[name]) target.value = name === "lots" ? String(value) : value === null ? "" : format.price(value);
    else this.#set({ [name]: value });
  }

  /* What is being typed already counts: what stands in a field is what is checked and reviewed. */
  #typed({ target }) {
    const { state } = this;
    if (!state) return;
    if (target.id === "tk-find") return this.#search(target.value);
    const number = Number(target.value.replace(/[,\s]/g, ""));
    if (!(number > 0)) return;
    if (target.id === "tk-lots") state.lots = this.#whole(number);
    else if (target.id === "tk-price") state.price = number;
    else if (target.id === "tk-trig") state.trigger = number;
    else return;
    put($("#tk-q", this.box), format.grouped(this.quantity));
    $(".go", this.box).replaceWith(this.#go());
    this.#askSoon();
  }

  #search(text) {
    clearTimeout(this.searching);
    this.searching = setTimeout(async () => {
      const answer = await this.#get("/ticket/search/", { q: text });
      const place = $("#tk-found");
      if (!place || $("#tk-find").value !== text) return;
      const rows = (answer?.found ?? []).map((one) => {
        const row = button("row", "", { symbol: one.symbol, exchange: one.exchange });
        row.append(element("b", "", one.name), element("span", "mut", one.exchange));
        return row;
      });
      place.replaceChildren(...(rows.length || text.length < 2 ? rows : [element("p", "mut", "Nothing found. Try a strike, for example 24600 ce.")]));
    }, PREVIEW_AFTER_MS);
  }

  #keyed(event) {
    const { target, key } = event;
    if (key === "Enter" && !target.closest("button")) {
      event.preventDefault(); // plain Enter never sends, and never reviews
      if (target.id === "tk-find") return $("#tk-found button")?.click();
      target.blur();
    } else if ((key === "ArrowUp" || key === "ArrowDown") && (target.id === "tk-price" || target.id === "tk-trig")) {
      event.preventDefault();
      const name = target.id === "tk-price" ? "t" : "g";
      $(`[data-${name}="${key === "ArrowUp" ? 1 : -1}"]`, this.box)?.click();
    }
  }

  #shortcut(event) {
    if (!this.state || $("dialog[open]")) return;
    if (event.key === "Escape" && !this.state.sending) this.close();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) {
      event.preventDefault();
      const next = $("#tk-rev, #tk-send", this.box);
      if (next && !next.disabled) next.click();
    }
  }
}

function changeLine([name, from, to]) {
  const row = element("div", "");
  row.append(`${name} from ${from} to `, element("b", "", to));
  return row;
}
