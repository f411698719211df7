// The list of runs.

import { get, keepFresh } from "./api.js";
import { byId, complain, el, say, show } from "./dom.js";
import { counted, duration, isAllLive, money, number, roughly, shortly, tokens, when } from "./format.js";
import { afterTyping, badge, bar, listHead, listRow, pager } from "./parts.js";

// Airflow 3.2 shows this list at each address below the page's own; the link of a task leads to its run.
const above = document.referrer ? new URL(document.referrer) : location;
if (above.origin === location.origin && above.pathname.includes("/plugin/") && above.pathname.endsWith("/greennode/run")) {
  location.replace(`run${above.search}${window.parent.location.hash}`);
}

const LIMIT = 20;
const STATES = ["", "running", "queued", "success", "failed"];
const chosen = new URLSearchParams(location.search);
const filters = {
  dag_id: chosen.get("dag_id") ?? "",
  state: STATES.includes(chosen.get("state")) ? chosen.get("state") : "",
  search: chosen.get("search") ?? "",
  offset: Number(chosen.get("offset")) || 0,
};
byId("search").value = filters.search;

const COLUMNS = [
  { name: "Run", cell: runCell },
  { name: "State", class: "line", cell: ({ status }) => [badge(status), el("span", { class: "quiet block clamped", title: status.words }, status.words)] },
  { name: "Progress", class: "wide", cell: (run) => progress(run, nameOf(run)) },
  { name: "Rows", class: "number", cell: ({ figures }) => rowsCell(figures) },
  { name: "Without answer", class: "number", cell: ({ figures }) => (figures.failed ? el("strong", { class: "bad-text" }, number(figures.failed)) : "0") },
  { name: "Tokens", class: "number", cell: ({ figures }) => tokens(figures) },
  { name: "Cost", class: "number", cell: ({ figures }) => costCell(figures) },
  { name: "Time", class: "number", cell: timeCell },
];
function costCell({ cost, live }) {
  if (!cost) return "–";
  if (isAllLive({ live, cost })) return [money(cost.amount, cost.currency), el("span", { class: "quiet block" }, "all live")];
  const paid = live && live.cost !== null ? el("span", { class: "quiet block" }, `of it live: ${money(live.cost, live.currency)}`) : null;
  return [money(cost.amount, cost.currency), paid].filter(Boolean);
}

show(byId("runs-head"), listHead(COLUMNS));

const refresh = keepFresh(async () => {
  const asked = JSON.stringify(filters);
  try {
    const list = await get("runs", { ...filters, limit: LIMIT });
    if (asked !== JSON.stringify(filters)) return 0;
    complain(null);
    showList(list);
    return list.summary.runs ? 4 : 20;
  } catch (error) {
    complain(error);
    return 10;
  }
});

function choose(changes) {
  Object.assign(filters, { offset: 0 }, changes);
  const kept = Object.entries(filters).filter(([, value]) => value);
  history.replaceState(null, "", kept.length ? `?${new URLSearchParams(kept)}` : location.pathname);
  refresh();
}

byId("dag").addEventListener("change", (event) => choose({ dag_id: event.target.value }));
byId("search").addEventListener(
  "input",
  afterTyping(() => choose({ search: byId("search").value })),
);
byId("filters").addEventListener("submit", (event) => event.preventDefault());

function showList(list) {
  say(byId("summary"), summaryOf(list));
  showDags(list.dags);
  showStates(list.states);
  show(byId("runs"), list.runs.map((run) => listRow(COLUMNS, run, list.now)));
  byId("empty").hidden = list.runs.length > 0;
  say(byId("empty"), emptyWords(list));
  show(byId("pager"), ...pager({ ...filters, limit: LIMIT, total: list.total, what: "runs", go: (offset) => choose({ offset }) }));
}

