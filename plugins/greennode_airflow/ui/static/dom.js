// Elements are made of text and attributes alone: the content of rows, errors and ids is never parsed as HTML.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick") element.addEventListener("click", value);
    else if (name === "width") element.style.width = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

// Replaces the children. The focus stays on the element with the same data-focus.
export function show(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  container.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
  if (focused === undefined) return;
  const again = [...container.querySelectorAll("[data-focus]")].find((one) => one.dataset.focus === focused);
  again?.focus({ preventScroll: true });
}

export const byId = (id) => document.getElementById(id);

// A status is read out when its text changes, and only then.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function complain(error) {
  const box = byId("problem");
  box.hidden = error === null;
  say(box, error === null ? "" : error.message);
}
