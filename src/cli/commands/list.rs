//! `stoke ls`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::style::{
    ACTIVE_STATES, FINAL_STATES, LIVE_STATES, Look, Tone, WAITING_STATES,
};
use crate::cli::output::table;
use crate::cli::output::text::harmless;
use crate::cli::values;
use crate::client::{Client, JobQuery};
use crate::wire::job::JobView;
use jiff::Timestamp;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// So many finished jobs are shown unless more are asked for.
const FEW: u32 = 8;
/// So many waiting jobs are shown unless more are asked for: of a long queue nobody reads the rest.
const MANY: u32 = 50;
/// The longest page the daemon gives.
const LONGEST_PAGE: u32 = 1000;

/// Which jobs.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// List all jobs, not only the last that ended
    #[arg(long, short)]
    all: bool,
    /// List jobs in these states
    #[arg(long, short, value_name = "STATE", value_delimiter = ',', value_parser = state)]
    state: Vec<String>,
    /// List jobs of this group
    #[arg(long, short, value_name = "GROUP")]
    group: Option<String>,
    /// List jobs of this owner, by login name or uid
    #[arg(long, short, value_name = "USER")]
    owner: Option<String>,
    /// List jobs of this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// List jobs of this flow
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
    /// List jobs with this label (can be repeated)
    #[arg(long, short, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// List jobs of this name
    #[arg(long, short, value_name = "NAME")]
    name: Option<String>,
    /// List jobs submitted since: 2h (ago), 09:00, yesterday, 2026-11-22
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<Timestamp>,
    /// List at most so many jobs
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// List what was running then, how far it was and what it used: 2h (ago), 09:00, yesterday, 2026-11-22
    #[arg(long, value_name = "TIME", value_parser = values::past, conflicts_with_all = [
        "all", "state", "group", "owner", "kind", "flow", "label", "name", "since", "limit",
    ])]
    at: Option<Timestamp>,
}

/// What was found.
#[derive(Default)]
struct Found {
    jobs: Vec<JobView>,
    has_more: bool,
    /// Months of the archive whose jobs are left out.
    unreadable: BTreeSet<String>,
}

impl Found {
    fn count(&self) -> u32 {
        u32::try_from(self.jobs.len()).unwrap_or(u32::MAX)
    }
}

impl Found {
    /// Leaves out what was found once more later: that is newer.
    fn replace_by(&mut self, later: &Self) {
        let newer: BTreeSet<u64> = later.jobs.iter().map(|job| job.id).collect();
        self.jobs.retain(|job| !newer.contains(&job.id));
    }

    /// Keeps so many.
    fn keep(&mut self, most: u32) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.has_more |= self.jobs.len() > most;
        self.jobs.truncate(most);
    }
}

/// `stoke ls`
pub async fn run(session: &Session, args: ListArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    if let Some(at) = args.at {
        return then(session, &client, at).await;
    }
    let found = find(&client, &args).await?;
    if session.output.json {
        session.output.json(&json!({ "items": found.jobs }))?;
        return Ok(ExitCode::SUCCESS);
    }
    session
        .output
        .print(&view(&found, &session.output.look()))?;
    note_unreadable(session, &found.unreadable);
    Ok(ExitCode::SUCCESS)
}

