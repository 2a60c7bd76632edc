//! Every key there is, in one table: its name, the field it sets, and whether it can be applied live.

use crate::config::values::{Field, Named, text};
use crate::config::{ContainmentChoice, OnStop, Settings};
use crate::model::access::Others;
use std::collections::BTreeMap;

/// One key.
pub(super) struct Key {
    /// `section.key`.
    pub(super) name: &'static str,
    /// Whether a reload applies it; else it takes a restart.
    pub(super) live: bool,
    /// The field that it sets.
    pub(super) field: fn(&mut Settings) -> Field<'_>,
}

const fn live(name: &'static str, field: fn(&mut Settings) -> Field<'_>) -> Key {
    Key {
        name,
        live: true,
        field,
    }
}

const fn at_start(name: &'static str, field: fn(&mut Settings) -> Field<'_>) -> Key {
    Key {
        name,
        live: false,
        field,
    }
}

/// Every key but those of groups, whose names are free.
pub(super) const KEYS: &[Key] = &[
    at_start("daemon.state_dir", |s| Field::Path(&mut s.daemon.state_dir)),
    at_start("daemon.runtime_dir", |s| {
        Field::Path(&mut s.daemon.runtime_dir)
    }),
    at_start("daemon.log", |s| Field::Text(&mut s.daemon.log)),
    at_start("access.admin_group", |s| {
        Field::Text(&mut s.access.admin_group)
    }),
    at_start("access.allow_users", |s| {
        Field::Names(&mut s.access.allow_users)
    }),
    at_start("access.allow_groups", |s| {
        Field::Names(&mut s.access.allow_groups)
    }),
    at_start("access.deny_users", |s| {
        Field::Names(&mut s.access.deny_users)
    }),
    at_start("access.deny_groups", |s| {
        Field::Names(&mut s.access.deny_groups)
    }),
    at_start("access.system_accounts", |s| {
        Field::Flag(&mut s.access.system_accounts)
    }),
    at_start("access.others", |s| Field::Choice(&mut s.access.others)),
    live("access.max_jobs_per_user", |s| {
        Field::Count(&mut s.access.max_jobs_per_user, 0)
    }),
    live("jobs.default_parallelism", |s| {
        Field::Count(&mut s.jobs.default_parallelism, 0)
    }),
    live("jobs.default_grace", |s| {
        Field::Time(&mut s.jobs.default_grace)
    }),
    live("jobs.log_limit", |s| {
        Field::Bytes(&mut s.jobs.log_limit_bytes)
    }),
    live("jobs.journal", |s| Field::Flag(&mut s.jobs.journal)),
    live("jobs.containment", |s| {
        Field::Choice(&mut s.jobs.containment)
    }),
    live("jobs.on_stop", |s| Field::Choice(&mut s.jobs.on_stop)),
    live("jobs.pam", |s| Field::Text(&mut s.jobs.pam)),
    live("jobs.stop_signal", |s| {
        Field::Signal(&mut s.jobs.stop_signal)
    }),
    live("jobs.session_variables", |s| {
        Field::Names(&mut s.jobs.session_variables)
    }),
    live("progress.open_files", |s| {
        Field::Flag(&mut s.progress.open_files)
    }),
    live("progress.open_files_after", |s| {
        Field::Time(&mut s.progress.open_files_after)
    }),
    live("progress.open_files_interval", |s| {
        Field::Time(&mut s.progress.open_files_interval)
    }),
    live("progress.open_files_programs", |s| {
        Field::Names(&mut s.progress.open_files_programs)
    }),
    live("progress.open_files_kinds", |s| {
        Field::Names(&mut s.progress.open_files_kinds)
    }),
    at_start("progress.interval", |s| {
        Field::Time(&mut s.progress.interval)
    }),
    live("sampling.enabled", |s| Field::Flag(&mut s.sampling.enabled)),
    live("sampling.host_interval", |s| {
        Field::Time(&mut s.sampling.host_interval)
    }),
    live("sampling.job_interval", |s| {
        Field::Time(&mut s.sampling.job_interval)
    }),
    live("sampling.gpu_interval", |s| {
        Field::Time(&mut s.sampling.gpu_interval)
    }),
    live("sampling.watched_interval", |s| {
        Field::Time(&mut s.sampling.watched_interval)
    }),
    live("sampling.idle_interval", |s| {
        Field::Time(&mut s.sampling.idle_interval)
    }),
    live("sampling.battery_interval", |s| {
        Field::Time(&mut s.sampling.battery_interval)
    }),
    live("sampling.gpus", |s| Field::Flag(&mut s.sampling.gpus)),
    live("sampling.gpu_timeout", |s| {
        Field::Time(&mut s.sampling.gpu_timeout)
    }),
    at_start("sampling.nvml_library", |s| {
        Field::Text(&mut s.sampling.nvml_library)
    }),
    live("sampling.busiest", |s| {
        Field::Count(&mut s.sampling.busiest, 0)
    }),
    live("sampling.mounts", |s| Field::Names(&mut s.sampling.mounts)),
    at_start("api.max_body", |s| Field::Bytes(&mut s.api.max_body_bytes)),
    at_start("api.max_bodies_per_uid", |s| {
        Field::Bytes(&mut s.api.max_bodies_per_uid_bytes)
    }),
    at_start("api.max_head", |s| Field::Bytes(&mut s.api.max_head_bytes)),
    at_start("api.max_jobs_per_request", |s| {
        Field::Count(&mut s.api.max_jobs_per_request, 1)
    }),
    at_start("api.max_connections", |s| {
        Field::Count(&mut s.api.max_connections, 1)
    }),
    at_start("api.max_connections_for_root", |s| {
        Field::Count(&mut s.api.max_connections_for_root, 0)
    }),
    at_start("api.max_connections_per_uid", |s| {
        Field::Count(&mut s.api.max_connections_per_uid, 1)
    }),
    at_start("api.max_streams_per_uid", |s| {
        Field::Count(&mut s.api.max_streams_per_uid, 1)
    }),
    at_start("api.max_streams_per_job", |s| {
        Field::Count(&mut s.api.max_streams_per_job, 1)
    }),
    at_start("api.max_channels_per_stream", |s| {
        Field::Count(&mut s.api.max_channels_per_stream, 1)
    }),
    at_start("api.root_is_exempt", |s| {
        Field::Flag(&mut s.api.root_is_exempt)
    }),
    at_start("api.requests_per_second_per_uid", |s| {
        Field::Count(&mut s.api.requests_per_second_per_uid, 1)
    }),
    at_start("api.requests_at_once_per_uid", |s| {
        Field::Count(&mut s.api.requests_at_once_per_uid, 1)
    }),
    at_start("api.submissions_per_second_per_uid", |s| {
        Field::Count(&mut s.api.submissions_per_second_per_uid, 1)
    }),
    at_start("api.submissions_at_once_per_uid", |s| {
        Field::Count(&mut s.api.submissions_at_once_per_uid, 1)
    }),
    at_start("api.max_reads", |s| Field::Count(&mut s.api.max_reads, 1)),
    at_start("api.max_reads_per_uid", |s| {
        Field::Count(&mut s.api.max_reads_per_uid, 1)
    }),
    at_start("api.header_timeout", |s| {
        Field::Time(&mut s.api.header_timeout)
    }),
    at_start("api.body_timeout", |s| Field::Time(&mut s.api.body_timeout)),
    at_start("api.idle_timeout", |s| Field::Time(&mut s.api.idle_timeout)),
    at_start("api.write_stall", |s| Field::Time(&mut s.api.write_stall)),
    at_start("api.heartbeat", |s| Field::Time(&mut s.api.heartbeat)),
    at_start("api.bookmark", |s| Field::Time(&mut s.api.bookmark)),
    at_start("api.client_queue", |s| {
        Field::Count(&mut s.api.client_queue, 1)
    }),
    at_start("api.client_channels", |s| {
        Field::Count(&mut s.api.client_channels, 1)
    }),
    at_start("api.replay_per_second", |s| {
        Field::Count(&mut s.api.replay_per_second, 1)
    }),
    at_start("dbus.enabled", |s| Field::Flag(&mut s.dbus.enabled)),
    at_start("events.ring", |s| Field::Count(&mut s.events.ring, 1)),
    live("events.keep", |s| Field::Large(&mut s.events.keep)),
    at_start("store.ballast", |s| {
        Field::Bytes(&mut s.store.ballast_bytes)
    }),
    live("store.key_age", |s| Field::Time(&mut s.store.key_age)),
    live("retention.archive_after", |s| {
        Field::Time(&mut s.retention.archive_after)
    }),
    live("retention.delete_archived_after", |s| {
        Field::Time(&mut s.retention.delete_archived_after)
    }),
    live("retention.archive_max", |s| {
        Field::Bytes(&mut s.retention.archive_max_bytes)
    }),
    live("retention.logs_after", |s| {
        Field::Time(&mut s.retention.logs_after)
    }),
    live("retention.delete_logs_after", |s| {
        Field::Time(&mut s.retention.delete_logs_after)
    }),
    live("retention.logs_max", |s| {
        Field::Bytes(&mut s.retention.logs_max_bytes)
    }),
    live("retention.samples_raw", |s| {
        Field::Time(&mut s.retention.samples_raw)
    }),
    live("retention.samples_minute", |s| {
        Field::Time(&mut s.retention.samples_minute)
    }),
    live("retention.samples_hour", |s| {
        Field::Time(&mut s.retention.samples_hour)
    }),
    live("retention.samples_max", |s| {
        Field::Bytes(&mut s.retention.samples_max_bytes)
    }),
];

