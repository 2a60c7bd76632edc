//! The stream against a daemon that restarts, forgets, refuses and falls silent.

use super::*;
use crate::client::JobStateBody;
use crate::client::fake::{Fake, Reply};

fn hello(heartbeat_ms: u64) -> String {
    hello_at(3, heartbeat_ms)
}

fn hello_at(head: u64, heartbeat_ms: u64) -> String {
    format!(
        "event: hello\ndata: {{\"epoch\":\"e\",\"head\":{head},\"oldest\":1,\"heartbeat_ms\":{heartbeat_ms},\"version\":\"1\"}}\n\n"
    )
}

fn state(seq: u64, state: &str) -> String {
    let body = format!("{{\"job\":7,\"state\":\"{state}\"}}");
    let event = format!(
        "{{\"time\":\"2026-11-22T12:00:00Z\",\"channel\":\"job/7/state\",\"type\":\"state\",\"seq\":{seq},\"body\":{body}}}"
    );
    format!("id: e:{seq}\nevent: state\ndata: {event}\n\n")
}

fn problem(kind: ProblemKind) -> Reply {
    let problem = crate::wire::error::Problem::new(kind, "no");
    let text = serde_json::to_string(&problem).unwrap();
    Reply::Whole(kind.status(), text)
}

/// What came, in short words.
async fn word(events: &mut Events) -> String {
    match events.next().await {
        Ok(None) => "over".into(),
        Ok(Some(StreamItem::Message(StreamMessage::Event(event, _)))) => {
            let body: JobStateBody = serde_json::from_value(event.body).unwrap();
            body.state
        }
        Ok(Some(StreamItem::Message(message))) => message.kind().to_owned(),
        Ok(Some(StreamItem::Lost { .. })) => "lost".into(),
        Ok(Some(StreamItem::Back)) => "back".into(),
        Ok(Some(StreamItem::Relist)) => "relist".into(),
        Ok(Some(StreamItem::Poll)) => "poll".into(),
        Err(error) => format!("error: {error}"),
    }
}

async fn words(events: &mut Events, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(word(events).await);
    }
    words
}

fn last_event_ids(fake: &Fake) -> Vec<Option<String>> {
    let id = |request: &String| {
        let line = request
            .lines()
            .find_map(|line| line.strip_prefix("last-event-id: "))?;
        Some(line.to_owned())
    };
    fake.requests().iter().map(id).collect()
}

#[tokio::test]
async fn a_broken_stream_goes_on_where_it_was() {
    let fake = Fake::start([
        Reply::Cut(hello(15_000) + &state(4, "running") + "id: e:5\nevent: sta"),
        Reply::Stream(hello_at(5, 15_000) + &state(5, "completed") + "event: end\ndata: {}\n\n"),
    ]);
    let query = EventQuery {
        job: Some(7),
        snapshot: true,
        ..EventQuery::default()
    };
    let mut events = fake.client().await.events(query);
    assert_eq!(
        words(&mut events, 8).await,
        [
            "hello",
            "running",
            "lost",
            "back",
            "hello",
            "completed",
            "end",
            "over"
        ]
    );
    assert_eq!(last_event_ids(&fake), [None, Some("e:4".to_owned())]);
    let requests = fake.requests();
    assert!(requests[0].starts_with("GET /v1/events?job=7&snapshot=1 "));
    assert!(requests[1].starts_with("GET /v1/events?job=7&snapshot=1 "));
}

#[tokio::test]
async fn nothing_is_missed_between_hello_and_the_first_event() {
    let fake = Fake::start([Reply::Stream(hello(15_000)), Reply::Silence(hello(15_000))]);
    let mut events = fake.client().await.events(EventQuery::default());
    assert_eq!(
        words(&mut events, 4).await,
        ["hello", "lost", "back", "hello"]
    );
    assert_eq!(last_event_ids(&fake), [None, Some("e:3".to_owned())]);
}

#[tokio::test]
async fn a_forgotten_cursor_asks_for_a_new_list() {
    let fake = Fake::start([
        problem(ProblemKind::CursorGone),
        Reply::Silence(
            hello(15_000)
                + "event: gap\ndata: {\"from\":4,\"to\":9,\"reason\":\"slow_consumer\"}\n\n",
        ),
        Reply::Silence(hello(15_000)),
    ]);
    let query = EventQuery {
        after: Some("old:9".parse().unwrap()),
        ..EventQuery::default()
    };
    let mut events = fake.client().await.events(query);
    assert_eq!(
        words(&mut events, 4).await,
        ["relist", "hello", "gap", "relist"]
    );
    events.resume_after("e:2".parse().unwrap());
    assert_eq!(word(&mut events).await, "hello");
    let ids = last_event_ids(&fake);
    assert_eq!(ids[0].as_deref(), Some("old:9"));
    assert_eq!(ids[1], None);
    assert_eq!(ids[2].as_deref(), Some("e:2"));
}

#[tokio::test]
async fn a_daemon_that_goes_down_says_when_to_come_back() {
    let bye = hello(15_000) + "event: bye\ndata: {\"retry_ms\":5}\n\n";
    let fake = Fake::start([Reply::Stream(bye), Reply::Silence(hello(15_000))]);
    let mut events = fake.client().await.events(EventQuery::default());
    assert_eq!(word(&mut events).await, "hello");
    match events.next().await {
        Ok(Some(StreamItem::Lost { retry_in, .. })) => {
            assert_eq!(retry_in, Duration::from_millis(5));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(words(&mut events, 2).await, ["back", "hello"]);
}

#[tokio::test]
async fn a_silent_daemon_counts_as_gone() {
    let fake = Fake::start([
        Reply::Silence(hello(100)),
        Reply::Silence(hello(15_000) + &state(4, "running")),
    ]);
    let mut events = fake.client().await.events(EventQuery::default());
    assert_eq!(
        words(&mut events, 5).await,
        ["hello", "lost", "back", "hello", "running"]
    );
}

#[tokio::test(start_paused = true)]
async fn silence_is_noticed_also_by_a_caller_that_has_other_things_to_do() {
    let fake = Fake::start([Reply::Silence(hello(15_000))]);
    let mut events = fake.client().await.events(EventQuery::default());
    assert_eq!(word(&mut events).await, "hello");
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    let lost = loop {
        tokio::select! {
            item = word(&mut events) => break item,
            _ = tick.tick() => assert!(started.elapsed() < Duration::from_secs(60)),
        }
    };
    assert_eq!(lost, "lost");
    assert!(started.elapsed() >= Duration::from_millis(37_500));
}

#[tokio::test]
async fn without_a_stream_the_caller_looks_for_itself() {
    let fake = Fake::start([problem(ProblemKind::LimitReached)]);
    let mut events = fake.client().await.events(EventQuery::default());
    assert_eq!(words(&mut events, 2).await, ["poll", "poll"]);
}

#[tokio::test]
async fn a_refusal_is_final_and_messages_of_the_future_are_skipped() {
    let strange = "event: dance\ndata: {\"x\":1}\n\nevent: snapshot_end\ndata: {}\n\n";
    let fake = Fake::start([
        Reply::Silence(strange.to_owned()),
        problem(ProblemKind::NotFound),
    ]);
    let client = fake.client().await;
    let mut events = client.events(EventQuery::default());
    assert_eq!(word(&mut events).await, "snapshot_end");
    let mut refused = client.events(EventQuery::default());
    assert_eq!(words(&mut refused, 2).await, ["error: no", "over"]);
}
