//! The wire: what `/v1` takes and gives, as types that the services, the SDK and the generated OpenAPI share. It decides field
//! names, units and shapes, which are promises to strangers; it decides nothing about jobs, and inside Siding nobody computes
//! with these types.

pub mod answer;
pub mod dead;
pub mod job;
pub mod json;
pub mod lane;
pub mod model;
pub mod path;
pub mod reader;
pub mod submit;
pub mod time;

pub use dead::{DeadAnswer, DeadOutcome, DeadRequest, DeadSelection, DeadSkipReason, DeadSkipped};
pub use job::{EventList, EventView, JobList, JobView, Urls};
pub use lane::{LaneList, LaneView};
pub use model::{BrokenView, CostView, DimensionView, ModelList, ModelView, TensorView};
pub use reader::{Output, Reader, Shown};
pub use submit::{BatchAnswer, BatchItem, BatchOutcome, BatchRequest, BatchStatus, SubmitRequest};
pub use time::Rfc3339;
