//! Which jobs are meant: `3`, `5-9`, `3,5-9`, a name, `@` (my newest) and `@~1` (the one before it).

use crate::cli::error::{CliError, Kind};
use crate::client::{Client, ClientError, JobQuery};
use crate::wire::job::JobView;
use std::collections::BTreeSet;
use std::str::FromStr;

/// A range may not span more jobs than this.
const LONGEST_RANGE: u64 = 10_000;
/// The longest page the daemon gives.
const LONGEST_PAGE: u32 = 1000;
/// Among so many of the newest jobs a similar name is looked for.
const NAMES_LOOKED_AT: u32 = 200;
/// Names less similar than this are of no help.
const LEAST_SIMILARITY: f64 = 0.7;

/// What somebody wrote to name jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By number.
    Id(u64),
    /// All there are between two numbers, both included.
    Range(u64, u64),
    /// The caller's newest job, or so many before it.
    Newest(u32),
    /// The newest job of that name.
    Name(String),
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let id = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("{text} is too large for a job"))
        };
        if text.is_empty() {
            return Err("a job is named by its number, its name or @".to_owned());
        }
        if digits(text) {
            return Ok(Self::Id(id(text)?));
        }
        if let Some(back) = text.strip_prefix('@') {
            return match back.strip_prefix('~') {
                None if back.is_empty() => Ok(Self::Newest(0)),
                Some(back) if digits(back) && back.len() <= 6 => {
                    Ok(Self::Newest(back.parse().unwrap_or(u32::MAX)))
                }
                _ => Err(format!(
                    "\"{text}\" is neither @ (my newest job) nor @~N (the Nth before it)"
                )),
            };
        }
        match text.split_once('-') {
            Some((from, to)) if digits(from) && digits(to) => {
                let (from, to) = (id(from)?, id(to)?);
                if from > to {
                    return Err(format!("the range {text} is empty: write {to}-{from}"));
                }
                if to - from >= LONGEST_RANGE {
                    return Err(format!(
                        "the range {text} spans more than {LONGEST_RANGE} jobs"
                    ));
                }
                Ok(Self::Range(from, to))
            }
            _ => Ok(Self::Name(text.to_owned())),
        }
    }
}

/// Reads one argument: selectors with commas between them.
pub fn parse(text: &str) -> Result<Selection, String> {
    let is_list = text.contains(',');
    let selectors = text
        .split(',')
        .filter(|part| !is_list || !part.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    Ok(Selection { selectors })
}

/// The selectors of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// In the order written.
    pub selectors: Vec<Selector>,
}

/// The jobs that are meant, each once, in the order written. Plain numbers are not looked up.
///
/// # Errors
/// `NotFound` with similar names, where a name or a range means nothing.
pub async fn resolve(client: &Client, selections: &[Selection]) -> Result<Vec<u64>, CliError> {
    let mut ids = Vec::new();
    let mut known = BTreeSet::new();
    for selector in selections.iter().flat_map(|it| &it.selectors) {
        let found = resolve_one(client, selector).await?;
        ids.extend(found.into_iter().filter(|id| known.insert(*id)));
    }
    Ok(ids)
}

/// The one job that is meant.
///
/// # Errors
/// `Usage` where several are, `NotFound` where none is.
pub async fn resolve_single(client: &Client, selection: &Selection) -> Result<u64, CliError> {
    match resolve(client, std::slice::from_ref(selection)).await?[..] {
        [id] => Ok(id),
        [] => Err(CliError::usage("no job is named")),
        _ => Err(CliError::usage("one job is expected here, not several")),
    }
}

/// The jobs of a flow, oldest first; of the caller's own where several users have one of that name.
///
/// # Errors
/// Where there is no such flow.
pub async fn jobs_of_flow(client: &Client, name: &str) -> Result<Vec<u64>, CliError> {
    let flow = client.flow(name, None, LONGEST_PAGE).await?;
    let mut ids: Vec<u64> = flow.jobs.iter().map(|job| job.id).collect();
    let mut query = JobQuery {
        flow: Some(flow.name),
        owner: Some(flow.owner.uid.to_string()),
        limit: Some(LONGEST_PAGE),
        cursor: flow.next,
        ..JobQuery::default()
    };
    while query.cursor.is_some() {
        let page = client.jobs(&query).await?;
        ids.extend(page.items.iter().map(|job| job.id));
        query.cursor = page.next;
    }
    ids.reverse();
    Ok(ids)
}

async fn resolve_one(client: &Client, selector: &Selector) -> Result<Vec<u64>, CliError> {
    match selector {
        Selector::Id(id) => Ok(vec![*id]),
        Selector::Range(from, to) => range(client, *from, *to).await,
        Selector::Newest(back) => newest(client, *back).await.map(|id| vec![id]),
        Selector::Name(name) => named(client, name).await.map(|id| vec![id]),
    }
}

