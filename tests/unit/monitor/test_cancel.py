from greennode_batch.monitor.cancel import cancel_batches


def texts(count):
    return [(number, f"text {number}") for number in range(count)]


def test_batches_under_way_are_cancelled_and_others_left_alone(make_scene, emulator):
    scene = make_scene(texts(30))
    emulator.faults([{"kind": "stuck", "status": "in_progress", "seconds": None, "count": 2}])
    scene.submit()
    scene.collect(scene.shards[2])
    done = cancel_batches(scene.staged().shards, scene.client)
    assert (done.requested, done.failed) == (2, {})
    words = {scene.client.get_batch(shard.batch_id).status.name for shard in scene.staged().shards[:2]}
    assert words <= {"CANCELLING", "CANCELLED"}
    assert emulator.ledger(summary=True)["calls"]["POST /batches/{id}/cancel"] == 2


def test_one_that_cannot_be_cancelled_is_named_with_the_reason(make_scene, emulator):
    scene = make_scene(texts(20))
    emulator.faults([{"kind": "stuck", "status": "in_progress", "seconds": None, "count": 2}])
    scene.submit()
    emulator.faults([{"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 403}])
    done = cancel_batches(scene.staged().shards, scene.client)
    assert done.requested == 1
    (why,) = done.failed.values()
    assert "403" in why
