//! Space of file systems. One whose server is gone answers never, so that they are asked on a thread that nobody waits
//! for; it is then left behind with the one it hangs in, and another thread asks the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use procfs::process::MountInfo;

use crate::model::entity::Entity;
use crate::model::metric::{Metric, Readings};
use crate::model::time::Stamp;
use crate::sampling::aside::Aside;
use crate::sampling::files::Roots;
use crate::sampling::rates::is_due;

use super::{Parts, Settings};

/// File systems that live on devices of the host and are written to.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "jfs", "nilfs2",
    "ntfs", "ntfs3", "reiserfs", "ufs", "vfat", "xfs", "zfs",
];
/// Threads that may hang; with so many nobody is asked any more.
const MOST_STUCK: usize = 8;

/// What the thread tells while it asks one after the other.
#[derive(Debug)]
enum Told {
    /// It asks this one now.
    Asking(Arc<str>),
    /// It has answered.
    Space(Arc<str>, Option<Readings>),
    /// All have.
    Done,
}

/// Whom to ask.
#[derive(Debug)]
struct Round {
    /// Those that still owe an answer.
    except: Vec<Arc<str>>,
}

type Asker = Aside<Round, Told>;

/// Reads the space of file systems at its own pace.
#[derive(Debug)]
pub(super) struct Space {
    mounts: PathBuf,
    settings: Settings,
    space_of: fn(&Path) -> Option<Readings>,
    asker: Option<Asker>,
    /// Whom the asker asks, and since when; a round is under way while there is one.
    current: Option<(Option<Arc<str>>, Stamp)>,
    stuck: Vec<(Arc<str>, Asker)>,
    newest: BTreeMap<Arc<str>, (Stamp, Readings)>,
    last: Option<Stamp>,
    before: Option<Stamp>,
}

impl Space {
    pub(super) fn new(roots: &Roots, settings: &Settings) -> Self {
        Self {
            mounts: roots.proc.join("self/mountinfo"),
            settings: settings.clone(),
            space_of,
            asker: None,
            current: None,
            stuck: Vec::new(),
            newest: BTreeMap::new(),
            last: None,
            before: None,
        }
    }

    /// Asks for other mounts, from its next turn on, which is at once.
    pub(super) fn look_at(&mut self, mounts: &[String]) {
        if self.settings.mounts != mounts {
            self.settings.mounts = mounts.to_vec();
            self.newest.clear();
            self.last = None;
            // Whoever asks was told of the mounts when it began.
            self.asker = None;
            self.current = None;
        }
    }

    pub(super) fn read(&mut self, at: Stamp, to: &mut Parts) {
        let pass_ms = self.before.replace(at).map_or(0, |then| at.since_ms(then));
        self.hear(at);
        self.leave_behind(at);
        if self.current.is_none() && is_due(self.last, at, self.settings.space_every_ms, pass_ms) {
            self.last = Some(at);
            self.ask(at);
        }
        let keep_ms = self.settings.space_every_ms + self.settings.answer_within_ms + pass_ms;
        self.newest
            .retain(|_, (then, _)| at.since_ms(*then) <= keep_ms);
        for (mount, (_, readings)) in &self.newest {
            let entity = Entity::Mount(Arc::clone(mount));
            to.parts.push((entity, readings.clone()));
        }
    }

    fn hear(&mut self, at: Stamp) {
        while let Some(asker) = &self.asker {
            match asker.answer() {
                Ok(Some(told)) => self.take(told, at),
                Ok(None) => return,
                Err(_) => {
                    self.asker = None;
                    self.current = None;
                }
            }
        }
    }

    fn take(&mut self, told: Told, at: Stamp) {
        match told {
            Told::Asking(mount) => self.current = Some((Some(mount), at)),
            Told::Space(mount, Some(readings)) => {
                self.newest.insert(mount, (at, readings));
                self.current = Some((None, at));
            }
            Told::Space(mount, None) => {
                self.newest.remove(&mount);
                self.current = Some((None, at));
            }
            Told::Done => self.current = None,
        }
    }

    /// Parts with a thread that hangs, and with those that are back.
    fn leave_behind(&mut self, at: Stamp) {
        let within_ms = self.settings.answer_within_ms;
        let hanging = self
            .current
            .take_if(|(mount, since)| mount.is_some() && at.since_ms(*since) >= within_ms);
        if let Some((Some(mount), _)) = hanging {
            self.newest.remove(&mount);
            self.stuck
                .extend(self.asker.take().map(|asker| (mount, asker)));
            // The others need not wait for the next round.
            self.last = None;
        }
        // Whatever it says, it is back; its answer is old by now, and the next round asks again.
        self.stuck
            .retain(|(_, asker)| matches!(asker.answer(), Ok(None)));
    }