/// The jobs of a range that there are, oldest first.
async fn range(client: &Client, from: u64, to: u64) -> Result<Vec<u64>, CliError> {
    let mut query = JobQuery {
        numbers: Some((from, to)),
        limit: Some(LONGEST_PAGE),
        ..JobQuery::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = client.jobs(&query).await?;
        ids.extend(page.items.iter().map(|job| job.id));
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
    }
    if ids.is_empty() {
        let message = format!("there are no jobs {from}-{to}");
        return Err(CliError::new(Kind::NotFound, message).hint("`stoke ls -a` lists all jobs"));
    }
    ids.reverse();
    Ok(ids)
}

async fn newest(client: &Client, back: u32) -> Result<u64, CliError> {
    let query = JobQuery {
        owner: Some(rustix::process::getuid().as_raw().to_string()),
        limit: Some(back.saturating_add(1).min(1000)),
        ..JobQuery::default()
    };
    let list = client.jobs(&query).await?;
    let job = list.items.get(usize::try_from(back).unwrap_or(usize::MAX));
    job.map(|job| job.id).ok_or_else(|| {
        let message = match (back, list.items.len()) {
            (_, 0) => "you have no jobs yet".to_owned(),
            (_, count) => format!("you have only {count} jobs"),
        };
        CliError::new(Kind::NotFound, message).hint("`stoke run -- COMMAND` submits one")
    })
}

async fn named(client: &Client, name: &str) -> Result<u64, CliError> {
    let query = JobQuery {
        name: Some(name.to_owned()),
        limit: Some(1),
        ..JobQuery::default()
    };
    let list = client.jobs(&query).await?;
    // A daemon that does not know the filter would answer with any job.
    if let Some(job) = list.items.iter().find(|job| job.name == name) {
        return Ok(job.id);
    }
    Err(unknown(name, &recent(client).await?))
}

async fn recent(client: &Client) -> Result<Vec<JobView>, ClientError> {
    let query = JobQuery {
        limit: Some(NAMES_LOOKED_AT),
        ..JobQuery::default()
    };
    Ok(client.jobs(&query).await?.items)
}

fn unknown(name: &str, jobs: &[JobView]) -> CliError {
    let error = CliError::new(Kind::NotFound, format!("there is no job named \"{name}\""));
    let near = nearest(name, jobs.iter().map(|job| job.name.as_str()));
    if near.is_empty() {
        return error.hint("`stoke ls -a` lists all jobs");
    }
    error.hint(format!("did you mean {}?", near.join(" or ")))
}

/// The names most similar to `name`, at most three.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = names
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by_key(|(_, name)| *name);
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{Fake, Reply};
    use serde_json::json;

    #[test]
    fn selectors_are_read() {
        for (text, selector) in [
            ("3", Selector::Id(3)),
            ("5-9", Selector::Range(5, 9)),
            ("@", Selector::Newest(0)),
            ("@~12", Selector::Newest(12)),
            ("train", Selector::Name("train".into())),
            ("2026-run", Selector::Name("2026-run".into())),
            ("-x", Selector::Name("-x".into())),
        ] {
            assert_eq!(text.parse(), Ok(selector), "{text}");
        }
        for text in [
            "",
            "9-5",
            "@1",
            "@~",
            "@~x",
            "@~-1",
            "99999999999999999999",
            "1-20000",
        ] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
        let list = parse("3,5-6,,@").unwrap().selectors;
        assert_eq!(
            list,
            [Selector::Id(3), Selector::Range(5, 6), Selector::Newest(0)]
        );
    }

    #[tokio::test]
    async fn a_range_costs_one_question_a_page() {
        let page = |ids: &[u64], next: Option<&str>| {
            let job = |id: &u64| {
                json!({"id": id, "name": "n", "group": "g", "owner": {"uid": 1, "user": "u"}, "state": "queued",
                    "priority": 5, "created_at": "2026-11-22T12:00:00Z"})
            };
            let items: Vec<_> = ids.iter().map(job).collect();
            let mut list = json!({"items": items, "as_of": "e:1"});
            if let Some(next) = next {
                list["next"] = next.into();
            }
            Reply::Whole(200, list.to_string())
        };
        let fake = Fake::start([
            page(&[1000, 700], Some("700")),
            page(&[3], None),
            page(&[], None),
        ]);
        let client = fake.client().await;
        let resolve = async |text: &str| super::resolve(&client, &[parse(text).unwrap()]).await;
        assert_eq!(resolve("1-1000,700").await.unwrap(), [3, 700, 1000]);
        assert_eq!(fake.requests().len(), 2);
        let refused = resolve("5-9").await.unwrap_err();
        assert_eq!(refused.kind, Kind::NotFound);
        assert_eq!(refused.message, "there are no jobs 5-9");
        let asked = fake.requests().pop().unwrap();
        assert!(asked.contains("id=5-9&limit=1000"), "{asked}");
    }

    #[test]
    fn near_names_are_offered() {
        let names = ["train-llama", "eval", "train-lama", "eval", "fetch"];
        assert_eq!(nearest("evl", names.into_iter()), ["eval"]);
        let near = nearest("train-llma", names.into_iter());
        assert_eq!(near, ["train-llama", "train-lama"]);
        assert!(nearest("zzz", names.into_iter()).is_empty());
    }
}
