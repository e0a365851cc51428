// Making and keeping elements. Text goes in as text, never as markup.

/**
 * Make an element: `h("button.primary", {title: "…", onclick: f}, "text", child)`.
 * Properties whose names start with "on" are listeners, the others attributes; null and false leave one out.
 * @param {string} tag   name and classes, which get the panel's prefix
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const el = document.createElement(name);
  if (classes.length) el.className = classes.map((word) => `snb-${word}`).join(" ");
  setAll(el, attributes);
  for (const child of children) if (child !== null && child !== undefined && child !== false) el.append(child);
  return el;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an SVG element, in the same way.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...(Node|string)} children
 * @returns {SVGElement}
 */
export function s(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const el = document.createElementNS(SVG, name);
  if (classes.length) el.setAttribute("class", classes.map((word) => `snb-${word}`).join(" "));
  setAll(el, attributes);
  el.append(...children);
  return el;
}

/** @param {Element} el @param {Record<string, unknown>} attributes */
function setAll(el, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else set(el, key, value);
  }
}

/**
 * Set an attribute if it differs; null, undefined and false remove it. Writing what is there already would
 * make assistive tools speak again.
 * @param {Element} el @param {string} key @param {unknown} value
 */
export function set(el, key, value) {
  if (value === null || value === undefined || value === false) {
    if (el.hasAttribute(key)) el.removeAttribute(key);
  } else {
    const text = value === true ? "" : String(value);
    if (el.getAttribute(key) !== text) el.setAttribute(key, text);
  }
}

/** Set an element's text if it differs. @param {Element} el @param {string} text */
export function say(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

/** Show or hide. @param {HTMLElement|SVGElement} el @param {boolean} isShown */
export function show(el, isShown) {
  set(el, "hidden", !isShown);
}

/**
 * Keep an element's children in step with a list: one child for each item, made once for each key, brought up to
 * date each time, removed with its item, in the order of the items.
 * @template T
 * @template {Element} E
 * @param {Element} parent
 * @param {Iterable<T>} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => E} make
 * @param {(el: E, item: T) => void} update
 */
export function keep(parent, items, keyOf, make, update) {
  const known = /** @type {{kept?: Map<string, E>}} */ (/** @type {unknown} */ (parent));
  const before = known.kept ?? new Map();
  const after = new Map();
  const keyed = Array.from(items, (item) => /** @type {[string, T]} */ ([keyOf(item), item]));
  const keys = new Set(keyed.map(([key]) => key));
  // First of all, so that the others keep their place: an element that is moved loses the focus.
  for (const [key, el] of before) {
    if (keys.has(key)) continue;
    el.remove();
    before.delete(key);
  }
  /** @type {ChildNode|null} */
  let place = parent.firstChild;
  for (const [key, item] of keyed) {
    const el = before.get(key) ?? make(item);
    before.delete(key);
    after.set(key, el);
    update(el, item);
    if (place && el === place) place = place.nextSibling;
    else parent.insertBefore(el, place);
  }
  known.kept = after;
}