    fn ask(&mut self, at: Stamp) {
        if self.asker.is_none() && self.stuck.len() < MOST_STUCK {
            let (file, settings) = (self.mounts.clone(), self.settings.clone());
            let space_of = self.space_of;
            let answer = move |round: Round, told: &Sender<Told>| {
                // Whoever asked may be gone, and then nothing else is wanted either.
                let _gone = ask_all(&file, &settings, &round, space_of, told);
            };
            self.asker = Aside::start("stoked-space", answer);
        }
        let except = self.stuck.iter().map(|(mount, _)| Arc::clone(mount));
        let round = Round {
            except: except.collect(),
        };
        let is_asked = self.asker.as_ref().is_some_and(|asker| asker.ask(round));
        self.current = is_asked.then_some((None, at));
    }

    /// Waits until the round is over.
    #[cfg(test)]
    pub(super) fn settle(&mut self, at: Stamp) {
        while self.current.is_some() {
            let told = self.asker.as_ref().unwrap().wait();
            self.take(told, at);
        }
    }
}

fn ask_all(
    file: &Path,
    settings: &Settings,
    round: &Round,
    space_of: fn(&Path) -> Option<Readings>,
    told: &Sender<Told>,
) -> Result<(), std::sync::mpsc::SendError<Told>> {
    let mounts = match settings.mounts.is_empty() {
        true => local_mounts(&std::fs::read(file).unwrap_or_default()),
        false => settings.mounts.clone(),
    };
    for mount in mounts.iter().take(settings.most_parts) {
        let mount: Arc<str> = mount.as_str().into();
        if round.except.contains(&mount) {
            continue;
        }
        told.send(Told::Asking(Arc::clone(&mount)))?;
        let space = space_of(Path::new(&*mount));
        told.send(Told::Space(mount, space))?;
    }
    told.send(Told::Done)
}

/// Where local file systems are mounted, each once however often it is mounted, from the text of `mountinfo`.
#[must_use]
pub fn local_mounts(mountinfo: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(mountinfo);
    let mut chosen: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        let Ok(info) = MountInfo::from_line(line) else {
            continue;
        };
        let mount = unescape(&info.mount_point.to_string_lossy());
        // The root of a container lies over directories of the host's.
        let is_local =
            LOCAL.contains(&info.fs_type.as_str()) || (mount == "/" && info.fs_type == "overlay");
        if !is_local {
            continue;
        }
        // Parts of one file system may have devices of their own, but not sources.
        let source = info.mount_source.unwrap_or_default();
        let same = chosen.iter_mut().find(|(device, other, _)| {
            *device == info.majmin || (source.starts_with('/') && *other == source)
        });
        match same {
            // A file mounted into a container, or a directory mounted twice, is further down.
            Some((_, _, before)) if mount.len() < before.len() => *before = mount,
            Some(_) => {}
            None => chosen.push((info.majmin, source, mount)),
        }
    }
    chosen.into_iter().map(|(_, _, mount)| mount).collect()
}

/// Mountinfo writes some characters as three octal digits.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let value = digits.and_then(|digits| {
            digits.iter().try_fold(0_u8, |value, digit| {
                let digit = digit.checked_sub(b'0').filter(|it| *it < 8)?;
                value.checked_mul(8)?.checked_add(digit)
            })
        });
        bytes.push(value.unwrap_or(byte));
        rest = value.map_or(after, |_| &after[3..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn space_of(mount: &Path) -> Option<Readings> {
    let stat = rustix::fs::statvfs(mount).ok()?;
    let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    let mut to = Readings::default();
    to.set(Metric::SpaceTotalBytes, bytes(stat.f_blocks));
    to.set(Metric::SpaceUsedBytes, bytes(used));
    to.set(Metric::SpaceAvailableBytes, bytes(stat.f_bavail));
    // What is kept for root is neither used nor to be had.
    let within_reach = used.saturating_add(stat.f_bavail);
    if within_reach > 0 {
        let percent = used as f64 * 100.0 / within_reach as f64;
        to.set(Metric::SpacePercent, percent);
    }
    if stat.f_files > 0 {
        let taken = stat.f_files.saturating_sub(stat.f_ffree);
        let percent = taken as f64 * 100.0 / stat.f_files as f64;
        to.set(Metric::InodesPercent, percent);
    }
    Some(to)
}

#[cfg(test)]
mod tests;
