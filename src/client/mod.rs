//! Typed client of the socket API, with reconnecting streams.
//!
//! Everything runs on the caller's runtime, a current-thread one will do. The client knows the
//! contract (`wire`) and nothing of what is behind it.

mod backoff;
mod error;
mod events;
mod http;
mod link;
mod logs;
mod measured;
mod news;
mod query;
mod routes;
pub mod sse;

pub use error::ClientError;
pub use events::{EventQuery, Events, StreamItem, message};
pub use http::{OnWait, Revival};
pub use logs::{LogFollow, LogItem, LogOutput, LogQuery};
pub use news::{JobStateBody, News};
pub use query::{CompareQuery, FlowQuery, JobQuery, SeriesQuery};
pub use routes::{Client, random_key};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unruly;
