/* What happens to orders, over `/ws/orders/` (docs/orders-websocket.md): each row in order, none left out; after a break the
   socket goes on from the last one seen. The pages ask the server for what they show: rows only tell them to look. */

import { toast } from "./toasts.js";

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
const STEADY_MS = 10_000;
const LOOK_AFTER_MS = 120;
const USELESS = new Set([4401, 4403]); // dialling again with the same login changes nothing
const GOOD = new Set(["Filled", "Cancelled"]);
const BAD = new Set(["Needs you", "Refused here", "Refused by the broker", "Rejected"]);

export class News extends EventTarget {
  constructor({ mine = "" } = {}) {
    super();
    this.mine = mine; // the principal whose orders are worth a toast
    this.seen = {}; // account → the last row's number
    this.rows = 0;
    this.last = 0;
    this.attempts = 0;
    this.connected = false;
    this.stopped = false;
    this.followed = new Map(); // task → what to call it
    document.body.addEventListener("orders-news", ({ detail }) => detail?.sent && this.followed.set(detail.sent, detail.title ?? ""));
    addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retry());
    addEventListener("pageshow", (event) => event.persisted && this.#retry());
    addEventListener("pagehide", () => this.socket?.close());
  }

  dial() {
    clearTimeout(this.timer);
    const url = new URL("/ws/orders/", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(url));
    let openedAt = 0;
    socket.onopen = () => {
      openedAt = performance.now();
      socket.send(JSON.stringify({ subscribe: { accounts: "all", last_seq: this.seen } }));
    };
    socket.onmessage = ({ data }) => this.socket === socket && this.#take(JSON.parse(data));
    socket.onclose = ({ code }) => {
      if (this.socket !== socket) return;
      if (openedAt && performance.now() - openedAt > STEADY_MS) this.attempts = 0;
      this.#setConnected(false);
      if (USELESS.has(code)) this.stopped = true;
      if (this.stopped || document.hidden) return;
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts++);
      this.timer = setTimeout(() => this.dial(), delay / 2 + (Math.random() * delay) / 2);
    };
  }

  #retry() {
    if (!this.stopped && !(this.socket?.readyState <= WebSocket.OPEN)) this.dial();
  }

  #take(message) {
    if (message.type === "subscribed") {
      for (const [account, { seq }] of Object.entries(message.accounts)) this.seen[account] = seq;
      this.#setConnected(true);
      this.#look(); // whatever happened before is read, not told
    } else if (message.type === "snapshot") this.#acknowledge(message.frame);
    else if (message.type === "news") {
      for (const row of message.rows) this.#row(row);
      this.#acknowledge(message.frame);
      this.#look();
    } else if (message.type === "error" && message.code === "unavailable") this.socket.close();
    else if (message.type === "error" && message.code === "unknown_account") {
      this.seen = {}; // an account was taken away meanwhile: begin anew
      this.socket.close();
    }
  }

  #row({ account, seq, kind, reference, words, data }) {
    this.seen[account] = this.last = seq;
    this.rows += 1;
    if (kind === "trading_state") return document.dispatchEvent(new Event("look-at-trading"));
    const task = kind === "task" ? reference : data.task;
    if (kind === "task" && this.mine && data.principal === this.mine && data.operation !== "cancel" && data.operation !== "modify")
      if (!this.followed.has(task)) this.followed.set(task, titleOf(data.params));
    const needs = kind === "task" && (data.status === "unknown" || data.status === "dead_letter" || data.is_late_arrival);
    if (!needs && !this.followed.has(task)) return;
    if (kind === "task" && data.status === "completed" && !data.is_late_arrival) return; // the broker's own word follows
    const title = this.followed.get(task) || titleOf(kind === "task" ? data.params : data);
    toast(needs ? "warn" : BAD.has(words) ? "bad" : GOOD.has(words) ? "ok" : "info", title, sentence(words, kind, data), task);
  }

  #acknowledge(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ ack: frame }));
  }

  #look() {
    clearTimeout(this.looking);
    this.looking = setTimeout(() => document.body.dispatchEvent(new CustomEvent("orders-news", { detail: {} })), LOOK_AFTER_MS);
  }

  #setConnected(connected) {
    this.connected = connected;
    this.dispatchEvent(new Event("state"));
  }
}

function titleOf({ transaction_type: side, quantity, tradingsymbol }) {
  if (!tradingsymbol) return "An order";
  return `${side === "SELL" ? "Sell" : "Buy"} ${quantity} ${tradingsymbol}`;
}

function sentence(words, kind, data) {
  if (kind === "task" && data.is_late_arrival) return "Late arrival: the broker has it after all.";
  if (kind === "task" && data.status === "unknown") return "Checking: the broker did not answer. It is not sent again while we look.";
  const why = kind === "task" ? data.error_message : data.status_message;
  if (words === "Filled" || words === "Part filled") return `${words}: ${data.filled_quantity} of ${data.quantity} at ${Number(data.average_price).toFixed(2)}.`;
  return why && BAD.has(words) ? `${words}: ${why}` : `${words}.`;
}
