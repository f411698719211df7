// The batches of a run, a page of them at a time.

import { get } from "./api.js";
import { byId, complain, el, say, show } from "./dom.js";
import { ago, money, number, roughly, statusWords, tokens } from "./format.js";
import { afterTyping, airflowLink, badge, bar, listHead, listRow, pager } from "./parts.js";

const LIMIT = 25;
const WITH_FAILURES = "with_failures";

const COLUMNS = [
  { name: "Batch", cell: batchCell },
  {
    name: "State",
    class: "line",
    cell: ({ figures, status }, now) => [badge(status), ...stateWords(figures, status, now).map((words) => el("span", { class: "quiet block" }, words))],
  },
  { name: "Progress", class: "wide", cell: ({ figures }) => progress(figures) },
  { name: "Without answer", class: "number", cell: ({ figures }) => failures(figures) },
  { name: "Tokens", class: "number", cell: ({ figures }) => tokens(figures) },
  { name: "Cost", class: "number", cell: ({ figures: { cost } }) => (cost ? money(cost.amount, cost.currency) : "–") },
  { name: "Task", class: "rest", cell: taskCell },
  { name: "Actions", isNameHidden: true, cell: ({ figures, status }, now, cancel) => cancelButton(figures, status, cancel) },
];

export function keepShards(run, { cancel }) {
  const filters = { state: "", search: "", offset: 0 };
  let mayEdit = false;

  async function refresh(isEditor = mayEdit, batches = null) {
    mayEdit = isEditor;
    if (batches) showStates(batches);
    const asked = JSON.stringify(filters);
    const list = await get("shards", { ...run, ...filters, limit: LIMIT });
    if (asked === JSON.stringify(filters)) showList(list);
  }

  function choose(changes) {
    Object.assign(filters, { offset: 0 }, changes);
    refresh().catch(complain);
  }

  function showList(list) {
    show(byId("shards"), list.shards.map((shard) => listRow(COLUMNS, shard, list.now, mayEdit ? cancel : null)));
    byId("no-shards").hidden = list.shards.length > 0;
    say(byId("no-shards"), filters.state || filters.search ? "No batch matches these filters." : "No batch yet.");
    const page = { ...filters, limit: LIMIT, total: list.total, what: "batches", go: (offset) => choose({ offset }) };
    show(byId("shard-pager"), ...pager(page));
  }

  // Each state that the run's batches are in can be chosen, and the one that is chosen.
  function showStates(batches) {
    const select = byId("batch-state");
    const all = [...new Set([...Object.keys(batches), ...(filters.state && filters.state !== WITH_FAILURES ? [filters.state] : [])])];
    const options = [["", "All"], ...all.map((words) => [words, words]), [WITH_FAILURES, "with rows that have no answer"]];
    if ([...select.options].map((option) => option.value).join("\n") === options.map(([value]) => value).join("\n")) return;
    select.replaceChildren(...options.map(([value, words]) => el("option", { value }, words)));
    select.value = filters.state;
  }

  show(byId("shards-head"), listHead(COLUMNS));
  byId("batch-state").addEventListener("change", (event) => choose({ state: event.target.value }));
  byId("shard-search").addEventListener(
    "input",
    afterTyping(() => choose({ search: byId("shard-search").value })),
  );
  byId("shard-filters").addEventListener("submit", (event) => event.preventDefault());
  return { refresh };
}

const nameOf = (figures) => figures.batch_id ?? figures.shard_id;

function batchCell({ figures }) {
  return [
    el("span", { class: "mono block" }, nameOf(figures)),
    el("span", { class: "quiet block" }, [figures.attempt > 1 ? `attempt ${figures.attempt}` : "", figures.model].filter(Boolean).join(", ")),
  ];
}

function taskCell({ figures, task }) {
  return [airflowLink(task.url, `task-${nameOf(figures)}`, task.name.split(".").at(-1)), el("span", { class: "quiet block" }, task.status.words)];
}

function cancelButton(figures, status, cancel) {
  if (!cancel || !status.actions.includes("cancel")) return null;
  const name = nameOf(figures);
  const attributes = { type: "button", class: "small danger", "data-focus": `cancel-${name}`, "aria-label": `Cancel ${name}…`, onclick: () => cancel(figures) };
  return el("button", attributes, "Cancel…");
}

function stateWords(figures, status, now) {
  const left = figures.seconds_left === null ? "" : `, about ${roughly(figures.seconds_left)} left`;
  const server = figures.server_status ? `GreenNode says: ${figures.server_status}${left}` : figures.sent_at ? `sent ${ago(figures.sent_at, now)}` : "";
  return [status.words, status.next_step, server].filter(Boolean);
}

function progress(figures) {
  const isIn = figures.stage === "collected";
  const segments = [[isIn ? "good" : "busy", figures.done - figures.failed], ["bad", figures.failed]];
  const words = `${number(figures.done)} of ${number(figures.requests)} requests`;
  return [bar(`Progress of ${nameOf(figures)}`, figures.done, figures.requests, segments), el("span", { class: "quiet block" }, words)];
}

function failures(figures) {
  if (!figures.failed) return ["0"];
  const words = Object.entries(figures.statuses)
    .filter(([status]) => status !== "succeeded")
    .map(([status, count]) => `${number(count)} ${statusWords(status)}`);
  return [el("strong", { class: "bad-text" }, number(figures.failed)), ...words.map((said) => el("span", { class: "quiet block" }, said))];
}
