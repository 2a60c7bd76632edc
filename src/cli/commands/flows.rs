//! `stoke flows`

use crate::cli::Session;
use crate::cli::error::CliError;
use crate::cli::output::flow;
use crate::client::FlowQuery;
use serde_json::json;
use std::process::ExitCode;

/// So many flows are shown unless more are asked for.
const FEW: u32 = 20;
/// So many jobs of one flow are shown unless more are asked for.
const MANY: u32 = 50;
/// The longest page the daemon gives.
const LONGEST_PAGE: u32 = 1000;

/// Which flows.
#[derive(Debug, clap::Args)]
pub struct FlowsArgs {
    /// Flow to show with its jobs; all flows are listed unless given
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Of this owner, by login name or uid
    #[arg(long, short, value_name = "USER")]
    owner: Option<String>,
    /// Show at most so many flows, or jobs of one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

/// `stoke flows`
pub async fn run(session: &Session, args: FlowsArgs) -> Result<ExitCode, CliError> {
    let client = session.connect().await?;
    let output = &session.output;
    if let Some(name) = &args.name {
        let limit = args.limit.unwrap_or(MANY).min(LONGEST_PAGE);
        let found = client.flow(name, args.owner.as_deref(), limit).await?;
        if output.json {
            output.json(&found)?;
        } else {
            output.print(&flow::page(&found, &output.look()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let limit = args.limit.unwrap_or(FEW);
    let mut query = FlowQuery {
        owner: args.owner,
        ..FlowQuery::default()
    };
    let mut flows = Vec::new();
    let has_more = loop {
        let count = u32::try_from(flows.len()).unwrap_or(u32::MAX);
        let left = limit.saturating_sub(count);
        if left == 0 {
            break query.cursor.is_some();
        }
        query.limit = Some(left.min(LONGEST_PAGE));
        let page = client.flows(&query).await?;
        flows.extend(page.items);
        query.cursor = page.next;
        if query.cursor.is_none() {
            break false;
        }
    };
    if output.json {
        output.json(&json!({ "items": flows }))?;
    } else {
        output.print(&flow::list(&flows, has_more, &output.look()))?;
    }
    Ok(ExitCode::SUCCESS)
}
