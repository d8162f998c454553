//! Identifiers in a request's path, parsed once at the edge. A text that is no identifier is refused before any handler runs.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    id::{Invalid, JobId, ModelName, ModelVersion},
    problem::{Code, Problem},
};

/// The job that the path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPath(pub JobId);

/// The model that the path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPath(pub ModelName);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        segment(parts, state).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        segment(parts, state).await.map(Self)
    }
}

/// The version of a model that the path names: `{name}` and `{version}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionPath(pub ModelName, pub ModelVersion);

impl<S: Send + Sync> FromRequestParts<S> for VersionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((name, version)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| not_utf8())?;
        Ok(Self(name.parse()?, version.parse()?))
    }
}

fn not_utf8() -> Problem {
    Problem::new(Code::InvalidRequest, "The path is not valid UTF-8 after percent-decoding.")
}

async fn segment<T: FromStr<Err = Invalid>, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| not_utf8())?;
    Ok(text.parse()?)
}
