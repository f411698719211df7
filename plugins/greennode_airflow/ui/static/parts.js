// Parts that both pages share.

import { el } from "./dom.js";
import { number, percent } from "./format.js";

// The API's tables decide the state of a run, a task or a batch, and what to do next.
export const badge = ({ look, badge: words }) => el("span", { class: `badge ${look}` }, words);

// Segments: [class, count] pairs of `all`; the rest is the empty track.
export function bar(label, done, all, segments) {
  const value = Math.floor(percent(done, all));
  const attributes = {
    class: "bar",
    role: "progressbar",
    "aria-label": label,
    "aria-valuemin": "0",
    "aria-valuemax": "100",
    "aria-valuenow": String(value),
    "aria-valuetext": `${number(done)} of ${number(all)}, ${value} percent`,
  };
  const parts = segments.filter(([, count]) => count > 0);
  return el("div", attributes, ...parts.map(([look, count]) => el("span", { class: look, width: `${percent(count, all)}%` })));
}

// A link to a page of Airflow. This page is in a frame that may not navigate its parent, so the parent does it.
export function airflowLink(href, focus, ...children) {
  return parentLink(href, focus, {}, ...children);
}

// A link to a separate page, which opens in a new tab.
export function pageLink(href, focus, ...children) {
  return parentLink(href, focus, { target: "_blank", rel: "noopener" }, ...children);
}

function parentLink(href, focus, attributes, ...children) {
  const follow = (event) => {
    if (window.parent === window) return;
    event.preventDefault();
    const link = window.parent.document.createElement("a");
    Object.assign(link, { href, ...attributes });
    if (event.ctrlKey || event.metaKey) link.target = "_blank";
    window.parent.document.body.append(link);
    link.click();
    link.remove();
  };
  return el("a", { href, ...attributes, "data-focus": focus, onclick: follow }, ...children);
}

// Newer and older; `go` is called with the offset of the page to show.
export function pager({ offset, limit, total, what, go }) {
  if (total <= limit && offset === 0) return [];
  const last = Math.min(offset + limit, total);
  const step = (to, words, isOff) =>
    el("button", { type: "button", disabled: isOff, "data-focus": words, onclick: () => go(to) }, words);
  return [
    step(Math.max(0, offset - limit), "Previous", offset === 0),
    el("span", { role: "status" }, total ? `${number(offset + 1)}–${number(last)} of ${number(total)} ${what}` : `No ${what}`),
    step(offset + limit, "Next", last >= total),
  ];
}

// A list is its columns, each { name, class, cell }: `cell` makes what a row shows there. On a narrow screen the name
// stands above each cell, unless it is hidden. The first column names the row.
// The roles are said, for a row that is laid out as a card is a row no more to some browsers.
export function listHead(columns) {
  const words = ({ name, isNameHidden }) => (isNameHidden ? el("span", { class: "hidden" }, name) : name);
  const heads = columns.map((column) => el("th", { role: "columnheader", scope: "col", class: column.class }, words(column)));
  return el("tr", { role: "row" }, heads);
}

export function listRow([first, ...others], ...told) {
  const cells = others.map((column) => {
    const label = column.isNameHidden ? null : column.name;
    return el("td", { role: "cell", "data-label": label, class: column.class }, ...[column.cell(...told)].flat());
  });
  return el("tr", { role: "row" }, el("th", { role: "rowheader", scope: "row" }, ...[first.cell(...told)].flat()), cells);
}

export function table(columns, items) {
  const head = el("thead", { role: "rowgroup" }, listHead(columns));
  const body = el("tbody", { role: "rowgroup" }, items.map((item) => listRow(columns, item)));
  return el("div", { class: "scroll" }, el("table", { class: "list", role: "table" }, head, body));
}

// Calls `work` once nobody has typed for a moment.
export function afterTyping(work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, 250);
  };
}
