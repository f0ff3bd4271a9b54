/* The socket: subscribe to one chain, snapshot first, then updates; acknowledge after the drawing; reconnect by itself.

   A frame is acknowledged only when `painted()` is called, after the flush: a busy page therefore gets fewer, newer
   updates instead of a queue. A hidden tab paints nothing and acknowledges nothing; the server then closes with 4408,
   and the page dials again when it is looked at. */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
const STEADY_MS = 10_000;
const HANDSHAKE_MS = 8_000;
// A stream that has just begun does not know the chain yet: ask again, calmly.
const ASK_AGAIN_MS = 2_000;
const ASK_AGAIN_ON = new Set(["unknown_chain", "unavailable"]);
// Dialling again with the same login is useless.
const REFUSED = new Map([
  [4401, "loggedout"],
  [4403, "denied"],
]);

export class Ticks extends EventTarget {
  /** `url`: the socket's path; `chain`: {underlying, expiry}. Emits `frame`, `state` and `refused`. */
  constructor(url, chain) {
    super();
    this.url = new URL(url, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.chain = chain;
    this.connected = false;
    this.attempts = 0; // since the last steady connection
    this.opened = 0; // connections that carried data
    this.updates = 0;
    this.skipped = 0;
    this.nextTryAt = 0;
    this.unacknowledged = [];
    this.stopped = false;
    this.feed = "live"; // what the server says of the stream itself
    this.problem = ""; // why the subscription is not in force, in the server's words
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
    addEventListener("pagehide", () => this.socket?.close());
    // A page that comes back from the browser's cache has lost its socket.
    addEventListener("pageshow", (event) => event.persisted && this.retryNow());
  }

  dial() {
    clearTimeout(this.timer);
    clearTimeout(this.asking);
    this.nextTryAt = 0;
    this.unacknowledged = [];
    const socket = new WebSocket(this.url);
    this.socket = socket;
    const handshake = setTimeout(() => socket.close(), HANDSHAKE_MS);
    let openedAt = 0;
    socket.onopen = () => {
      clearTimeout(handshake);
      openedAt = performance.now();
      this.subscribe();
    };
    socket.onmessage = (event) => this.socket === socket && this.receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      clearTimeout(handshake);
      if (this.socket !== socket) return;
      if (openedAt && performance.now() - openedAt > STEADY_MS) this.attempts = 0;
      this.setConnected(false);
      this.wait(event.code);
    };
  }

  subscribe() {
    this.send({ type: "subscribe", id: "1", chains: [this.chain] });
  }

  wait(code) {
    const refusal = REFUSED.get(code);
    if (refusal) {
      this.stopped = true;
      this.emit("refused", refusal);
      return;
    }
    if (document.hidden) return; // visibilitychange dials
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts);
    this.attempts += 1;
    // Half fixed, half random: many pages do not return in the same instant.
    const jittered = delay / 2 + (Math.random() * delay) / 2;
    this.nextTryAt = performance.now() + jittered;
    this.timer = setTimeout(() => this.dial(), jittered);
  }

  retryNow() {
    if (this.stopped || (this.socket && this.socket.readyState <= WebSocket.OPEN)) return;
    this.dial();
  }

  receive(message) {
    if (message.type === "snapshot" || message.type === "update") {
      this.setConnected(true);
      this.updates += 1;
      this.skipped += message.skipped || 0;
      this.unacknowledged.push(message.frame);
      this.emit("frame", message);
    } else if (message.type === "ack") {
      this.problem = "";
      this.setConnected(true);
    } else if (message.type === "status") {
      this.feed = message.feed_state;
    } else if (message.type === "error") this.refused(message);
  }

  refused(message) {
    this.setConnected(true); // whoever answers is there
    if (message.id !== "1") return;
    this.problem = message.message;
    if (!ASK_AGAIN_ON.has(message.code)) return;
    clearTimeout(this.asking);
    this.asking = setTimeout(() => this.connected && this.subscribe(), ASK_AGAIN_MS);
  }

  /** Everything received so far is on the screen: the server may send more. Of two frames on their way it waits for the
      second only, so after the first of all each second one is acknowledged. */
  painted() {
    const newest = this.unacknowledged.at(-1);
    if (!newest || this.socket?.readyState !== WebSocket.OPEN) return;
    if (newest > 1 && this.unacknowledged.length < 2) return;
    this.send({ type: "ack", frame: newest }); // and with it every earlier one
    this.unacknowledged = [];
  }

  setConnected(connected) {
    if (connected && !this.connected) this.opened += 1;
    if (connected === this.connected) return;
    this.connected = connected;
    this.emit("state", connected);
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
