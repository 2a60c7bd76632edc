//! `stoke groups`

use crate::cli::Session;
use crate::cli::error::{CliError, Kind};
use crate::cli::output::table;
use crate::wire::group::GroupView;
use crate::wire::request::GroupPut;
use serde_json::json;
use std::process::ExitCode;

/// Which group, and what shall change.
#[derive(Debug, clap::Args)]
pub struct GroupsArgs {
    /// Group; it is made where it does not exist and --parallel is given
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Let so many of its jobs run at once
    #[arg(long, short = 'j', value_name = "N", requires = "name")]
    parallel: Option<u32>,
    /// Start nothing new; what runs goes on
    #[arg(long, requires = "name", conflicts_with = "resume")]
    pause: bool,
    /// Start jobs again
    #[arg(long, requires = "name")]
    resume: bool,
    /// Remove the group, which must be empty
    #[arg(long, requires = "name", conflicts_with_all = ["parallel", "pause", "resume"])]
    rm: bool,
}

/// `stoke groups`
pub async fn run(session: &Session, args: GroupsArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let output = &session.output;
    if let Some(name) = args.name.as_deref().filter(|_| args.rm) {
        client.remove_group(name).await?;
        if output.json {
            output.json(&json!({"name": name, "ok": true}))?;
        } else {
            output.line(&format!("Group {name} is removed."))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let change = GroupPut {
        parallelism: args.parallel,
        paused: match (args.pause, args.resume) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            (false, false) => None,
        },
    };
    if let Some(name) = args
        .name
        .as_deref()
        .filter(|_| change != GroupPut::default())
    {
        client.put_group(name, &change).await?;
    }
    let mut groups = client.groups().await?;
    if let Some(name) = &args.name {
        groups.retain(|group| group.name == *name);
        if groups.is_empty() {
            return Err(
                CliError::new(Kind::NotFound, format!("there is no group {name}"))
                    .hint(format!("`stoke groups {name} --parallel N` makes it")),
            );
        }
    }
    show(session, &groups)
}

fn show(session: &Session, groups: &[GroupView]) -> Result<ExitCode, CliError> {
    if session.output.json {
        session.output.json(&json!({ "items": groups }))?;
    } else {
        let look = session.output.look();
        session.output.print(&table::groups(groups, &look))?;
    }
    Ok(ExitCode::SUCCESS)
}
