// Asks before batches are cancelled, says what happens to their rows, and shows the progress.

import { post } from "./api.js";
import { byId, el, say, show } from "./dom.js";
import { counted, number } from "./format.js";

// shard: one of the run's, or null for all of its batches at GreenNode. then: called when it is done.
export function offerCancel({ run, detail, shard, then }) {
  const dialog = byId("cancel");
  const count = shard ? 1 : detail.cancellable;
  say(byId("cancel-title"), shard ? "Cancel this batch?" : `Cancel ${counted(count, "batch", "batches")}?`);
  show(byId("cancel-words"), ...words(detail, shard));
  say(byId("cancel-progress"), "");
  const yes = byId("cancel-yes");
  const no = byId("cancel-no");
  say(yes, count === 1 ? "Cancel the batch" : `Cancel ${number(count)} batches`);
  say(no, count === 1 ? "Keep it running" : "Keep them running");
  yes.hidden = false;
  yes.disabled = false;
  no.onclick = () => dialog.close();
  yes.onclick = async () => {
    yes.disabled = true;
    try {
      const done = await cancelAll(run, shard, count);
      yes.hidden = true;
      say(byId("cancel-progress"), outcome(done));
    } catch (error) {
      yes.disabled = false;
      say(byId("cancel-progress"), error.message);
    }
    say(no, "Close");
    no.focus();
    then();
  };
  dialog.showModal();
  no.focus();
}

function words(detail, shard) {
  const again = detail.will_retry
    ? "The rows without an answer are sent again in this run's next attempt."
    : "The rows without an answer get the status cancelled; the next run sends them again.";
  const unsent = !shard && detail.unsent_shards ? `${counted(detail.unsent_shards, "batch", "batches")} of this run not sent yet will still be sent.` : "";
  const stop = detail.will_retry || unsent ? "To end the run for good, mark it as failed in Airflow: that cancels its batches as well, and the run stays failed." : "";
  const said = ["Finished answers are kept: they are paid for, and go into the target.", again, unsent, stop];
  return [shard ? el("p", { class: "mono" }, shard.batch_id) : null, ...said.filter(Boolean).map((one) => el("p", {}, one))];
}

async function cancelAll(run, shard, count) {
  const done = { requested: 0, failed: {} };
  let start = 0;
  while (start !== null) {
    say(byId("cancel-progress"), `${number(done.requested)} of ${number(count)} asked to end…`);
    const wanted = shard ? { shard_id: shard.shard_id, attempt: shard.attempt, start } : { start };
    const reply = await post("cancel", run, wanted);
    done.requested += reply.requested;
    Object.assign(done.failed, reply.failed);
    start = reply.next;
  }
  return done;
}

function outcome({ requested, failed }) {
  const [first] = Object.values(failed);
  const missed = Object.keys(failed).length;
  const trouble = missed ? ` ${counted(missed, "batch", "batches")} could not be cancelled: ${first}` : "";
  return `GreenNode was asked to end ${counted(requested, "batch", "batches")}. The run continues when they have ended.${trouble}`;
}
