// Elements made of plain values. Texts become text nodes: nothing that the server sends is read as HTML.

/** An element. attributes: on… are listeners, null and false leave it out; children: nodes and texts, null left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export const by = (id) => document.getElementById(id);

/** 0.953 -> "95 %"; never "100 %" of what is not certain, and "under 1 %" of what is not impossible. */
export function percent(value) {
  if (value === null || value === undefined) return "";
  if (value > 0 && value < 0.01) return "under 1\u00a0%";
  if (value < 1 && value > 0.99) return "over 99\u00a0%";
  return `${Math.round(100 * value)}\u00a0%`;
}

/** A text in which phrases between asterisks stand in bold. */
export function emphasised(text) {
  return text.split("*").map((part, n) => (n % 2 ? make("b", {}, part) : part));
}

/** Lay an element on its picture. box: shares of the picture. */
export function place(element, box) {
  for (const edge of ["left", "top", "width", "height"]) element.style[edge] = `${100 * box[edge]}%`;
  return element;
}

/** A bar of a share, 0..1. */
export function track(share, title = "") {
  const bar = make("i");
  bar.style.width = `${100 * Math.min(1, Math.max(0, share ?? 0))}%`;
  return make("span", { class: "track", title, "aria-hidden": "true" }, bar);
}

/** A select with its values: texts, or [value, text]. */
export function fill(select, values, chosen = null) {
  select.replaceChildren(...values.map((one) => {
    const [value, text] = Array.isArray(one) ? one : [one, one];
    return make("option", { value, selected: value === chosen }, text);
  }));
}

/** Say it to who does not see the page. */
export function tell(text) {
  by("live").textContent = text;
}
