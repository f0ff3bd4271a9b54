/* Small inline SVG charts from the chain's own numbers. Drawn at most once a second, never on the tick path. */

import { grouped } from "./format.js";

const LEFT = 30;
const RIGHT = 6;
const TOP = 14;
const BOTTOM = 18;
const OI_STRIKES_EACH_SIDE = 15;

export const scale = (from, to, low, high) => (value) => low + ((value - from) / (to - from || 1)) * (high - low);
export const path = (points) => "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
export const svg = (width, height, body, label) =>
  `<svg class="ch" viewBox="0 0 ${width} ${height}" role="img" aria-label="${label}">${body}</svg>`;
export const waiting = (width, height, text) =>
  svg(width, height, `<text x="${width / 2}" y="${height / 2}" text-anchor="middle">${text}</text>`, text);

/** Round values between two ends, about `count` of them. */
export function ticks(from, to, count) {
  const raw = (to - from) / count;
  if (!(raw > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((multiple) => multiple * power >= raw * 0.999) * power;
  const values = [];
  for (let value = Math.ceil(from / step) * step; value <= to + step * 1e-9; value += step) values.push(+value.toFixed(6));
  return values;
}

const levels = (values, y, width, label) =>
  values
    .map(
      (value) =>
        `<line class="ax" x1="${LEFT}" x2="${width - RIGHT}" y1="${y(value)}" y2="${y(value)}"/>` +
        `<text x="${LEFT - 5}" y="${y(value) + 3}" text-anchor="end">${label(value)}</text>`,
    )
    .join("");

const strikesBelow = (from, to, x, height) =>
  ticks(from, to, 4)
    .filter((strike) => strike > from + (to - from) * 0.06 && strike < to - (to - from) * 0.06)
    .map((strike) => `<text x="${x(strike)}" y="${height - 4}" text-anchor="middle">${grouped(strike)}</text>`)
    .join("");

const spotLine = (spot, x, width, height) => {
  const at = x(spot);
  if (!(spot > 0) || at < LEFT || at > width - RIGHT) return "";
  return (
    `<line class="spotl" x1="${at}" x2="${at}" y1="${TOP - 4}" y2="${height - BOTTOM}"/>` +
    `<text x="${at + 4}" y="${TOP + 1}">spot</text>`
  );
};

/** Out-of-the-money volatility by strike: puts below the spot as squares, calls above it as circles, joined by a line. */
export function smile(book, width, height) {
  const points = [];
  for (let row = 0; row < book.size; row++) {
    const call = book.strikes[row] >= book.spot;
    const side = call ? book.calls : book.puts;
    // Beyond a delta of 2 % a tick is worth several points of volatility: noise, not a smile.
    if (side.iv[row] > 0 && Math.abs(side.dl[row]) >= 0.02) points.push({ strike: book.strikes[row], iv: side.iv[row] * 100, call });
  }
  if (points.length < 3) return waiting(width, height, "No volatility yet");
  const [from, to] = [points[0].strike, points.at(-1).strike];
  const ivs = points.map((point) => point.iv);
  const pad = Math.max(0.4, (Math.max(...ivs) - Math.min(...ivs)) * 0.12);
  const [low, high] = [Math.min(...ivs) - pad, Math.max(...ivs) + pad];
  const x = scale(from, to, LEFT, width - RIGHT);
  const y = scale(low, high, height - BOTTOM, TOP);
  const r = points.length > 50 ? 1.6 : 2.2;
  const mark = ({ strike, iv, call }) =>
    call
      ? `<circle class="call" cx="${x(strike).toFixed(1)}" cy="${y(iv).toFixed(1)}" r="${r}"/>`
      : `<rect class="put" x="${(x(strike) - r + 0.2).toFixed(1)}" y="${(y(iv) - r + 0.2).toFixed(1)}" width="${2 * r - 0.4}" height="${2 * r - 0.4}"/>`;
  const body =
    levels(ticks(low, high, 4), y, width, (value) => value.toFixed(value % 1 ? 1 : 0)) +
    strikesBelow(from, to, x, height) +
    `<path class="fit" d="${path(points.map((point) => [x(point.strike), y(point.iv)]))}"/>` +
    points.map(mark).join("") +
    spotLine(book.spot, x, width, height);
  return svg(width, height, body, "Implied volatility by strike, out-of-the-money options");
}

/** Open interest by strike around the money, today's change as the darker part. */
export function openInterest(book, width, height) {
  const middle = book.atm;
  if (middle < 0 || book.largestOi() <= 1) return waiting(width, height, "No open interest yet");
  const first = Math.max(0, middle - OI_STRIKES_EACH_SIDE);
  const last = Math.min(book.size - 1, middle + OI_STRIKES_EACH_SIDE);
  const slot = (width - LEFT - RIGHT) / (last - first + 1);
  const bar = Math.max(2, slot * 0.38);
  let largest = 1;
  for (let row = first; row <= last; row++) {
    for (const side of [book.calls, book.puts]) largest = Math.max(largest, side.oi[row] || 0, (side.oi[row] || 0) - (side.doi[row] || 0));
  }
  const y = scale(0, largest * 1.05, height - BOTTOM, TOP);
  const middleOf = (row) => LEFT + (row - first + 0.5) * slot;
  const rect = (kind, left, from, to) =>
    `<rect class="${kind}" x="${left.toFixed(1)}" width="${bar.toFixed(1)}" y="${y(to).toFixed(1)}" height="${Math.max(0, y(from) - y(to)).toFixed(1)}"/>`;
  const column = (left, side, row, name) => {
    const oi = side.oi[row] || 0;
    const change = side.doi[row] || 0;
    const kept = change > 0 ? oi - change : oi;
    const edge = change > 0 ? rect(name, left, kept, oi) : change < 0 ? rect(`${name}-closed`, left, oi, oi - change) : "";
    return rect(`${name}-soft`, left, 0, kept) + edge;
  };
  let body = levels(ticks(0, largest / 1e5, 3), (value) => y(value * 1e5), width, (value) => (value ? `${value}L` : "0"));
  for (let row = first; row <= last; row++) {
    body += column(middleOf(row) - bar - 0.5, book.calls, row, "call") + column(middleOf(row) + 0.5, book.puts, row, "put");
  }
  const x = scale(book.strikes[first], book.strikes[last], middleOf(first), middleOf(last));
  body +=
    `<line class="ax0" x1="${LEFT}" x2="${width - RIGHT}" y1="${y(0)}" y2="${y(0)}"/>` +
    strikesBelow(book.strikes[first], book.strikes[last], x, height) +
    spotLine(book.spot, x, width, height);
  return svg(width, height, body, "Open interest by strike, today’s change as the darker part");
}

/** The spot since the page was opened. */
export function spark(values, width, height) {
  if (values.length < 2) return "";
  const x = scale(0, values.length - 1, 1, width - 3);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const y = high > low ? scale(low, high, height - 3, 3) : () => height / 2;
  const direction = values.at(-1) >= values[0] ? "up" : "down";
  return (
    `<svg class="spark ${direction}" viewBox="0 0 ${width} ${height}" aria-hidden="true">` +
    `<path d="${path(values.map((value, at) => [x(at), y(value)]))}"/>` +
    `<circle cx="${x(values.length - 1)}" cy="${y(values.at(-1))}" r="1.8"/></svg>`
  );
}
