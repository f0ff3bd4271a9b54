/* One chain's numbers: an array per field, one slot per strike and side, and the figures derived from them.

   Nothing here touches the page. A missing number is NaN. Applying a batch only stores and marks rows dirty. */

/** Field here → column of a part. */
const COLUMNS = {
  ltp: "last_price",
  chg: "change_percent",
  bid: "bid",
  ask: "ask",
  iv: "implied_volatility",
  dl: "delta",
  ga: "gamma",
  th: "theta_per_day",
  ve: "vega_per_point",
  oi: "oi",
  doi: "oi_day_change",
  vol: "volume_traded",
  traded: "last_trade_time",
};
/** The order book: columns of price and quantity, the best level first. More than one come where the service has them. */
const LEVELS = ["", "_2", "_3", "_4", "_5"];
for (const way of ["bid", "ask"]) {
  for (const level of LEVELS) {
    COLUMNS[`${way}${level}`] = `${way}${level}`;
    COLUMNS[`${way}_quantity${level}`] = `${way}_quantity${level}`;
  }
}
const FIELDS = Object.keys(COLUMNS);
const number = (x) => (x === null || x === undefined ? NaN : x);

const side = (size) => ({
  ...Object.fromEntries(FIELDS.map((field) => [field, new Float64Array(size).fill(NaN)])),
  moved: new Int8Array(size), // direction of the last change of the last price
});

export class Book {
  /** `strikes`: numbers in order; `tokens`: [call tokens, put tokens], 0 where a contract does not exist. */
  constructor({ underlying, expiry, strikes, tokens }) {
    this.underlying = underlying;
    this.expiry = expiry;
    this.strikes = Float64Array.from(strikes);
    this.size = strikes.length;
    this.calls = side(this.size);
    this.puts = side(this.size);
    this.dirty = new Uint8Array(this.size);
    this.slots = new Map();
    tokens.forEach((list, isPut) => list.forEach((token, row) => token && this.slots.set(token, [isPut, row])));
    this.spot = NaN;
    this.spotClose = NaN;
    this.future = NaN;
    this.futures = new Map(); // expiry → last price
    this.hasQuotes = false;
    this.hasCash = false;
  }

  /** Take one part in. Returns "options", "underlying", or null for a part of something else. */
  apply(part) {
    if (part.underlying !== this.underlying) return null;
    if (part.expiry === this.expiry) {
      this.#options(part);
      return "options";
    }
    if (part.expiry === null) {
      this.#cash(part.columns);
      return "underlying";
    }
    return null;
  }

