//! `stoke wait`: until all of some jobs have ended, or any of them.

use crate::cli::Session;
use crate::cli::connection::Connection;
use crate::cli::error::{CliError, Kind};
use crate::cli::exit::{EXIT_HELP, Outcome};
use crate::cli::output::screen::Screen;
use crate::cli::output::style;
use crate::cli::select::{self, Selection};
use crate::cli::values;
use crate::client::{Client, ClientError, EventQuery, JobQuery, JobStateBody, News, StreamItem};
use crate::wire::event::StreamMessage;
use crate::wire::values::Span;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// One connection may name so many channels.
const MOST_CHANNELS: usize = 50;
/// The longest page of a list.
const PAGE: u32 = 1000;
/// A page of a list costs about as much as so many single questions.
const JOBS_PER_PAGE: usize = 100;
/// When to ask again where the daemon was away, or was asked too much.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often the countdown to the next attempt to connect is brought up to date.
const COUNT_EVERY: Duration = Duration::from_millis(250);

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
    let mut waiting = Waiting {
        pending: ids.iter().copied().collect(),
        ended: BTreeMap::new(),
        screen: Screen::new(!session.output.json),
        connection: Connection::new(session, client.clone(), "; the jobs go on"),
        client,
    };
    let waited = match args.timeout {
        None => waiting.run(args.any).await,
        Some(limit) => {
            let limited = Duration::from_millis(limit.ms);
            tokio::time::timeout(limited, waiting.run(args.any))
                .await
                .unwrap_or_else(|_| {
                    let message = format!("the jobs did not end within {limit}");
                    Err(CliError::new(Kind::Failed, message))
                })
        }
    };
    waiting.screen.erase();
    waited?;
    let ended = waiting.ended;
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

/// How the jobs ended, by one stream, however many they are.
struct Waiting<'a> {
    client: Client,
    /// The ones that have not ended, as far as is known.
    pending: BTreeSet<u64>,
    ended: BTreeMap<u64, Outcome>,
    screen: Screen,
    connection: Connection<'a>,
}

impl Waiting<'_> {
    async fn run(&mut self, any: bool) -> Result<(), CliError> {
        // Jobs that are over already cost no subscription.
        if self.pending.len() == 1 {
            self.look().await?;
        }
        // Subscribed before it is looked, so that no end falls between the two.
        let mut events = self.client.events(EventQuery {
            channels: channels(&self.pending),
            ..EventQuery::default()
        });
        let mut must_look = true;
        let mut look_again = None;
        let mut tick = interval(COUNT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(self.pending.is_empty() || any && !self.ended.is_empty()) {
            let item = tokio::select! {
                biased;
                () = self.connection.revived() => {
                    events.retry_now();
                    continue;
                }
                item = events.next() => item?,
                () = at(look_again) => {
                    look_again = self.look().await?;
                    continue;
                }
                _ = tick.tick(), if self.connection.is_away() && self.screen.has_line() => {
                    self.connection.line().into_iter().for_each(|line| self.screen.draw(&line));
                    continue;
                }
            };
            match item {
                // Where the stream goes on where it was, it tells everything itself.
                Some(StreamItem::Message(StreamMessage::Hello(_))) => {
                    if std::mem::take(&mut must_look) {
                        look_again = self.look().await?;
                    }
                }
                Some(StreamItem::Message(StreamMessage::Event(event, _))) => match News::of(&event)
                {
                    News::State(body) => self.moved(&body),
                    // Nobody will know any more how it ended: a look says so.
                    News::Removed(id) if self.pending.contains(&id) => {
                        self.look_at(id).await?;
                    }
                    News::Removed(_) | News::Edited(_) | News::Progress(..) | News::Other => {}
                },
                Some(StreamItem::Message(_)) => {}
                Some(StreamItem::Lost { retry_in, why }) => {
                    self.connection.lost(&mut self.screen, retry_in, &why);
                }
                Some(StreamItem::Back) => self.connection.back(&mut self.screen),
                Some(StreamItem::Relist) => must_look = true,
                Some(StreamItem::Poll) => {
                    self.connection.refused(&mut self.screen);
                    must_look = true;
                    self.look().await?;
                }
                None => {
                    return Err(CliError::new(
                        Kind::Failed,
                        "the stream of events has ended",
                    ));
                }
            }
        }
        Ok(())
    }

    fn moved(&mut self, body: &JobStateBody) {
        if let Some(outcome) = Outcome::of_event(body)
            && self.pending.remove(&body.job)
        {
            self.ended.insert(body.job, outcome);
        }
    }

    /// Asks for the state of every pending job; says when to ask again where not all answers came.
    async fn look(&mut self) -> Result<Option<Instant>, CliError> {
        let again = || Ok(Some(Instant::now() + LOOK_AGAIN));
        let live = match self.live().await {
            Ok(live) => live,
            Err(error) if error.is_passing() => return again(),
            Err(error) => return Err(error.into()),
        };
        let unknown: Vec<u64> = self.pending.difference(&live).copied().collect();
        for id in unknown {
            if !self.look_at(id).await? {
                return again();
            }
        }
        Ok(None)
    }

    /// Asks for the state of one job; whether an answer came.
    async fn look_at(&mut self, id: u64) -> Result<bool, CliError> {
        match self.client.job(id).await {
            Ok(job) => {
                if let Some(outcome) = Outcome::of(&job) {
                    self.pending.remove(&id);
                    self.ended.insert(id, outcome);
                }
                Ok(true)
            }
            Err(error) if error.is_passing() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Some of the jobs that have not ended: where many are waited for, so that not each has to be asked for.
    async fn live(&self) -> Result<BTreeSet<u64>, ClientError> {
        let mut live = BTreeSet::new();
        let mut query = JobQuery {
            states: style::LIVE_STATES.map(str::to_owned).to_vec(),
            limit: Some(PAGE),
            ..JobQuery::default()
        };
        for _ in 0..self.pending.len() / JOBS_PER_PAGE {
            let page = self.client.jobs(&query).await?;
            live.extend(page.items.iter().map(|job| job.id));
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        Ok(live)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn channels(ids: &BTreeSet<u64>) -> Vec<String> {
    if ids.len() <= MOST_CHANNELS {
        ids.iter().map(|id| format!("job/{id}/state")).collect()
    } else {
        vec!["job/*/state".to_owned()]
    }
}