/// The section of free names.
pub(super) const GROUPS: &str = "groups";

/// The key of a group.
pub(super) const GROUP_PARALLELISM: &str = "parallelism";

impl Named for ContainmentChoice {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("service", Self::Service),
        ("cgroup", Self::Cgroup),
        ("tree", Self::Tree),
    ];
}

impl Named for OnStop {
    const ALL: &'static [(&'static str, Self)] = &[
        ("continue", Self::Continue),
        ("cancel", Self::Cancel),
        ("requeue", Self::Requeue),
    ];
}

impl Named for Others {
    const ALL: &'static [(&'static str, Self)] = &[
        ("usage", Self::Usage),
        ("states", Self::States),
        ("nothing", Self::Nothing),
    ];
}

/// The key called `name`.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is a section.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .split_once('.')
            .is_some_and(|(section, _)| section == name)
    })
}

/// Whether a reload applies the key called `name`. A group that appears or changes is set anew.
pub(super) fn is_live(name: &str) -> bool {
    find(name).is_none_or(|key| key.live)
}

/// Every key with its value, as it would be written.
pub(super) fn texts(settings: &Settings) -> BTreeMap<String, String> {
    // The fields are found through a reference that may write; this one is only read.
    let mut copy = settings.clone();
    let mut texts: BTreeMap<String, String> = KEYS
        .iter()
        .map(|key| (key.name.to_owned(), text(&(key.field)(&mut copy))))
        .collect();
    for (name, group) in &settings.groups {
        let name = toml::Value::String(name.clone());
        texts.insert(
            format!("{GROUPS}.{name}.{GROUP_PARALLELISM}"),
            group.parallelism.to_string(),
        );
    }
    texts
}