  #options(part) {
    const { columns } = part;
    const tokens = columns.instrument_token;
    const wanted = FIELDS.filter((field) => columns[COLUMNS[field]]).map((field) => [field, columns[COLUMNS[field]]]);
    for (let n = 0; n < tokens.length; n++) {
      const slot = this.slots.get(tokens[n]);
      if (!slot) continue; // a strike listed after this page was made
      const [isPut, row] = slot;
      const values = isPut ? this.puts : this.calls;
      const before = values.ltp[row];
      for (const [field, column] of wanted) values[field][row] = number(column[n]);
      if (values.ltp[row] !== before) values.moved[row] = Math.sign(values.ltp[row] - before) || 0;
      this.dirty[row] = 1;
    }
    this.hasQuotes = true;
    const pricing = part.pricing;
    if (!pricing) return;
    if (!this.hasCash && pricing.spot > 0) this.spot = pricing.spot;
    if (!this.futures.size) this.future = number(pricing.future);
  }

  #cash(columns) {
    const prices = columns.last_price;
    for (let n = 0; n < prices.length; n++) {
      if (columns.instrument_type[n] === "FUT") {
        if (prices[n] !== null) this.futures.set(columns.expiry[n], prices[n]);
      } else if (prices[n] > 0) {
        // A spot of 0 is no spot: nothing may be drawn from it.
        this.spot = prices[n];
        this.spotClose = number(columns.close?.[n]);
        this.hasCash = true;
      }
    }
    // The future that the chain's own expiry is carried by: the first one not before it, else the last there is.
    const expiries = [...this.futures.keys()].sort();
    const carrying = expiries.find((expiry) => expiry >= this.expiry) ?? expiries.at(-1);
    if (carrying) this.future = this.futures.get(carrying);
  }

  /** One contract's levels of the order book, [price, quantity], the best first; `way` is bid or ask. */
  levels(token, way) {
    const [isPut, row] = this.slots.get(token);
    const values = isPut ? this.puts : this.calls;
    return LEVELS.map((level) => [values[`${way}${level}`][row], values[`${way}_quantity${level}`][row]]).filter(([price]) => price > 0);
  }

  /** Row nearest to the spot, or -1 while there is none. */
  get atm() {
    if (!(this.spot > 0) || !this.size) return -1;
    const above = this.aboveSpot;
    if (above === 0) return 0;
    if (above === this.size) return this.size - 1;
    return this.strikes[above] - this.spot < this.spot - this.strikes[above - 1] ? above : above - 1;
  }

  /** First row whose strike is at or above the spot; the size when none is; -1 without a spot. */
  get aboveSpot() {
    if (!(this.spot > 0)) return -1;
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.strikes[middle] < this.spot) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  straddle(row = this.atm) {
    return row < 0 ? NaN : this.calls.ltp[row] + this.puts.ltp[row];
  }

  /** The figures of the header. Each is NaN where it has no answer. */
  figures() {
    const row = this.atm;
    const callOi = total(this.calls.oi);
    const putOi = total(this.puts.oi);
    const atmIv = row < 0 ? NaN : mean([this.calls.iv[row], this.puts.iv[row]]);
    const call25 = this.#ivAtDelta(this.calls, 0.25);
    const put25 = this.#ivAtDelta(this.puts, -0.25);
    return {
      atmStrike: row < 0 ? NaN : this.strikes[row],
      atmIv,
      straddle: this.straddle(row),
      callOi,
      putOi,
      pcr: callOi > 0 ? putOi / callOi : NaN,
      maxPain: this.maxPain(),
      skew: put25 - call25,
      fly: (put25 + call25) / 2 - atmIv,
    };
  }

  /** The strike at which open options would pay least, in one pass up and one down. NaN without open interest. */
  maxPain() {
    const { strikes, size } = this;
    if (!size) return NaN;
    const pain = new Float64Array(size);
    const carry = (oi, from, step) => {
      let open = 0;
      let paid = 0;
      for (let row = from; row >= 0 && row < size; row += step) {
        if (row !== from) paid += open * Math.abs(strikes[row] - strikes[row - step]);
        pain[row] += paid;
        open += oi[row] || 0;
      }
      return open;
    };
    const open = carry(this.calls.oi, 0, 1) + carry(this.puts.oi, size - 1, -1);
    if (!(open > 0)) return NaN;
    return strikes[pain.indexOf(Math.min(...pain))];
  }

  largestOi() {
    let largest = 1;
    for (const oi of [this.calls.oi, this.puts.oi]) for (const value of oi) if (value > largest) largest = value;
    return largest;
  }

  /** Volatility at a delta, on the line between the two strikes around it. */
  #ivAtDelta(values, delta) {
    for (let row = 1; row < this.size; row++) {
      const [before, after] = [values.dl[row - 1], values.dl[row]];
      if ((before - delta) * (after - delta) > 0 || Number.isNaN(before + after) || before === after) continue;
      const weight = (delta - before) / (after - before);
      return values.iv[row - 1] + weight * (values.iv[row] - values.iv[row - 1]);
    }
    return NaN;
  }
}

const mean = (values) => {
  const known = values.filter((value) => !Number.isNaN(value));
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : NaN;
};

/** Sum of what is known; NaN when nothing is. */
const total = (values) => {
  let sum = NaN;
  for (const value of values) if (!Number.isNaN(value)) sum = (sum || 0) + value;
  return sum;
};
