//! `stoke wait`: until all of some jobs have ended, or any of them.

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::exit::{EXIT_HELP, Outcome};
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::client::{Client, EventQuery, JobStateBody, StreamItem};
use crate::wire::event::StreamMessage;
use crate::wire::values::Span;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// One connection may name so many channels.
const MOST_CHANNELS: usize = 50;

/// Which jobs, and how long.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_HELP)]
pub struct WaitArgs {
    /// Jobs: 3, 5-9, a name, @ (your newest), @~1 (the one before it)
    #[arg(value_name = "JOB", default_value = "@", value_parser = select::parse)]
    jobs: Vec<Selection>,
    /// Wait for the jobs that are in this flow now
    #[arg(long, value_name = "FLOW", conflicts_with = "jobs")]
    flow: Option<String>,
    /// End as soon as one of them has ended
    #[arg(long)]
    any: bool,
    /// Give up after this time, with status 1; the jobs go on
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    timeout: Option<Span>,
}

/// `stoke wait`
pub async fn run(session: &Session, args: WaitArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let ids = match &args.flow {
        Some(flow) => select::jobs_of_flow(&client, flow).await?,
        None => select::resolve(&client, &args.jobs).await?,
    };
    let waiting = outcomes(session, &client, &ids, args.any);
    let ended = match args.timeout {
        None => waiting.await?,
        Some(limit) => tokio::time::timeout(Duration::from_millis(limit.ms), waiting)
            .await
            .map_err(|_| {
                CliError::new(Kind::Failed, format!("the jobs did not end within {limit}"))
            })??,
    };
    if session.output.json {
        let results: Vec<_> = ids
            .iter()
            .filter_map(|id| Some((id, ended.get(id)?)))
            .map(|(id, it)| {
                json!({"id": id, "state": it.state, "status": it.status(), "exit": it.exit, "failure": it.failure})
            })
            .collect();
        session.output.json(&results)?;
    }
    let in_order = ids.iter().filter_map(|id| Some((*id, ended.get(id)?)));
    for (id, outcome) in in_order.clone() {
        if let Some(text) = outcome.explanation(id).filter(|_| !session.output.json) {
            session.output.note(&text);
        }
    }
    let mut statuses = in_order.map(|(_, outcome)| outcome.status());
    Ok(ExitCode::from(statuses.find(|&it| it != 0).unwrap_or(0)))
}

/// How the jobs ended. Subscribes before it looks, so that no end falls between the two.
async fn outcomes(
    session: &Session,
    client: &Client,
    ids: &[u64],
    any: bool,
) -> Result<BTreeMap<u64, Outcome>, CliError> {
    let channels = if ids.len() <= MOST_CHANNELS {
        ids.iter().map(|id| format!("job/{id}/state")).collect()
    } else {
        vec!["job/*/state".to_owned()]
    };
    let mut events = client.events(EventQuery {
        channels,
        ..EventQuery::default()
    });
    let mut ended = BTreeMap::new();
    let is_enough = |ended: &BTreeMap<_, _>| ended.len() == ids.len() || any && !ended.is_empty();
    // A single job that is over already costs no subscription.
    if let [id] = ids {
        look(client, &[*id], &mut ended).await?;
    }
    while !is_enough(&ended) {
        let Some(item) = events.next().await? else {
            look(client, ids, &mut ended).await?;
            continue;
        };
        match item {
            StreamItem::Message(StreamMessage::Hello(_))
            | StreamItem::Relist
            | StreamItem::Poll => {
                look(client, ids, &mut ended).await?;
            }
            StreamItem::Message(StreamMessage::Event(event, _)) => {
                match serde_json::from_value::<JobStateBody>(event.body) {
                    Ok(body) if ids.contains(&body.job) => {
                        let outcome = Outcome::of_event(&body);
                        ended.extend(outcome.map(|outcome| (body.job, outcome)));
                    }
                    // A job that was removed has no state any more: a look says so.
                    Err(_) => look(client, ids, &mut ended).await?,
                    Ok(_) => {}
                }
            }
            StreamItem::Message(_) | StreamItem::Back => {}
            StreamItem::Lost { .. } => session.plan.revive(client).await,
        }
    }
    Ok(ended)
}

async fn look(
    client: &Client,
    ids: &[u64],
    ended: &mut BTreeMap<u64, Outcome>,
) -> Result<(), CliError> {
    for &id in ids {
        if ended.contains_key(&id) {
            continue;
        }
        match client.job(id).await {
            Ok(job) => ended.extend(Outcome::of(&job).map(|outcome| (id, outcome))),
            // The stream comes back by itself, and then this is asked again.
            Err(error) if error.is_absence() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
