/* Numbers and times as people are shown them. The same rules as dashboard/formats.py; a test compares the two. */

export const DASH = "–";
const MINUS = "−";
const IST_OFFSET_MS = 19_800_000;

const indian = (decimals) =>
  new Intl.NumberFormat("en-IN", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
const GROUPED = [indian(0), indian(1), indian(2)];

/** A field that was not sent, `null` and `NaN` are all "missing": shown as a dash, never as 0. */
export const missing = (x) => x === null || x === undefined || Number.isNaN(x);

const sign = (x) => (x > 0 ? "+" : x < 0 ? MINUS : "");
const minus = (text) => (text.startsWith("-") ? (Number(text) === 0 ? text.slice(1) : MINUS + text.slice(1)) : text);

/** Price in the grid: two decimals, no separators. */
export const price = (x) => (missing(x) ? DASH : minus(x.toFixed(2)));

/** `digits` decimals with a true minus; from 100 up none, so that the column keeps its width. */
export const fixed = (x, digits) => {
  if (missing(x)) return DASH;
  return minus(x.toFixed(digits < 2 && Math.abs(x) >= 99.95 ? 0 : digits));
};

/** A fraction as a percentage with one decimal: 0.118 → 11.8. */
export const percent = (x) => (missing(x) ? DASH : fixed(x * 100, 1));

/** A signed change in percent: +0.4, −52.8, +112. */
export const change = (x) => {
  if (missing(x)) return DASH;
  const size = Math.abs(x);
  const text = size.toFixed(size >= 99.95 ? 0 : 1);
  return (Number(text) === 0 ? "" : sign(x)) + text;
};

/** A count in thousands and lakh: 65, 7.6k, 33.0L, 219L. */
export const compact = (x) => {
  if (missing(x)) return DASH;
  const size = Math.abs(x);
  const text =
    size < 1000
      ? size.toFixed(0)
      : size < 99_950
        ? (size / 1e3).toFixed(1) + "k"
        : (size / 1e5).toFixed(size < 9_995_000 ? 1 : 0) + "L";
  return (x < 0 ? MINUS : "") + text;
};
export const compactChange = (x) => (missing(x) ? DASH : sign(x) + compact(Math.abs(x)));

/** Totals in crore: 25.82 Cr. */
export const crore = (x) => (missing(x) ? DASH : (x / 1e7).toFixed(2) + " Cr");

/** Indian grouping: 18,42,310 or 24,612.35. */
export const grouped = (x, decimals = 0) =>
  missing(x) ? DASH : (x < 0 ? MINUS : "") + GROUPED[decimals].format(Math.abs(x));
export const signedGrouped = (x, decimals = 2) =>
  missing(x) ? DASH : sign(x) + GROUPED[decimals].format(Math.abs(x));

/** Ages: 0.1 s, 14 s, 3 m, 2.5 h. */
export const age = (seconds) =>
  missing(seconds)
    ? DASH
    : seconds < 9.95
      ? seconds.toFixed(1) + " s"
      : seconds < 99.5
        ? Math.round(seconds) + " s"
        : seconds < 5400
          ? Math.round(seconds / 60) + " m"
          : (seconds / 3600).toFixed(1) + " h";

/** Delays: under 1 ms, 58 ms, 1.4 s. */
export const delay = (ms) => (missing(ms) ? DASH : ms < 1 ? "under 1 ms" : ms < 1000 ? Math.round(ms) + " ms" : (ms / 1000).toFixed(1) + " s");

const indianTime = (unixSeconds) => new Date(unixSeconds * 1000 + IST_OFFSET_MS).toISOString();
/** 10:42:07 in India, from unix seconds. */
export const time = (unixSeconds) => (missing(unixSeconds) ? DASH : indianTime(unixSeconds).slice(11, 19));
export const timeWithMs = (unixSeconds) => (missing(unixSeconds) ? DASH : indianTime(unixSeconds).slice(11, 23));
export const clockTime = (unixSeconds) => indianTime(unixSeconds).slice(11, 16);
/** The day in India, as a number that grows by one at each midnight. */
export const indianDay = (unixSeconds) => Math.floor((unixSeconds * 1000 + IST_OFFSET_MS) / 86_400_000);
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/** Tue 15:40. */
export const dayAndTime = (unixSeconds) =>
  `${WEEKDAYS[new Date(unixSeconds * 1000 + IST_OFFSET_MS).getUTCDay()]} ${clockTime(unixSeconds)}`;
/** 4 h 58 m, 12 m, 2 d 3 h. */
export const duration = (seconds) => {
  const minutes = Math.max(0, Math.ceil(seconds / 60));
  if (minutes < 60) return `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${minutes % 60} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
};
