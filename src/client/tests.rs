//! Questions and logs against a daemon that closes, cuts and refuses.

use crate::client::fake::{Fake, Reply};
use crate::client::{Client, ClientError, JobQuery, LogItem, LogOutput, LogQuery, Revival};
use crate::wire::error::{Problem, ProblemKind};
use crate::wire::request::JobSubmit;

const LIST: &str = r#"{"items":[],"as_of":"e:1"}"#;

fn list() -> Reply {
    Reply::Whole(200, LIST.into())
}

async fn asks(client: &Client) -> Result<u64, ClientError> {
    let list = client.jobs(&JobQuery::default()).await?;
    Ok(list.as_of.seq)
}

#[tokio::test]
async fn one_connection_serves_many_questions_and_its_end_is_not_noticed() {
    let fake = Fake::start([
        list(),
        Reply::Last(200, LIST.into()),
        list(),
        Reply::Nothing,
        list(),
        Reply::Half(LIST.into()),
        list(),
    ]);
    let client = fake.client().await;
    for _ in 0..5 {
        assert_eq!(asks(&client).await.unwrap(), 1);
    }
    assert_eq!(fake.requests().len(), 7);
}

/// A process that is being killed still takes connections for a moment.
#[tokio::test]
async fn a_daemon_that_dies_under_its_client_is_brought_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let dying = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let next = Fake::start([list()]);
    let (from, to) = (next.socket(), socket.clone());
    let revival = Revival::new(move || {
        let renamed = std::fs::rename(&from, &to);
        async move { renamed.unwrap() }
    });
    let client = Client::connect_for_good(&socket, Some(revival))
        .await
        .unwrap();
    drop(dying);
    assert_eq!(asks(&client).await.unwrap(), 1);
}

#[tokio::test]
async fn a_submission_is_repeated_with_the_same_key() {
    let fake = Fake::start([
        Reply::Half(r#"{"ids":[4]}"#.into()),
        Reply::Whole(201, r#"{"ids":[4],"repeated":true}"#.into()),
    ]);
    let client = fake.client().await;
    let job = JobSubmit {
        command: vec!["true".into()],
        ..JobSubmit::default()
    };
    let submitted = client.submit(vec![job], "key-1").await.unwrap();
    assert_eq!((submitted.ids, submitted.repeated), (vec![4], true));
    let requests = fake.requests();
    assert_eq!(requests[0], requests[1]);
    assert!(requests[0].contains("idempotency-key: key-1"));
    assert!(requests[0].ends_with(r#"{"command":["true"]}"#));
}

#[tokio::test]
async fn what_may_not_happen_twice_is_asked_once() {
    let fake = Fake::start([Reply::Nothing, Reply::Whole(200, "{}".into())]);
    let client = fake.client().await;
    let error = client.act(7, "retry").await.unwrap_err();
    assert!(matches!(error, ClientError::Io(_)), "{error:?}");
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn refusals_and_nonsense_are_told_apart() {
    let problem = Problem::new(ProblemKind::NotFound, "There is no job 9").hint("look");
    let fake = Fake::start([
        Reply::Whole(404, serde_json::to_string(&problem).unwrap()),
        Reply::Whole(500, "<html>".into()),
        Reply::Whole(200, "[".into()),
    ]);
    let client = fake.client().await;
    let error = client.job(9).await.unwrap_err();
    assert_eq!(error.problem(ProblemKind::NotFound), Some(&problem));
    for _ in 0..2 {
        let error = asks(&client).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    }
    let nowhere = Client::connect("/nonexistent/s".as_ref())
        .await
        .unwrap_err();
    assert!(nowhere.is_absence() && matches!(nowhere, ClientError::NoDaemon { .. }));
}

fn line(text: &str, cursor: &str) -> String {
    format!("{{\"stream\":\"stdout\",\"text\":\"{text}\",\"cursor\":\"{cursor}\"}}\n")
}

fn follow() -> LogQuery {
    LogQuery {
        job: 7,
        attempt: Some(1),
        tail: Some(5),
        follow: true,
        ..LogQuery::default()
    }
}

/// Everything a log gives, in short words.
async fn read(client: &Client, query: LogQuery) -> Vec<String> {
    let mut log = client.logs(query);
    let mut words = Vec::new();
    while let Some(item) = log.next().await.unwrap() {
        words.push(match item {
            LogItem::Piece(LogOutput::Stdout(bytes), _) => String::from_utf8(bytes).unwrap(),
            LogItem::Piece(piece, _) => format!("{piece:?}"),
            LogItem::Lost { .. } => "lost".into(),
            LogItem::Back => "back".into(),
        });
    }
    words
}

#[tokio::test]
async fn a_log_goes_on_where_it_was_cut() {
    let end = "{\"stream\":\"stderr\",\"base64\":\"/w==\"}\n{\"end\":true}\n";
    let fake = Fake::start([
        Reply::Cut(line("a", "c1") + "{\"stream\":\"stdout\",\"te"),
        Reply::Silence(line("b", "c2") + end),
    ]);
    let words = read(&fake.client().await, follow()).await;
    assert_eq!(words, ["a", "lost", "back", "b", "Stderr([255])"]);
    let requests = fake.requests();
    assert!(requests[0].starts_with("GET /v1/jobs/7/logs?format=json&attempt=1&follow=1&tail=5 "));
    assert!(
        requests[1].starts_with("GET /v1/jobs/7/logs?format=json&attempt=1&follow=1&offset=c1 ")
    );
}

#[tokio::test]
async fn a_log_that_shows_no_sign_of_life_is_asked_for_again() {
    let end = "\n{\"end\":true}\n";
    let fake = Fake::start([
        Reply::BrokenWord(100, line("a", "c1") + "\n\n"),
        Reply::Silence(line("b", "c2") + end),
    ]);
    let words = read(&fake.client().await, follow()).await;
    assert_eq!(words, ["a", "lost", "back", "b"]);
    assert!(fake.requests()[1].contains("&offset=c1 "));
}

#[tokio::test]
async fn the_end_of_an_answer_is_not_the_end_of_the_log() {
    let job = |more: &str| {
        let text = format!(
            r#"{{"id":7,"name":"x","group":"default","owner":{{"uid":1,"user":"a"}},"state":"running",
            "priority":5,"created_at":"2026-11-22T11:00:00Z"{more}}}"#
        );
        Reply::Whole(200, text)
    };
    let fake = Fake::start([
        Reply::Stream(line("a", "c1")),
        job(""),
        Reply::Stream(line("b", "c2")),
        job(r#","finished_at":"2026-11-22T12:00:00Z""#),
        Reply::Stream(line("c", "c3")),
    ]);
    let words = read(&fake.client().await, follow()).await;
    assert_eq!(words, ["a", "lost", "back", "b", "c"]);
}

#[tokio::test]
async fn without_following_a_log_ends_with_its_answer() {
    let gap = "{\"gap_bytes\":9}\n".to_owned();
    let fake = Fake::start([Reply::Stream(line("a", "c1") + &gap)]);
    let query = LogQuery {
        follow: false,
        ..follow()
    };
    assert_eq!(read(&fake.client().await, query).await, ["a", "Gap(9)"]);
}