/// What was meant by a name that does not exist, in words; empty where nothing comes near.
pub(super) fn nearest(unknown: &str) -> String {
    let (section, leaf) = unknown.rsplit_once('.').unwrap_or(("", unknown));
    let leaf_of = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, leaf)| leaf);
    let sections: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| Some(key.name.split_once('.')?.0))
        .chain([GROUPS])
        .collect();
    // The same key stands in another section.
    if let Some(key) = KEYS.iter().find(|key| leaf_of(key.name) == leaf) {
        return format!(": did you mean \"{}\"?", key.name);
    }
    let candidates: Vec<&str> = if section.is_empty() {
        let keys = KEYS.iter().map(|key| key.name);
        sections.iter().copied().chain(keys).collect()
    } else {
        let near = nearest_of(section, &sections).unwrap_or(section);
        let keys = KEYS.iter().map(|key| key.name);
        keys.filter(|name| name.split_once('.').is_some_and(|(of, _)| of == near))
            .collect()
    };
    let near = nearest_of(unknown, &candidates);
    near.map_or_else(
        || known(section),
        |name| format!(": did you mean \"{name}\"?"),
    )
}

/// What a section knows, where nothing comes near.
fn known(section: &str) -> String {
    let of_section = KEYS
        .iter()
        .filter_map(|key| key.name.split_once('.'))
        .filter(|(of, _)| *of == section);
    let leaves: Vec<&str> = of_section.map(|(_, leaf)| leaf).collect();
    if leaves.is_empty() {
        return String::new();
    }
    format!("; [{section}] knows {}", leaves.join(", "))
}

/// Less alike than this, it was not what was meant.
const ALIKE: f64 = 0.75;

fn nearest_of<'a>(unknown: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let alike = |name: &&str| strsim::normalized_damerau_levenshtein(unknown, name);
    candidates
        .iter()
        .copied()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|name| alike(name) >= ALIKE)
}
