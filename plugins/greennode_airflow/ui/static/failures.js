// What failed in a run, and why: its tasks, what does not add up, and samples of its rows.

import { get } from "./api.js";
import { byId, el, show } from "./dom.js";
import { counted, number, statusWords } from "./format.js";
import { airflowLink, badge, listHead, listRow, table } from "./parts.js";

// Reading rows takes the server a moment: they are read again only when they have changed.
let shownFor = "";
let samples = null;

export async function showFailures(run, detail) {
  const { figures } = detail.row;
  const version = JSON.stringify([figures.failed, figures.unsent, figures.statuses, figures.stages, detail.row.state, detail.tasks]);
  const mayHaveSome = figures.failed > 0 || figures.unsent > 0 || detail.tasks.length > 0;
  if (!mayHaveSome) samples = null;
  else if (version !== shownFor) samples = await get("failed-rows", run);
  if (version !== shownFor) render(detail, mayHaveSome ? samples : null);
  shownFor = version;
}

function render(detail, found) {
  const parts = [...tasks(detail.tasks), ...problems(detail.report), ...remarks(detail.report), ...(found ? [...stops(found.stops), ...rows(found, detail)] : [])];
  show(byId("failure-list"), ...(parts.length ? parts : [el("p", { class: "quiet" }, nothing(detail.row))]));
}

const nothing = (row) => (row.state === "success" ? "Nothing failed." : "Nothing has failed so far.");

function tasks(list) {
  if (!list.length) return [];
  const item = ({ name, url, status }) =>
    el("li", {}, airflowLink(url, url, name), " ", badge(status), el("p", { class: "reason" }, status.words), status.next_step ? el("p", { class: "quiet" }, status.next_step) : null);
  return [el("h3", {}, "Tasks"), el("ul", { class: "plain" }, list.map(item))];
}

function problems(report) {
  if (!report || report.balanced) return [];
  return [el("h3", {}, "What does not add up"), el("ul", { class: "plain" }, report.problems.map((words) => el("li", { class: "reason" }, words)))];
}

function remarks(report) {
  const lost = Object.entries(report?.lost ?? {}).map(([why, count]) => `${counted(count, "batch was", "batches were")} given up (${why}), and may have been billed all the same`);
  return lost.length ? [el("ul", { class: "plain" }, lost.map((words) => el("li", {}, words)))] : [];
}

function stops(list) {
  if (!list.length) return [];
  const item = ({ words, samples }) =>
    el("li", {}, el("p", { class: "reason" }, words), samples.length ? el("details", {}, el("summary", {}, counted(samples.length, "sample")), samples.map((sample) => el("pre", {}, sample))) : null);
  return [el("h3", {}, "Why nothing more is sent"), el("ul", { class: "plain" }, list.map(item))];
}

const STATUS = { name: "Status", cell: (row) => statusWords(row.status) };
const REASON = { name: "Reason", class: "reason line", cell: (row) => row.error || "–" };

function rows(found, detail) {
  const parts = [];
  if (found.reasons.length) {
    const columns = [STATUS, REASON, { name: "Rows", class: "number", cell: (reason) => number(reason.rows) }];
    parts.push(el("h3", {}, "Reasons"), table(columns, found.reasons));
  }
  if (found.rows.length) {
    const columns = [{ name: found.key.join(", "), cell: (row) => el("span", { class: "mono" }, row.key.join(", ")) }, STATUS, REASON];
    const total = detail.row.figures.failed;
    const words = total > found.rows.length ? `Rows (the first ${found.rows.length})` : "Rows";
    parts.push(el("h3", {}, words), table(columns, found.rows));
  }
  const more = found.left ? `${counted(found.left, "more batch has", "more batches have")} such rows. ` : "";
  const where = found.rows.length ? "All rows are in the target with their status and error; what is retryable is sent again by the next run." : "";
  const words = [found.problem ?? "", `${more}${where}`].filter(Boolean);
  return [...parts, ...words.map((said) => el("p", { class: "quiet" }, said))];
}
