// A sample of a run's answers.

import { get } from "./api.js";
import { byId, el, show } from "./dom.js";
import { table } from "./parts.js";

// Reading rows takes the server a moment: they are read again only when they have changed.
let shownFor = "";

export async function showAnswers(run, detail) {
  const { figures } = detail.row;
  const version = JSON.stringify([figures.succeeded, figures.stages, detail.row.state]);
  if (version === shownFor) return;
  const found = figures.succeeded ? await get("answers", run) : null;
  show(byId("answer-list"), ...(found?.rows.length ? rows(found, detail.row.is_try) : [el("p", { class: "quiet" }, found?.problem ?? (detail.row.ended_at ? "No answer." : "No answer yet."))]));
  shownFor = version;
}

function rows(found, isTry) {
  const where = isTry ? "All of them are in the report Try; none is written into the target." : "All of them are in the target once the run is over.";
  const columns = [
    { name: found.key.join(", "), cell: (row) => el("span", { class: "mono" }, row.key.join(", ")) },
    ...found.columns.map((name, index) => ({ name, class: "reason line", cell: (row) => row.values[index] || "–" })),
  ];
  return [table(columns, found.rows), el("p", { class: "quiet" }, `The first ${found.rows.length} rows with an answer. ${where}`)];
}
