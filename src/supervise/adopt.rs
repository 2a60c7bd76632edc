//! After a restart: finds the shims of attempts that may run, or what they left behind.

use crate::contain::{identity, socket};
use crate::model::attempt::Process;
use crate::model::failure::{Ending, Failure, FailureClass};
use crate::model::id::AttemptId;
use crate::supervise::link::{Link, Parting, read_record};
use crate::supervise::{Order, Report, Shared, leftovers};
use crate::wire::shim::{Claim, ExitRecord, ToShim, VERSION, encode};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedReceiver;

/// How often, and after what pause, a shim is looked for that has claimed its attempt and does not listen yet.
const PATIENCE: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// Adopts one attempt and serves it to its end.
pub(super) async fn adopt(
    shared: Arc<Shared>,
    attempt: AttemptId,
    main: Option<Process>,
    same_boot: bool,
    orders: UnboundedReceiver<Order>,
) {
    let mut link = Link::new(Arc::clone(&shared), attempt, orders);
    if find(&mut link, main, same_boot).await {
        link.finish().await;
    } else {
        // The engine decides whether it is started now; that makes a new task.
        shared.deregister(attempt);
        shared.report(Report::NeverStarted { attempt });
    }
}

/// Serves the shim that owns the attempt, or reports its end from what is left.
///
/// `false` where no shim ever claimed it, so that its command never ran.
pub(super) async fn find(link: &mut Link, main: Option<Process>, same_boot: bool) -> bool {
    let dir = link.shared.dir(link.attempt);
    for _ in 0..PATIENCE {
        if same_boot && let Ok(stream) = connect(&dir).await {
            match link.serve(stream, None).await {
                Parting::Done => return true,
                Parting::Claimed => {}
                Parting::Gone => {
                    shim_died(link).await;
                    return true;
                }
            }
        }
        if let Some(record) = exit_record(&dir) {
            report_record(link, &record);
            return true;
        }
        let Some(claim) = read_claim(&dir) else {
            if dir.join(CLAIM).exists() {
                end_unseen(link, "the record of its start cannot be read");
                return true;
            }
            return same_boot && ended_unclaimed(link, main).await;
        };
        if claim.boot_id != link.shared.boot_id {
            end_unseen(link, "the host went down while it ran");
            return true;
        }
        if !identity::is_alive(&claim.shim.into()) {
            after_death(link, &claim, main.or(link.main()), false).await;
            return true;
        }
        // It has made its claim and is about to listen, or about to leave its record.
        tokio::time::sleep(PAUSE).await;
    }
    end_unseen(
        link,
        "its shim lives and cannot be reached; end it by hand with `kill`",
    );
    true
}

/// The connection to a shim broke before it told an end: it was killed, or it left its record.
pub(super) async fn shim_died(link: &mut Link) {
    let dir = link.shared.dir(link.attempt);
    if let Some(record) = exit_record(&dir) {
        return report_record(link, &record);
    }
    match read_claim(&dir) {
        Some(claim) => after_death(link, &claim, link.main(), true).await,
        None => {
            let message = "its supervisor (stoked-shim) ended before it started the command";
            let failure = Failure::new(FailureClass::Spawn, message);
            let now = (link.shared.now)();
            link.end(Ending::NotStarted { failure }, None, now);
        }
    }
}

/// Ends what a dead shim left running, and says so. `seen`: its death was seen, so that nothing can have ended unnoticed before.
async fn after_death(link: &mut Link, claim: &Claim, main: Option<Process>, seen: bool) {
    let left = {
        let claim = claim.clone();
        let swept = link
            .shared
            .tasks
            .spawn_blocking(move || leftovers::end(&claim, main));
        swept.await.unwrap_or(0)
    };
    // It may have been writing its record while it was being looked for.
    if let Some(record) = exit_record(&link.shared.dir(link.attempt)) {
        return report_record(link, &record);
    }
    if left == 0 && !seen {
        return end_unseen(
            link,
            "its supervisor (stoked-shim) is gone, and left no record of its end",
        );
    }
    let message = format!(
        "its supervisor (stoked-shim, process {}) was killed; {left} processes it had left were ended",
        claim.shim.pid
    );
    let failure = Failure::new(FailureClass::Signal, message);
    let now = (link.shared.now)();
    link.end(Ending::Broken { failure }, None, now);
}

/// Ends a command that is known to run although its claim is gone: somebody removed the attempt directory, so
/// that neither its shim nor its end can be found. Says whether there was anything.
async fn ended_unclaimed(link: &mut Link, main: Option<Process>) -> bool {
    let Some(main) = main.or(link.main()) else {
        return false;
    };
    let sweep = move || leftovers::end_unclaimed(main);
    let left = link.shared.tasks.spawn_blocking(sweep).await.unwrap_or(0);
    if left > 0 {
        let message = format!(
            "its attempt directory was removed while it ran; {left} processes that could not be supervised any more were ended"
        );
        let failure = Failure::new(FailureClass::Signal, message);
        let now = (link.shared.now)();
        link.end(Ending::Broken { failure }, None, now);
    }
    left > 0
}

fn report_record(link: &mut Link, record: &ExitRecord) {
    let (ending, usage, at) = read_record(record);
    link.end(ending, Some(usage), at);
}

fn end_unseen(link: &mut Link, why: &str) {
    let failure = Failure::new(FailureClass::HostLost, why);
    let now = (link.shared.now)();
    link.end(Ending::Unseen { failure }, None, now);
}

async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let stream = socket::connect_control(dir)?;
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    let hello = encode(&ToShim::Hello { version: VERSION })?;
    stream.write_all(&hello).await?;
    Ok(stream)
}

const CLAIM: &str = "claim";

pub(super) fn read_claim(dir: &Path) -> Option<Claim> {
    serde_json::from_slice(&std::fs::read(dir.join(CLAIM)).ok()?).ok()
}

/// The secret in the environment of an attempt's processes, as its claim has it.
#[must_use]
pub fn token(dir: &Path) -> Option<String> {
    let token = read_claim(dir)?.token;
    (!token.is_empty()).then_some(token)
}

/// The exit record of an attempt. A torn one, after a power failure, is none.
fn exit_record(dir: &Path) -> Option<ExitRecord> {
    serde_json::from_slice(&std::fs::read(dir.join("exit.json")).ok()?).ok()
}

/// An attempt directory, with what its shim claimed.
#[derive(Clone, Debug)]
pub struct Stray {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The claim, where one was made.
    pub claim: Option<Claim>,
}

/// Every attempt directory there is. The daemon compares them with the stored rows.
///
/// # Errors
/// When the directory cannot be read.
pub fn strays(attempts: &Path) -> io::Result<Vec<Stray>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(attempts)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(attempt) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        found.push(Stray {
            attempt,
            claim: read_claim(&entry.path()),
        });
    }
    Ok(found)
}
