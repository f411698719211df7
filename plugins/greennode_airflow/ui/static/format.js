// Numbers, times and words as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const WITHOUT_DECIMALS = new Set(["VND", "JPY", "KRW"]);

export const number = (value) => whole.format(value);
export const shortly = (value) => (value < 10000 ? whole.format(value) : short.format(value));
export const when = (seconds) => moment.format(new Date(seconds * 1000));
export const counted = (count, one, several = `${one}s`) => `${number(count)} ${count === 1 ? one : several}`;

export function money(amount, currency) {
  const decimals = WITHOUT_DECIMALS.has(currency) ? 0 : amount >= 1 || amount === 0 ? 2 : 4;
  const written = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  if (decimals === 0 && amount > 0 && amount < 1) return `under 1 ${currency}`;
  return `${written.format(amount)} ${currency}`;
}

export function duration(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return minutes < 10 && all % 60 ? `${minutes} min ${all % 60} s` : `${minutes} min`;
  return `${all} s`;
}

// A guess shows no odd seconds.
export const roughly = (seconds) => duration(seconds < 60 ? seconds : 60 * Math.round(seconds / 60));

export function ago(seconds, now) {
  const passed = now - seconds;
  return passed < 5 ? "just now" : `${duration(passed)} ago`;
}

export const tokens = (figures) => {
  const used = figures.prompt_tokens + figures.completion_tokens;
  return used ? shortly(used) : "–";
};

// By the figures of a run: both sums are of the same tokens, added up in another order.
export const isAllLive = ({ live, cost }) => Boolean(live && live.cost !== null && cost && cost.amount - live.cost < 1e-6 * cost.amount);

export const percent = (part, all) => (all ? Math.min(100, (100 * part) / all) : 0);

// Only statuses whose name does not explain itself.
const STATUS_WORDS = {
  invalid_output: "answer does not fit",
  truncated: "cut at max_tokens",
  refused: "refused by the model",
  unsent: "never sent",
  without_answer: "without an answer",
};
export const statusWords = (status) => STATUS_WORDS[status] ?? status.replaceAll("_", " ");
