//! The event stream of readers that are slower than what happens.

use super::events::seqs;
use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::events::queue::QueueOptions;
use crate::store::TrimPolicy;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost() {
    let limits = Limits {
        queue: QueueOptions {
            lifecycle: 50,
            channels: 10,
            ..QueueOptions::default()
        },
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let mut client = RawClient::events(&daemon, "", "").await;
    client.message().await;
    let name = "n".repeat(100);
    let job = json!({ "command": ["a"], "hold": true, "name": name });
    // Far more than the sockets hold, while nobody reads.
    let (mut sent, batch) = (0, vec![job; 20]);
    while daemon.bus.subscribers() > 0 {
        daemon.post("/v1/jobs", json!({ "jobs": batch })).await;
        sent += 20;
        assert!(sent < 100_000, "the queue has no bound");
    }
    let messages = client.messages_until("gap").await;
    let got = seqs(&messages);
    assert!(
        got.iter().zip(1..).all(|(got, wanted)| *got == wanted),
        "nothing is missing before"
    );
    let gap = &messages.last().unwrap().data;
    assert_eq!(gap["from"], got.len() as u64 + 1);
    assert_eq!(gap["reason"], "slow_consumer");
    assert!(client.rest().await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn a_reader_survives_more_at_once_than_can_wait_for_it() {
    // Neither the queue nor the ring holds a whole batch: the rest is read from the store.
    let limits = Limits {
        queue: QueueOptions {
            lifecycle: 50,
            ..QueueOptions::default()
        },
        replay_per_second: 1_000_000,
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let mut client = RawClient::events(&daemon, "class=lifecycle", "").await;
    client.message().await;
    let batch = json!({ "jobs": vec![json!({ "command": ["a"], "hold": true }); 2_000] });
    for round in 1..=3 {
        daemon.post("/v1/jobs", batch.clone()).await;
        for seq in (round - 1) * 2_000 + 1..=round * 2_000 {
            let message = client.past_bookmarks().await;
            assert_eq!(message.data["seq"], seq, "{message:?}");
        }
    }
}

#[tokio::test]
async fn history_is_read_no_faster_than_is_allowed_and_nothing_overflows_meanwhile() {
    let limits = Limits {
        queue: QueueOptions {
            lifecycle: 16,
            ..QueueOptions::default()
        },
        replay_per_second: 2_000,
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 8);
    let one = json!({ "command": ["a"], "hold": true });
    let batch = json!({ "jobs": vec![one.clone(); 1_000] });
    daemon.post("/v1/jobs", batch).await;
    let began = tokio::time::Instant::now();
    let mut client = RawClient::events(&daemon, "after=0", "").await;
    client.message().await;
    let reader = async {
        for seq in 1..=1_100 {
            let message = client.past_bookmarks().await;
            assert_eq!(message.data["seq"], seq, "{message:?}");
        }
        began.elapsed()
    };
    let writer = async {
        for _ in 0..100 {
            daemon.post("/v1/jobs", one.clone()).await;
        }
    };
    let (took, ()) = tokio::join!(reader, writer);
    assert!(took >= Duration::from_millis(240), "{took:?}");
}

#[tokio::test]
async fn history_that_is_trimmed_under_a_reader_is_a_gap() {
    let limits = Limits {
        replay_per_second: 500,
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 8);
    let batch = json!({ "jobs": vec![json!({ "command": ["a"], "hold": true }); 2_000] });
    daemon.post("/v1/jobs", batch).await;
    let mut client = RawClient::events(&daemon, "after=0", "").await;
    client.message().await;
    assert_eq!(client.message().await.data["seq"], 1);
    let policy = TrimPolicy {
        events_keep: 100,
        events_older_than_ms: None,
        keys_older_than_ms: 0,
    };
    let trimmed = daemon.store.trim(policy).await.unwrap();
    daemon.bus.trim(trimmed.oldest);
    let messages = client.messages_until("gap").await;
    let got = seqs(&messages);
    assert!(got.iter().zip(2..).all(|(got, wanted)| *got == wanted));
    let gap = &messages.last().unwrap().data;
    assert_eq!(gap["from"], got.len() as u64 + 2);
    assert_eq!(
        (&gap["to"], &gap["reason"]),
        (&json!(1_900), &json!("trimmed"))
    );
}
