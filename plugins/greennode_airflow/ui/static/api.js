// Calls to this page's own routes, with the login of Airflow's pages.

export class PageError extends Error {}

export const get = (path, query) => call(path, query, {});
export const post = (path, query, body) =>
  call(path, query, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

async function call(path, query, options) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  let reply;
  try {
    reply = await fetch(`api/${path}?${new URLSearchParams(wanted)}`, { ...options, credentials: "same-origin" });
  } catch {
    throw new PageError("Airflow's API server cannot be reached. This page tries again.");
  }
  if (reply.ok) return reply.json();
  if (reply.status === 401) throw new PageError("Your login has ended. Load Airflow's page again and log in.");
  const said = await reply.json().catch(() => ({}));
  const detail = typeof said.detail === "string" ? said.detail : "";
  if (reply.status === 403) throw new PageError(detail && detail !== "Forbidden" ? detail : "You may not do or see this.");
  throw new PageError(detail || `Airflow's API server answered ${reply.status}. Its log says more.`);
}

// Calls `work` repeatedly, more often while something is under way; not while the page is hidden.
export function keepFresh(work) {
  let timer;
  let running = false;
  const turn = async () => {
    clearTimeout(timer);
    if (document.hidden || running) return;
    running = true;
    const seconds = await work();
    running = false;
    timer = setTimeout(turn, seconds * 1000);
  };
  document.addEventListener("visibilitychange", turn);
  turn();
  return turn;
}