/// What was active at a time in the past.
async fn then(session: &Session, client: &Client, at: Timestamp) -> Result<ExitCode, CliError> {
    let view = client.operations_at(at).await?;
    let output = &session.output;
    if output.json {
        output.json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let look = Look {
        now: at,
        ..output.look()
    };
    let jobs: Vec<JobView> = view.jobs.into_iter().map(|it| it.job).collect();
    let mut text = look.paint(Tone::Faint, &then_words(&jobs, view.waiting, &look));
    text.push('\n');
    if !jobs.is_empty() {
        text += &table::jobs(&jobs, &look);
    }
    output.print(&text)?;
    note_unreadable(session, &view.unreadable_months.into_iter().collect());
    Ok(ExitCode::SUCCESS)
}

fn then_words(jobs: &[JobView], waiting: u64, look: &Look) -> String {
    let time = look.date_time(look.now);
    let active = match jobs.len() {
        0 => "nothing ran".to_owned(),
        1 => "1 job was active".to_owned(),
        count => format!("{count} jobs were active"),
    };
    match waiting {
        0 => format!("At {time} {active}."),
        waiting => format!("At {time} {active}, {waiting} waited."),
    }
}

fn note_unreadable(session: &Session, months: &BTreeSet<String>) {
    if !months.is_empty() {
        let months: Vec<&str> = months.iter().map(String::as_str).collect();
        let months = harmless(&months.join(", ")).into_owned();
        session.output.note(&format!(
            "Jobs of {months} are left out: the archive cannot be read. `stoke archive` says more."
        ));
    }
}

async fn find(client: &Client, args: &ListArgs) -> Result<Found, CliError> {
    let query = |states: &[&str]| JobQuery {
        states: states.iter().map(|&state| state.to_owned()).collect(),
        owner: args.owner.clone(),
        group: args.group.clone(),
        kind: args.kind.clone(),
        name: args.name.clone(),
        flow: args.flow.clone(),
        labels: args.label.clone(),
        since: args.since,
        ..JobQuery::default()
    };
    let limit = args.limit.unwrap_or(u32::MAX);
    if !args.state.is_empty() {
        let states: Vec<_> = args.state.iter().map(String::as_str).collect();
        return pages(client, query(&states), limit).await;
    }
    let is_open_ended = args.all || args.since.is_some() || args.limit.is_some();
    // In the order in which jobs go through these states: one that moves on meanwhile is found twice, not never.
    let most_waiting = if is_open_ended { limit } else { MANY };
    let mut waiting = pages(client, query(&WAITING_STATES), most_waiting).await?;
    let mut live = pages(client, query(&ACTIVE_STATES), limit).await?;
    waiting.replace_by(&live);
    if is_open_ended {
        waiting.keep(limit.saturating_sub(live.count()));
    }
    live.jobs.extend(waiting.jobs);
    live.has_more |= waiting.has_more;
    live.unreadable.extend(waiting.unreadable);
    let left = if is_open_ended {
        limit.saturating_sub(live.count())
    } else {
        FEW
    };
    if left == 0 {
        return Ok(Found {
            has_more: true,
            ..live
        });
    }
    let ended = pages(client, query(&FINAL_STATES), left).await?;
    live.replace_by(&ended);
    let mut jobs = live.jobs;
    jobs.sort_by_key(|job| (rank(&job.state), std::cmp::Reverse(job.id)));
    jobs.extend(ended.jobs);
    let mut unreadable = live.unreadable;
    unreadable.extend(ended.unreadable);
    Ok(Found {
        jobs,
        has_more: live.has_more || ended.has_more,
        unreadable,
    })
}

/// What happens now comes first, then what comes next.
fn rank(state: &str) -> u8 {
    match state {
        "running" | "starting" | "stopping" | "paused" => 0,
        "backoff" => 1,
        "queued" => 2,
        _ => 3,
    }
}

async fn pages(client: &Client, mut query: JobQuery, limit: u32) -> Result<Found, CliError> {
    let mut jobs: Vec<JobView> = Vec::new();
    let mut unreadable = BTreeSet::new();
    loop {
        let count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        query.limit = Some(limit.saturating_sub(count).clamp(1, LONGEST_PAGE));
        let page = client.jobs(&query).await?;
        // A page may be empty although there are more: what it had to show could not be read.
        let is_empty = page.items.is_empty() && page.unreadable_months.is_empty();
        unreadable.extend(page.unreadable_months);
        jobs.extend(page.items);
        query.cursor = page.next;
        let has_more = query.cursor.is_some();
        let is_enough = u32::try_from(jobs.len()).is_ok_and(|count| count >= limit);
        if !has_more || is_enough || is_empty {
            return Ok(Found {
                jobs,
                has_more,
                unreadable,
            });
        }
    }
}

fn view(found: &Found, look: &Look) -> String {
    if found.jobs.is_empty() {
        let hint = look.paint(Tone::Faint, "`stoke run -- COMMAND` submits one");
        return format!("No jobs. {hint}\n");
    }
    let mut text = table::jobs(&found.jobs, look);
    if found.has_more {
        text += &look.paint(
            Tone::Faint,
            "There are more: `stoke ls -a`, `--state`, `--limit`",
        );
        text.push('\n');
    }
    text
}

/// A state, or `live` and `final` for all of a sort; states of a newer daemon are its own to know.
fn state(text: &str) -> Result<String, String> {
    let states = match text {
        "live" => LIVE_STATES.join(","),
        "final" | "ended" => FINAL_STATES.join(","),
        _ => text.replace('-', "_").to_ascii_lowercase(),
    };
    let is_known = |state: &str| LIVE_STATES.contains(&state) || FINAL_STATES.contains(&state);
    if states.split(',').all(is_known) {
        return Ok(states);
    }
    let known = LIVE_STATES.iter().chain(&FINAL_STATES).copied();
    let known: Vec<_> = known.chain(["live", "final"]).collect();
    Err(format!(
        "there is no state \"{text}\": {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::cli::commands::Command;
    use crate::client::fake::{Fake, Reply};
    use clap::Parser;

    fn page(jobs: &[(u64, &str)]) -> Reply {
        let job = |&(id, state): &(u64, &str)| {
            json!({"id": id, "name": "x", "state": state, "group": "g", "priority": 5, "owner": {"uid": 0, "user": "u"},
                   "created_at": "2026-11-22T10:00:00Z"})
        };
        let items: Vec<_> = jobs.iter().map(job).collect();
        Reply::Whole(200, json!({"items": items, "as_of": "e:1"}).to_string())
    }

    async fn listed(args: &[&str], pages: [Reply; 3]) -> (Vec<(u64, String)>, bool) {
        let cli = Cli::try_parse_from(["stoke", "ls"].iter().chain(args)).unwrap();
        let Command::Ls(args) = cli.command else {
            panic!("{:?}", cli.command)
        };
        let fake = Fake::start(pages);
        let found = find(&fake.client().await, &args).await.unwrap();
        let jobs = found.jobs.into_iter().map(|job| (job.id, job.state));
        (jobs.collect(), found.has_more)
    }

    #[tokio::test]
    async fn a_job_that_moves_on_while_it_is_looked_for_is_listed_once() {
        let pages = [
            page(&[(3, "queued"), (2, "queued")]),
            page(&[(2, "running"), (1, "running")]),
            page(&[(1, "completed")]),
        ];
        let now = [(2, "running"), (3, "queued"), (1, "completed")];
        let now = now.map(|(id, state)| (id, state.to_owned())).to_vec();
        assert_eq!(listed(&["-a"], pages).await, (now, false));
    }

    #[tokio::test]
    async fn what_runs_comes_before_what_waits_under_a_limit() {
        let pages = [page(&[(3, "queued")]), page(&[(2, "running")]), page(&[])];
        let first = vec![(2, "running".to_owned())];
        assert_eq!(listed(&["--limit", "1"], pages).await, (first, true));
    }
}
