//! The routes that tell what is measured, now and before.

use crate::client::error::ClientError;
use crate::client::query::{CompareQuery, SeriesQuery, Target};
use crate::client::routes::Client;
use crate::wire::comparison::{Comparison, PhaseList};
use crate::wire::host::{GpuList, GpuView, HostView, OperationsView};
use crate::wire::series::{SeriesData, SeriesInfo, SeriesList};

impl Client {
    /// The host as it was measured last.
    ///
    /// # Errors
    /// [`ClientError`]; where it is not measured, that it was not found.
    pub async fn host(&self) -> Result<HostView, ClientError> {
        self.get("/v1/host").await
    }

    /// The GPUs as they were measured last, with who uses them.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn gpus(&self) -> Result<Vec<GpuView>, ClientError> {
        let list: GpuList = self.get("/v1/gpus").await?;
        Ok(list.items)
    }

    /// Everything that is active with what it uses.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn operations(&self) -> Result<OperationsView, ClientError> {
        self.get("/v1/operations").await
    }

    /// Everything that was active at a time in the past, with what it used.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn operations_at(&self, at: jiff::Timestamp) -> Result<OperationsView, ClientError> {
        let mut target = Target::new("/v1/operations");
        target.add("at", at);
        self.get(target.into_text()).await
    }

    /// Which series there are of `host`, `gpu/0`, `job/42` or `job/42.1`; all that were measured lately unless given.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn series(&self, entity: Option<&str>) -> Result<Vec<SeriesInfo>, ClientError> {
        let mut target = Target::new("/v1/series");
        target.add_some("entity", entity);
        let list: SeriesList = self.get(target.into_text()).await?;
        Ok(list.items)
    }

    /// Series over time.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn query_series(&self, query: &SeriesQuery) -> Result<SeriesData, ClientError> {
        self.get(query.target()).await
    }

    /// Several runs over one axis.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn compare(&self, query: &CompareQuery) -> Result<Comparison, ClientError> {
        self.get(query.target()).await
    }

    /// Where the time of an attempt went, the present one unless given.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn phases(&self, id: u64, attempt: Option<u32>) -> Result<PhaseList, ClientError> {
        let mut target = Target::new(format!("/v1/jobs/{id}/phases"));
        target.add_some("attempt", attempt);
        self.get(target.into_text()).await
    }
}
