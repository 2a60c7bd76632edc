//! A session of PAM, step by step, and in plain words why a step failed.

use std::ffi::{CString, c_int};
use std::path::Path;

use stoked::shim::keeper::{Session, Wanted};
use stoked::wire::shim::{Bytes, SpawnError, SpawnErrorKind};

use library::{CRED_ERR, NEW_AUTHTOK_REQD, Pam, SUCCESS, USER_UNKNOWN};

use super::library;

/// Where Linux-PAM looks for services, of the host and of distributions.
const PLACES: [&str; 4] = [
    "/etc/pam.d",
    "/usr/lib/pam.d",
    "/usr/etc/pam.d",
    "/usr/share/pam.d",
];

/// One file for all services, on hosts that have no directory of them.
const ONE_FILE: &str = "/etc/pam.conf";

/// Most of what modules say that is told on.
const MAX_SAID_CHARS: usize = 1000;

/// An open session.
pub(crate) struct Opened {
    pam: Pam,
}

/// Opens the session that is wanted.
pub(crate) fn open(wanted: &Wanted) -> Result<Opened, SpawnError> {
    let service = text(&wanted.service)?;
    let user = text(&wanted.user)?;
    // Without the file PAM would take that of the service "other", which is somebody else's idea of it.
    if !is_service(&wanted.service, Path::new("/")) {
        return Err(refusal(
            "find the service",
            format!(
                "there is no file {}/{}, which says what PAM is to do: install it, or set jobs.pam to another service",
                PLACES[0], wanted.service
            ),
        ));
    }
    let mut pam = Pam::start(&service, &user).map_err(|why| {
        let message = format!(
            "PAM cannot be used, as {} is wanted ({why}): install libpam, or unset jobs.pam",
            library::NAME
        );
        refusal("pam_start", message)
    })?;
    let checked = |pam: &mut Pam, step, code| match code {
        SUCCESS => Ok(()),
        code => Err(explain(pam, wanted, step, code)),
    };
    // As cron has it: a word where there is no terminal, by which modules can tell such sessions.
    let code = pam.set_tty(&service);
    checked(&mut pam, "pam_set_item", code)?;
    let code = pam.acct_mgmt();
    checked(&mut pam, "pam_acct_mgmt", code)?;
    let code = pam.establish_credentials();
    checked(&mut pam, "pam_setcred", code)?;
    let code = pam.open_session();
    if let Err(error) = checked(&mut pam, "pam_open_session", code) {
        let _code = pam.delete_credentials();
        return Err(error);
    }
    let opened = Opened { pam };
    if opened.pam.user().as_ref() == Some(&user) {
        return Ok(opened);
    }
    let message = format!(
        "a module of PAM made another user of {:?} (service {}): such modules are for logins",
        wanted.user, wanted.service
    );
    // What is wrong with the session is told, not what is wrong with its end.
    let _closed = opened.close();
    Err(refusal("pam_get_item", message))
}

impl Session for Opened {
    fn env(&self) -> Vec<(Bytes, Bytes)> {
        let list = self.pam.env();
        list.iter().filter_map(|entry| pair(entry)).collect()
    }

    fn close(mut self) -> Result<(), String> {
        // Whatever comes of the first, the second is due.
        let steps = [
            ("pam_close_session", self.pam.close_session()),
            ("pam_setcred", self.pam.delete_credentials()),
        ];
        let wrong = steps.iter().find(|(_, code)| *code != SUCCESS);
        wrong.map_or(Ok(()), |(step, code)| {
            let (meaning, said) = (self.pam.explain(*code), said(&self.pam.take_said()));
            Err(format!(
                "a session was not closed well ({step}: {meaning}){said}"
            ))
        })
    }
}

/// Name and value of a variable; PAM keeps none without both.
fn pair(entry: &[u8]) -> Option<(Bytes, Bytes)> {
    let at = entry.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&entry[..at], &entry[at + 1..]);
    (!name.is_empty()).then(|| (name.to_vec().into(), value.to_vec().into()))
}

fn is_service(name: &str, root: &Path) -> bool {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let dir = below(PLACES[0]);
    PLACES.iter().any(|place| below(place).join(name).is_file())
        || (!dir.is_dir() && below(ONE_FILE).is_file())
}

fn text(text: &str) -> Result<CString, SpawnError> {
    CString::new(text).map_err(|_| {
        let message = format!("{text:?} holds a zero byte, which PAM cannot be asked about");
        refusal("pam_start", message)
    })
}

fn explain(pam: &mut Pam, wanted: &Wanted, step: &str, code: c_int) -> SpawnError {
    let meaning = pam.explain(code);
    let said = said(&pam.take_said());
    let Wanted { user, service, .. } = wanted;
    let log = format!("`journalctl -t stoked-pam`, and the file of the service {service}");
    let way_out = match (code, step) {
        (NEW_AUTHTOK_REQD, _) => {
            format!("change the password (`passwd`) as {user}, and run the job again")
        }
        (USER_UNKNOWN, _) => format!("the modules of service {service} do not know this user"),
        (CRED_ERR, _) => format!(
            "the service {service} needs modules of type \"auth\" that do not refuse, such as `auth required pam_permit.so`"
        ),
        // Distributions put a module behind the one that knows, which says no more than no.
        (_, "pam_acct_mgmt") => {
            format!("to an administrator `chage -l {user}` tells more, as do {log}")
        }
        _ => format!("an administrator finds more in {log}"),
    };
    refusal(
        step,
        format!(
            "PAM lets no job of user {user:?} start ({step} of service {service}: {meaning}){said}; {way_out}"
        ),
    )
}

/// What modules said, in a clause: on one line, and no more of it than one reads.
fn said(lines: &[String]) -> String {
    let words: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    match words.is_empty() {
        true => String::new(),
        false => {
            let text: String = words.join(" ").chars().take(MAX_SAID_CHARS).collect();
            format!(", saying \"{text}\"")
        }
    }
}

fn refusal(step: &str, message: String) -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::Pam,
        step: step.to_owned(),
        errno: None,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn variables_are_split_at_the_first_sign() {
        let of = |entry: &str| pair(entry.as_bytes());
        assert_eq!(of("A=b=c"), Some(("A".into(), "b=c".into())));
        assert_eq!(of("A="), Some(("A".into(), "".into())));
        assert_eq!(of("=b"), None);
        assert_eq!(of("A"), None);
    }

    #[test]
    fn a_service_is_a_file_and_not_the_one_for_all_others() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        put("etc/pam.conf");
        assert!(is_service("stoked", root.path()), "one file for all");
        put("etc/pam.d/other");
        assert!(!is_service("stoked", root.path()));
        put("usr/lib/pam.d/stoked");
        assert!(is_service("stoked", root.path()));
    }

    #[test]
    fn what_modules_say_is_one_line() {
        let lines = ["Down for\n repair".to_owned(), "until noon".to_owned()];
        assert_eq!(said(&lines), ", saying \"Down for repair until noon\"");
        assert_eq!(said(&[]), "");
        assert!(said(&["x".repeat(5000)]).len() < 1100);
    }

    #[test]
    fn a_service_that_is_not_there_is_named() {
        let wanted = Wanted {
            service: "stoked-no-such".to_owned(),
            user: "root".to_owned(),
            groups: Vec::new(),
            open_files: None,
        };
        let Err(error) = open(&wanted) else {
            panic!("it opened");
        };
        assert!(
            error.message.contains("/etc/pam.d/stoked-no-such"),
            "{error:?}"
        );
        assert_eq!(error.error, SpawnErrorKind::Pam);
    }
}
