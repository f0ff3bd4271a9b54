/* The few things every module does to the page. */

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** The element's one Text node: writing `data` is the cheapest change a page knows. */
export const textNode = (element) => element.firstChild ?? element.appendChild(document.createTextNode(""));

/** Write only when the text differs. */
export const put = (element, text) => {
  const node = textNode(element);
  if (node.data !== text) node.data = text;
};

const SVG = "http://www.w3.org/2000/svg";
export const icon = (name) => {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
};

export const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
