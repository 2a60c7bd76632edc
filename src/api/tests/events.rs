//! The event stream: where it begins, that nothing is missing or twice, and how it ends.

use super::harness::*;
use crate::api::limits::Limits;
use crate::auth::Mode;
use crate::events::queue::QueueOptions;
use crate::wire::error::ProblemKind;
use serde_json::{Value, json};
use std::time::Duration;

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| message.data["seq"].as_u64())
        .collect()
}

#[tokio::test]
async fn hello_comes_first_and_what_happens_follows() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    let mut client = RawClient::events(&daemon, "channel=job/*/state", "").await;
    let hello = client.message().await;
    assert_eq!(hello.event, "hello");
    let epoch = daemon.bus.epoch();
    assert_eq!(
        (&hello.data["epoch"], &hello.data["head"]),
        (&json!(&*epoch), &json!(2))
    );
    assert_eq!(hello.data["heartbeat_ms"], 15_000);
    daemon.started(job, 1).await;
    let event = client.message().await;
    assert_eq!(event.word(), "1 running");
    assert_eq!(event.id, Some(format!("{epoch}:3")));
    assert_eq!(
        (&event.data["seq"], &event.data["channel"]),
        (&json!(3), &json!("job/1/state"))
    );
    assert_eq!(event.data["body"]["from"], "starting");
}

#[tokio::test]
async fn cursors_at_their_bounds() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    let (oldest, head) = daemon.bus.bounds();
    assert_eq!((oldest.0, head.0), (1, 4));
    daemon.bus.trim(crate::model::id::Seq(3));
    let epoch = daemon.bus.epoch();
    for (cursor, wanted) in [
        (format!("{epoch}:4"), Ok(vec![])),
        (format!("{epoch}:3"), Ok(vec![4])),
        (format!("{epoch}:2"), Ok(vec![3, 4])),
        ("0".to_owned(), Ok(vec![3, 4])),
        (format!("{epoch}:1"), Err(ProblemKind::CursorGone)),
        (format!("{epoch}:5"), Err(ProblemKind::CursorGone)),
        (
            format!("{epoch}:{}", u64::MAX),
            Err(ProblemKind::CursorGone),
        ),
        ("another:3".to_owned(), Err(ProblemKind::CursorGone)),
        ("nonsense".to_owned(), Err(ProblemKind::InvalidRequest)),
    ] {
        match wanted {
            Ok(wanted) => {
                let query = format!("after={cursor}&channel=*");
                let mut client = RawClient::events(&daemon, &query, "").await;
                client.message().await;
                let mut got = Vec::new();
                while got.len() < wanted.len() {
                    got.push(client.message().await.data["seq"].as_u64().unwrap());
                }
                assert_eq!(got, wanted, "{cursor}");
            }
            Err(kind) => {
                let problem = daemon
                    .get(&format!("/v1/events?after={cursor}"))
                    .await
                    .problem();
                assert!(problem.is(kind), "{cursor}: {problem:?}");
                if kind == ProblemKind::CursorGone {
                    assert_eq!(problem.head, Some(format!("{epoch}:4")));
                    assert_eq!(problem.oldest, Some(format!("{epoch}:3")));
                }
            }
        }
    }
    let header = format!("last-event-id: {epoch}:3\r\n");
    let mut browser = RawClient::events(&daemon, "after=0", &header).await;
    browser.message().await;
    assert_eq!(
        browser.message().await.data["seq"],
        4,
        "the header is stronger"
    );
}

#[tokio::test]
async fn replay_and_live_meet_without_gap_or_overlap() {
    // The ring is small, so most of the replay comes from the store.
    let daemon = Daemon::with(quick_limits(), Mode::User { uid: own_uid() }, 16);
    let jobs =
        |count: usize| json!({ "jobs": vec![json!({ "command": ["a"], "hold": true }); count] });
    daemon.post("/v1/jobs", jobs(700)).await;
    let readers: Vec<_> = (0..4)
        .map(|reader| {
            let (daemon, start) = (&daemon, reader * 200);
            async move {
                let query = format!("after={}:{start}", daemon.bus.epoch());
                let mut client = RawClient::events(daemon, &query, "").await;
                let mut expected = start;
                while expected < 900 {
                    if let Some(seq) = client.message().await.data["seq"].as_u64() {
                        expected += 1;
                        assert_eq!(seq, expected);
                    }
                }
            }
        })
        .collect();
    let writer = async {
        for _ in 0..20 {
            daemon.post("/v1/jobs", jobs(10)).await;
        }
    };
    let [a, b, c, d]: [_; 4] = readers.try_into().ok().unwrap();
    tokio::join!(a, b, c, d, writer);
}

#[tokio::test]
async fn a_snapshot_shows_the_present_and_what_follows_is_newer() {
    let daemon = Daemon::start();
    daemon
        .call("PUT", "/v1/groups/train", Some(json!({ "parallelism": 1 })))
        .await;
    daemon.submit("done").await;
    daemon.run(1).await;
    daemon.submit("works").await;
    daemon.started(2, 1).await;
    daemon
        .post("/v1/jobs", json!({ "command": ["x"], "hold": true }))
        .await;
    daemon
        .post(
            "/v1/jobs/2/progress",
            json!({ "step": 3, "total_steps": 10 }),
        )
        .await;
    let mut client = RawClient::events(&daemon, "snapshot=1", "").await;
    let messages = client.messages_until("snapshot_end").await;
    assert_eq!(
        words(&messages),
        [
            "hello",
            "group",
            "3 held",
            "2 running",
            "progress 3",
            "snapshot_end"
        ]
    );
    assert!(
        seqs(&messages).is_empty(),
        "what is shown did not just happen"
    );
    daemon.ended(2, 1, 0).await;
    assert_eq!(client.message().await.word(), "2 completed");
}