function summaryOf({ summary, states }) {
  if (!summary.runs) {
    const failed = states.failed ? ` ${counted(states.failed, "run has", "runs have")} failed.` : "";
    return `Nothing is running now.${failed}`;
  }
  const runs = `${counted(summary.runs, "run")} at work`;
  if (!summary.requested) return `${runs}.`;
  return `${runs}: ${counted(summary.batches, "batch", "batches")} at GreenNode, ${number(summary.done)} of ${number(summary.requested)} requests answered.`;
}

function emptyWords(list) {
  if (filters.dag_id && !list.dags.includes(filters.dag_id)) return `${filters.dag_id} has run no GreenNode job.`;
  if (filters.dag_id || filters.state || filters.search) return "No run matches these filters.";
  if (list.dags.length) return "No run yet.";
  return "No job has run yet. Trigger a DAG made with batch_table(), and its run appears here.";
}

function showDags(dags) {
  const all = filters.dag_id && !dags.includes(filters.dag_id) ? [...dags, filters.dag_id] : dags;
  const select = byId("dag");
  const shown = [...select.options].slice(1).map((option) => option.value);
  if (shown.join("\n") === all.join("\n")) return;
  select.replaceChildren(select.options[0], ...all.map((dag) => el("option", { value: dag }, dag)));
  select.value = filters.dag_id;
}

function showStates(states) {
  const total = Object.values(states).reduce((sum, count) => sum + count, 0);
  const buttons = STATES.filter((state) => !state || states[state] || state === filters.state).map((state) => {
    const count = state ? (states[state] ?? 0) : total;
    const attributes = {
      type: "button",
      "aria-pressed": String(state === filters.state),
      "data-focus": `state-${state}`,
      onclick: () => choose({ state }),
    };
    return el("button", attributes, `${state || "all"} `, el("span", { class: "quiet" }, number(count)));
  });
  show(byId("states"), buttons);
}

const nameOf = (run) => (run.group ? `${run.dag_id} · ${run.group}` : run.dag_id);

function runCell(run) {
  const query = new URLSearchParams({ dag_id: run.dag_id, run_id: run.run_id, ...(run.group ? { group: run.group } : {}) });
  const href = `run?${query}`;
  return [
    el("a", { href, "data-focus": href }, el("span", { class: "name" }, nameOf(run)), el("span", { class: "id" }, run.run_id)),
    el("span", { class: "quiet block" }, run.started_at ? when(run.started_at) : "not started"),
  ];
}

function progress({ figures, has_sent: hasSent }, name) {
  if (figures.requested && !hasSent) return el("span", { class: "quiet" }, `${number(figures.requests)} requests built, no batch sent`);
  if (!figures.requested) return el("span", { class: "quiet" }, figures.unchanged || figures.remembered ? "nothing new to send" : "–");
  const open = Math.max(0, figures.done - figures.succeeded - figures.failed);
  const words = figures.counts_rows
    ? `${number(figures.succeeded)} of ${number(figures.rows)} rows answered`
    : `${number(figures.done)} of ${number(figures.requested)} requests`;
  const segments = figures.counts_rows
    ? [["good", figures.succeeded], ["bad", figures.failed]]
    : [["good", figures.succeeded], ["bad", figures.failed], ["busy", open]];
  const [done, all] = figures.counts_rows ? [figures.succeeded + figures.failed, figures.rows] : [figures.done, figures.requested];
  return [bar(`Progress of ${name}`, done, all, segments), el("span", { class: "quiet block" }, words)];
}

function rowsCell(figures) {
  const more = figures.unchanged ? el("span", { class: "quiet block" }, `+ ${shortly(figures.unchanged)} unchanged`) : null;
  return [number(figures.rows), more];
}

function timeCell(run, now) {
  if (run.state === "running" && run.figures.seconds_left !== null) {
    return `about ${roughly(run.figures.seconds_left)} left`;
  }
  if (!run.started_at) return "–";
  return duration((run.ended_at ?? now) - run.started_at);
}
