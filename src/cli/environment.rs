//! The environment and the file creation mask a job gets: the caller's, without what belongs to the caller's session.

use crate::cli::error::CliError;
use crate::config;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// How the environment of a job is made.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentOptions {
    /// Nothing of the caller's environment.
    pub clean: bool,
    /// Files of `KEY=VALUE` lines, in order.
    pub files: Vec<std::path::PathBuf>,
    /// Single variables; they win.
    pub variables: Vec<(String, String)>,
    /// What belongs to the caller's session and stays behind ([`crate::config::JobSettings::session_variables`]).
    pub session_variables: Vec<String>,
}

/// An environment; `None` stands for the daemon's small clean one.
pub type Variables = Option<BTreeMap<String, String>>;

/// The environment a job shall have, and the names of variables that had to be left out.
///
/// # Errors
/// Where a file cannot be read or has a line that makes no sense.
pub fn environment(
    options: &EnvironmentOptions,
    caller: impl Iterator<Item = (OsString, OsString)>,
    cwd: &str,
) -> Result<(Variables, Vec<String>), CliError> {
    let (mut variables, mut left_out) = (BTreeMap::new(), Vec::new());
    if !options.clean {
        (variables, left_out) = without_session(caller, &options.session_variables);
        variables.insert("PWD".to_owned(), cwd.to_owned());
    }
    for path in &options.files {
        variables.extend(read_file(path)?);
    }
    variables.extend(options.variables.iter().cloned());
    let is_default = options.clean && variables.is_empty();
    Ok(((!is_default).then_some(variables), left_out))
}

fn without_session(
    caller: impl Iterator<Item = (OsString, OsString)>,
    session: &[String],
) -> (BTreeMap<String, String>, Vec<String>) {
    let mut left_out = Vec::new();
    let mut variables = BTreeMap::new();
    for (name, value) in caller {
        match (name.to_str(), value.to_str()) {
            (Some(name), _) if config::matches_any(session, name) => {}
            (Some(name), Some(value)) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            _ => left_out.push(name.to_string_lossy().into_owned()),
        }
    }
    (variables, left_out)
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, CliError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::failed(
            format!("read the environment file {}", path.display()),
            &error,
        )
    })?;
    let mut variables = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let entry = line.strip_prefix("export ").unwrap_or(line);
        let pair = entry.split_once('=').filter(|(name, _)| is_name(name));
        let (name, value) = pair.ok_or_else(|| {
            let place = format!("{}, line {}", path.display(), n + 1);
            CliError::usage(format!("{place} is not of the form KEY=VALUE"))
                .hint("empty lines and lines that begin with # are fine")
        })?;
        variables.push((name.to_owned(), unquoted(value).to_owned()));
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '\0')
}

/// The value without the quotes around it; there are no escapes inside.
fn unquoted(value: &str) -> &str {
    let value = value.trim();
    let inside = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

/// This process's file creation mask: reading it any other way would change it for a moment.
#[must_use]
pub fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// Arguments as text.
///
/// # Errors
/// Names the first one that is not valid UTF-8, which the API cannot carry.
pub fn utf8_arguments(arguments: &[OsString]) -> Result<Vec<String>, CliError> {
    let text = |(n, argument): (usize, &OsString)| {
        argument.to_str().map(str::to_owned).ok_or_else(|| {
            let shown = argument.to_string_lossy();
            let which = match n {
                0 => "the command".to_owned(),
                n => format!("argument {n} of the command"),
            };
            CliError::usage(format!("{which} is not valid UTF-8: {shown}"))
                .hint("pass it in a file, or encode it and decode it in the job")
        })
    };
    arguments.iter().enumerate().map(text).collect()
}

/// A path as the daemon needs it: absolute, and as text.
///
/// # Errors
/// Where it is not valid UTF-8, or where the current directory is gone.
pub fn absolute(path: &OsStr, what: &str) -> Result<String, CliError> {
    let absolute = std::path::absolute(path)
        .map_err(|error| CliError::failed(format!("find the {what}"), &error))?;
    absolute.into_os_string().into_string().map_err(|path| {
        let shown = path.to_string_lossy().into_owned();
        CliError::usage(format!("the {what} is not valid UTF-8: {shown}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn caller(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_session_stays_behind() {
        let mut all = caller(&[
            ("PATH", "/bin"),
            ("CUDA_VISIBLE_DEVICES", "1"),
            ("DISPLAY", ":0"),
            ("SSH_AUTH_SOCK", "/a"),
            ("TMUX_PANE", "%1"),
            ("XDG_SESSION_ID", "3"),
            ("LISTEN_FDS", "1"),
            ("STOKED_JOB", "4"),
            ("XDG_RUNTIME_DIR", "/run/user/1"),
            ("PWD", "/old"),
        ]);
        all.push(("BAD".into(), OsString::from_vec(vec![0xff])));
        let options = EnvironmentOptions {
            session_variables: config::session_variables(),
            ..EnvironmentOptions::default()
        };
        let (variables, left_out) = environment(&options, all.into_iter(), "/new").unwrap();
        let variables = variables.unwrap();
        let names: Vec<_> = variables.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "CUDA_VISIBLE_DEVICES",
                "DISPLAY",
                "PATH",
                "PWD",
                "SSH_AUTH_SOCK"
            ]
        );
        assert_eq!(variables["PWD"], "/new");
        assert_eq!(left_out, ["BAD"]);
    }

    #[test]
    fn files_and_single_variables_are_added() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# x\n\nexport A=1\nB=\"two words\"\nC='c'\nD=\n",
        )
        .unwrap();
        let mut options = EnvironmentOptions {
            session_variables: config::session_variables(),
            clean: true,
            files: vec![file.path().to_owned()],
            variables: vec![("A".into(), "2".into())],
        };
        let none = || caller(&[("X", "y")]).into_iter();
        let (variables, _) = environment(&options, none(), "/").unwrap();
        let variables: Vec<_> = variables.unwrap().into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            variables,
            [
                pair("A", "2"),
                pair("B", "two words"),
                pair("C", "c"),
                pair("D", "")
            ]
        );
        std::fs::write(file.path(), "A=1\nnonsense\n").unwrap();
        let error = environment(&options, none(), "/").unwrap_err();
        assert!(error.message.contains("line 2"), "{error:?}");
        (options.files, options.variables) = (Vec::new(), Vec::new());
        assert_eq!(environment(&options, none(), "/").unwrap().0, None);
    }

    #[test]
    fn what_is_not_text_is_named() {
        let bad = OsString::from_vec(b"x\xff".to_vec());
        let error = utf8_arguments(&["ok".into(), bad.clone()]).unwrap_err();
        assert!(error.message.starts_with("argument 1 of the command"));
        assert!(utf8_arguments(std::slice::from_ref(&bad)).is_err());
        assert!(absolute(&bad, "working directory").is_err());
        assert_eq!(absolute("/a/../b".as_ref(), "x").unwrap(), "/a/../b");
        assert!(umask().is_some_and(|mask| mask <= 0o777));
    }
}
