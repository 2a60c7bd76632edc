//! The bus: publishes events to subscribers through bounded queues; the publisher never waits.
