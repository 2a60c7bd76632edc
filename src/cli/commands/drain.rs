//! `stoke drain`: nothing new starts, so that the host can be taken down when what runs has ended.

use crate::cli::Session;
use crate::cli::connection::Connection;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::screen::Screen;
use crate::client::{Client, ClientError, EventQuery, News, StreamItem};
use crate::wire::event::StreamMessage;
use crate::wire::service::{DrainPut, DrainView};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// When to ask again where the daemon was away, or was asked too much.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What shall be.
#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// Wait until nothing runs any more
    #[arg(long, short = 'w')]
    wait: bool,
    /// Let jobs start again
    #[arg(long, conflicts_with_all = ["wait", "status"])]
    undo: bool,
    /// Change nothing, and say how it is; with --wait, wait all the same
    #[arg(long)]
    status: bool,
}

/// `stoke drain`
pub async fn run(session: &Session, args: DrainArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    if !args.status {
        let draining = !args.undo;
        client.set_drain(DrainPut { draining }).await?;
    }
    let now = client.drain().await?;
    if !session.output.json {
        session.output.line(&sentence(now))?;
    }
    if args.wait {
        until_idle(session, &client).await?;
    }
    if session.output.json {
        let now = match args.wait {
            true => client.drain().await?,
            false => now,
        };
        let DrainView { draining, active } = now;
        session
            .output
            .json(&json!({"draining": draining, "active": active}))?;
    } else if args.wait && now.active > 0 {
        session.output.line("Nothing runs any more.")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn sentence(now: DrainView) -> String {
    let runs = match now.active {
        0 => "nothing runs".to_owned(),
        1 => "1 job runs".to_owned(),
        many => format!("{many} jobs run"),
    };
    match now.draining {
        true => {
            format!("The host is drained: no job starts, {runs}. `stoke drain --undo` ends this.")
        }
        false => format!("Jobs start as there are places; {runs}."),
    }
}

/// Waits until no job holds a place, over restarts of the daemon too.
async fn until_idle(session: &Session, client: &Client) -> Result<(), CliError> {
    let mut screen = Screen::new(!session.output.json);
    let mut connection = Connection::new(session, client.clone(), "; the jobs go on");
    // Subscribed before it is looked, so that no end falls between the two.
    let mut events = client.events(EventQuery {
        channels: vec!["job/*/state".to_owned()],
        ..EventQuery::default()
    });
    loop {
        let item = tokio::select! {
            biased;
            () = connection.revived() => {
                events.retry_now();
                continue;
            }
            item = events.next() => item?,
        };
        let look = match item {
            Some(StreamItem::Message(StreamMessage::Hello(_)) | StreamItem::Relist) => true,
            Some(StreamItem::Message(StreamMessage::Event(event, _))) => {
                matches!(News::of(&event), News::State(_))
            }
            Some(StreamItem::Message(_)) => false,
            Some(StreamItem::Lost { retry_in, why }) => {
                connection.lost(&mut screen, retry_in, &why);
                false
            }
            Some(StreamItem::Back) => {
                connection.back(&mut screen);
                true
            }
            Some(StreamItem::Poll) => {
                connection.refused(&mut screen);
                true
            }
            None => {
                let why = "the stream of events has ended";
                return Err(CliError::new(Kind::Failed, why));
            }
        };
        if look && is_idle(client).await? {
            return Ok(());
        }
    }
}

/// Whether no job holds a place.
async fn is_idle(client: &Client) -> Result<bool, ClientError> {
    loop {
        match client.drain().await {
            Ok(now) => return Ok(now.active == 0),
            Err(error) if error.is_passing() => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}
