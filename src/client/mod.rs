//! Typed client of the socket API, with reconnecting streams.
