"""What holds for every page, as functions that run in it and give back what is wrong."""

CUT_OFF = """() => {
  const wrong = [];
  if (document.documentElement.scrollWidth > innerWidth) wrong.push(`page: ${document.documentElement.scrollWidth} px`);
  const page = document.querySelector(".page");
  if (page.scrollWidth > page.clientWidth) wrong.push(`content: ${page.scrollWidth} in ${page.clientWidth} px`);
  for (const element of page.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest("svg, .sr, option, [popover], .mono, nav.seg")) continue;
    const box = element.getBoundingClientRect();
    if (box.width && (box.right > innerWidth + 1 || box.left < -1))
      wrong.push(`outside: ${element.textContent.trim()}`);
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (own && element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline")
      wrong.push(`cut: ${element.textContent.trim()}`);
    const card = element.closest(".card");
    if (card && box.width && box.right > card.getBoundingClientRect().right + 1)
      wrong.push(`out of its card: ${element.textContent.trim()}`);
  }
  return wrong;
}"""

FAINT_TEXT = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.99) return colour;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const element of document.querySelectorAll("header *, main *, footer *")) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
    if (!text || !element.checkVisibility({ visibilityProperty: true })) continue;
    if (element.closest(".sr, svg, option, select")) continue;
    const pair = [parse(getComputedStyle(element).color), ground(element)].map(luminance).sort((a, b) => b - a);
    if ((pair[0] + 0.05) / (pair[1] + 0.05) < 4.5) faint.add(`${element.className || element.id}: ${text}`);
  }
  return [...faint];
}"""

NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, textarea, summary")]
  .filter((control) => control.type !== "hidden" && !(control.ariaLabel || control.title || control.textContent.trim()
    || control.labels?.length || control.closest("[hidden]")))
  .map((control) => control.outerHTML)"""

# 24 px each way, links within a sentence apart (WCAG 2.2, 2.5.8)
SMALL_TARGETS = """() => [...document.querySelectorAll(".page :is(button, a[href], summary, .tick)")]
  // a row's link covers the whole row
  .filter((control) => control.checkVisibility() && !control.closest("p") && !control.matches("a.open"))
  .map((control) => [control.getBoundingClientRect(), control])
  .filter(([box]) => box.height < 24 || box.width < 24)
  .map(([box, control]) => `${Math.round(box.width)} × ${Math.round(box.height)}: ${control.textContent.trim()}`)"""
