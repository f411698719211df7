// The batches of a run, a page of them at a time.

import { get } from "./api.js";
import { byId, complain, el, say, show } from "./dom.js";
import { ago, money, number, roughly, STAGE_WORDS, statusWords, tokens } from "./format.js";
import { afterTyping, airflowLink, badge, bar, listHead, listRow, pager } from "./parts.js";

const LIMIT = 25;
const LOOKS = { sent: "running", cancelling: "running", collected: "success", lost: "failed" };

const COLUMNS = [
  { name: "Batch", cell: batchCell },
  {
    name: "State",
    class: "line",
    cell: ({ figures }, now) => [badge(LOOKS[figures.stage], STAGE_WORDS[figures.stage]), el("span", { class: "quiet block" }, stateWords(figures, now))],
  },
  { name: "Progress", class: "wide", cell: ({ figures }) => progress(figures) },
  { name: "Without answer", class: "number", cell: ({ figures }) => failures(figures) },
  { name: "Tokens", class: "number", cell: ({ figures }) => tokens(figures) },
  { name: "Cost", class: "number", cell: ({ figures: { cost } }) => (cost ? money(cost.amount, cost.currency) : "–") },
  { name: "Task", cell: taskCell },
  { name: "Actions", isNameHidden: true, cell: ({ figures }, now, cancel) => cancelButton(figures, cancel) },
];

export function keepShards(run, { cancel }) {
  const filters = { stage: "", search: "", offset: 0 };
  let mayEdit = false;

  async function refresh(isEditor = mayEdit) {
    mayEdit = isEditor;
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
    say(byId("no-shards"), filters.stage || filters.search ? "No batch matches these filters." : "No batch yet.");
    const page = { ...filters, limit: LIMIT, total: list.total, what: "batches", go: (offset) => choose({ offset }) };
    show(byId("shard-pager"), ...pager(page));
  }

  show(byId("shards-head"), listHead(COLUMNS));
  byId("stage").addEventListener("change", (event) => choose({ stage: event.target.value }));
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

function taskCell({ figures, task, task_state: state, task_url: url }) {
  const words = state === "none" ? "not begun" : state;
  return [airflowLink(url, `task-${nameOf(figures)}`, task.split(".").at(-1)), el("span", { class: "quiet block" }, words)];
}

function cancelButton(figures, cancel) {
  if (!cancel || (figures.stage !== "sent" && figures.stage !== "cancelling")) return null;
  const name = nameOf(figures);
  const attributes = { type: "button", class: "small danger", "data-focus": `cancel-${name}`, "aria-label": `Cancel ${name}…`, onclick: () => cancel(figures) };
  return el("button", attributes, "Cancel…");
}

function stateWords(figures, now) {
  if (figures.lost) return figures.lost === "forgotten" ? "GreenNode does not know it any more" : "cancelled at its deadline, and never ended";
  if (figures.stage === "sent" && figures.server_status) {
    const left = figures.seconds_left === null ? "" : `, about ${roughly(figures.seconds_left)} left`;
    return `${figures.server_status}${left}`;
  }
  if (figures.stage === "refused") return `refused ${number(figures.over_capacity)} times, at no cost`;
  return figures.sent_at ? `sent ${ago(figures.sent_at, now)}` : "";
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
