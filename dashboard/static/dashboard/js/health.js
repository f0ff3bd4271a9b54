/* The service's health over `/ws/health/` (docs/websocket.md): one reading a second. The socket comes back by itself.

   Nothing is said to the server. A hidden tab listens on: a frame is small. */

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
const STEADY_MS = 10_000;
// A reading comes each second. A connection that is open and mute may be dead without either end knowing.
const MUTE_MS = 10_000;
// Dialling again with the same login is useless.
const REFUSED = new Map([
  [4401, "loggedout"],
  [4403, "denied"],
]);

export class Health extends EventTarget {
  /** `path`: the socket's. Emits `frame` and `refused`. */
  constructor(path) {
    super();
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.attempts = 0;
    this.frames = 0;
    this.refusal = "";
    this.muteMs = MUTE_MS;
    addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retry());
    // A page that comes back from the browser's cache has lost its socket.
    addEventListener("pageshow", (event) => event.persisted && this.#retry());
    addEventListener("pagehide", () => this.socket?.close());
  }

  dial() {
    clearTimeout(this.timer);
    const before = this.socket;
    const socket = (this.socket = new WebSocket(this.url));
    before?.close(); // its own end, when that comes, is no news any more
    let openedAt = 0;
    this.#expect(socket);
    socket.onopen = () => (openedAt = performance.now());
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (this.socket !== socket || frame.type !== "health") return;
      this.frames += 1;
      this.#expect(socket);
      this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
    };
    socket.onclose = ({ code }) => {
      if (this.socket !== socket) return;
      clearTimeout(this.mute);
      if (openedAt && performance.now() - openedAt > STEADY_MS) this.attempts = 0;
      this.refusal = REFUSED.get(code) ?? "";
      if (this.refusal) {
        this.dispatchEvent(new Event("refused"));
        return;
      }
      const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts++);
      this.timer = setTimeout(() => this.dial(), delay / 2 + (Math.random() * delay) / 2);
    };
  }

  #expect(socket) {
    clearTimeout(this.mute);
    this.mute = setTimeout(() => this.socket === socket && this.dial(), this.muteMs);
  }

  #retry() {
    if (!this.refusal && !(this.socket?.readyState <= WebSocket.OPEN)) this.dial();
  }
}
