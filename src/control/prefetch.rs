//! Prefetches in an operator's words, and whether they can be followed.

use std::net::IpAddr;

use http::HeaderMap;
use nearcast_edge::pipeline::prefetch::forbidden;
use tokio::sync::mpsc;

use super::{Control, OrderError, each, located};
use crate::prefetch::{Declined, Line, Place, Wishes};

impl Control {
    /// A place for a call of [`Control::prefetch`].
    ///
    /// # Errors
    /// When no more can be taken on.
    pub fn place_for_prefetch(&self) -> Result<Place, OrderError> {
        Ok(self.prefetcher.place()?)
    }

    /// Fetches URLs through the cache, ahead of requests, at most `jobs` at once. A line comes for each when it is done.
    ///
    /// # Errors
    /// When one of them is not a site's, or no more can be taken on: nothing is done then.
    pub fn prefetch(
        &self,
        place: Place,
        urls: &[String],
        fields: HeaderMap,
        client: IpAddr,
        jobs: usize,
    ) -> Result<mpsc::Receiver<Line>, OrderError> {
        let view = self.edge.view.load();
        if let Some(name) = forbidden(&fields) {
            return Err(OrderError::Malformed(format!("fields: {name} is not for a fetch of all of a URL")));
        }
        if fields.len() > view.header_count_max {
            return Err(OrderError::Malformed(format!(
                "fields: more than limits.header-count, {}",
                view.header_count_max
            )));
        }
        let urls = each("urls", urls, |url| Ok(located(&view, url)?.0))?;
        let jobs = jobs.min(self.config.load().admin.prefetch_jobs);
        let count = urls.len();
        let lines = self.prefetcher.call(place, Wishes { urls, fields, client, jobs })?;
        tracing::info!(urls = count, "prefetch");
        Ok(lines)
    }
}

impl From<Declined> for OrderError {
    fn from(declined: Declined) -> Self {
        Self::Failed("nothing is prefetched", declined.to_string())
    }
}
