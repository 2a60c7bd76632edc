//! The socket API: HTTP/1.1, JSON and server-sent events on a Unix socket.
pub mod ports;
