// One run: its progress, its tokens and cost, what failed and why.

import { get, keepFresh } from "./api.js";
import { showAnswers } from "./answers.js";
import { offerCancel } from "./cancel.js";
import { byId, complain, el, say, show } from "./dom.js";
import { showFailures } from "./failures.js";
import { ago, counted, duration, isAllLive, money, number, roughly, when } from "./format.js";
import { airflowLink, badge, bar, pageLink } from "./parts.js";
import { keepShards } from "./shards.js";

const asked = new URLSearchParams(location.search);
const run = { dag_id: asked.get("dag_id") ?? "", run_id: asked.get("run_id") ?? "", group: asked.get("group") };

const shards = keepShards(run, { cancel: (shard) => cancel(shard) });
let latest = null;
let arrived = false;

const refresh = keepFresh(async () => {
  try {
    const detail = await get("run", run);
    complain(null);
    latest = detail;
    showRun(detail);
    await Promise.all([shards.refresh(detail.may_edit, detail.batches), showFailures(run, detail), showAnswers(run, detail)]);
    goWhereTheLinkLeads();
    if (!isOver(detail.row)) return detail.row.figures.unheard ? 2 : 4;
    return detail.cancellable ? 4 : 20;
  } catch (error) {
    // A run of another DAG has this page as its tab as well.
    if (latest === null) say(byId("title"), run.dag_id);
    complain(error);
    return 10;
  }
});

