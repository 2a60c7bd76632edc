//! The query of a request: its parameters by name, each known and given no more often than it may be.

use crate::api::call::{Param, harmless, unknown};
use crate::api::problem::{Failure, invalid};
use axum::extract::Query as Pairs;
use axum::http::Uri;
use std::str::FromStr;

/// The parameters that a client gave.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands after the `?`.
    pub(super) fn read(uri: &Uri, params: &[Param]) -> Result<Self, Failure> {
        let Pairs(query) = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| invalid("query", error))?;
        check_names(&query, params)?;
        Ok(Self(query))
    }

    /// Every value of a parameter; commas separate values too.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, _)| known == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, read as what it is.
    pub(crate) fn value<T: FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, Failure> {
        let read = |text: &str| {
            text.parse()
                .map_err(|_| invalid(name, format_args!("\"{}\" is not {wanted}", harmless(text))))
        };
        self.text(name).map(read).transpose()
    }

    /// An instant, RFC 3339, in milliseconds.
    pub(crate) fn instant_ms(&self, name: &str) -> Result<Option<i64>, Failure> {
        let wanted = "a time: write RFC 3339, as in 2026-11-22T17:00:00Z";
        let instant: Option<jiff::Timestamp> = self.value(name, wanted)?;
        Ok(instant.map(|at| at.as_millisecond()))
    }

    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> Result<bool, Failure> {
        match self.text(name) {
            None | Some("0" | "false" | "no") => Ok(false),
            Some("" | "1" | "true" | "yes") => Ok(true),
            Some(other) => {
                let why = format!("\"{}\" is neither 1 nor 0", harmless(other));
                Err(invalid(name, why))
            }
        }
    }
}

fn check_names(query: &[(String, String)], params: &[Param]) -> Result<(), Failure> {
    for (place, (name, _)) in query.iter().enumerate() {
        let Some(param) = params.iter().find(|param| param.name == name) else {
            return Err(unknown("parameter", name, params.iter().map(|p| p.name)));
        };
        let before = query.iter().take(place);
        if !param.repeatable && before.clone().any(|(known, _)| known == name) {
            return Err(invalid(param.name, "it may be given only once"));
        }
    }
    Ok(())
}
