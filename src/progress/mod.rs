//! Observers of progress: text adapters, progress.json and sd_notify datagrams turned into observations.