// A link to a part of the page scrolls there once everything above it is shown, and only once.
function goWhereTheLinkLeads() {
  if (!arrived && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  arrived = true;
}

const isOver = (row) => row.state === "success" || row.state === "failed";

function cancel(shard) {
  offerCancel({ run, detail: latest, shard, then: refresh });
}

function showRun(detail) {
  const { row } = detail;
  const name = row.group ? `${row.dag_id} · ${row.group}` : row.dag_id;
  document.title = `${name} – GreenNode batches`;
  say(byId("title"), name);
  show(byId("subtitle"), el("span", { class: "mono" }, row.run_id), row.started_at ? ` · ${begun(row, detail.now)}` : "");
  const { status } = row;
  if (byId("state").textContent !== `${status.badge} ${status.words}`) show(byId("state"), badge(status), ` ${status.words}`);
  say(byId("next"), status.next_step);
  show(byId("notes"), detail.notes.map((note) => el("li", {}, note)));
  showJobs(detail);
  const link = airflowLink(detail.airflow_url, "airflow", "Open in Airflow");
  link.classList.add("button");
  const end = { type: "button", class: "danger", "data-focus": "cancel", onclick: () => cancel(null) };
  const mayCancel = detail.may_edit && detail.cancellable > 0;
  const links = row.links.map(({ words, url }) => airflowLink(url, url, words));
  const reports = detail.reports.map(({ words, url }) => pageLink(url, url, `Report: ${words}`));
  for (const one of [...links, ...reports]) one.classList.add("button");
  show(byId("actions"), links, reports, link, mayCancel ? el("button", end, "Cancel batches…") : null);
  showProgress(detail);
  showTiles(detail);
  showFiles(detail);
}

// The other jobs of the run's DAG, where it has several.
function showJobs({ row, groups }) {
  const others = groups.filter((group) => group !== row.group);
  const href = (group) => `run?${new URLSearchParams({ dag_id: row.dag_id, run_id: row.run_id, group })}`;
  show(byId("jobs"), others.flatMap((group) => [" · ", el("a", { href: href(group), class: "back", "data-focus": href(group) }, group || row.dag_id)]));
}

function begun(row, now) {
  if (row.ended_at) return `${when(row.started_at)}, took ${duration(row.ended_at - row.started_at)}`;
  return `started ${when(row.started_at)}, ${ago(row.started_at, now)}`;
}

function showProgress({ row, now, live_problem: problem, heard_at: heardAt, server }) {
  const { figures } = row;
  if (!figures.requested || !row.has_sent) {
    const built = figures.requests ? `${counted(figures.requests, "request is", "requests are")} built, and no batch ${isOver(row) ? "was" : "is"} sent.` : nothingBuilt(row);
    show(byId("progress"), el("p", { class: "quiet" }, built));
    return;
  }
  const answered = Math.max(0, figures.done - figures.succeeded - figures.failed);
  const isCounted = figures.counts_rows;
  const all = isCounted ? figures.rows : figures.requested;
  const done = isCounted ? figures.succeeded + figures.failed : figures.done;
  const segments = [["good", figures.succeeded], ["bad", figures.failed], ...(isCounted ? [] : [["busy", answered]])];
  const what = isCounted ? "rows" : "requests";
  const legend = [
    figures.succeeded || !answered ? ["good", `${number(figures.succeeded)} ${what} succeeded`] : null,
    figures.failed ? ["bad", `${number(figures.failed)} without an answer${isOver(row) ? "" : " so far"}`] : null,
    !isCounted && answered ? ["busy", `${number(answered)} ${figures.stages.answering ? "answered live" : "done at GreenNode"}`] : null,
    !isCounted && figures.requested > done ? ["", `${number(figures.requested - done)} to come`] : null,
  ].filter(Boolean);
  const unheard = figures.unheard ? `GreenNode has not reported on ${counted(figures.unheard, "batch", "batches")} yet.` : "";
  const since = heardAt ? ` The figures are from its last report, ${ago(heardAt, now)}.` : "";
  const trouble = problem ? `${server || "GreenNode"} could not be asked how far they are: ${problem}.${since}` : unheard;
  show(
    byId("progress"),
    el("div", { class: "large" }, bar("Progress of the run", done, all, segments)),
    el("ul", { class: "legend" }, legend.map(([look, words]) => el("li", { class: look }, words))),
    trouble ? el("p", { class: "quiet" }, trouble) : null,
  );
}

const UNTIL_COLLECTED = "known once answers are collected";
const nothingBuilt = (row) => (isOver(row) ? "No request was built." : "No request is built yet.");

function showTiles(detail) {
  const { row } = detail;
  const { figures } = row;
  const tiles = [
    tile("Rows", number(figures.rows), [
      figures.per.length ? `one for each ${figures.per.join(" and ")}` : "",
      figures.unchanged ? `${number(figures.unchanged)} more unchanged since an earlier run` : "",
      figures.remembered ? `${number(figures.remembered)} more without an answer, which is final` : "",
      figures.kept_answers ? `${number(figures.kept_answers)} keep an earlier answer` : "",
      figures.unsent ? `${number(figures.unsent)} cannot be sent` : "",
    ]),
    tile("Requests", number(figures.requests), [
      figures.rows - figures.unsent > figures.requests && figures.requests ? "equal ones are sent once" : "",
      figures.attempts > 1 ? `${number(figures.requested - figures.requests)} sent again` : "",
    ]),
    tile("Batches", number(figures.shards), [batchWords(detail.batches)]),
    isOver(row) || figures.seconds_left === null
      ? tile("Time", row.started_at ? duration((row.ended_at ?? detail.now) - row.started_at) : "–", [isOver(row) ? "in all" : "so far"])
      : tile("Time left", `about ${roughly(figures.seconds_left)}`, [timeLeftWords(figures.stages)]),
    tokensTile(row),
    costTile(detail),
  ];
  show(byId("tiles"), tiles);
}

const timeLeftWords = ({ answering, built, refused }) => (!answering && (built || refused) ? "for the batches that are sent" : "if it goes on as before");

function tokensTile(row) {
  const { figures } = row;
  const used = figures.prompt_tokens + figures.completion_tokens;
  if (!used) return tile("Tokens", "–", [row.has_sent && !isOver(row) ? UNTIL_COLLECTED : ""]);
  const live = figures.live ? figures.live.prompt_tokens + figures.live.completion_tokens : 0;
  return tile("Tokens", number(used), [
    `${number(figures.prompt_tokens)} of prompts${part(figures.cached_tokens, "cached")}`,
    `${number(figures.completion_tokens)} of answers${part(figures.reasoning_tokens, "reasoning")}`,
    live && live < used ? `${number(live)} of all these live` : "",
  ]);
}

const tile = (name, value, words) =>
  el(
    "div",
    {},
    el("dt", {}, name),
    el("dd", { class: "value" }, value),
    ...words.filter(Boolean).map((said) => el("dd", { class: "quiet block" }, said)),
  );

const part = (count, what) => (count ? ` (${number(count)} ${what})` : "");

function costTile({ row, conn_id: connection }) {
  const { cost, unpriced } = row.figures;
  const name = isOver(row) ? "Cost" : "Cost so far";
  // A try pays the full price, which the estimate of the batches is not.
  const estimated = row.is_try ? "" : estimateWords(row.figures.estimate);
  const tried = triedWords(row.figures.tried);
  if (cost) {
    const saving = cost.saving ? `${money(cost.saving, cost.currency)} less than live` : "";
    return tile(name, money(cost.amount, cost.currency), [saving, ...apart(row.figures), tried, estimated]);
  }
  if (!row.has_sent) return tile(name, tried ? "–" : "nothing", ["no batch was sent", tried, estimated]);
  if (!unpriced.length) return tile(name, "–", [isOver(row) ? "" : UNTIL_COLLECTED, tried, estimated]);
  return tile(name, "no price known", [
    `for ${unpriced.join(", ")}: set prices in the job or in connection ${connection ?? "greennode_default"}`,
  ]);
}

// Live answers at the full price, and the rest in batches.
function apart({ live, cost }) {
  if (!live || live.cost === null) return [];
  if (isAllLive({ live, cost })) return [`all of it for ${counted(live.requests, "live answer")}`];
  const inBatches = Math.max(0, cost.amount - live.cost);
  return [`${money(live.cost, live.currency)} for ${counted(live.requests, "live answer")}`, `${money(inBatches, live.currency)} in batches`];
}

function triedWords(tried) {
  if (!tried) return "";
  const paid = tried.cost === null ? "" : `: ${money(tried.cost, tried.currency)}`;
  return `on top, ${counted(tried.requests, "request")} tried live${paid}`;
}

function estimateWords(estimate) {
  if (!estimate || estimate.cost === null) return "";
  const most = estimate.max_cost === null || estimate.max_cost === estimate.cost ? "" : `, at most ${money(estimate.max_cost, estimate.currency)}`;
  return `estimated before: about ${money(estimate.cost, estimate.currency)}${most}`;
}

const batchWords = (batches) =>
  Object.entries(batches)
    .map(([words, count]) => `${number(count)} ${words}`)
    .join(", ");

function reportWords(report, row) {
  if (report && row.is_try) return "of a try: nothing was written";
  if (report) return report.balanced ? "source, batches and target agree" : "does not add up, see above";
  if (!isOver(row)) return "made when the run ends";
  return row.has_sent ? "none was made" : "none, because no batch was sent";
}

function showFiles({ row, report, reports, path, conn_id: connection, server, was_removed: wasRemoved }) {
  const facts = [
    ["Staging folder", el("span", { class: "mono" }, path)],
    ["Connection", connection ?? "–"],
    ["Server", server || "–"],
    ["Report", reportWords(report, row)],
    ...reports.map(({ words, url }) => [words, pageLink(url, `file-${url}`, "Open in a new tab")]),
  ];
  if (wasRemoved) facts.push(["Removed", "everything but the report was removed after staging_retention_days"]);
  show(byId("files"), facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  byId("report-details").hidden = !report;
  say(byId("report-json"), report ? JSON.stringify(report, null, 2) : "");
}
