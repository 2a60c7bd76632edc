//! The API as clients see it: over a socket, with the real engine, store and log files behind it.
//! Only the processes are missing; the tests report what a supervisor would.

mod client;
mod compare;
mod dials;
mod events;
mod flows;
mod groups;
mod harness;
mod jobs;
mod limits;
mod logs;
mod operations;
mod others;
mod past;
mod routes;
mod scrape;
mod series;
mod slow;
mod streams;
mod tolerance;
