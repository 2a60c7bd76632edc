//! What holds where no file says otherwise.

use crate::config::{
    ApiSettings, ContainmentChoice, DaemonSettings, DbusSettings, EventSettings, JobSettings,
    OnStop, ProgressSettings, RetentionSettings, SamplingSettings, Settings, StoreSettings,
};
use crate::model::access::Access;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Variables that mean something in one session, to one shell or to one service only. A job outlives these.
///
/// `SSH_AUTH_SOCK` and `DISPLAY` are not among them: jobs of people who sit before the host use them, and
/// where they are stale they do no harm.
const SESSION_VARIABLES: [&str; 30] = [
    "COLUMNS",
    "CREDENTIALS_DIRECTORY",
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_STARTER_ADDRESS",
    "DBUS_STARTER_BUS_TYPE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "LISTEN_*",
    "MANAGERPID",
    "MEMORY_PRESSURE_*",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STOKED_*",
    "STOKE_SOCKET",
    "STY",
    "SYSTEMD_EXEC_PID",
    "TMUX*",
    "WATCHDOG_*",
    "WINDOW",
    "WINDOWID",
    "XDG_RUNTIME_DIR",
    "XDG_SEAT",
    "XDG_SESSION_*",
    "XDG_VTNR",
    "_",
];

/// Programs that go through one file from its beginning to its end, or fill one.
const COPYING_PROGRAMS: [&str; 81] = [
    "7z",
    "7za",
    "7zr",
    "7zz",
    "aria2c",
    "b2sum",
    "b3sum",
    "borg",
    "brotli",
    "bsdcpio",
    "bsdtar",
    "bunzip2",
    "bzcat",
    "bzip2",
    "cat",
    "cksum",
    "cmp",
    "cp",
    "cpio",
    "curl",
    "dd",
    "dd_rescue",
    "ddrescue",
    "diff",
    "ffmpeg",
    "gcp",
    "gpg",
    "gpg2",
    "grep",
    "gunzip",
    "gzip",
    "lbunzip2",
    "lbzip2",
    "lz4",
    "lz4cat",
    "lzip",
    "lzma",
    "lzop",
    "md5sum",
    "mksquashfs",
    "mv",
    "openssl",
    "pbzip2",
    "pigz",
    "plzip",
    "pv",
    "pzstd",
    "qemu-img",
    "rclone",
    "restic",
    "rsync",
    "scp",
    "sftp",
    "sftp-server",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "sort",
    "split",
    "srm",
    "tac",
    "tar",
    "tee",
    "unpigz",
    "unrar",
    "unsquashfs",
    "unxz",
    "unzip",
    "unzstd",
    "wc",
    "wget",
    "xxhsum",
    "xz",
    "xzcat",
    "zcat",
    "zip",
    "zstd",
    "zstdcat",
];

/// Kinds of jobs that do the same with programs of their own.
const COPYING_KINDS: [&str; 10] = [
    "archive", "backup", "compress", "copy", "download", "extract", "move", "restore", "transfer",
    "upload",
];

/// The variables that stay behind unless the configuration says otherwise.
#[must_use]
pub fn session_variables() -> Vec<String> {
    SESSION_VARIABLES.map(str::to_owned).to_vec()
}

impl ApiSettings {
    /// The defaults of the system daemon.
    fn of_system() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_bodies_per_uid_bytes: 128 << 20,
            max_head_bytes: 16 << 10,
            max_jobs_per_request: 100_000,
            max_connections: 1_024,
            max_connections_for_root: 32,
            max_connections_per_uid: 64,
            max_streams_per_uid: 16,
            max_streams_per_job: 64,
            max_channels_per_stream: 50,
            root_is_exempt: true,
            requests_per_second_per_uid: 2_000,
            requests_at_once_per_uid: 4_000,
            submissions_per_second_per_uid: 5_000,
            submissions_at_once_per_uid: 100_000,
            max_reads: 16,
            max_reads_per_uid: 12,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            write_stall: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            bookmark: Duration::from_secs(60),
            client_queue: 1_024,
            client_channels: 4_096,
            replay_per_second: 5_000,
        }
    }
}

impl Settings {
    /// The defaults of the system daemon.
    #[must_use]
    pub fn of_system(state_dir: &Path, runtime_dir: &Path) -> Self {
        Self {
            daemon: DaemonSettings {
                state_dir: state_dir.to_owned(),
                runtime_dir: runtime_dir.to_owned(),
                log: "info".to_owned(),
            },
            access: Access::default(),
            jobs: JobSettings {
                default_parallelism: 0,
                default_grace: Duration::from_secs(10),
                log_limit_bytes: 256 << 20,
                journal: false,
                containment: ContainmentChoice::Auto,
                on_stop: OnStop::Continue,
                pam: String::new(),
                stop_signal: rustix::process::Signal::TERM.as_raw(),
                session_variables: session_variables(),
            },
            groups: BTreeMap::new(),
            progress: ProgressSettings {
                open_files: true,
                open_files_after: Duration::from_secs(2),
                open_files_interval: Duration::from_secs(1),
                open_files_programs: COPYING_PROGRAMS.map(str::to_owned).to_vec(),
                open_files_kinds: COPYING_KINDS.map(str::to_owned).to_vec(),
                interval: Duration::from_millis(50),
            },
            sampling: SamplingSettings {
                enabled: true,
                host_interval: Duration::from_secs(2),
                job_interval: Duration::from_secs(2),
                gpu_interval: Duration::from_secs(2),
                watched_interval: Duration::from_secs(1),
                idle_interval: Duration::from_secs(10),
                battery_interval: Duration::from_secs(20),
                gpus: true,
                gpu_timeout: Duration::from_secs(5),
                nvml_library: String::new(),
                busiest: 5,
                mounts: Vec::new(),
            },
            api: ApiSettings::of_system(),
            dbus: DbusSettings { enabled: true },
            events: EventSettings {
                ring: 8_192,
                keep: 1_000_000,
            },
            store: StoreSettings {
                ballast_bytes: 8 << 20,
                key_age: Duration::from_hours(24),
            },
            // What is kept costs little, and what is deleted nobody gets back: that is for people to ask for.
            retention: RetentionSettings {
                archive_after: Duration::from_hours(30 * 24),
                delete_archived_after: Duration::ZERO,
                archive_max_bytes: 0,
                logs_after: Duration::from_hours(30 * 24),
                delete_logs_after: Duration::ZERO,
                logs_max_bytes: 0,
                samples_raw: Duration::from_hours(7 * 24),
                samples_minute: Duration::from_hours(90 * 24),
                samples_hour: Duration::ZERO,
                samples_max_bytes: 4 << 30,
            },
        }
    }

    /// The defaults of a user's own daemon: it has nobody to protect that user from, so that the shares
    /// of one user are nearly as large as the whole.
    #[must_use]
    pub fn of_user(state_dir: &Path, runtime_dir: &Path) -> Self {
        let mut settings = Self::of_system(state_dir, runtime_dir);
        settings.api.max_connections_per_uid = 768;
        settings.api.max_streams_per_uid = 512;
        settings.api.max_reads_per_uid = settings.api.max_reads;
        settings.api.root_is_exempt = false;
        settings.access.max_jobs_per_user = 0;
        settings.api.requests_per_second_per_uid = 100_000;
        settings.api.requests_at_once_per_uid = 200_000;
        settings.api.submissions_per_second_per_uid = 100_000;
        settings
    }
}