#[tokio::test]
async fn the_stream_of_one_job_ends_with_it() {
    let daemon = Daemon::start();
    let job = daemon.submit("x").await;
    let mut live = RawClient::events(&daemon, "job=1", "").await;
    assert_eq!(live.message().await.event, "hello");
    daemon.run(job).await;
    let messages = live.messages_until("end").await;
    assert_eq!(words(&messages), ["1 running", "1 completed", "end"]);
    assert!(
        live.rest().await.ends_with("0\r\n\r\n"),
        "the answer is whole"
    );

    for (query, wanted) in [
        ("job=1".to_owned(), vec!["hello", "1 completed", "end"]),
        (
            "channel=job/1/*&snapshot=1".to_owned(),
            vec!["hello", "snapshot_end", "1 completed", "end"],
        ),
        (
            "job=1&after=0".to_owned(),
            vec![
                "hello",
                "1 queued",
                "1 starting",
                "1 running",
                "1 completed",
                "end",
            ],
        ),
        (
            format!("job=1&after={}:4", daemon.bus.epoch()),
            vec!["hello", "1 completed", "end"],
        ),
    ] {
        let mut client = RawClient::events(&daemon, &query, "").await;
        assert_eq!(
            words(&client.messages_until("end").await),
            wanted,
            "{query}"
        );
    }
    let none = daemon.get("/v1/events?job=9").await.problem();
    assert!(none.is(ProblemKind::NotFound));
}

#[tokio::test]
async fn an_earlier_end_does_not_end_the_stream_of_a_job_that_runs_again() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    daemon.post("/v1/jobs/1/retry", json!({})).await;
    let mut client = RawClient::events(&daemon, "job=1&after=0", "").await;
    daemon.started(1, 2).await;
    daemon.ended(1, 2, 3).await;
    let messages = client.messages_until("end").await;
    let states: Vec<_> = words(&messages);
    assert_eq!(
        states[4..],
        [
            "1 completed",
            "1 queued",
            "1 starting",
            "1 running",
            "1 failed",
            "end"
        ]
    );
}

#[tokio::test]
async fn filtered_watchers_get_signs_of_life_and_bookmarks() {
    let limits = Limits {
        heartbeat: Duration::from_millis(20),
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let mut client = RawClient::events(&daemon, "channel=group/*/state", "").await;
    client.message().await;
    let quiet = client.until(":\n\n").await;
    assert!(!quiet.contains("event:"), "{quiet}");
    daemon.submit("x").await;
    let bookmark = client.message().await;
    assert_eq!(bookmark.event, "bookmark");
    assert!(bookmark.id.unwrap().starts_with(&*daemon.bus.epoch()));
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_lost() {
    let limits = Limits {
        queue: QueueOptions {
            lifecycle: 50,
            channels: 10,
        },
        ..quick_limits()
    };
    let daemon = Daemon::with(limits, Mode::User { uid: own_uid() }, 64);
    let mut client = RawClient::events(&daemon, "", "").await;
    client.message().await;
    let name = "n".repeat(100);
    let job = json!({ "command": ["a"], "hold": true, "name": name });
    // Far more than the sockets hold, while nobody reads.
    let (mut sent, batch) = (0, vec![job; 1_000]);
    while daemon.bus.subscribers() > 0 {
        daemon.post("/v1/jobs", json!({ "jobs": batch })).await;
        sent += 1_000;
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
async fn a_daemon_that_goes_down_says_goodbye() {
    let daemon = Daemon::start();
    let mut client = RawClient::events(&daemon, "", "").await;
    client.message().await;
    daemon.bus.close(250);
    let bye = client.message().await;
    assert_eq!(
        (bye.event.as_str(), &bye.data),
        ("bye", &json!({ "retry_ms": 250 }))
    );
}

#[tokio::test]
async fn lines_of_json_carry_the_same() {
    let daemon = Daemon::start();
    daemon.submit("x").await;
    daemon.run(1).await;
    let mut client = RawClient::connect(&daemon).await;
    client.write("GET /v1/events?job=1 HTTP/1.1\r\nhost: x\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n").await;
    let text = client.rest().await;
    assert!(text.contains("content-type: application/x-ndjson"));
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let events: Vec<_> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(events, ["hello", "completed", "end"]);
}

#[tokio::test]
async fn others_see_states_without_the_reasons() {
    use crate::model::spec::JobSpec;
    let daemon = Daemon::with(quick_limits(), Mode::System, 64);
    let job = daemon
        .submit_of(1000, JobSpec::new(vec!["x".into()], "/"))
        .await;
    daemon.started(job, 1).await;
    daemon.ended(job, 1, 3).await;
    for (uid, sees) in [(1000, true), (1001, false)] {
        let reply = daemon
            .call_as(subject(uid), "GET", "/v1/events?job=1")
            .await;
        let text = reply.text();
        assert!(text.contains("\"class\":\"exit\""), "{text}");
        assert_eq!(
            text.contains("ended with exit status 3"),
            sees,
            "{uid}: {text}"
        );
    }
}

#[tokio::test]
async fn wrong_filters_are_named() {
    let daemon = Daemon::start();
    let many = "channel=a/b/c&".repeat(51);
    for (query, field) in [
        ("channel=job", "channel"),
        ("job=x", "job"),
        ("job=1&channel=*", "job"),
        (many.as_str(), "channel"),
        ("chanel=*", "chanel"),
        ("snapshot=2", "snapshot"),
    ] {
        let problem = daemon
            .get(&format!("/v1/events?{}", query.trim_end_matches('&')))
            .await
            .problem();
        assert_eq!(
            problem.field.as_deref(),
            Some(field),
            "{query}: {problem:?}"
        );
    }
}
