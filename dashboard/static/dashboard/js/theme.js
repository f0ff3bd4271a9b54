/* Runs before the first paint, hence a plain blocking script: the stored look, or the system's. */
(() => {
  const root = document.documentElement;
  let stored = {};
  try {
    stored = JSON.parse(localStorage.getItem("ticker.look") || "{}") || {};
  } catch {
    /* storage is off, or was written by something else: the system's choice stands */
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = stored.theme || (dark ? "dark" : "light");
  if (stored.colours === "blue-orange") root.dataset.colours = stored.colours;
  root.dataset.changes = stored.changes || "tint";
})();
