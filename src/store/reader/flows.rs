//! Reading flows.

use crate::model::flow::FlowKey;
use crate::model::id::JobId;
use crate::store::error::StoreError;
use crate::store::flows::{self, FlowPage, FlowRecord};
use crate::store::reader::Reader;

impl Reader {
    /// A flow, where it has jobs.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn flow(&self, key: &FlowKey) -> Result<Option<FlowRecord>, StoreError> {
        self.read(|connection| flows::one(connection, key))
    }

    /// The flows of `uid`, or of everybody, the one with the newest job first: those whose newest job has a smaller
    /// number than `before`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn flows(
        &self,
        uid: Option<u32>,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<FlowPage, StoreError> {
        self.read(|connection| flows::page(connection, uid, before, limit.max(1)))
    }

    /// Whose flows of this name there are.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn flow_owners(&self, name: &str) -> Result<Vec<u32>, StoreError> {
        self.read(|connection| flows::owners(connection, name))
    }

    /// The number of a user who has submitted a job.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub fn uid_of(&self, user: &str) -> Result<Option<u32>, StoreError> {
        self.read(|connection| flows::uid_of(connection, user))
    }
}
