// What failed in a run, and why: its tasks, what does not add up, and samples of its rows.

import { get } from "./api.js";
import { byId, el, show } from "./dom.js";
import { counted, number, statusWords } from "./format.js";
import { airflowLink, cell, listRow } from "./parts.js";

// Reading rows takes the server a moment: they are read again only when there are others.
let shownFor = "";
let samples = null;

export async function showFailures(run, detail) {
  const { figures } = detail.row;
  const version = JSON.stringify([figures.failed, figures.unsent, figures.statuses, figures.stages, detail.row.state]);
  const mayHaveSome = figures.failed > 0 || figures.unsent > 0;
  if (!mayHaveSome) samples = null;
  else if (version !== shownFor) samples = await get("failed-rows", run);
  if (version !== shownFor || detail.failed_tasks.length) render(detail, mayHaveSome ? samples : null);
  shownFor = version;
}

function render(detail, found) {
  const parts = [...failedTasks(detail.failed_tasks), ...problems(detail.report), ...remarks(detail.report), ...(found ? rows(found, detail) : [])];
  show(byId("failure-list"), ...(parts.length ? parts : [el("p", { class: "quiet" }, nothing(detail.row))]));
}

const nothing = (row) => (row.state === "success" ? "Nothing failed." : "Nothing has failed so far.");

function failedTasks(tasks) {
  if (!tasks.length) return [];
  const items = tasks.map((task) =>
    el("li", {}, airflowLink(task.url, task.url, task.name), task.is_tried_again ? " – tried again soon" : " – its log says why"),
  );
  return [el("h3", {}, "Tasks"), el("ul", { class: "plain" }, items)];
}

function problems(report) {
  if (!report || report.balanced) return [];
  return [el("h3", {}, "What does not add up"), el("ul", { class: "plain" }, report.problems.map((words) => el("li", { class: "reason" }, words)))];
}

function remarks(report) {
  const lost = Object.entries(report?.lost ?? {}).map(([why, count]) => `${counted(count, "batch was", "batches were")} given up (${why}), and may have been billed all the same`);
  return lost.length ? [el("ul", { class: "plain" }, lost.map((words) => el("li", {}, words)))] : [];
}

function rows(found, detail) {
  const parts = [];
  if (found.reasons.length) {
    const items = found.reasons.map((reason) =>
      listRow([statusWords(reason.status)], cell("Reason", { class: "reason line" }, reason.error || "–"), cell("Rows", { class: "number" }, number(reason.rows))),
    );
    parts.push(el("h3", {}, "Reasons"), table(["Status", "Reason", "Rows"], items));
  }
  if (found.rows.length) {
    const items = found.rows.map((row) =>
      listRow([el("span", { class: "mono" }, row.key.join(", "))], cell("Status", {}, statusWords(row.status)), cell("Reason", { class: "reason line" }, row.error || "–")),
    );
    const total = detail.row.figures.failed;
    const words = total > found.rows.length ? `Rows (the first ${found.rows.length})` : "Rows";
    parts.push(el("h3", {}, words), table([found.key.join(", "), "Status", "Reason"], items));
  }
  const more = found.left ? `${counted(found.left, "more batch has", "more batches have")} such rows. ` : "";
  const where = found.rows.length ? "All rows are in the target with their status and error; what may end better is asked again by the next run." : "";
  const words = [found.problem ?? "", `${more}${where}`].filter(Boolean);
  return [...parts, ...words.map((said) => el("p", { class: "quiet" }, said))];
}

function table(names, items) {
  const heads = names.map((name) => el("th", { role: "columnheader", scope: "col", class: name === "Rows" ? "number" : null }, name));
  return el(
    "div",
    { class: "scroll" },
    el("table", { class: "list", role: "table" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)), el("tbody", { role: "rowgroup" }, items)),
  );
}
